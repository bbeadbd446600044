//! The pool of connections. r2d2 keeps the slots: how many there are, which are held, and the waiting.
//! What a slot holds is ours: the caller that draws one connects it, within its own budget and with the
//! breaker's leave, so nothing dials in the background, fails slowly or retries in a storm.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use r2d2::{ManageConnection, PooledConnection};
use scheduled_thread_pool::ScheduledThreadPool;

use crate::base::clock::{self, Deadline};
use crate::cache::wire::connection::Connection;
use crate::cache::wire::dial::Dial;
use crate::cache::wire::fault::Fault;
use crate::cache::wire::socket::Socket;

/// How long a connection may lie unused before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

pub(crate) struct Pool {
    slots: r2d2::Pool<Slots>,
    dial: Arc<Dial>,
    /// Raised when connections are lost: one opened under an older generation is not used again.
    generation: AtomicU64,
    /// A connection at rest was found closed; see [`Pool::take_lost`].
    has_lost: AtomicBool,
    /// No connection is opened any more.
    is_closed: AtomicBool,
}

/// r2d2's manager: makes empty slots, which cannot fail.
struct Slots;

/// Room for one connection.
#[derive(Default)]
pub(crate) struct PoolSlot {
    connection: Option<Connection>,
    generation: u64,
}

impl ManageConnection for Slots {
    type Connection = PoolSlot;
    type Error = Infallible;

    fn connect(&self) -> Result<PoolSlot, Infallible> {
        Ok(PoolSlot::default())
    }

    /// Never called: `test_on_check_out` is off.
    fn is_valid(&self, _slot: &mut PoolSlot) -> Result<(), Infallible> {
        Ok(())
    }

    /// The caller that meets a broken connection drops it; its slot stays.
    fn has_broken(&self, _slot: &mut PoolSlot) -> bool {
        false
    }
}

/// A connection that one caller has drawn from the pool; it goes back when this is dropped.
pub(crate) struct Lease {
    slot: PooledConnection<Slots>,
}

impl Pool {
    /// Of at most `size` connections; opens none. `threads` make its slots and close what rests for
    /// too long.
    pub(crate) fn new(dial: Arc<Dial>, size: usize, threads: Arc<ScheduledThreadPool>) -> Self {
        let slots = r2d2::Pool::builder()
            .thread_pool(threads)
            .max_size(u32::try_from(size).unwrap_or(u32::MAX))
            .min_idle(Some(0))
            .max_lifetime(None)
            .idle_timeout(Some(IDLE_TIMEOUT))
            .test_on_check_out(false)
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(Slots);
        Self {
            slots,
            dial,
            generation: AtomicU64::new(0),
            has_lost: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Draws a connection that looks usable, opening one where there is none, by `deadline`.
    /// `on_socket` is handed its socket before anything is waited for on it, and says whether to go on.
    ///
    /// # Errors
    /// [`Fault::NoConnection`] when all are in use until then, else what went wrong in opening one.
    pub(crate) fn draw(
        &self,
        deadline: Deadline,
        mut on_socket: impl FnMut(&Arc<Socket>) -> bool,
    ) -> Result<Lease, Fault> {
        let left = deadline.left(clock::now());
        let mut slot = match self.slots.try_get() {
            Some(slot) => slot,
            None => self
                .slots
                .get_timeout(left)
                .map_err(|_| Fault::NoConnection)?,
        };
        let generation = self.generation.load(Ordering::Acquire);
        let is_current = slot.generation == generation;
        if let Some(mut connection) = slot.connection.take().filter(|_| is_current) {
            if connection.check_usable() {
                if !on_socket(connection.socket()) {
                    return Err(Fault::GivenUp);
                }
                slot.connection = Some(connection);
                return Ok(Lease { slot });
            }
            self.has_lost.store(true, Ordering::Relaxed);
            // Here the old one is closed, before a new one is opened.
        }
        slot.generation = generation;
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Fault::Closed("another node has taken its place".to_owned()));
        }
        slot.connection = Some(self.dial.connect_watched(deadline, on_socket)?);
        Ok(Lease { slot })
    }

    /// From now on no connection that is open or in use is drawn again.
    pub(crate) fn discard_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// From now on no connection is opened, nor any that is open or in use drawn again.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.discard_all();
    }

    /// Whether a connection at rest was found closed since this was last asked: the server may have
    /// been restarted.
    pub(crate) fn take_lost(&self) -> bool {
        self.has_lost.load(Ordering::Relaxed) && self.has_lost.swap(false, Ordering::Relaxed)
    }

    /// Slots that exist, and those of them that no caller holds.
    pub(crate) fn slots(&self) -> (u32, u32) {
        let state = self.slots.state();
        (state.connections, state.idle_connections)
    }

    /// Slots there may be at most.
    pub(crate) fn size(&self) -> u32 {
        self.slots.max_size()
    }
}

impl Lease {
    /// # Errors
    /// [`Fault::NoConnection`] after [`Self::discard`].
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, Fault> {
        self.slot.connection.as_mut().ok_or(Fault::NoConnection)
    }

    /// Closes the connection; the slot goes back empty.
    pub(crate) fn discard(&mut self) {
        self.slot.connection = None;
    }
}
