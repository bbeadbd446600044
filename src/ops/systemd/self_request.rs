//! A request to ourselves through the real port: what a client would see of the accept loop, the front
//! and a worker.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use socket2::{Socket, Type};

use crate::base::address::Address;
use crate::base::clock::{self, Deadline};

/// How often the request checks whether its answer is still wanted.
const SLICE: Duration = Duration::from_millis(100);
/// Bytes of an answer, at most.
const ANSWER_MAX_BYTES: usize = 4096;

/// Asks for `target` at `address` and reads the answer to its end, by `deadline` and only while
/// `is_wanted`.
///
/// # Errors
/// `TimedOut`: no answer in time. Otherwise what the system says.
pub(crate) fn ask(
    address: &Address,
    target: &str,
    deadline: Deadline,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<String> {
    let mut stream = connect(address, deadline, is_wanted)?;
    stream.set_read_timeout(Some(SLICE))?;
    stream.set_write_timeout(Some(SLICE))?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut received = [0; 512];
    loop {
        match stream.read(&mut received) {
            Ok(0) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(count) => answer.extend_from_slice(&received[..count]),
            Err(error) if is_slice_over(&error) => {}
            Err(error) => return Err(error),
        }
        if answer.len() > ANSWER_MAX_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        if deadline.passed(clock::now()) || !is_wanted() {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

fn connect(
    address: &Address,
    deadline: Deadline,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<Socket> {
    let reachable = address.reachable();
    loop {
        let left = deadline.left(clock::now());
        if left.is_zero() || !is_wanted() {
            return Err(ErrorKind::TimedOut.into());
        }
        let (socket, slice) = (
            Socket::new(reachable.domain(), Type::STREAM, None)?,
            left.min(SLICE),
        );
        // On this machine a connection is there at once, or the queue of the port is full.
        let connected = match address.is_unix() {
            // There the time-out of a write is that of a connect too (unix(7)).
            true => socket
                .set_write_timeout(Some(slice))
                .and_then(|()| socket.connect(&reachable)),
            false => socket.connect_timeout(&reachable, slice),
        };
        match connected {
            Err(error) if is_slice_over(&error) => {}
            connected => return connected.map(|()| socket),
        }
    }
}

fn is_slice_over(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_accepts_and_never_answers_is_left_in_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a socket of ours").into();
        let deadline = Deadline::after(clock::now(), Duration::from_millis(50));
        let error = ask(&address, "/", deadline, &|| true).expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let deadline = Deadline::after(clock::now(), Duration::from_secs(3600));
        let error = ask(&address, "/", deadline, &|| false).expect_err("it is not wanted");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
