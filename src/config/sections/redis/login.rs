//! Logins: a user from its key or the URL, and a password from the environment, the URL, its file or
//! systemd's credentials, in this order. Neither is ever part of a text.

use std::path::{Path, PathBuf};

use crate::config::environment::CREDENTIALS;
use crate::config::report::{Place, Report, Subject};
use crate::config::sections::redis::servers::Login;
use crate::config::setting::ensure;
use crate::config::values::file::read_at_most;

/// Bytes of a password file; a longer one is some other file.
const MAX_BYTES: u64 = 4096;

/// Where one login may come from. Has no `Debug`, so that it can not be shown.
pub(crate) struct Origins<'a> {
    /// What the names of its keys begin with: nothing, or `sentinel_`.
    pub(crate) begin: &'static str,
    /// User and password in the URL, where there is one.
    pub(crate) in_url: (Option<String>, Option<String>),
    /// From its key; empty: none.
    pub(crate) username: String,
    pub(crate) password_file: Option<PathBuf>,
    /// From the environment.
    pub(crate) password: Option<&'a str>,
    /// The folder of systemd's credentials.
    pub(crate) credentials: Option<&'a Path>,
}

/// A mistake, and what it is about.
type Wrong = (Subject, String);

impl Origins<'_> {
    /// The login to use. Two of a kind in the file are a contradiction; the environment overrides the
    /// file, and a note says so.
    pub(crate) fn login(self, report: &mut Report) -> Login {
        let user = self.user(report);
        let password = match self.password(report) {
            Ok(password) => password,
            Err((subject, why)) => {
                report.mistake(subject, why);
                return Login::Nobody;
            }
        };
        match (user, password) {
            (None, None) => Login::Nobody,
            (None, Some(password)) => Login::Password(password),
            (Some((_, name)), Some(password)) => Login::User { name, password },
            (Some((subject, _)), None) => {
                let (begin, variable) = (self.begin, self.variable());
                let why = format!(
                    "names a user without a password: give it in {begin}password_file or {variable}"
                );
                report.mistake(subject, why);
                Login::Nobody
            }
        }
    }

    /// The variable that may hold the password.
    fn variable(&self) -> String {
        format!("EVENKEEL_REDIS_{}PASSWORD", self.begin.to_uppercase())
    }

    /// One of its keys, as what a mistake is about.
    fn key(&self, name: &str, report: &Report) -> Subject {
        report.key("redis", &format!("{}{name}", self.begin))
    }

    /// The user's name, if there is one, and what names it.
    fn user(&self, report: &mut Report) -> Option<(Subject, String)> {
        let key = self.key("username", report);
        let is_given = !self.username.is_empty();
        let Some(in_url) = self.in_url.0.clone() else {
            return is_given.then(|| (key, self.username.clone()));
        };
        if is_given {
            report.mistake(key, "url names a user too: keep one of the two");
        }
        Some((report.key("redis", "url"), in_url))
    }

    fn password(&self, report: &mut Report) -> Result<Option<String>, Wrong> {
        let key = self.key("password_file", report);
        let in_url = self.in_url.1.clone();
        if in_url.is_some() && self.password_file.is_some() {
            let why = "url holds a password too: keep one of the two";
            return Err((key, why.to_owned()));
        }
        if let Some(password) = self.password {
            let in_url = in_url.map(|_| report.key("redis", "url"));
            if let Some(unused) = in_url.or(self.password_file.as_ref().map(|_| key)) {
                let variable = self.variable();
                report.note(
                    unused,
                    format!("its password is not used: {variable} is set"),
                );
            }
            return Ok(Some(password.to_owned()));
        }
        match &self.password_file {
            _ if in_url.is_some() => Ok(in_url),
            None => self.credential(),
            Some(file) => {
                let subject = key.showing(&file.to_string_lossy());
                read(file).map(Some).map_err(|why| (subject, why))
            }
        }
    }

    /// The password in systemd's credentials, if there is one, as in `LoadCredential=redis_password:...`.
    fn credential(&self) -> Result<Option<String>, Wrong> {
        let name = format!("redis_{}password", self.begin);
        let file = self.credentials.map(|folder| folder.join(&name));
        let Some(file) = file.filter(|file| !matches!(file.try_exists(), Ok(false))) else {
            return Ok(None);
        };
        let subject = Subject::place(Place::Variable(CREDENTIALS.to_owned()));
        let wrong = |why| (subject, format!("{name} {why}"));
        read(&file).map(Some).map_err(wrong)
    }
}

/// What the file holds, less one line break at its end.
fn read(file: &Path) -> Result<String, String> {
    let read = read_at_most(MAX_BYTES, file);
    let bytes = read.map_err(|error| format!("can not be read: {error}"))?;
    let long = || format!("is longer than {MAX_BYTES} bytes: is it the right file?");
    // The bytes are not shown, nor where in them the fault is.
    let text = String::from_utf8(bytes.ok_or_else(long)?).map_err(|_| "is not UTF-8")?;
    let line = match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => &text,
    };
    ensure(!line.is_empty(), "is empty")?;
    Ok(line.to_owned())
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
