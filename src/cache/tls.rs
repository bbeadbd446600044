//! TLS over our own socket: rustls turns bytes into bytes, and whatever it waits for has the deadline of
//! the call. What only a person can mend about certificates is a fault of its own, in words.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use log::{info, warn};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, Error};

use super::fault::{Fault, Step, printable};
use super::socket::Socket;
use crate::clock::Deadline;
use crate::config::Tls;
use crate::tls;

/// Bytes received at once: some TLS records, of 16 KiB at most each (RFC 8446, section 5.1).
const RECEIVE_BYTES: usize = 64 * 1024;

/// Makes sessions. Files that are renewed are read again by [`Self::look_for_new_files`], off the way
/// of any client.
pub struct Connector {
    settings: Tls,
    /// Guards what the files said last.
    loaded: Mutex<Loaded>,
}

struct Loaded {
    config: Result<Arc<ClientConfig>, String>,
    stamps: Stamps,
}

/// When each file was changed, and its length.
type Stamps = [Option<(SystemTime, u64)>; 3];

impl Connector {
    /// Reads the files.
    #[must_use]
    pub fn new(settings: &Tls) -> Self {
        let stamps = stamps(settings);
        let config = load(settings);
        Self {
            settings: settings.clone(),
            loaded: Mutex::new(Loaded { config, stamps }),
        }
    }

    /// Reads the files again where one has changed. Those that are no good change nothing: a later
    /// connection may still be made with what was read before.
    pub fn look_for_new_files(&self) {
        let stamps = stamps(&self.settings);
        if self.lock().stamps == stamps {
            return;
        }
        let config = load(&self.settings);
        let mut loaded = self.lock();
        loaded.stamps = stamps;
        match config {
            Ok(config) => {
                info!("redis: the TLS files have changed: new connections use them");
                loaded.config = Ok(config);
            }
            Err(why) => warn!("redis: the TLS files have changed and are of no use: {why}"),
        }
    }

    /// A session that has not begun, with a server at `host`.
    ///
    /// # Errors
    /// [`Fault::Tls`] when the files are of no use or `host` can be in no certificate.
    pub fn session(&self, host: &str) -> Result<Session, Fault> {
        let config = self.lock().config.clone().map_err(Fault::Tls)?;
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Fault::Tls(format!("no certificate can hold the name {name}")))?;
        let connection = ClientConnection::new(config, server).map_err(|error| fault(&error))?;
        Ok(Session {
            connection,
            received: vec![0; RECEIVE_BYTES],
            unread: 0..0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(settings: &Tls) -> Result<Arc<ClientConfig>, String> {
    tls::load(settings).map_err(|wrong| {
        let words = wrong
            .iter()
            .map(|wrong| format!("{} {}", wrong.key, wrong.why));
        words.collect::<Vec<_>>().join("; ")
    })
}

fn stamps(settings: &Tls) -> Stamps {
    let stamp = |file: Option<&Path>| {
        let metadata = std::fs::metadata(file?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    let identity = settings.identity.as_ref();
    [
        stamp(settings.ca_file.as_deref()),
        stamp(identity.map(|identity| identity.cert_file.as_path())),
        stamp(identity.map(|identity| identity.key_file.as_path())),
    ]
}

/// One TLS connection, beside its socket.
pub struct Session {
    connection: ClientConnection,
    /// What a read from the socket brings, encrypted.
    received: Vec<u8>,
    /// The part of `received` that rustls has not taken yet.
    unread: Range<usize>,
}

impl Session {
    /// Shakes hands by `deadline`: afterwards the server is the one it should be.
    ///
    /// # Errors
    /// The [`Fault`] that ended the connection.
    pub fn shake_hands(&mut self, socket: &Socket, deadline: Deadline) -> Result<(), Fault> {
        let step = Step::TlsHandshake;
        self.flush(socket, deadline, step)?;
        while self.connection.is_handshaking() {
            self.take_in(socket, deadline, step)?;
            self.flush(socket, deadline, step)?;
        }
        Ok(())
    }

    /// Sends all of `bytes` by `deadline`.
    ///
    /// # Errors
    /// The [`Fault`] that ended the connection.
    pub fn send_all(
        &mut self,
        socket: &Socket,
        mut bytes: &[u8],
        deadline: Deadline,
        step: Step,
    ) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let taken = self.connection.writer().write(bytes);
            let taken = taken.map_err(|error| Fault::from_io(&error, step))?;
            bytes = &bytes[taken..];
            if let Err(fault) = self.flush(socket, deadline, step) {
                return Err(self.last_words(socket).unwrap_or(fault));
            }
        }
        Ok(())
    }

    /// Waits until `deadline` for some bytes; how many came, which is never 0.
    ///
    /// # Errors
    /// The [`Fault`] that ended the connection.
    pub fn receive(
        &mut self,
        socket: &Socket,
        buffer: &mut [u8],
        deadline: Deadline,
        step: Step,
    ) -> Result<usize, Fault> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(0) => return Err(Fault::from_io(&io::ErrorKind::UnexpectedEof.into(), step)),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Fault::from_io(&error, step)),
            }
            self.take_in(socket, deadline, step)?;
            // An answer to a new key, or nothing.
            self.flush(socket, deadline, step)?;
        }
    }

    /// Whether the connection is open and the server has said nothing unasked. What it says of TLS
    /// itself, as its tickets for later sessions, is taken in. Waits for nothing.
    pub fn is_quiet(&mut self, socket: &Socket) -> bool {
        loop {
            if !matches!(self.connection.reader().read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            {
                return false;
            }
            if self.unread.is_empty() {
                match socket.receive_now(&mut self.received) {
                    Ok(None) => return true,
                    Ok(Some(count)) if count > 0 => self.unread = 0..count,
                    _ => return false,
                }
            }
            if self.decrypt().is_err() {
                return false;
            }
        }
    }

    /// Waits for bytes where there are none, and decrypts them.
    fn take_in(&mut self, socket: &Socket, deadline: Deadline, step: Step) -> Result<(), Fault> {
        if self.unread.is_empty() {
            let count = socket.receive(&mut self.received, deadline);
            self.unread = 0..count.map_err(|error| Fault::from_io(&error, step))?;
        }
        self.decrypt().inspect_err(|_| self.say_why(socket))
    }

    /// Hands rustls what has been received: as much as it takes before what it decrypts is read.
    fn decrypt(&mut self) -> Result<(), Fault> {
        let mut unread = &self.received[self.unread.clone()];
        let taken = self.connection.read_tls(&mut unread);
        let taken = taken.map_err(|error| Fault::Protocol(error.to_string()))?;
        self.unread.start += taken;
        let done = self.connection.process_new_packets();
        done.map(drop).map_err(|error| fault(&error))
    }

    /// Sends what rustls has to send.
    fn flush(&mut self, socket: &Socket, deadline: Deadline, step: Step) -> Result<(), Fault> {
        while self.connection.wants_write() {
            let mut bytes = Vec::new();
            let written = self.connection.write_tls(&mut bytes);
            written.map_err(|error| Fault::from_io(&error, step))?;
            let sent = socket.send_all(&bytes, deadline);
            sent.map_err(|error| Fault::from_io(&error, step))?;
        }
        Ok(())
    }

    /// Why the server closed the connection on us while we were sending, if it said so: since TLS 1.3
    /// a certificate of ours is refused after our side of the handshake is done.
    fn last_words(&mut self, socket: &Socket) -> Option<Fault> {
        while let Ok(Some(count @ 1..)) = socket.receive_now(&mut self.received) {
            self.unread = 0..count;
            while !self.unread.is_empty() {
                match self.decrypt() {
                    Ok(()) => {}
                    Err(fault @ Fault::Tls(_)) => return Some(fault),
                    Err(_) => return None,
                }
                let _ = self.connection.reader().read(&mut [0; 1024]);
            }
        }
        None
    }

    /// The alert for a server that we do not accept, as far as it can be sent without waiting.
    fn say_why(&mut self, socket: &Socket) {
        let mut alert = Vec::new();
        if self.connection.wants_write() && self.connection.write_tls(&mut alert).is_ok() {
            socket.send_now(&alert);
        }
    }
}

