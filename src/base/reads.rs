//! The queue of lookups that wait for a reader, in a lane for each node of Redis. No node may hold all
//! readers: the lookups of one that hangs wait for each other, and for nobody else do they stand in
//! the way.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::workers::probe_job::ProbeJob;

/// First in, first out in each lane, taken in batches of one lane; the lanes take turns.
#[derive(Debug)]
pub(crate) struct Reads<T> {
    /// Guards the lanes and how many takers wait.
    state: Mutex<State<T>>,
    filled: Condvar,
    items_max: usize,
    /// Takers of one lane at once.
    takers_max: usize,
}

#[derive(Debug)]
struct State<T> {
    /// By their number; they are made as they are needed.
    lanes: Vec<Lane<T>>,
    /// The lane whose turn it is.
    next: usize,
    waiting: usize,
    job: Option<ProbeJob>,
    takers_waiting: usize,
    closed: bool,
}

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<T>,
    takers: usize,
}

impl<T> Reads<T> {
    /// For at most `items_max` items; at most `takers_max` takers are at work for one lane.
    #[must_use]
    pub(crate) fn new(items_max: usize, takers_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                lanes: Vec::new(),
                next: 0,
                waiting: 0,
                job: None,
                takers_waiting: 0,
                closed: false,
            }),
            filled: Condvar::new(),
            items_max,
            takers_max: takers_max.max(1),
        }
    }

    /// Puts items into their lanes, in their order; what does not fit, or comes after the close, is
    /// returned.
    #[must_use]
    pub(crate) fn put(&self, items: impl IntoIterator<Item = (usize, T)>) -> Vec<T> {
        let mut refused = Vec::new();
        let mut state = self.lock();
        let waited = state.waiting;
        for (lane, item) in items {
            if state.closed || state.waiting >= self.items_max {
                refused.push(item);
                continue;
            }
            state.waiting += 1;
            state.lane(lane).items.push_back(item);
        }
        let wake = state.waiting > waited && state.takers_waiting > 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        refused
    }

    /// Has the next taker run `probe job`, before it takes any item.
    ///
    /// # Errors
    /// The probe job itself when another one waits, or after the close.
    pub(crate) fn send(&self, job: ProbeJob) -> Result<(), ProbeJob> {
        let mut state = self.lock();
        if state.closed || state.job.is_some() {
            return Err(job);
        }
        state.job = Some(job);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes up to `max` items of one lane into `batch`, waiting for the first; the lane's number, or
    /// `None` when closed and empty. [`Self::done`] must follow.
    pub(crate) fn take(&self, max: usize, batch: &mut Vec<T>) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.job.take() {
                drop(state);
                job.run();
                state = self.lock();
                continue;
            }
            if let Some(number) = state.next_lane(self.takers_max) {
                let lane = &mut state.lanes[number];
                lane.takers += 1;
                let count = max.min(lane.items.len());
                batch.extend(lane.items.drain(..count));
                state.waiting -= count;
                let wake = state.takers_waiting > 0 && state.can_be_taken(self.takers_max);
                drop(state);
                if wake {
                    self.filled.notify_one();
                }
                return Some(number);
            }
            if state.closed && state.waiting == 0 {
                return None;
            }
            state.takers_waiting += 1;
            let woken = self.filled.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
            state.takers_waiting -= 1;
        }
    }

    /// What was taken from lane `number` is done.
    pub(crate) fn done(&self, number: usize) {
        let mut state = self.lock();
        let lane = state.lane(number);
        lane.takers = lane.takers.saturating_sub(1);
        let wake = !lane.items.is_empty() && state.takers_waiting > 0;
        let closed = state.closed;
        drop(state);
        if closed {
            // Whoever finds nothing left goes home without waking the next one.
            self.filled.notify_all();
        } else if wake {
            self.filled.notify_one();
        }
    }

    /// Takes out, without waiting, the items for which `is_meant` holds, with the number of their lane.
    #[must_use]
    pub(crate) fn take_where(&self, is_meant: impl Fn(usize, &T) -> bool) -> Vec<(usize, T)> {
        let mut taken = Vec::new();
        let mut state = self.lock();
        for (number, lane) in state.lanes.iter_mut().enumerate() {
            if lane.items.iter().any(|item| is_meant(number, item)) {
                let items = std::mem::take(&mut lane.items);
                let (out, kept): (VecDeque<T>, _) =
                    items.into_iter().partition(|item| is_meant(number, item));
                lane.items = kept;
                taken.extend(out.into_iter().map(|item| (number, item)));
            }
        }
        state.waiting -= taken.len();
        taken
    }

    /// How many items wait.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting
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

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn lane(&mut self, number: usize) -> &mut Lane<T> {
        while self.lanes.len() <= number {
            self.lanes.push(Lane {
                items: VecDeque::new(),
                takers: 0,
            });
        }
        &mut self.lanes[number]
    }

    /// The next lane that has items and may have another taker.
    fn next_lane(&mut self, takers_max: usize) -> Option<usize> {
        let count = self.lanes.len();
        let mut in_turn = (self.next..count).chain(0..self.next.min(count));
        let number = in_turn.find(|&number| self.lanes[number].can_be_taken(takers_max))?;
        self.next = (number + 1) % count;
        Some(number)
    }

    fn can_be_taken(&self, takers_max: usize) -> bool {
        let mut lanes = self.lanes.iter();
        self.waiting > 0 && lanes.any(|lane| lane.can_be_taken(takers_max))
    }
}

