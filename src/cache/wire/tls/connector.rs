//! What every TLS connection to Redis begins from: whom to trust and who we are, read again when the files
//! are renewed.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use log::{info, warn};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::base::tls;
use crate::cache::wire::fault::Fault;
use crate::cache::wire::tls::session::Session;
use crate::cache::wire::tls::words;
use crate::config::Tls;

/// Makes sessions. Files that are renewed are read again by [`Self::reload_changed_files`], off the way
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
    pub(crate) fn reload_changed_files(&self) {
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
        let connection =
            ClientConnection::new(config, server).map_err(|error| words::fault(&error))?;
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

#[cfg(test)]
mod tests;
