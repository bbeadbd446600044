//! What TLS needs from files: whom to trust, and who we are. Reads them, says what is wrong with them
//! in words, and knows no connection.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// Bytes of a file; a longer one is some other file. A bundle of all public authorities has 250 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// Connections are encrypted, and the server's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that are trusted; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// What we show to a server that wants to see a certificate.
    pub identity: Option<Identity>,
    /// Name or address that the server's certificate must hold; none: the host that is connected to.
    pub server_name: Option<String>,
}

/// A client certificate and the key to it, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and its authority.
    pub cert_file: PathBuf,
    /// Its private key, without a passphrase.
    pub key_file: PathBuf,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The key that names it.
    pub key: &'static str,
    /// The file; none where that key says nothing.
    pub file: Option<PathBuf>,
    /// In words, to follow the name of the file.
    pub why: String,
}

/// Reads the files of `tls`. Whoever connects with what comes of it shares its sessions, so that later
/// handshakes are short ones.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn load(tls: &Tls) -> Result<Arc<ClientConfig>, Vec<Wrong>> {
    let provider = Arc::new(ring::default_provider());
    let trust = trust(tls.ca_file.as_deref(), &provider);
    let identity = tls.identity.as_ref().map(identity).transpose();
    let (trust, identity) = match (trust, identity) {
        (Ok(trust), Ok(identity)) => (trust, identity),
        (trust, identity) => {
            let one = trust.err().into_iter();
            return Err(one.chain(identity.err().into_iter().flatten()).collect());
        }
    };
    let unusable = |error: Error| {
        vec![Wrong {
            key: "key_file",
            file: tls.identity.as_ref().map(|it| it.key_file.clone()),
            why: match error {
                Error::InconsistentKeys(_) => "is not the key of cert_file".to_owned(),
                other => format!("can not be used: {other}"),
            },
        }]
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust));
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?,
    };
    Ok(Arc::new(config))
}

/// Checks a server's certificate and its name: against the authorities, and against the certificates in
/// `ca_file` themselves. `openssl req -x509` makes a server's certificate that is its own authority;
/// webpki refuses such a one in a server's place, and who lists it means just that.
#[derive(Debug)]
struct Trust {
    authorities: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // webpki finds this only after it has found that the certificate is valid now.
            Err(Error::InvalidCertificate(CertificateError::Other(why)))
                if why.to_string() == "CaUsedAsEndEntity"
                    && self.listed.iter().any(|listed| listed == end_entity) =>
            {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// The authorities in `ca_file`, or those of the system.
fn trust(ca_file: Option<&Path>, provider: &Arc<CryptoProvider>) -> Result<Trust, Wrong> {
    let wrong = |why: String| Wrong {
        key: "ca_file",
        file: ca_file.map(Path::to_owned),
        why,
    };
    let mut roots = RootCertStore::empty();
    let mut listed = Vec::new();
    match ca_file {
        Some(file) => {
            listed = certificates(file).map_err(wrong)?;
            for (index, certificate) in listed.iter().enumerate() {
                let why = |error| format!("has a bad certificate, number {}: {error}", index + 1);
                let added = roots.add(certificate.clone());
                added.map_err(|error| wrong(why(error)))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            // Of a hundred and more some may be too old for us.
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let why = found.errors.first().map(ToString::to_string);
                let why = why.unwrap_or_else(|| "is ca-certificates installed?".to_owned());
                return Err(wrong(format!(
                    "must be given: the system has no authorities: {why}"
                )));
            }
        }
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
    let authorities = verifier.build().map_err(|error| wrong(error.to_string()))?;
    Ok(Trust {
        authorities,
        listed,
    })
}

/// Our certificate, with those above it, and its key.
fn identity(
    files: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Vec<Wrong>> {
    let wrong = |key, file: &Path, why| Wrong {
        key,
        file: Some(file.to_owned()),
        why,
    };
    let chain = certificates(&files.cert_file);
    let chain = chain.map_err(|why| wrong("cert_file", &files.cert_file, why));
    let key = private_key(&files.key_file);
    let key = key.map_err(|why| wrong("key_file", &files.key_file, why));
    match (chain, key) {
        (Ok(chain), Ok(key)) => Ok((chain, key)),
        (chain, key) => Err(chain.err().into_iter().chain(key.err()).collect()),
    }
}

/// The certificates of a file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err("holds no certificate in PEM".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is no good PEM: {error}")),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(file)?;
    let is_encrypted = || String::from_utf8_lossy(&bytes).contains("ENCRYPTED");
    // What is wrong with a key is not shown in detail: it is a secret.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        _ if is_encrypted() => "has a passphrase: openssl pkey takes it off".to_owned(),
        pem::Error::NoItemsFound => "holds no private key in PEM".to_owned(),
        _ => "is no good PEM".to_owned(),
    })
}

/// Reads at most one byte more than is allowed.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("can not be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is longer than 4MiB: is it the right file?".to_owned());
    }
    Ok(bytes)
}
