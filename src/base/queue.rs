//! The bounded queues between the stages. They are handed batches under one lock, since a wake-up
//! costs more than a lookup; nothing ever waits for room in them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::workers::probe_job::ProbeJob;

/// How much of the longest wait may be expected of an item that is taken in: what is admitted should
/// not be turned away later, when fetches take a little longer than the last ones did.
const WAIT_MARGIN: f64 = 0.8;

/// First in, first out, taken in batches.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Guards the items and how many takers wait.
    state: Mutex<QueueState<T>>,
    filled: Condvar,
    items_max: usize,
}

#[derive(Debug)]
struct QueueState<T> {
    items: VecDeque<T>,
    job: Option<ProbeJob>,
    takers_waiting: usize,
    closed: bool,
}

impl<T> Queue<T> {
    /// For at most `items_max` items.
    #[must_use]
    pub(crate) fn new(items_max: usize) -> Self {
        Self {
            state: Mutex::new(QueueState {
                items: VecDeque::new(),
                job: None,
                takers_waiting: 0,
                closed: false,
            }),
            filled: Condvar::new(),
            items_max,
        }
    }

    /// Puts `items` in, in their order; what does not fit, or comes after the close, is returned.
    #[must_use]
    pub(crate) fn put(&self, mut items: Vec<T>) -> Vec<T> {
        let mut state = self.lock();
        let room = match state.closed {
            true => 0,
            false => self.items_max.saturating_sub(state.items.len()),
        };
        let refused = items.split_off(room.min(items.len()));
        let wake = !items.is_empty() && state.takers_waiting > 0;
        state.items.extend(items);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        refused
    }

    /// Takes up to `max` items into `batch`, waiting for the first; false when closed and empty.
    pub(crate) fn take(&self, max: usize, batch: &mut Vec<T>) -> bool {
        self.take_within(max, batch, Duration::MAX)
    }

    /// The same, but waits no longer than `limit`: then with nothing in `batch`.
    pub(crate) fn take_within(&self, max: usize, batch: &mut Vec<T>, limit: Duration) -> bool {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.job.take() {
                drop(state);
                job.run();
                state = self.lock();
                continue;
            }
            if !state.items.is_empty() {
                break;
            }
            if state.closed {
                return false;
            }
            state.takers_waiting += 1;
            let waited = self.filled.wait_timeout(state, limit);
            let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.takers_waiting -= 1;
            if waited.timed_out() && state.items.is_empty() && !state.closed {
                return true;
            }
        }
        let count = max.min(state.items.len());
        batch.extend(state.items.drain(..count));
        let wake = !state.items.is_empty() && state.takers_waiting > 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        true
    }

    /// How many items wait.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items may wait.
    #[must_use]
    pub(crate) fn max(&self) -> usize {
        self.items_max
    }

    /// Takes no more; who takes gets what is left and then hears of the close.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue with a lane for each source. A lane has a limit of items under way, so that a source
/// that hangs takes its own share of the takers and never those of another. An item that would wait
/// too long, by how long the last ones took, is not taken in at all: whoever is to be turned away is
/// better told at once.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    /// Guards the lanes.
    state: Mutex<LanesState<T>>,
    filled: Condvar,
    items_max: usize,
    wait_max: Duration,
}

#[derive(Debug)]
struct LanesState<T> {
    lanes: Vec<Lane<T>>,
    /// Where the next search begins: lanes take turns.
    next: usize,
    waiting: usize,
    job: Option<ProbeJob>,
    takers_waiting: usize,
    closed: bool,
}

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<T>,
    under_way: usize,
    under_way_max: usize,
    /// How long the last ones were under way, later ones counting more; none: nothing is known.
    usual: Option<Duration>,
}

impl<T> Lanes<T> {
    /// For at most `items_max` waiting items, none of which is to wait longer than `wait_max`; one
    /// lane for each of `under_way_max`.
    #[must_use]
    pub(crate) fn new(items_max: usize, wait_max: Duration, under_way_max: &[usize]) -> Self {
        let lanes = under_way_max.iter().map(|&under_way_max| Lane {
            items: VecDeque::new(),
            under_way: 0,
            under_way_max,
            usual: None,
        });
        Self {
            state: Mutex::new(LanesState {
                lanes: lanes.collect(),
                next: 0,
                waiting: 0,
                job: None,
                takers_waiting: 0,
                closed: false,
            }),
            filled: Condvar::new(),
            items_max,
            wait_max,
        }
    }

