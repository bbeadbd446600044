//! How long keys will live on one node of Redis, asked off the way of any client.

use crate::base::clock;
use crate::cache::node::{CallOptions, Node, Unusable};
use crate::cache::routing::redirect::Reply;
pub(crate) use crate::cache::wire::command::KeyTtl;
use crate::cache::wire::command::Pttl;
use crate::cache::wire::connection::REPLY_MAX_BYTES;
use crate::observe::metrics::RedisOp;

/// How long each of `keys` will live, asked in one go.
pub(crate) fn ttls_of_node(
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
