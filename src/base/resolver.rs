//! Finds the addresses of one host by a deadline. The system's resolver cannot be told to stop, so it runs
//! on a thread of its own: at most one lookup is under way, all callers meanwhile share its result,
//! and the last known addresses stay in use while DNS fails.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::clock;

/// How long a failed lookup keeps known addresses in use before the next one.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How long a lookup may keep requests waiting that could go to known addresses (RFC 8767 section
/// 5 has such a timer, of 1.8 s at most).
const PATIENCE: Duration = Duration::from_secs(1);
/// A lookup may not take more than this part of a caller's limit either: one in so many.
const PATIENCE_PART: u32 = 10;
/// Addresses of one host that are kept.
const MAX_ADDRESSES: usize = 8;

/// Does one lookup of `host:port`; may block for long.
type Look = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResolveError {
    /// The limit passed first.
    TimedOut,
    /// The name has no address, or the lookup failed.
    Failed(String),
}

/// Resolves one host.
pub(crate) struct HostResolver(Arc<Shared>);

struct Shared {
    host_and_port: String,
    /// How long addresses are used without looking again: `getaddrinfo` does not tell the TTL.
    fresh: Duration,
    look: Box<Look>,
    /// Guards what is known; never held over a lookup.
    state: Mutex<State>,
    /// Signalled when a lookup has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    known: Vec<SocketAddr>,
    /// Until then known addresses are used without another lookup; none before the first lookup.
    look_again: Option<Instant>,
    /// When the lookup under way was begun.
    looking_since: Option<Instant>,
    /// Lookups that have ended.
    rounds: u64,
    /// Why the last lookup failed.
    failure: String,
}

impl HostResolver {
    /// A resolver for `host:port`. An IP address is never looked up. The system looks a name up
    /// (`getaddrinfo`: hosts file, DNS) at the first request, and again when the known addresses are
    /// older than `fresh`.
    pub(crate) fn new(host_and_port: String, fresh: Duration) -> Self {
        Self::with_look(host_and_port, fresh, |host| {
            Ok(host.to_socket_addrs()?.collect())
        })
    }

    /// The host alone, without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        let whole = self.0.host_and_port.as_str();
        let host = whole.rsplit_once(':').map_or(whole, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// As [`new`](Self::new), with another way to look names up.
    fn with_look<F>(host_and_port: String, fresh: Duration, look: F) -> Self
    where
        F: Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        Self(Arc::new(Shared {
            host_and_port,
            fresh,
            look: Box::new(look),
            state: Mutex::default(),
            ended: Condvar::new(),
        }))
    }

    /// The addresses to try, in order; never none. Waits up to `limit`.
    ///
    /// # Errors
    /// [`ResolveError`], when none is known.
    pub(crate) fn addresses(&self, limit: Duration) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Ok(address) = self.0.host_and_port.parse() {
            return Ok(vec![address]);
        }
        let begun = clock::now();
        let mut state = self.0.state();
        let round = state.rounds;
        loop {
            let now = clock::now();
            if state.are_usable(now) {
                return Ok(state.known.clone());
            }
            // The lookup that this caller waited for has ended.
            if state.rounds != round {
                return state.known_or(ResolveError::Failed(state.failure.clone()));
            }
            let Some(since) = state.looking_since else {
                match self.0.start() {
                    Ok(()) => state.looking_since = Some(now),
                    Err(error) => state.end(now, self.0.fresh, Err(error)),
                }
                continue;
            };
            let mut left = limit.saturating_sub(now.saturating_duration_since(begun));
            if !state.known.is_empty() {
                let patience = PATIENCE.min(limit / PATIENCE_PART);
                left = left.min(patience.saturating_sub(now.saturating_duration_since(since)));
            }
            if left.is_zero() {
                return state.known_or(ResolveError::TimedOut);
            }
            let woken = self.0.ended.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// Whether there are addresses that may be used without another lookup.
    fn are_usable(&self, now: Instant) -> bool {
        !self.known.is_empty() && self.look_again.is_some_and(|at| now < at)
    }

    /// The known addresses, or `error` where there are none.
    fn known_or(&self, error: ResolveError) -> Result<Vec<SocketAddr>, ResolveError> {
        if self.known.is_empty() {
            return Err(error);
        }
        Ok(self.known.clone())
    }

    /// Takes the outcome of a lookup. A failure forgets nothing: an old address that answers is mostly
    /// the right one, and one that does not is a failure either way.
    fn end(&mut self, now: Instant, fresh: Duration, outcome: io::Result<Vec<SocketAddr>>) {
        self.looking_since = None;
        self.rounds += 1;
        let failure = match outcome {
            Ok(found) if !found.is_empty() => {
                self.known = found;
                self.known.truncate(MAX_ADDRESSES);
                self.look_again = Some(now + fresh);
                return;
            }
            Ok(_) => "name has no address".to_owned(),
            Err(error) => error.to_string(),
        };
        self.failure = failure;
        self.look_again = Some(now + AFTER_FAILURE.min(fresh));
    }
}

impl Shared {
    /// Nothing can panic while the lock is held, so the state of a poisoned one is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a lookup on a thread of its own. That thread cannot be joined: nothing ends a
    /// `getaddrinfo` early. There is never a second one beside it, and it holds nothing but this state.
    fn start(self: &Arc<Self>) -> io::Result<()> {
        let looking = Arc::clone(self);
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                let outcome = (looking.look)(&looking.host_and_port);
                looking.state().end(clock::now(), looking.fresh, outcome);
                looking.ended.notify_all();
            })
            .map(drop)
    }
}

