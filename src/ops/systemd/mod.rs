//! What systemd and the service tell each other: the listening socket that it passes, the state that
//! it is told, and the watchdog that is fed. Without systemd nothing here does anything.

pub mod activation;
pub mod notify;
pub mod self_request;
pub mod watchdog;
