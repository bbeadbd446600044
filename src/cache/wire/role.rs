//! Whether a server that was named as the master is one: asked of every new connection, since the word
//! of a Sentinel may be old, and a master that comes back may be a replica now.

use redis::Value;

use crate::base::clock::Deadline;
use crate::cache::wire::connection::{Connection, REPLY_MAX_BYTES};
use crate::cache::wire::fault::Fault;

/// Asks the server at the other end of `link`. One that says nothing (an old one, or an ACL that allows
/// neither ROLE nor INFO) is taken for what it was named.
///
/// # Errors
/// [`Fault::NotMaster`] when it says that it is something else; else what went wrong.
pub(crate) fn check(link: &mut Connection, deadline: Deadline) -> Result<(), Fault> {
    let role = link
        .call(&[redis::cmd("ROLE")], REPLY_MAX_BYTES, deadline)?
        .pop();
    let role = match role {
        Some(Value::Array(parts)) => parts.into_iter().next().and_then(text),
        Some(Value::ServerError(error)) => match Fault::from_reply(&error) {
            fault @ Fault::NotReady(_) => return Err(fault),
            _ => from_info(link, deadline)?,
        },
        _ => None,
    };
    match role {
        Some(role) if role != "master" => Err(Fault::not_master(&role)),
        _ => Ok(()),
    }
}

/// The role by `INFO replication`, which is older than ROLE (2.8.12) and in another category of ACLs.
fn from_info(link: &mut Connection, deadline: Deadline) -> Result<Option<String>, Fault> {
    let mut info = redis::cmd("INFO");
    info.arg("replication");
    let info = link
        .call(&[info], REPLY_MAX_BYTES, deadline)?
        .pop()
        .and_then(text);
    let role = info.as_deref().and_then(|info| {
        let role = info.lines().find_map(|line| line.strip_prefix("role:"))?;
        Some(role.trim().to_owned())
    });
    Ok(role)
}

/// A string, however it is sent.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}