impl fmt::Debug for HostResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostResolver")
            .field(&self.0.host_and_port)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    const LIMIT: Duration = Duration::from_secs(10);
    const FRESH: Duration = Duration::from_secs(30);

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    /// Makes the next request look again, as if `FRESH` had passed.
    fn age(resolver: &HostResolver) {
        resolver.0.state().look_again = Some(clock::now());
    }

    #[test]
    fn an_ip_address_is_never_looked_up() {
        for host in ["10.0.0.1:80", "[::1]:80"] {
            let resolver = HostResolver::with_look(host.to_owned(), FRESH, |_| panic!("looked up"));
            let found = resolver.addresses(LIMIT).unwrap();
            assert_eq!(found, [host.parse().unwrap()]);
        }
    }

    #[test]
    fn looks_once_while_fresh_and_again_after_that() {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let resolver = HostResolver::with_look("h:80".to_owned(), FRESH, move |host| {
            assert_eq!(host, "h:80");
            let count = counted.fetch_add(1, Ordering::SeqCst);
            Ok(vec![address(u8::try_from(count).unwrap())])
        });
        for _ in 0..3 {
            assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(0)]);
        }
        age(&resolver);
        assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(1)]);
        assert_eq!(looks.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn with_nothing_fresh_it_looks_every_time_and_takes_what_it_finds() {
        let looks = AtomicUsize::new(0);
        let resolver = HostResolver::with_look("h:80".to_owned(), Duration::ZERO, move |_| {
            let count = looks.fetch_add(1, Ordering::SeqCst);
            Ok(vec![address(u8::try_from(count).unwrap())])
        });
        for count in 0..3 {
            assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(count)]);
        }
    }

    #[test]
    fn a_hanging_lookup_is_one_thread_for_any_number_of_requests() {
        let (let_go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let resolver = HostResolver::with_look("h:80".to_owned(), FRESH, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = gate.lock().unwrap().recv();
            Ok(vec![address(1)])
        });
        for _ in 0..5 {
            let timed_out = resolver.addresses(Duration::from_millis(10));
            assert!(matches!(timed_out, Err(ResolveError::TimedOut)));
        }
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        drop(let_go);
        assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(1)]);
        assert_eq!(looks.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn known_addresses_outlive_a_failing_lookup() {
        let looks = AtomicUsize::new(0);
        let resolver = HostResolver::with_look("h:80".to_owned(), FRESH, move |_| {
            if looks.fetch_add(1, Ordering::SeqCst) == 0 {
                return Ok(vec![address(1)]);
            }
            Err(io::Error::other("no dns"))
        });
        assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(1)]);
        age(&resolver);
        assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(1)]);
    }

    #[test]
    fn a_hanging_lookup_delays_requests_with_known_addresses_by_its_patience_at_most() {
        let (let_go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let looks = AtomicUsize::new(0);
        let resolver = HostResolver::with_look("h:80".to_owned(), FRESH, move |_| {
            if looks.fetch_add(1, Ordering::SeqCst) > 0 {
                let _ = gate.lock().unwrap().recv();
            }
            Ok(vec![address(1)])
        });
        assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(1)]);
        age(&resolver);
        let begun = clock::now();
        assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(1)]);
        assert!(clock::now() - begun < LIMIT / 2);
        let begun = clock::now();
        assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(1)]);
        assert!(
            clock::now() - begun < PATIENCE / 2,
            "the second one waits no more"
        );
        drop(let_go);
    }

    #[test]
    fn a_known_address_is_used_after_a_part_of_the_limit() {
        let resolver = HostResolver::with_look("h:80".to_owned(), Duration::ZERO, {
            let looks = AtomicUsize::new(0);
            move |_| {
                if looks.fetch_add(1, Ordering::SeqCst) > 0 {
                    thread::park_timeout(LIMIT);
                }
                Ok(vec![address(1)])
            }
        });
        let limit = Duration::from_millis(500);
        assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(1)]);
        let begun = clock::now();
        assert_eq!(resolver.addresses(limit).unwrap(), [address(1)]);
        assert!(clock::now() - begun < limit / 2);
    }

    #[test]
    fn a_name_that_does_not_resolve_says_why_and_is_looked_up_again() {
        let looks = AtomicUsize::new(0);
        let resolver = HostResolver::with_look("h:80".to_owned(), FRESH, move |_| {
            match looks.fetch_add(1, Ordering::SeqCst) {
                0 => Err(io::Error::other("no dns")),
                1 => Ok(Vec::new()),
                _ => Ok(vec![address(1)]),
            }
        });
        let error = resolver.addresses(LIMIT).unwrap_err();
        assert_eq!(error, ResolveError::Failed("no dns".to_owned()));
        let error = resolver.addresses(LIMIT).unwrap_err();
        assert_eq!(
            error,
            ResolveError::Failed("name has no address".to_owned())
        );
        assert_eq!(resolver.addresses(LIMIT).unwrap(), [address(1)]);
    }
}
