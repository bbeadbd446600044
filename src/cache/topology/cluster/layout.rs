//! What a node of a cluster says of who serves which slot. Pure. By the documentation of CLUSTER SLOTS,
//! which every cluster knows (Redis 3 and later).

use redis::Value;

use crate::cache::routing::hash_slot::SLOTS;
use crate::cache::wire::reply::{self, text};
use crate::config::HostPort;

/// Who serves what, as one node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Ranges of slots, both ends included, and who serves them.
    pub ranges: Vec<(usize, usize, HostPort)>,
    /// Nodes that serve nothing now, but know who does.
    pub replicas: Vec<HostPort>,
    /// Of the configuration of the cluster: every failover raises it. 0 where it is not told.
    pub epoch: u64,
    /// The node says that the cluster works.
    pub is_ok: bool,
}

impl Layout {
    /// Out of what CLUSTER SLOTS and CLUSTER INFO of the node at `by` tell; `None` where it is not that.
    pub(crate) fn read(slots: Value, info: &str, by: &HostPort) -> Option<Self> {
        let Value::Array(entries) = slots else {
            return None;
        };
        let field = |name: &str| {
            let mut fields = info.lines().filter_map(|line| line.split_once(':'));
            let found = fields.find(|(known, _)| *known == name);
            found.map(|(_, value)| value.trim())
        };
        let mut layout = Self {
            ranges: Vec::with_capacity(entries.len()),
            replicas: Vec::new(),
            epoch: field("cluster_current_epoch").map_or(Some(0), |epoch| epoch.parse().ok())?,
            is_ok: field("cluster_state") != Some("fail"),
        };
        for entry in entries {
            let Value::Array(parts) = entry else {
                return None;
            };
            let mut parts = parts.into_iter();
            let (begin, end) = (slot(parts.next()?)?, slot(parts.next()?)?);
            if begin > end {
                return None;
            }
            // A range whose owner has no name (yet) is not served, for all that we can do.
            if let Some(owner) = parts.next().and_then(|node| node_of(node, by)) {
                layout.ranges.push((begin, end, owner));
            }
            for replica in parts.filter_map(|node| node_of(node, by)) {
                if !layout.replicas.contains(&replica) {
                    layout.replicas.push(replica);
                }
            }
        }
        Some(layout)
    }

    /// The nodes that serve something, each once, and the index into them for each slot that is served.
    pub(crate) fn owners(&self) -> (Vec<&HostPort>, Vec<Option<u16>>) {
        let mut owners: Vec<&HostPort> = Vec::new();
        let mut slots = vec![None; SLOTS];
        for (begin, end, owner) in &self.ranges {
            let index = owners.iter().position(|known| *known == owner);
            let index = index.unwrap_or_else(|| {
                owners.push(owner);
                owners.len() - 1
            });
            slots[*begin..=*end].fill(u16::try_from(index).ok());
        }
        (owners, slots)
    }

    /// Whether a node serves anything.
    pub(crate) fn has(&self, server: &HostPort) -> bool {
        self.ranges.iter().any(|(.., owner)| owner == server)
    }

    /// Who serves a slot, if anybody does.
    pub(crate) fn owner(&self, slot: usize) -> Option<&HostPort> {
        let mut ranges = self.ranges.iter();
        let range = ranges.find(|(begin, end, _)| (*begin..=*end).contains(&slot));
        range.map(|(.., owner)| owner)
    }
}

fn slot(value: Value) -> Option<usize> {
    let Value::Int(number) = value else {
        return None;
    };
    usize::try_from(number)
        .ok()
        .filter(|&number| number < SLOTS)
}

/// A node as it is named: its host (a name or an address; none, or nothing: that of who was asked), its
/// port, and more that newer servers tell.
fn node_of(node: Value, by: &HostPort) -> Option<HostPort> {
    let Value::Array(parts) = node else {
        return None;
    };
    let mut parts = parts.into_iter();
    let host = match parts.next()? {
        Value::Nil => by.host.clone(),
        host => Some(text(host)?)
            .filter(|host| !host.is_empty())
            .unwrap_or_else(|| by.host.clone()),
    };
    let Value::Int(port) = parts.next()? else {
        return None;
    };
    reply::server(host, u16::try_from(port).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: u16) -> HostPort {
        reply::server(host.to_owned(), port).expect("a host")
    }

    fn told(slots: &str, info: &str) -> Option<Layout> {
        let raw = slots.replace(' ', "\r\n") + "\r\n";
        let slots = redis::parse_redis_value(raw.as_bytes()).expect("a reply");
        Layout::read(slots, info, &server("10.0.0.9", 7000))
    }

    const INFO: &str = "cluster_state:ok\r\ncluster_current_epoch:7\r\n";

    #[test]
    fn slots_are_read_as_servers_of_all_ages_tell_them() {
        // Redis 3: address and port. Redis 4: an id. Redis 7: more, and no host where it is not known.
        let told = told(
            "*3 *4 :0 :99 *2 $8 10.0.0.1 :1 *2 $8 10.0.0.2 :2 \
             *3 :100 :199 *3 $8 10.0.0.3 :3 $2 id \
             *3 :200 :299 *4 $-1 :4 $2 id *2 $8 hostname $1 h",
            INFO,
        );
        let layout = told.expect("a layout");
        let ranges = [
            (0, 99, server("10.0.0.1", 1)),
            (100, 199, server("10.0.0.3", 3)),
            (200, 299, server("10.0.0.9", 4)),
        ];
        assert_eq!(layout.ranges, ranges);
        assert_eq!(layout.replicas, [server("10.0.0.2", 2)]);
        assert_eq!((layout.epoch, layout.is_ok), (7, true));
    }

    #[test]
    fn every_slot_has_its_owner_and_every_owner_is_named_once() {
        let layout = Layout {
            ranges: vec![
                (0, 9, server("a", 1)),
                (10, 10, server("b", 1)),
                (12, 16_383, server("a", 1)),
            ],
            replicas: Vec::new(),
            epoch: 0,
            is_ok: true,
        };
        let (owners, slots) = layout.owners();
        assert_eq!(owners, [&server("a", 1), &server("b", 1)]);
        assert_eq!((slots[9], slots[10], slots[11]), (Some(0), Some(1), None));
        assert_eq!(slots[16_383], Some(0));
    }

    #[test]
    fn what_is_no_layout_is_refused() {
        for slots in [
            "+OK",
            "*1 :1",
            "*1 *3 :5 :4 *2 $1 a :1",
            "*1 *3 :0 :16384 *2 $1 a :1",
            "*1 *3 :-1 :4 *2 $1 a :1",
            "*1 *1 :0",
        ] {
            assert_eq!(told(slots, INFO), None, "{slots}");
        }
        assert_eq!(told("*0", "cluster_current_epoch:x"), None);
        let failing = told("*0", "cluster_state:fail").expect("an empty one");
        assert!(!failing.is_ok && failing.ranges.is_empty());
        let unnamed = told("*1 *3 :0 :4 *2 $1 ? :1", INFO).expect("one without a name");
        assert_eq!(unnamed.ranges, []);
    }
}
