//! Whether a server that was named as the master is one: asked of every new connection, since the word
//! of a Sentinel may be old, and a master that comes back may be a replica now.

use redis::Value;

use crate::base::clock::Deadline;
use crate::cache::wire::command::command;
use crate::cache::wire::connection::{Connection, REPLY_MAX_BYTES};
use crate::cache::wire::fault::Fault;
use crate::cache::wire::reply::text;

/// Asks the server at the other end of `connection`. One that says nothing (an old one, or an ACL that allows
/// neither ROLE nor INFO) is taken for what it was named.
///
/// # Errors
/// [`Fault::NotMaster`] when it says that it is something else; else what went wrong.
pub(crate) fn check(connection: &mut Connection, deadline: Deadline) -> Result<(), Fault> {
    let role = connection.call(&[command(&["ROLE"])], REPLY_MAX_BYTES, deadline)?;
    let role = match role.into_iter().next() {
        Some(Value::Array(parts)) => parts.into_iter().next().and_then(text),
        Some(Value::ServerError(error)) => match Fault::from_reply(&error) {
            fault @ Fault::NotReady(_) => return Err(fault),
            _ => from_info(connection, deadline)?,
        },
        _ => None,
    };
    match role {
        Some(role) if role != "master" => Err(Fault::not_master(&role)),
        _ => Ok(()),
    }
}

/// The role by `INFO replication`, which is older than ROLE (2.8.12) and in another category of ACLs.
fn from_info(connection: &mut Connection, deadline: Deadline) -> Result<Option<String>, Fault> {
    let info = command(&["INFO", "replication"]);
    let replies = connection.call(&[info], REPLY_MAX_BYTES, deadline)?;
    let info = replies.into_iter().next().and_then(text);
    let role = info.as_deref().and_then(|info| {
        let role = info.lines().find_map(|line| line.strip_prefix("role:"))?;
        Some(role.trim().to_owned())
    });
    Ok(role)
}
