//! Why the service could not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::ops::systemd::activation::NotServable;

/// Why the service could not start.
#[derive(Debug)]
pub enum StartError {
    /// The configured address cannot be listened on; the section says whose it is.
    Bind(&'static str, SocketAddr, io::Error),
    /// What systemd passed cannot be listened on.
    Passed(NotServable),
    /// The system lacks threads, descriptors or memory.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(section, address, error) => {
                write!(
                    f,
                    "cannot listen on {address} ([{section}] listen): {error}"
                )
            }
            Self::Passed(error) => write!(f, "cannot listen: {error}"),
            Self::System(error) => write!(f, "the system does not let it start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
