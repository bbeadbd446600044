//! What Sentinels say of who the master is, and which of them to follow. Pure.

use redis::Value;

use crate::cache::wire::fault::Fault;
use crate::cache::wire::reply::{server, text};
use crate::config::HostPort;

/// What one Sentinel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opinion {
    /// Who says it, as an index into the configured Sentinels.
    pub by: usize,
    /// Where the master is.
    pub master: HostPort,
    /// The configuration that says so: a failover raises it. 0 where it is not told.
    pub epoch: u64,
}

/// The opinion to follow: of the latest epoch, and what most say who have that. One that is older than
/// `known` is followed only if more than half of all `count` Sentinels hold none that is younger: they
/// have been set up anew.
pub(crate) fn best(opinions: &[Opinion], known: u64, count: usize) -> Option<&Opinion> {
    let latest = opinions.iter().map(|opinion| opinion.epoch).max()?;
    if latest < known && opinions.len() * 2 <= count {
        return None;
    }
    let latest = opinions.iter().filter(|opinion| opinion.epoch == latest);
    let votes = |master: &HostPort| {
        latest
            .clone()
            .filter(|other| other.master == *master)
            .count()
    };
    // Of equals the one that was heard first.
    latest
        .clone()
        .rev()
        .max_by_key(|opinion| votes(&opinion.master))
}

/// Host and port, as two strings.
pub(crate) fn master(parts: Vec<Value>) -> Result<HostPort, Fault> {
    let mut parts = parts.into_iter().map(text);
    let (host, port) = (parts.next().flatten(), parts.next().flatten());
    let port = port.and_then(|port| port.parse().ok());
    match (host, port) {
        (Some(host), Some(port)) => server(host, port),
        _ => None,
    }
    .ok_or_else(|| Fault::Protocol("not the address of a master".to_owned()))
}

/// `config-epoch` out of what SENTINEL MASTER tells: names and values in turn.
pub(crate) fn epoch(told: Value) -> Option<u64> {
    let parts = match told {
        Value::Array(parts) => parts,
        Value::Map(pairs) => pairs
            .into_iter()
            .flat_map(|(name, value)| [name, value])
            .collect(),
        _ => return None,
    };
    let mut parts = parts.into_iter().map(text);
    parts.find(|part| part.as_deref() == Some("config-epoch"))?;
    parts.next()??.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinions(said: &[(&str, u64)]) -> Vec<Opinion> {
        let opinion = |(by, &(host, epoch)): (usize, &(&str, u64))| Opinion {
            by,
            master: server(host.to_owned(), 6379).expect("a host"),
            epoch,
        };
        said.iter().enumerate().map(opinion).collect()
    }

    fn followed(said: &[(&str, u64)], known: u64, count: usize) -> Option<String> {
        best(&opinions(said), known, count).map(|opinion| opinion.master.host.clone())
    }

    #[test]
    fn the_latest_epoch_is_followed_however_few_know_of_it() {
        let said = [("old", 3), ("new", 4), ("old", 3)];
        assert_eq!(followed(&said, 3, 3).as_deref(), Some("new"));
        assert_eq!(followed(&said, 0, 3).as_deref(), Some("new"));
    }

    #[test]
    fn without_epochs_it_is_what_most_say_and_of_equals_the_first() {
        let most = [("a", 0), ("b", 0), ("b", 0)];
        assert_eq!(followed(&most, 0, 3).as_deref(), Some("b"));
        assert_eq!(followed(&[("a", 0), ("b", 0)], 0, 3).as_deref(), Some("a"));
        assert_eq!(followed(&[], 0, 3), None);
    }

    #[test]
    fn an_old_opinion_is_followed_only_when_most_sentinels_are_that_old() {
        assert_eq!(followed(&[("old", 3)], 4, 3), None);
        assert_eq!(followed(&[("old", 3)], 4, 1).as_deref(), Some("old"));
        let anew = [("a", 0), ("a", 0)];
        assert_eq!(followed(&anew, 4, 3).as_deref(), Some("a"));
    }

    #[test]
    fn the_epoch_is_found_among_what_else_is_told() {
        let told = b"*6\r\n$4\r\nname\r\n$1\r\nm\r\n$12\r\nconfig-epoch\r\n$1\r\n7\r\n$1\r\nx\r\n$1\r\n9\r\n";
        let told = redis::parse_redis_value(told).expect("a reply");
        assert_eq!(epoch(told), Some(7));
        let refused = redis::parse_redis_value(b"-NOPERM no\r\n").expect("a reply");
        assert_eq!(epoch(refused), None);
    }
}
