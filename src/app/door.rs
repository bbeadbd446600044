//! Listening sockets, and the threads that serve them: one accepts, the others run an event loop each. Clients have one
//! door and operators another, so that clients cannot shut that of the operators.

use std::io;
use std::sync::Arc;

use crate::base::address::Address;
use crate::base::room::Room;
use crate::config::Server;
use crate::ops::health::Health;
use crate::server::accept::{Acceptor, Listener};
use crate::server::connections::Limits;
use crate::server::event_loop::EventLoop;
use crate::server::mailbox::Message;
use crate::server::service::Service;

/// The acceptor ends before the event loops that it feeds.
pub(super) struct Door {
    /// Where it listens: one at least.
    pub addresses: Vec<Address>,
    acceptor: Acceptor,
    event_loops: Vec<EventLoop>,
}

impl Door {
    /// Starts an event loop for each of `loop_names`, then the thread that accepts.
    ///
    /// # Errors
    /// There are no threads or no descriptors left.
    pub(super) fn open(
        listeners: Vec<Listener>,
        acceptor_name: &str,
        loop_names: impl IntoIterator<Item = String>,
        server: &Server,
        service: Service,
        room: &Arc<Room>,
        health: &Health,
    ) -> io::Result<Self> {
        let addresses = listeners.iter().map(Listener::address);
        let addresses = addresses.collect::<io::Result<_>>()?;
        let service = Arc::new(service);
        let start = |name| {
            let (service, policy) = (Arc::clone(&service), Arc::clone(&health.policy));
            EventLoop::start(name, limits(server), service, policy, Arc::clone(room))
        };
        let event_loops = loop_names.into_iter().map(start);
        let event_loops: Vec<_> = event_loops.collect::<Result<_, _>>()?;
        let mailboxes = event_loops.iter().map(|one| Arc::clone(one.mailbox()));
        let (mailboxes, metrics) = (mailboxes.collect(), Arc::clone(&health.metrics));
        let room = Arc::clone(room);
        let acceptor = Acceptor::start(acceptor_name, listeners, room, mailboxes, metrics)?;
        Ok(Self {
            addresses,
            acceptor,
            event_loops,
        })
    }

    /// Where it listens, in words.
    pub(super) fn addresses(&self) -> String {
        let shown: Vec<_> = self.addresses.iter().map(Address::to_string).collect();
        shown.join(", ")
    }

    /// Accepts no more, and lets the event loops end when they have answered what is in flight.
    pub(super) fn begin_drain(&mut self) {
        self.acceptor.stop();
        for event_loop in &self.event_loops {
            event_loop.mailbox().post(Message::Drain);
        }
    }

    /// Whether everything that was in flight is answered.
    pub(super) fn is_drained(&self) -> bool {
        self.event_loops.iter().all(EventLoop::has_ended)
    }
}

fn limits(server: &Server) -> Limits {
    Limits {
        head_max_bytes: server.max_head,
        head_timeout: server.head_timeout,
        idle_timeout: server.idle_timeout,
        write_timeout: server.write_timeout,
    }
}
