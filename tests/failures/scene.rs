//! What a row of the matrix is played on: the app, its Redis, its source, and what stands between.

use crate::harness::{App, NetworkFault, Origin, Proxy, Redis};

use super::drill::SOURCE;

/// How the app reaches Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Through a proxy that can do what networks do.
    Network,
    /// Directly.
    Server,
}

/// The parts. The app ends first.
pub struct Scene {
    /// Under test, with nothing configured but where the others are.
    pub app: App,
    /// Where values come from, in 50 ms.
    pub origin: Origin,
    proxy: Option<Proxy>,
    /// The real server.
    pub redis: Redis,
}

impl Scene {
    /// Everything is well.
    pub fn set(via: Via) -> Self {
        let (redis, origin) = (Redis::start(), Origin::slow(SOURCE));
        let proxy = (via == Via::Network).then(|| Proxy::start(redis.address()));
        let url = proxy.as_ref().map_or(redis.url(), Proxy::url);
        let app = App::configured()
            .set("redis", "url", &url)
            .origin(&origin)
            .start();
        app.wait_for_redis();
        Self {
            app,
            origin,
            proxy,
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

    /// The server is told this; words are separated by single spaces.
    pub fn say(&mut self, command: &str) {
        let words: Vec<_> = command.split(' ').collect();
        self.redis.query::<()>(&words);
    }
}
