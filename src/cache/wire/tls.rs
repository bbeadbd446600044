//! TLS to Redis: what every connection begins from, which is read again when its files are renewed, and
//! what goes wrong, in words. What only a person can mend about certificates is a fault of its own.

mod session;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use log::{info, warn};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, Error};

use crate::base::tls;
use crate::cache::wire::fault::{Fault, printable};
use crate::config::Tls;

pub(crate) use session::Session;

/// Makes sessions. Files that are renewed are read again by [`Self::look_for_new_files`], off the way
/// of any client.
pub(crate) struct Connector {
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
    pub(crate) fn new(settings: &Tls) -> Self {
        let stamps = stamps(settings);
        let config = load(settings);
        Self {
            settings: settings.clone(),
            loaded: Mutex::new(Loaded { config, stamps }),
        }
    }

    /// Reads the files again where one has changed. Those that are no good change nothing: a later
    /// connection may still be made with what was read before.
    pub(crate) fn look_for_new_files(&self) {
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
    pub(crate) fn session(&self, host: &str) -> Result<Session, Fault> {
        let config = self.lock().config.clone().map_err(Fault::Tls)?;
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Fault::Tls(format!("no certificate can hold the name {name}")))?;
        let connection = ClientConnection::new(config, server).map_err(|error| fault(&error))?;
        Ok(Session::new(connection))
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

#[cfg(test)]
mod tests;
