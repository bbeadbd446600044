//! A raw HTTP client: sends exactly the bytes it is told to and reads responses as they come, with a
//! deadline on everything.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::SOON;

/// One connection.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    patience: Duration,
}

/// One response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub fields: Vec<(String, String)>,
    /// Empty for an answer to HEAD.
    pub body: Vec<u8>,
}

/// Why there was no response.
#[derive(Debug, PartialEq, Eq)]
pub enum NoResponse {
    /// The connection ended, after this many bytes of a response.
    Ended(usize),
    /// Nothing, or not all, came in time.
    TimedOut,
}

impl Client {
    /// Connects to a server on this machine.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server accepts")
    }

    /// The same, where it may be refused.
    pub fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, SOON)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(Self {
            stream,
            received: Vec::new(),
            patience: SOON,
        })
    }

    /// How long it waits for a response.
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes it");
    }

    /// The same, where the server may be gone.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// `GET`, and the response.
    pub fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path, "")
    }

    /// A request with further header lines, each with its line break, and the response.
    pub fn ask(&mut self, method: &str, path: &str, fields: &str) -> Response {
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
        ));
        let response = self.response(method == "HEAD");
        response.unwrap_or_else(|why| panic!("{method} {path}: {why:?}"))
    }

    /// The next response; `is_head`: to a HEAD request.
    pub fn response(&mut self, is_head: bool) -> Result<Response, NoResponse> {
        let end = Instant::now() + self.patience;
        loop {
            if let Some((response, length)) = parse(&self.received, is_head) {
                self.received.drain(..length);
                if !(100..200).contains(&response.status) {
                    return Ok(response);
                }
            } else if !self.receive(end)? {
                return Err(NoResponse::Ended(self.received.len()));
            }
        }
    }

    /// Sends no more, and reads to the end; what came.
    pub fn finish(&mut self) -> Result<Vec<u8>, NoResponse> {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.rest()
    }

    /// Reads to the end, which the server has to make; what came.
    pub fn rest(&mut self) -> Result<Vec<u8>, NoResponse> {
        let end = Instant::now() + self.patience;
        while self.receive(end)? {}
        Ok(std::mem::take(&mut self.received))
    }

    /// Receives something; false: the connection has ended.
    fn receive(&mut self, end: Instant) -> Result<bool, NoResponse> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NoResponse::TimedOut);
        }
        self.stream
            .set_read_timeout(Some(left))
            .expect("a socket of ours");
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(NoResponse::TimedOut),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(_) => Ok(false),
        }
    }
}

impl Response {
    /// The only field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter().filter(|(known, _)| known == name);
        let field = fields.next();
        assert!(
            fields.next().is_none(),
            "two fields {name}: {:?}",
            self.fields
        );
        field.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value that a 200 of the API carries, and the word for where it came from.
    #[track_caller]
    pub fn value(&self) -> (String, String) {
        assert_eq!(self.status, 200, "{self:?}");
        let json = self.json();
        let text = |name: &str| json[name].as_str().map(str::to_owned).unwrap_or_default();
        (text("data"), text("source"))
    }
}

/// The first response in `bytes` and its length; `None`: not whole yet.
fn parse(bytes: &[u8], is_head: bool) -> Option<(Response, usize)> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|line| line.get(..3)?.parse().ok());
    let status: u16 = status.unwrap_or_else(|| panic!("not a response: {head:?}"));
    let fields: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let length = match length {
        Some((_, length)) if !is_head && status >= 200 => length.parse().expect("a length"),
        Some(_) => 0,
        None => {
            assert!(status < 200, "a response without a length: {head:?}");
            0
        }
    };
    let end = head_end + length;
    let body = bytes.get(head_end..end)?.to_vec();
    Some((
        Response {
            status,
            fields,
            body,
        },
        end,
    ))
}
