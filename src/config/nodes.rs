//! The list of servers that a topology begins with: Sentinels, or nodes of a cluster.

use crate::config::HostPort;
use crate::config::authority::host_and_port;
use crate::config::setting::Rule;

/// `host:port, host:port, ...`, or none; each once.
pub(super) struct NodesRule;

/// More to begin with than anybody has.
const MAX_NODES: usize = 64;

impl Rule for NodesRule {
    type Value = Vec<HostPort>;

    fn parse(&self, text: &str) -> Result<Vec<HostPort>, String> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if text.contains("://") {
            return Err("holds a URL: write host:port alone".to_owned());
        }
        let mut nodes: Vec<HostPort> = Vec::new();
        for (index, part) in text.split(',').enumerate() {
            let number = index + 1;
            let why = |why: &str| format!("node {number} {why}");
            let node = node(part.trim()).map_err(|reason| why(&reason))?;
            if nodes.contains(&node) {
                return Err(why("is there already"));
            }
            nodes.push(node);
        }
        if nodes.len() > MAX_NODES {
            return Err(format!("has {} nodes", nodes.len()));
        }
        Ok(nodes)
    }

    fn allowed(&self) -> String {
        format!("host:port, host:port, ... of at most {MAX_NODES} nodes, or empty")
    }
}

/// Reads one of them.
fn node(text: &str) -> Result<HostPort, String> {
    if text.is_empty() {
        return Err("is empty: is there a comma too many?".to_owned());
    }
    match host_and_port(text)? {
        (_, None) => Err("has no port".to_owned()),
        (_, Some(0)) => Err("has port 0".to_owned()),
        (host, Some(port)) => Ok(HostPort { host, port }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nodes_is_read_in_its_order() {
        let nodes = NodesRule.parse("b.example:26379,a:1 , [::1]:7000").unwrap();
        let shown: Vec<String> = nodes.iter().map(HostPort::to_string).collect();
        assert_eq!(shown, ["b.example:26379", "a:1", "[::1]:7000"]);
        assert_eq!(NodesRule.parse(""), Ok(vec![]));
    }

    #[test]
    fn a_bad_node_is_named_by_its_number() {
        for (text, reason) in [
            ("a:1,b", "node 2 has no port"),
            ("a:1,", "node 2 is empty: is there a comma too many?"),
            ("a:1,,b:1", "node 2 is empty"),
            ("a:0", "node 1 has port 0"),
            ("a:1,b:1,a:1", "node 3 is there already"),
            ("a:1 b:2", "node 1 has more than one colon"),
            ("::1:7000", "goes into []"),
            ("redis://a:1", "holds a URL"),
        ] {
            let why = NodesRule.parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
        let many: Vec<String> = (1..=65).map(|port| format!("a:{port}")).collect();
        assert_eq!(
            NodesRule.parse(&many.join(",")),
            Err("has 65 nodes".to_owned())
        );
        assert!(NodesRule.parse(&many[1..].join(",")).is_ok());
    }
}
