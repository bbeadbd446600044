//! What knows nothing of us: clocks, queues, the breaker's state machine, names to addresses, TLS files.

pub mod breaker;
pub mod clock;
pub mod ewma;
pub mod notify;
pub mod queue;
pub mod reads;
pub mod resolver;
pub mod shutdown;
pub mod tls;