    /// Puts one item into `lane`.
    ///
    /// # Errors
    /// The item itself when there is no room, when it would wait too long, or after the close.
    pub(crate) fn put(&self, lane: usize, item: T) -> Result<(), T> {
        let mut state = self.lock();
        let is_full = state.waiting >= self.items_max;
        if state.closed
            || is_full
            || state.lanes[lane].expected_wait() > self.wait_max.mul_f64(WAIT_MARGIN)
        {
            return Err(item);
        }
        state.waiting += 1;
        state.lanes[lane].items.push_back(item);
        let wake = state.takers_waiting > 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Has a taker that is at rest run `probe job`.
    ///
    /// # Errors
    /// The probe job itself when none is, when another one waits, or after the close.
    pub(crate) fn send(&self, job: ProbeJob) -> Result<(), ProbeJob> {
        let mut state = self.lock();
        if state.closed || state.takers_waiting == 0 || state.job.is_some() {
            return Err(job);
        }
        state.job = Some(job);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes the next item of a lane that is under its limit, waiting for one; `None` when closed
    /// and empty. [`Self::done`] must follow.
    pub(crate) fn take(&self) -> Option<(usize, T)> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.job.take() {
                drop(state);
                job.run();
                state = self.lock();
                continue;
            }
            if let Some(taken) = state.take() {
                return Some(taken);
            }
            if state.closed && state.waiting == 0 {
                return None;
            }
            state.takers_waiting += 1;
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.takers_waiting -= 1;
        }
    }

    /// Whether `lane` has nobody waiting and half of its takers free.
    #[must_use]
    pub(crate) fn has_room_to_spare(&self, lane: usize) -> bool {
        let state = self.lock();
        let lane = &state.lanes[lane];
        !state.closed && lane.items.is_empty() && lane.under_way * 2 < lane.under_way_max
    }

