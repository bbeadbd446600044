//! Certificates of a test's own, good and bad, and a `redis-server` that shows them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::{Config, Redis, free_address};

/// An authority that signs whatever a test needs. Its files go when it is dropped.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// PEM.
    pub cert_file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
}

impl Authority {
    /// A new one, whom nobody trusts yet.
    pub fn new() -> Self {
        Self::called("the usual one")
    }

    /// A new one of this name, which others may have.
    pub fn called(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for certificates");
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.crt"), own.pem()).expect("a file of ours");
        let issuer = Issuer::new(params, key);
        Self { folder, issuer }
    }

    /// Its own certificate: what `ca_file` names.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A good certificate for these names and addresses.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.sign("good", &named("redis", names))
    }

    /// One that was good until 2020.
    pub fn issue_expired(&self, names: &[&str]) -> Certificate {
        let mut params = named("redis", names);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign("expired", &params)
    }

    /// As `openssl req -x509` makes one: a server's certificate that is its own authority.
    pub fn make_self_signed(&self, names: &[&str]) -> Certificate {
        let mut params = named("redis", names);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        self.write("self", &certificate.pem(), &key)
    }

    fn sign(&self, name: &str, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer);
        self.write(name, &certificate.expect("a certificate").pem(), &key)
    }

    fn write(&self, name: &str, pem: &str, key: &KeyPair) -> Certificate {
        let number = std::fs::read_dir(self.folder.path()).map_or(0, Iterator::count);
        let path = |end: &str| self.folder.path().join(format!("{name}-{number}.{end}"));
        let (cert_file, key_file) = (path("crt"), path("key"));
        std::fs::write(&cert_file, pem).expect("a file of ours");
        std::fs::write(&key_file, key.serialize_pem()).expect("a file of ours");
        Certificate {
            cert_file,
            key_file,
        }
    }
}

fn named(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names and addresses");
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

/// Who may connect to a [`TlsRedis`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admits {
    /// Whoever encrypts.
    Everybody,
    /// Who shows a certificate of its authority.
    Certificates,
}

/// A [`Redis`] that speaks TLS on a second port; the tests themselves ask it on the first.
pub struct TlsRedis {
    /// The server.
    pub redis: Redis,
    address: SocketAddr,
}

impl TlsRedis {
    /// One that runs, empty, and shows `certificate`; it trusts `authority`.
    pub fn start(certificate: &Certificate, authority: &Authority, admits: Admits) -> Self {
        Self::start_with(certificate, authority, admits, &[])
    }

    /// The same, told this too.
    pub fn start_with(
        certificate: &Certificate,
        authority: &Authority,
        admits: Admits,
        more: &[&str],
    ) -> Self {
        let address = free_address();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let clients = match admits {
            Admits::Everybody => "no",
            Admits::Certificates => "yes",
        };
        let port = address.port().to_string();
        let (cert, key) = (text(&certificate.cert_file), text(&certificate.key_file));
        let authority = text(&authority.file());
        let mut words = vec!["--tls-port", &port, "--tls-auth-clients", clients];
        words.extend(["--tls-cert-file", &cert, "--tls-key-file", &key]);
        words.extend(["--tls-ca-cert-file", &authority]);
        words.extend(more);
        let redis = Redis::start_with(&words);
        Self { redis, address }
    }

    /// Where it speaks TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `[redis] url`.
    pub fn url(&self) -> String {
        format!("rediss://{}/0", self.address)
    }

    /// The same by a name.
    pub fn url_at(&self, host: &str) -> String {
        format!("rediss://{host}:{}/0", self.address.port())
    }
}

impl Config {
    /// `[redis]` with this URL, and what `authority` signs is trusted.
    pub fn tls(self, url: &str, authority: &Authority) -> Self {
        self.set("redis", "url", url)
            .file_key("ca_file", &authority.file())
    }

    /// Shows `certificate` to a server that asks for one.
    pub fn certificate(self, certificate: &Certificate) -> Self {
        self.file_key("cert_file", &certificate.cert_file)
            .file_key("key_file", &certificate.key_file)
    }

    fn file_key(self, key: &str, file: &Path) -> Self {
        self.set("redis", key, &file.to_string_lossy())
    }
}
