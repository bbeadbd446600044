//! What a row of the matrix is played on: the app, its Redis, its source, and what stands between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{App, Config, NetworkFault, Origin, Proxy, Redis};

use super::drill::SOURCE;
use super::names::{HOST, Names};

/// How the app reaches Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Through a proxy that can do what networks do.
    Network,
    /// Directly.
    Server,
    /// By a name.
    Name,
}

/// The parts. The app ends first.
pub struct Scene {
    /// Under test, with nothing configured but where the others are.
    pub app: App,
    /// Where values come from, in 50 ms.
    pub origin: Origin,
    /// What goes on until the end of the fault.
    pub(super) going_on: Option<GoingOn>,
    /// A connection that the test keeps for itself.
    pub(super) kept: Option<redis::Connection>,
    proxy: Option<Proxy>,
    /// What the app is told of the host.
    pub(super) names: Option<Names>,
    /// The real server.
    pub redis: Redis,
}

impl Scene {
    /// Everything is well.
    pub fn set(via: Via) -> Self {
        Self::configured(via, App::configured())
    }

    /// The same for an app with these settings.
    pub fn configured(via: Via, config: Config) -> Self {
        let (redis, origin) = (Redis::start(), Origin::slow(SOURCE));
        let mut config = config.redis(&redis).origin(&origin);
        let proxy = (via == Via::Network).then(|| Proxy::start(redis.address()));
        if let Some(proxy) = &proxy {
            config = config.set("redis", "url", &proxy.url());
        }
        let names = (via == Via::Name).then(|| Names::new("127.0.0.1"));
        if let Some(names) = &names {
            let url = redis.url().replace("127.0.0.1", HOST);
            config = names.of(config.set("redis", "url", &url));
        }
        let app = config.connect();
        Self {
            app,
            origin,
            going_on: None,
            kept: None,
            proxy,
            names,
            redis,
        }
    }

    /// The network does this from now on.
    pub fn network(&mut self, fault: NetworkFault) {
        let proxy = self.proxy.as_mut().expect("a row of the network");
        proxy.set_fault(fault);
    }

    /// The network is well again.
    pub fn mend_network(&mut self) {
        self.network(NetworkFault::None);
    }

    /// The server is told this; words are separated by single spaces, commands by semicolons.
    pub fn say(&mut self, commands: &str) {
        for command in commands.split("; ") {
            let words: Vec<_> = command.split(' ').collect();
            self.redis.query::<redis::Value>(&words);
        }
    }

    /// The app's connections end.
    pub fn cut(&mut self) {
        self.say("CLIENT KILL TYPE normal");
    }

    /// Does `again` over a connection of its own, with `rest` after each time, until the fault ends.
    pub fn go_on(
        &mut self,
        rest: Duration,
        mut again: impl FnMut(&mut redis::Connection) + Send + 'static,
    ) {
        let mut connection = self.redis.connection();
        self.going_on = Some(GoingOn::start(move || {
            again(&mut connection);
            std::thread::park_timeout(rest);
        }));
    }

    /// What goes on ends.
    pub fn stop(&mut self) {
        self.going_on = None;
    }
}

/// A thread that does the same again and again. Ends when dropped.
pub struct GoingOn {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl GoingOn {
    /// Starts it.
    pub fn start(mut again: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                again();
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