/// What an error of rustls means.
fn fault(error: &Error) -> Fault {
    use AlertDescription as Alert;
    let why = match error {
        Error::InvalidCertificate(why) => about_its_certificate(why),
        Error::AlertReceived(Alert::CertificateRequired) => {
            "the server wants a certificate from us, and there is no cert_file".to_owned()
        }
        Error::AlertReceived(
            alert @ (Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError),
        ) => format!("the server does not accept our certificate: {alert:?}"),
        Error::AlertReceived(
            alert
            @ (Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity),
        ) => format!(
            "the server refuses the handshake ({alert:?}): it wants a certificate from us, or knows \
             neither TLS 1.2 nor 1.3"
        ),
        Error::AlertReceived(Alert::UnrecognisedName) => {
            "the server does not know the name that it was asked for".to_owned()
        }
        Error::PeerIncompatible(why) => format!("the server's TLS is not ours: {why:?}"),
        Error::InvalidMessage(_) => {
            return Fault::Protocol("the server does not speak TLS".to_owned());
        }
        other => return Fault::Protocol(printable(&other.to_string())),
    };
    Fault::Tls(why)
}

/// What is wrong with the server's certificate. Nothing in it may change from one attempt to the next.
fn about_its_certificate(error: &CertificateError) -> String {
    use CertificateError as Why;
    let date = |time: &UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |at| at.to_string())
    };
    let what = match error {
        // The signature is bad where another authority has the name of one of ours.
        Why::UnknownIssuer | Why::BadSignature => {
            "is signed by no authority that we trust (ca_file)".to_owned()
        }
        Why::ExpiredContext { not_after, .. } => format!("has expired at {}", date(not_after)),
        Why::Expired => "has expired".to_owned(),
        Why::NotValidYetContext { not_before, .. } => format!(
            "is not valid before {}: is the clock of this machine right?",
            date(not_before)
        ),
        Why::NotValidForNameContext {
            expected,
            presented,
        } if presented.is_empty() => format!(
            "holds no name in its subjectAltName, and has to hold {}; its common name does not count",
            expected.to_str()
        ),
        Why::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "is not for {} but for {} (server_name)",
            expected.to_str(),
            presented.join(", ")
        ),
        Why::Other(why) if why.to_string() == "CaUsedAsEndEntity" => {
            "is its own authority and is not listed in ca_file".to_owned()
        }
        other => format!("is of no use: {other}"),
    };
    printable(&format!("the server's certificate {what}"))
}
