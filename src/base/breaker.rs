//! The circuit breaker: whether something that fails may be asked again yet.
//! A pure state machine under one mutex: it is told the time, does no I/O, writes no log line and
//! starts no thread. A caller that changes its state gets a [`Transition`] to log and to act on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What the breaker lets through. *Open* refuses calls, as in an electric circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Calls are let through; failures are counted.
    Closed,
    /// Calls are refused.
    Open,
    /// One call, the trial, is let through to see.
    HalfOpen,
}

impl State {
    /// Every state there is.
    pub(crate) const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The word for it in logs, metrics and `/healthz`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A change of state, to be logged by the caller that caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Transition {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Consecutive failures when it happened.
    pub failures: u32,
}

/// When a breaker opens and closes.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The state in which it is held by hand, whatever happens.
    pub held: Option<State>,
    /// Consecutive failures that open it.
    pub fail_max: u32,
    /// How long it stays open before one call is the trial; none: a prober closes it.
    pub trial_after: Option<Duration>,
}

/// A breaker, shared by all that call what it guards.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: Settings,
    /// Guards nothing but the machine; held for nanoseconds, never over I/O.
    machine: Mutex<Machine>,
}

#[derive(Debug)]
struct Machine {
    state: State,
    /// When the state began.
    since: Instant,
    /// Raised by every change of state: a permit of an older generation changes nothing.
    generation: u64,
    /// Consecutive failures while closed.
    failures: u32,
    /// Half-open: the trial is out.
    trial_is_out: bool,
    /// How often it has gone into each state, in the order of [`State::ALL`].
    entered: [u64; State::ALL.len()],
}

impl Breaker {
    /// A breaker that is closed, or held as the settings say.
    pub(crate) fn new(settings: Settings, now: Instant) -> Self {
        let state = settings.held.unwrap_or(State::Closed);
        Self {
            settings,
            machine: Mutex::new(Machine {
                state,
                since: now,
                generation: 0,
                failures: 0,
                trial_is_out: false,
                entered: [0; State::ALL.len()],
            }),
        }
    }

    /// The state and since when.
    pub(crate) fn state(&self) -> (State, Instant) {
        let machine = self.lock();
        (machine.state, machine.since)
    }

    /// How often it has gone into each state, in the order of [`State::ALL`].
    pub(crate) fn entered(&self) -> [u64; State::ALL.len()] {
        self.lock().entered
    }

    /// Whether [`Self::permit`] would refuse at `now`; changes nothing.
    pub(crate) fn refuses(&self, now: Instant) -> bool {
        let machine = self.lock();
        match machine.state {
            State::Closed => false,
            State::Open => !self.trial_is_due(&machine, now),
            State::HalfOpen => machine.trial_is_out && !self.trial_is_lost(&machine, now),
        }
    }

    /// Leave to make one call, or `None` when it is refused. Without a prober the first call after
    /// [`Settings::trial_after`] is the trial.
    #[must_use]
    pub(crate) fn permit(self: &Arc<Self>, now: Instant) -> Option<Permit> {
        let mut machine = self.lock();
        let trial = match machine.state {
            State::Closed => false,
            State::Open if self.trial_is_due(&machine, now) => {
                let _ = machine.change(State::HalfOpen, now);
                true
            }
            State::Open => return None,
            State::HalfOpen if machine.trial_is_out => {
                if !self.trial_is_lost(&machine, now) {
                    return None;
                }
                // What the lost one says will be ignored.
                let _ = machine.change(State::HalfOpen, now);
                true
            }
            State::HalfOpen => true,
        };
        machine.trial_is_out = trial;
        Some(Permit {
            breaker: Arc::clone(self),
            generation: machine.generation,
            trial,
            settled: false,
        })
    }

    /// A probe of its own, made while the breaker was open, found everything well.
    pub(crate) fn probe_succeeded(&self, now: Instant) -> Option<Transition> {
        let mut machine = self.lock();
        let closes = self.settings.held.is_none() && machine.state != State::Closed;
        closes.then(|| machine.change(State::Closed, now))
    }

    /// Evidence that needs no counting (calls stall, credentials are refused): opens at once.
    pub(crate) fn trip(&self, now: Instant) -> Option<Transition> {
        let mut machine = self.lock();
        let opens = self.settings.held.is_none() && machine.state != State::Open;
        opens.then(|| machine.change(State::Open, now))
    }

    fn settle(&self, permit: &Permit, outcome: Outcome, now: Instant) -> Option<Transition> {
        let mut machine = self.lock();
        if permit.generation != machine.generation {
            return None;
        }
        match (machine.state, outcome) {
            (State::Closed, Outcome::Success) => {
                machine.failures = 0;
                None
            }
            (State::Closed, Outcome::Failure) => {
                machine.failures = machine.failures.saturating_add(1);
                let opens =
                    machine.failures >= self.settings.fail_max && self.settings.held.is_none();
                opens.then(|| machine.change(State::Open, now))
            }
            (State::HalfOpen, Outcome::Success) => Some(machine.change(State::Closed, now)),
            (State::HalfOpen, Outcome::Failure) => Some(machine.change(State::Open, now)),
            (State::Open, _) => None,
        }
    }

    /// Whether an open breaker lets a trial through at `now`: only without a prober.
    fn trial_is_due(&self, machine: &Machine, now: Instant) -> bool {
        let open_for = now.saturating_duration_since(machine.since);
        let is_over = |limit| open_for >= limit;
        self.settings.held.is_none() && self.settings.trial_after.is_some_and(is_over)
    }

    /// Whether the trial has been out for too long: longer than the breaker would have stayed open.
    /// One that never comes back must not keep the breaker half-open for ever.
    fn trial_is_lost(&self, machine: &Machine, now: Instant) -> bool {
        let limit = self.settings.trial_after.unwrap_or_default();
        let limit = limit.max(Duration::from_secs(1));
        now.saturating_duration_since(machine.since) >= limit
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    fn change(&mut self, to: State, now: Instant) -> Transition {
        let transition = Transition {
            from: self.state,
            to,
            failures: self.failures,
        };
        self.state = to;
        self.since = now;
        self.generation += 1;
        self.failures = 0;
        self.trial_is_out = false;
        self.entered[to as usize] += 1;
        transition
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
}

/// Leave to make one call. Say how it went; a permit that is dropped says nothing and gives a
/// trial's slot back. What a permit from before a change of state says is ignored.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    generation: u64,
    trial: bool,
    settled: bool,
}

impl Permit {
    /// Whether this is the one trial of a half-open breaker.
    pub(crate) fn is_trial(&self) -> bool {
        self.trial
    }

    /// The call was answered.
    pub(crate) fn succeeded(mut self, now: Instant) -> Option<Transition> {
        self.settled = true;
        self.breaker.settle(&self, Outcome::Success, now)
    }

    /// The call failed, and what it called is to blame.
    pub(crate) fn failed(mut self, now: Instant) -> Option<Transition> {
        self.settled = true;
        self.breaker.settle(&self, Outcome::Failure, now)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            // Neutral results need no time: they never change the state.
            let mut machine = self.breaker.lock();
            if self.trial && self.generation == machine.generation {
                machine.trial_is_out = false;
            }
        }
    }
}
