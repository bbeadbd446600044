//! Asking one node of a cluster who serves what, within a few hundred milliseconds.

use std::time::Duration;

use redis::Value;

use crate::base::clock::{self, Deadline};
use crate::cache::topology::cluster::layout::Layout;
use crate::cache::wire::command::command;
use crate::cache::wire::connection::{Connection, REPLY_MAX_BYTES};
use crate::cache::wire::dial::Dial;
use crate::cache::wire::fault::{Fault, is_out_of_reach};
use crate::cache::wire::reply::text;
use crate::config::HostPort;

/// What one node may take to be connected to, and again to answer.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);

/// A connection to the node that is asked.
pub(crate) struct SeedConnection {
    pub server: HostPort,
    connection: Connection,
}

impl SeedConnection {
    /// Connects to the node at `server`, which is reached by `dial`.
    pub(crate) fn connect(server: HostPort, dial: &Dial) -> Result<Self, Fault> {
        let connection = dial.connect(Deadline::after(clock::now(), ANSWER_LIMIT))?;
        Ok(Self { server, connection })
    }

    /// Who serves what, as the node sees it; `None`: it does not tell us.
    ///
    /// # Errors
    /// The [`Fault`] of the call, or what the node refuses.
    pub(crate) fn ask(&mut self) -> Result<Option<Layout>, Fault> {
        let deadline = Deadline::after(clock::now(), ANSWER_LIMIT);
        let commands = ["INFO", "SLOTS"].map(|what| command(&["CLUSTER", what]));
        let replies = self.connection.call(&commands, REPLY_MAX_BYTES, deadline)?;
        let mut replies = replies.into_iter();
        // Optional: an ACL may forbid it.
        let info = replies.next().and_then(text).unwrap_or_default();
        match replies.next() {
            Some(Value::ServerError(error)) if is_out_of_reach(&error) => Ok(None),
            Some(Value::ServerError(error)) => Err(Fault::from_reply(&error)),
            Some(slots) => Layout::read(slots, &info, &self.server)
                .map(Some)
                .ok_or_else(|| Fault::Protocol("not the slots of a cluster".to_owned())),
            None => Err(Fault::Protocol("CLUSTER SLOTS not answered".to_owned())),
        }
    }
}
