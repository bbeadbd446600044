//! Logins: a user from its key or the URL, and a password from the environment, the URL, its file or
//! systemd's credentials, in this order. Neither is ever part of a text.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::Login;
use crate::config::environment::CREDENTIALS;
use crate::config::report::{Place, Report, Subject};

/// Bytes of a password file; a longer one is some other file.
const MAX_BYTES: u64 = 4096;

/// Where one login may come from. Has no `Debug`, so that it can not be shown.
pub(super) struct Sources<'a> {
    /// User and password in the URL, where there is one.
    pub(super) in_url: (Option<String>, Option<String>),
    /// `url`
    pub(super) url: Subject,
    /// The user that a key names; empty: none.
    pub(super) username: String,
    /// That key.
    pub(super) username_key: Subject,
    /// The file that a key names.
    pub(super) file: Option<PathBuf>,
    /// That key.
    pub(super) file_key: Subject,
    /// The variable that may hold the password, and what it holds.
    pub(super) variable: (&'static str, Option<&'a str>),
    /// The file that may be in systemd's credentials, as in `LoadCredential=redis_password:...`.
    pub(super) credential: &'static str,
    /// Where those are.
    pub(super) credentials: Option<&'a Path>,
}

/// A mistake, and what it is about.
type Wrong = (Subject, String);

/// The login to use. Two of a kind in the file are a contradiction; the environment overrides the
/// file, and a note says so.
pub(super) fn login(from: &Sources<'_>, report: &mut Report) -> Login {
    let user = user(from, report);
    let password = match password(from, report) {
        Ok(password) => password,
        Err((subject, why)) => {
            report.mistake(subject, why);
            return Login::Nobody;
        }
    };
    match (user, password) {
        (None, None) => Login::Nobody,
        (None, Some(password)) => Login::Password(password),
        (Some((name, _)), Some(password)) => Login::User { name, password },
        (Some((_, subject)), None) => {
            let file = from.file_key.key.as_deref().unwrap_or_default();
            let variable = from.variable.0;
            let why = format!("names a user without a password: give it in {file} or {variable}");
            report.mistake(subject, why);
            Login::Nobody
        }
    }
}

/// The user's name and what names it, if anything does.
fn user(from: &Sources<'_>, report: &mut Report) -> Option<(String, Subject)> {
    let by_key = (!from.username.is_empty()).then_some(&from.username);
    if by_key.is_some() && from.in_url.0.is_some() {
        let why = "url names a user too: keep one of the two";
        report.mistake(from.username_key.clone(), why);
    }
    let in_url = from.in_url.0.clone().map(|name| (name, from.url.clone()));
    in_url.or_else(|| Some((by_key?.clone(), from.username_key.clone())))
}

fn password(from: &Sources<'_>, report: &mut Report) -> Result<Option<String>, Wrong> {
    let in_url = &from.in_url.1;
    if in_url.is_some() && from.file.is_some() {
        let why = "url holds a password too: keep one of the two";
        return Err((from.file_key.clone(), why.to_owned()));
    }
    if let (variable, Some(password)) = from.variable {
        let unused = match (in_url, &from.file) {
            (Some(_), _) => Some(&from.url),
            (None, Some(_)) => Some(&from.file_key),
            (None, None) => None,
        };
        if let Some(unused) = unused {
            let note = format!("its password is not used: {variable} is set");
            report.note(unused.clone(), note);
        }
        return Ok(Some(password.to_owned()));
    }
    if in_url.is_some() {
        return Ok(in_url.clone());
    }
    let Some(file) = &from.file else {
        return credential(from);
    };
    let subject = || from.file_key.clone().showing(&file.to_string_lossy());
    read(file).map(Some).map_err(|why| (subject(), why))
}

/// The password in systemd's credentials, if there is one.
fn credential(from: &Sources<'_>) -> Result<Option<String>, Wrong> {
    let name = from.credential;
    let Some(file) = from.credentials.map(|folder| folder.join(name)) else {
        return Ok(None);
    };
    if matches!(file.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let subject = || Subject::place(Place::Variable(CREDENTIALS.to_owned()));
    let wrong = |why| (subject(), format!("{name} {why}"));
    read(&file).map(Some).map_err(wrong)
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
    use super::*;
    use crate::config::parse;

    /// The password that is used with `[redis]` and `keys`, or the mistakes.
    fn password(folder: &Path, keys: &str, environment: &[(&str, &str)]) -> Result<String, String> {
        let file = folder.join("config.ini");
        let text = format!("[redis]\n{keys}");
        parse(&text, &file.to_string_lossy(), environment.iter().copied())
            .map(|loaded| match loaded.config.redis.login {
                Login::Nobody => String::new(),
                Login::Password(password) | Login::User { password, .. } => password,
            })
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
        for keys in ["url = redis://me@h", "username = me"] {
            let why = password(folder, keys, &[]).unwrap_err();
            let advice = "names a user without a password: give it in password_file or \
                          EVENKEEL_REDIS_PASSWORD";
            assert!(why.contains(advice), "{why}");
        }
        let why = password(folder, "url = redis://me:pw@h\nusername = me", &[]).unwrap_err();
        let expected = "config.ini:3: [redis] username: url names a user too: keep one of the two";
        assert_eq!(why, expected);
        let why = password(folder, "", &[("EVENKEEL_REDIS_PASSWORD", "")]).unwrap_err();
        assert!(
            why.starts_with("EVENKEEL_REDIS_PASSWORD: is empty"),
            "{why}"
        );
    }
}
