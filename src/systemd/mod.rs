//! What systemd and the service tell each other: the listening socket that it passes, and the state
//! that it is told. Without systemd nothing here does anything.

pub mod activation;
