//! The resolver of one source's host, as ureq wants it. ureq's own starts a thread for every request
//! and leaves it behind when DNS hangs.

use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use crate::base::resolver::{HostResolver, ResolveError};

/// How long addresses are used without looking again; nginx uses the same figure in its examples.
const FRESH: Duration = Duration::from_secs(30);

/// Resolves the host of one source, whatever URI it is asked for: a source has one host, follows
/// no redirect and uses no proxy.
#[derive(Debug)]
pub(super) struct SourceResolver(HostResolver);

impl SourceResolver {
    /// A resolver for `host:port`.
    #[must_use]
    pub(super) fn new(host_and_port: String) -> Self {
        Self(HostResolver::new(host_and_port, FRESH))
    }
}

impl Resolver for SourceResolver {
    /// ureq asks before it looks for a kept connection: mostly a lock and a copy.
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = self
            .0
            .addresses(*timeout.after)
            .map_err(|error| match error {
                ResolveError::TimedOut => Error::Timeout(Timeout::Resolve),
                ResolveError::Failed(cause) => {
                    Error::Io(std::io::Error::new(std::io::ErrorKind::NotFound, cause))
                }
            })?;
        let mut resolved = self.empty();
        for address in addresses {
            resolved.push(address);
        }
        Ok(resolved)
    }
}
