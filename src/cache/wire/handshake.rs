//! What a new connection says first: who we are, which protocol, which database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::warn;
use redis::{Cmd, ServerError, Value};

use crate::base::clock::Deadline;
use crate::cache::wire::command::command;
use crate::cache::wire::connection::{Connection, REPLY_MAX_BYTES};
use crate::cache::wire::fault::{Fault, Step, is_unknown_command};
use crate::config::{Login, Protocol};

/// What is agreed on before anything else.
#[derive(Clone)]
pub(crate) struct Handshake {
    pub protocol: Protocol,
    login: Login,
    /// Number of the database.
    db: i64,
    /// Whether it was said that a server does not know HELLO.
    refusal_was_said: Arc<AtomicBool>,
}

impl Handshake {
    pub(crate) fn new(protocol: Protocol, login: Login, db: i64) -> Self {
        Self {
            protocol,
            login,
            db,
            refusal_was_said: Arc::default(),
        }
    }

    /// Says it on `connection`, whose encryption is settled, by `deadline`. Where nothing has to be said
    /// this takes no time.
    ///
    /// # Errors
    /// The [`Fault`] of what was refused, or that ended the connection.
    pub(crate) fn shake(
        &self,
        connection: &mut Connection,
        deadline: Deadline,
    ) -> Result<(), Fault> {
        let auth = self.auth();
        let select = self.select();
        if self.protocol == Protocol::Resp3 {
            let hello = [Some(self.hello()), select.clone()];
            let mut replies = say(connection, hello, deadline)?.into_iter();
            match replies.next() {
                Some(Value::Map(_) | Value::Array(_)) => return replies.try_for_each(accepted),
                Some(Value::ServerError(error)) if is_about_hello(&error) => {
                    self.say_refused(&error)
                }
                Some(Value::ServerError(error)) => return Err(refused(&error)),
                _ => return Err(Fault::Protocol("HELLO not answered by a map".to_owned())),
            }
        }
        let mut replies = say(connection, [auth, select], deadline)?.into_iter();
        replies.try_for_each(accepted)
    }

    fn auth(&self) -> Option<Cmd> {
        match &self.login {
            Login::Nobody => None,
            // As servers of before ACLs know it.
            Login::Password(password) => Some(command(&["AUTH", password])),
            Login::User { name, password } => Some(command(&["AUTH", name, password])),
        }
    }

    fn hello(&self) -> Cmd {
        match &self.login {
            Login::Nobody => command(&["HELLO", "3"]),
            Login::Password(password) => command(&["HELLO", "3", "AUTH", "default", password]),
            Login::User { name, password } => command(&["HELLO", "3", "AUTH", name, password]),
        }
    }

    fn select(&self) -> Option<Cmd> {
        (self.db != 0).then(|| command(&["SELECT", &self.db.to_string()]))
    }

    /// Said once: RESP2 is as good for us.
    fn say_refused(&self, error: &ServerError) {
        if !self.refusal_was_said.swap(true, Ordering::Relaxed) {
            let why = Fault::from_reply(error);
            warn!("redis does not know HELLO 3, so RESP2 is spoken with it: {why}");
        }
    }
}

fn say<const N: usize>(
    connection: &mut Connection,
    commands: [Option<Cmd>; N],
    deadline: Deadline,
) -> Result<Vec<Value>, Fault> {
    let commands: Vec<Cmd> = commands.into_iter().flatten().collect();
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let limit = Step::Handshake.by(deadline);
    connection.send(&commands, limit)?;
    connection.receive(commands.len(), REPLY_MAX_BYTES, limit)
}

fn accepted(reply: Value) -> Result<(), Fault> {
    match reply {
        Value::Okay => Ok(()),
        Value::ServerError(error) => Err(refused(&error)),
        _ => Err(Fault::Protocol("AUTH or SELECT not answered OK".to_owned())),
    }
}

/// Whether a server knows no HELLO, or no version 3 of the protocol.
fn is_about_hello(error: &ServerError) -> bool {
    is_unknown_command(error) || error.code() == "NOPROTO"
}

/// What AUTH or SELECT refused is a matter of configuration, but for a server that is not ready.
fn refused(error: &ServerError) -> Fault {
    match Fault::from_reply(error) {
        // Without the code, a server of before ACLs says "ERR invalid password".
        Fault::Refused(reply) if !reply.contains("max number of clients") => {
            Fault::Misconfigured(reply)
        }
        other => other,
    }
}
