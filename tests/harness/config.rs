//! The configuration of an app of a test, line by line, and how the app is started with it.

use std::path::PathBuf;

use tempfile::TempDir;

use super::app::{evenkeel, file};
use super::{App, Origin, Redis, turn};

/// A configuration in the making.
#[derive(Default)]
pub struct Config {
    sections: Vec<(String, Vec<(String, String)>)>,
    environment: Vec<(String, String)>,
    folder: Option<TempDir>,
}

impl Config {
    /// `[section] key = value`.
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        let at = self.sections.iter().position(|(title, _)| title == section);
        let at = at.unwrap_or_else(|| {
            self.sections.push((section.to_owned(), Vec::new()));
            self.sections.len() - 1
        });
        let keys = &mut self.sections[at].1;
        keys.retain(|(known, _)| known != key);
        keys.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A variable of the environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The variables that the systemd unit sets.
    pub fn environment_of_the_unit(self) -> Self {
        let unit = std::fs::read_to_string(file("packaging/evenkeel.service")).expect("the unit");
        let lines = unit
            .lines()
            .filter_map(|line| line.strip_prefix("Environment="));
        let pairs = lines.filter_map(|line| line.split_once('='));
        pairs.fold(self, |config, (name, value)| {
            config.environment(name, value)
        })
    }

    /// Uses this Redis.
    pub fn redis(self, redis: &Redis) -> Self {
        self.set("redis", "url", &redis.url())
    }

    /// Fetches what Redis does not have from this origin.
    pub fn origin(self, origin: &Origin) -> Self {
        self.set("route data", "source", "origin")
            .set("source origin", "kind", "http")
            .set("source origin", "url", &origin.url())
    }

    /// Without a memory of its own, as the original services.
    pub fn without_memory(self) -> Self {
        self.set("memory", "enabled", "false")
    }

    /// As text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (title, keys) in &self.sections {
            text.push_str(&format!("[{title}]\n"));
            keys.iter()
                .for_each(|(key, value)| text.push_str(&format!("{key} = {value}\n")));
        }
        text
    }

    /// The folder of the configuration, for files that it names.
    pub fn folder(&mut self) -> PathBuf {
        let create = || tempfile::tempdir().expect("a folder for the app");
        self.folder.get_or_insert_with(create).path().to_owned()
    }

    /// Starts the app and waits until Redis is up for it.
    pub fn connect(self) -> App {
        let app = self.start();
        app.wait_for_redis();
        app
    }

    /// Starts the app and waits until Redis is down for it.
    pub fn start_in_outage(self) -> App {
        let app = self.start();
        app.wait_for_outage();
        app
    }

    /// Starts the app and waits until it listens.
    pub fn start(mut self) -> App {
        turn::share();
        let folder = self.folder();
        let path = folder.join("config.ini");
        if !self.text().contains("\nlisten = ") {
            self = self.set("server", "listen", "127.0.0.1:0");
        }
        std::fs::write(&path, self.text()).expect("a file of ours");
        let path = path.to_string_lossy().into_owned();
        App::run(
            &mut evenkeel(&["--config", &path]),
            &self.environment,
            self.folder,
        )
    }
}
