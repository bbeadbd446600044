//! The password of Redis: from the environment, the URL, `password_file` or systemd's credentials,
//! in this order. It is never part of a text.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::RedisUrl;
use super::environment::{CREDENTIALS, PASSWORD, Secrets};
use super::report::{Place, Report, Subject};

/// Name of the credential, as in `LoadCredential=redis_password:...`.
const CREDENTIAL: &str = "redis_password";

/// Bytes of a password file; a longer one is some other file.
const MAX_BYTES: u64 = 4096;

/// What a mistake about a password is about.
pub(super) struct Sources {
    /// `[redis] url`
    pub(super) url: Subject,
    /// `[redis] password_file`
    pub(super) file: Subject,
}

/// The password to use, if any. Two in the file are a contradiction; the environment overrides
/// the file, and a note says so.
pub(super) fn choose(
    url: &RedisUrl,
    file: Option<PathBuf>,
    secrets: &Secrets,
    from: &Sources,
    report: &mut Report,
) -> Option<String> {
    let in_url = url.password.clone();
    if in_url.is_some() && file.is_some() {
        report.mistake(
            from.file.clone(),
            "url holds a password too: keep one of the two",
        );
        return in_url;
    }
    let password = if let Some(password) = &secrets.password {
        if in_url.is_some() || file.is_some() {
            let unused = if in_url.is_some() {
                &from.url
            } else {
                &from.file
            };
            report.note(
                unused.clone(),
                format!("its password is not used: {PASSWORD} is set"),
            );
        }
        Some(password.clone())
    } else if in_url.is_some() {
        in_url
    } else if let Some(file) = file {
        match read(&file) {
            Ok(password) => Some(password),
            Err(why) => {
                let subject = from.file.clone().showing(&file.to_string_lossy());
                report.mistake(subject, why);
                return None;
            }
        }
    } else {
        credential(secrets, report)?
    };
    if url.username.is_some() && password.is_none() {
        let why = format!(
            "names a user without a password: give it here, in password_file or in {PASSWORD}"
        );
        report.mistake(from.url.clone(), why);
    }
    password
}

/// The password in systemd's credentials: `Some(None)` if there is none, `None` after a mistake.
fn credential(secrets: &Secrets, report: &mut Report) -> Option<Option<String>> {
    let Some(file) = secrets
        .credentials
        .as_ref()
        .map(|folder| folder.join(CREDENTIAL))
    else {
        return Some(None);
    };
    if matches!(file.try_exists(), Ok(false)) {
        return Some(None);
    }
    match read(&file) {
        Ok(password) => Some(Some(password)),
        Err(why) => {
            let subject = Subject::place(Place::Variable(CREDENTIALS.to_owned()));
            report.mistake(subject, format!("{CREDENTIAL} {why}"));
            None
        }
    }
}

/// What the file holds, less one line break at its end.
fn read(file: &Path) -> Result<String, String> {
    let bytes = contents(file).map_err(|error| format!("can not be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!(
            "is longer than {MAX_BYTES} bytes: is it the right file?"
        ));
    }
    // The bytes are not shown, nor where in them the fault is.
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = if line.len() < text.len() {
        line.strip_suffix('\r').unwrap_or(line)
    } else {
        line
    };
    if line.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(line.to_owned())
}

/// Reads at most one byte more than is allowed.
fn contents(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// The password that is used with `[redis]` and `keys`, or the mistakes.
    fn password(folder: &Path, keys: &str, environment: &[(&str, &str)]) -> Result<String, String> {
        let file = folder.join("config.ini");
        let text = format!("[redis]\n{keys}");
        parse(&text, &file.to_string_lossy(), environment.iter().copied())
            .map(|loaded| loaded.config.redis.url.password.unwrap_or_default())
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn one_line_break_at_the_end_of_the_file_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        for (content, expected) in [
            ("pw", "pw"),
            ("pw\n", "pw"),
            ("pw\r\n", "pw"),
            ("pw\n\n", "pw\n"),
            (" p ", " p "),
        ] {
            std::fs::write(folder.path().join("secret"), content).unwrap();
            let found = password(folder.path(), "password_file = secret", &[]);
            assert_eq!(found.as_deref(), Ok(expected), "{content:?}");
        }
    }

    #[test]
    fn a_file_that_holds_no_password_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let long = vec![b'x'; 5000];
        for (content, reason) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"hunter2\xff", "is not UTF-8"),
            (&long, "longer than 4096 bytes"),
        ] {
            std::fs::write(folder.path().join("secret"), content).unwrap();
            let why = password(folder.path(), "password_file = secret", &[]).unwrap_err();
            assert!(why.contains(reason) && !why.contains("hunter2"), "{why}");
        }
        let why = password(folder.path(), "password_file = absent", &[]).unwrap_err();
        assert!(
            why.contains("[redis] password_file = ") && why.contains("can not be read"),
            "{why}"
        );
    }

    #[test]
    fn environment_goes_before_url_before_credentials() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("redis_password"), "from systemd\n").unwrap();
        let path = folder.path().to_string_lossy();
        let systemd = ("CREDENTIALS_DIRECTORY", &*path);
        let set = ("EVENKEEL_REDIS_PASSWORD", "from env");
        let url = "url = redis://:from-url@h";
        assert_eq!(
            password(folder.path(), url, &[systemd, set]).as_deref(),
            Ok("from env")
        );
        assert_eq!(
            password(folder.path(), url, &[systemd]).as_deref(),
            Ok("from-url")
        );
        assert_eq!(
            password(folder.path(), "", &[systemd]).as_deref(),
            Ok("from systemd")
        );
        let elsewhere = ("CREDENTIALS_DIRECTORY", "/nonexistent");
        assert_eq!(password(folder.path(), "", &[elsewhere]).as_deref(), Ok(""));
    }

    #[test]
    fn contradictory_or_missing_passwords_are_mistakes() {
        let folder = Path::new("");
        let both = "url = redis://:hunter2@h\npassword_file = x";
        let why = password(folder, both, &[]).unwrap_err();
        assert_eq!(
            why,
            "config.ini:3: [redis] password_file: url holds a password too: keep one of the two"
        );
        let why = password(folder, "url = redis://me@h", &[]).unwrap_err();
        assert!(why.contains("names a user without a password"), "{why}");
        let why = password(folder, "", &[("EVENKEEL_REDIS_PASSWORD", "")]).unwrap_err();
        assert!(
            why.starts_with("EVENKEEL_REDIS_PASSWORD: is empty"),
            "{why}"
        );
    }
}