impl<T> Lane<T> {
    fn can_be_taken(&self, takers_max: usize) -> bool {
        !self.items.is_empty() && self.takers < takers_max
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn take(reads: &Reads<u8>, max: usize) -> Option<(usize, Vec<u8>)> {
        let mut batch = Vec::new();
        reads.take(max, &mut batch).map(|lane| (lane, batch))
    }

    #[test]
    fn a_batch_is_of_one_lane_and_the_lanes_take_turns() {
        let reads = Reads::new(5, 2);
        let refused = reads.put([(1, 1), (2, 2), (1, 3), (1, 4), (2, 5), (3, 6)]);
        assert_eq!(refused, [6]);
        assert_eq!(take(&reads, 2), Some((1, vec![1, 3])));
        assert_eq!(take(&reads, 2), Some((2, vec![2, 5])));
        assert_eq!(take(&reads, 2), Some((1, vec![4])));
        assert!(reads.is_empty());
    }

    #[test]
    fn a_lane_whose_takers_hang_keeps_nobody_from_the_others() {
        let reads = Arc::new(Reads::new(9, 1));
        assert!(reads.put([(1, 1), (1, 2), (2, 3)]).is_empty());
        assert_eq!(take(&reads, 1), Some((1, vec![1])));
        assert_eq!(take(&reads, 1), Some((2, vec![3])));
        let waiting = Arc::clone(&reads);
        let waiting = std::thread::spawn(move || take(&waiting, 9));
        assert!(reads.put([(2, 4)]).is_empty(), "that lane is taken too");
        reads.done(2);
        assert_eq!(waiting.join().expect("a taker"), Some((2, vec![4])));
        assert!(reads.put([(1, 5)]).is_empty());
        assert_eq!(reads.take_where(|_, &n| n == 5), [(1, 5)]);
        assert_eq!(reads.take_where(|lane, _| lane == 1), [(1, 2)]);
        assert!(reads.is_empty());
    }

    #[test]
    fn what_is_left_is_taken_after_the_close() {
        let reads = Reads::new(9, 1);
        assert!(reads.put([(0, 1)]).is_empty());
        reads.close();
        assert_eq!(reads.put([(0, 2)]), [2]);
        assert_eq!(take(&reads, 9), Some((0, vec![1])));
        reads.done(0);
        assert_eq!(take(&reads, 9), None);
    }
}
