//! A request to ourselves through the real port: what a client would see of the accept loop, the front
//! and a worker.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

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
    address: SocketAddr,
    target: &str,
    deadline: Deadline,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<String> {
    let mut stream = connect(reachable(address), deadline, is_wanted)?;
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
    address: SocketAddr,
    deadline: Deadline,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<TcpStream> {
    loop {
        let left = deadline.left(clock::now());
        if left.is_zero() || !is_wanted() {
            return Err(ErrorKind::TimedOut.into());
        }
        // On this machine a connection is there at once, or the queue of the port is full.
        match TcpStream::connect_timeout(&address, left.min(SLICE)) {
            Err(error) if is_slice_over(&error) => {}
            other => return other,
        }
    }
}

fn is_slice_over(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted
    )
}

/// The address to connect to, where a service listens on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_over_loopback_of_the_same_family() {
        let reached = |address: &str| reachable(address.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:5000"), "127.0.0.1:5000");
        assert_eq!(reached("[::]:5000"), "[::1]:5000");
        assert_eq!(reached("10.1.2.3:80"), "10.1.2.3:80");
    }

    #[test]
    fn a_port_that_accepts_and_never_answers_is_left_in_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a socket of ours");
        let deadline = Deadline::after(clock::now(), Duration::from_millis(50));
        let error = ask(address, "/", deadline, &|| true).expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let deadline = Deadline::after(clock::now(), Duration::from_secs(3600));
        let error = ask(address, "/", deadline, &|| false).expect_err("it is not wanted");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
