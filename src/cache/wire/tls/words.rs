//! What goes wrong in TLS, in words that say what to do. What only a person can mend about certificates is a
//! fault of its own.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use crate::cache::wire::fault::{Fault, printable};

/// What an error of rustls means.
pub(crate) fn fault(error: &Error) -> Fault {
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
