//! What systemd and the service tell each other: the listening socket that it passes, the state that
//! it is told, and the watchdog that is fed. Without systemd nothing here does anything.

pub(crate) mod activation;
pub(crate) mod notify;
pub(crate) mod self_request;
pub(crate) mod watchdog;
