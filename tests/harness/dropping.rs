//! An address that drops packets silently, as that of a machine that is gone: a SYN is never answered.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// Such an address, until it is dropped. Its backlog is full, and nobody ever accepts.
pub struct Dropping {
    _listener: Socket,
    _clients: Vec<Socket>,
}

impl Dropping {
    /// Nobody else may listen there.
    pub fn at(address: SocketAddr) -> Self {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = socket();
        listener.set_reuse_address(true).expect("a socket of ours");
        listener.bind(&address.into()).expect("a port of ours");
        listener.listen(0).expect("a socket of ours");
        let connect = |_| {
            let client = socket();
            client.set_nonblocking(true).expect("a socket of ours");
            // In progress, for ever.
            let _ = client.connect(&address.into());
            client
        };
        let clients = (0..4).map(connect).collect();
        Self {
            _listener: listener,
            _clients: clients,
        }
    }
}