    /// What was taken from `lane` is done; it was under way for `took`.
    pub(crate) fn done(&self, lane: usize, took: Duration) {
        let mut state = self.lock();
        let lane = &mut state.lanes[lane];
        lane.under_way = lane.under_way.saturating_sub(1);
        lane.usual = Some(match lane.usual {
            None => took,
            Some(usual) => (usual * 7 + took) / 8,
        });
        let wake = (!lane.items.is_empty() || state.closed) && state.takers_waiting > 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Takes out, without waiting, the items at the heads of all lanes for which `is_overdue` holds.
    #[must_use]
    pub(crate) fn take_while(&self, is_overdue: impl Fn(&T) -> bool) -> Vec<T> {
        let mut overdue = Vec::new();
        let mut state = self.lock();
        for lane in &mut state.lanes {
            let count = lane
                .items
                .iter()
                .take_while(|item| is_overdue(item))
                .count();
            overdue.extend(lane.items.drain(..count));
        }
        state.waiting -= overdue.len();
        overdue
    }

    /// How many items wait, and how many of each lane are under way.
    #[must_use]
    pub(crate) fn len(&self) -> (usize, Vec<usize>) {
        let state = self.lock();
        let under_way = state.lanes.iter().map(|lane| lane.under_way);
        (state.waiting, under_way.collect())
    }

    /// How many items may wait.
    #[must_use]
    pub(crate) fn max(&self) -> usize {
        self.items_max
    }

    /// Takes no more; who takes gets what is left and then hears of the close.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, LanesState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Lane<T> {
    /// How long the next item would wait.
    fn expected_wait(&self) -> Duration {
        let ahead = self.items.len() + self.under_way;
        match self.usual {
            Some(usual) if ahead >= self.under_way_max => {
                let turns = (ahead - self.under_way_max + 1) as f64 / self.under_way_max as f64;
                usual.mul_f64(turns)
            }
            _ => Duration::ZERO,
        }
    }
}

impl<T> LanesState<T> {
    fn take(&mut self) -> Option<(usize, T)> {
        let count = self.lanes.len();
        for turn in 0..count {
            let number = (self.next + turn) % count;
            let lane = &mut self.lanes[number];
            if lane.under_way < lane.under_way_max
                && let Some(item) = lane.items.pop_front()
            {
                lane.under_way += 1;
                self.waiting -= 1;
                self.next = number + 1;
                return Some((number, item));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn who_would_wait_too_long_is_not_taken_in() {
        let second = Duration::from_secs(1);
        let lanes = Lanes::new(100, second * 2, &[2]);
        for item in 0..3 {
            assert_eq!(lanes.put(0, item), Ok(()), "nothing is known yet");
        }
        assert_eq!(lanes.take(), Some((0, 0)));
        assert_eq!(lanes.take(), Some((0, 1)));
        lanes.done(0, second);
        assert_eq!(lanes.take(), Some((0, 2)));
        // Two under way, a second each: the first to wait does so for half a second.
        for item in 3..6 {
            assert_eq!(lanes.put(0, item), Ok(()));
        }
        assert_eq!(lanes.put(0, 6), Err(6), "two seconds, and no margin");
    }

    #[test]
    fn a_queue_gives_back_what_does_not_fit() {
        let queue = Queue::new(3);
        assert_eq!(queue.put(vec![1, 2]), Vec::<i32>::new());
        assert_eq!(queue.put(vec![3, 4, 5]), [4, 5]);
        let mut batch = Vec::new();
        assert!(queue.take(2, &mut batch));
        assert_eq!(batch, [1, 2]);
        assert_eq!(queue.put(vec![4, 5]), Vec::<i32>::new());
        batch.clear();
        assert!(queue.take(5, &mut batch));
        assert_eq!(batch, [3, 4, 5]);
        queue.close();
        assert_eq!(queue.put(vec![6]), [6]);
        assert!(!queue.take(1, &mut batch));
    }

    #[test]
    fn a_lane_at_its_limit_leaves_the_takers_to_the_others() {
        let lanes = Lanes::new(10, LONG, &[1, 1]);
        for item in ["a1", "a2"] {
            lanes.put(0, item).expect("room");
        }
        lanes.put(1, "b1").expect("room");
        assert_eq!(lanes.take(), Some((0, "a1")));
        assert_eq!(lanes.take(), Some((1, "b1")));
        assert_eq!(lanes.len(), (1, vec![1, 1]));
        lanes.done(0, Duration::ZERO);
        assert_eq!(lanes.take(), Some((0, "a2")));
        lanes.close();
        assert_eq!(lanes.take(), None);
        assert_eq!(lanes.put(0, "a3"), Err("a3"));
    }

    #[test]
    fn an_errand_for_lanes_does_not_wait_for_a_busy_taker() {
        let lanes = std::sync::Arc::new(Lanes::<i32>::new(2, LONG, &[1]));
        lanes
            .send(ProbeJob::new(|| {}))
            .expect_err("nobody is at rest");
        let resting = std::sync::Arc::clone(&lanes);
        let taker = std::thread::spawn(move || resting.take());
        let (told, hears) = std::sync::mpsc::channel();
        let run = || {
            let told = told.clone();
            lanes.send(ProbeJob::new(move || {
                told.send(()).expect("somebody hears")
            }))
        };
        while run().is_err() {
            std::thread::yield_now();
        }
        hears.recv_timeout(LONG).expect("it is run");
        lanes.close();
        assert_eq!(taker.join().expect("no panic"), None);
    }

    #[test]
    fn lanes_take_turns() {
        let lanes = Lanes::new(10, LONG, &[9, 9]);
        for item in 0..3 {
            lanes.put(0, item).expect("room");
            lanes.put(1, item + 10).expect("room");
        }
        let taken: Vec<_> = (0..6)
            .filter_map(|_| lanes.take())
            .map(|(lane, _)| lane)
            .collect();
        assert_eq!(taken, [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn a_full_queue_counts_all_lanes_together() {
        let lanes = Lanes::new(2, LONG, &[1, 1]);
        assert_eq!(lanes.put(0, 1), Ok(()));
        assert_eq!(lanes.put(1, 2), Ok(()));
        assert_eq!(lanes.put(1, 3), Err(3));
        assert_eq!(lanes.take_while(|_| true), [1, 2]);
        assert_eq!(lanes.put(1, 3), Ok(()));
    }
}
