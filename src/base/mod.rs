//! What knows nothing of us: clocks, queues, the breaker's state machine, names to addresses, TLS files.

pub(crate) mod address;
pub(crate) mod breaker;
pub(crate) mod clock;
pub(crate) mod ewma;
pub(crate) mod notify;
pub(crate) mod queue;
pub(crate) mod resolver;
pub(crate) mod room;
pub mod shutdown;
pub mod signals;
pub(crate) mod tls;
