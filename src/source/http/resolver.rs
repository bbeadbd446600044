//! Gives ureq the addresses of a source's host from [`HostResolver`]. ureq's own resolver starts a thread for
//! every request and leaves it behind when DNS hangs.

use std::io::{self, ErrorKind};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use crate::base::resolver::{HostResolver, ResolveError};

/// How long addresses are used without looking again; nginx uses the same figure in its examples.
const FRESH: Duration = Duration::from_secs(30);

/// Resolves the host of one source, whatever URI ureq asks for: a source has one host, follows
/// no redirect and uses no proxy.
#[derive(Debug)]
pub(super) struct SourceResolver(HostResolver);

impl SourceResolver {
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
        let addresses = self.0.addresses(*timeout.after);
        let addresses = addresses.map_err(|error| match error {
            ResolveError::TimedOut => Error::Timeout(Timeout::Resolve),
            ResolveError::Failed(cause) => Error::Io(io::Error::new(ErrorKind::NotFound, cause)),
        })?;
        let mut resolved = self.empty();
        addresses
            .into_iter()
            .for_each(|address| resolved.push(address));
        Ok(resolved)
    }
}
