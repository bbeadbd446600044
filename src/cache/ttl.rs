//! How long keys will live in Redis, asked off the way of any client.

use crate::base::clock::{self, Deadline};
use crate::cache::node::{CallOptions, Node, Unusable};
use crate::cache::routing::fan_out::ask_each;
use crate::cache::routing::hash_slot::HashSlot;
use crate::cache::routing::redirect::Reply;
use crate::cache::routing::router::Router;
pub(crate) use crate::cache::wire::command::KeyTtl;
use crate::cache::wire::command::Pttl;
use crate::cache::wire::connection::REPLY_MAX_BYTES;
use crate::observe::metrics::RedisOp;

/// See [`RedisCache::ttls`](crate::cache::RedisCache::ttls).
pub(crate) fn ttls(
    router: &Router,
    caller: usize,
    keys: &[&str],
    deadline: Deadline,
) -> Vec<Option<KeyTtl>> {
    let slot = |key: &&str| HashSlot::of(key);
    ask_each(router, keys, slot, |batch, own| {
        let options = CallOptions::unwaited(caller, deadline, batch.asking);
        ttls_of_node(&batch.node, own, options)
    })
}

fn ttls_of_node(
    node: &Node,
    keys: &[&&str],
    options: CallOptions,
) -> Result<Vec<Reply<KeyTtl>>, Unusable> {
    let began = clock::now();
    let permit = node.permit_to_upkeep(began).ok_or(Unusable)?;
    let ttls = node.call(RedisOp::Life, options, |lease| {
        let commands = keys.iter().map(|key| Pttl(key));
        node.ask(lease, commands, REPLY_MAX_BYTES, options)
    });
    match &ttls {
        Ok(_) => node.upkeep_succeeded(permit, began),
        Err(fault) => node.failed(permit, fault),
    }
    ttls.map_err(|_| Unusable)
}
