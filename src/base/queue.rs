//! The bounded queue between two stages: lanes that take turns, each first in, first out and with a
//! limit of takers at work, so that a lane whose takers hang holds up no other. It is handed
//! batches under one lock, since a wake-up costs more than a lookup; nothing waits for room in it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::ewma::Ewma;

/// How much of the longest wait may be expected of an item that is let in: what is admitted should
/// not be refused later, when the work takes a little longer than it did lately.
const WAIT_MARGIN: f64 = 0.8;

/// A few microseconds of work that a taker does before it takes anything.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Queue<T> {
    /// Guards the lanes and how many takers wait.
    state: Mutex<State<T>>,
    filled: Condvar,
    items_max: usize,
    /// Takers at work for a lane; lanes beyond the last figure have that one.
    takers_max: Box<[usize]>,
    /// An item that would wait longer, by how long the last ones took, is refused at once.
    expected_wait_max: Duration,
}

struct State<T> {
    /// By their number; they are made as they are needed.
    lanes: Vec<Lane<T>>,
    /// The lane whose turn it is.
    next: usize,
    waiting: usize,
    job: Option<Job>,
    takers_waiting: usize,
    closed: bool,
}

struct Lane<T> {
    items: VecDeque<T>,
    takers: usize,
    takers_max: usize,
    /// How long a batch is usually under way, in microseconds.
    usual_us: Ewma,
}

/// What came of waiting for items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A batch of this lane; [`Queue::done`] must follow.
    From(usize),
    /// The limit has passed.
    Nothing,
    /// Nothing is left and nothing will come.
    Closed,
}

impl<T> Queue<T> {
    /// For at most `items_max` items in all lanes together. `takers_max` says how many takers may be at
    /// work for each lane; lanes beyond the last figure have that one.
    pub(crate) fn new(items_max: usize, takers_max: &[usize]) -> Self {
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
            takers_max: takers_max.into(),
            expected_wait_max: Duration::MAX,
        }
    }

    /// The same, but refuses what would wait longer than `wait_max` by how long the last items took: who
    /// is to be refused is better told at once. For a queue whose items are taken one by one.
    #[must_use]
    pub(crate) fn with_wait_max(self, wait_max: Duration) -> Self {
        Self {
            expected_wait_max: wait_max.mul_f64(WAIT_MARGIN),
            ..self
        }
    }

    /// Puts each item into its lane, in their order. Returns what does not fit, would wait too long, or
    /// comes after the close.
    #[must_use]
    pub(crate) fn put(&self, items: impl IntoIterator<Item = (usize, T)>) -> Vec<T> {
        self.admit(items, |state, lane| {
            state.waiting < self.items_max
                && self.lane(state, lane).expected_wait() <= self.expected_wait_max
        })
    }

    /// The same, whatever waits already: for items whose number is bounded by something else.
    #[must_use]
    pub(crate) fn put_unbounded(&self, items: impl IntoIterator<Item = (usize, T)>) -> Vec<T> {
        self.admit(items, |_, _| true)
    }

    fn admit(
        &self,
        items: impl IntoIterator<Item = (usize, T)>,
        has_room: impl Fn(&mut State<T>, usize) -> bool,
    ) -> Vec<T> {
        let mut refused = Vec::new();
        let mut state = self.lock();
        let waited = state.waiting;
        for (lane, item) in items {
            if state.closed || !has_room(&mut state, lane) {
                refused.push(item);
                continue;
            }
            state.waiting += 1;
            self.lane(&mut state, lane).items.push_back(item);
        }
        let wake = state.waiting > waited && state.takers_waiting > 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        refused
    }

    /// Has the next taker run `job` before it takes anything.
    ///
    /// # Errors
    /// The job itself when another one waits, or after the close.
    pub(crate) fn send(&self, job: Job) -> Result<(), Job> {
        self.send_if(job, |_| true)
    }

    /// The same, but only if a taker is at rest.
    ///
    /// # Errors
    /// As for [`Self::send`], and when no taker is at rest.
    pub(crate) fn send_to_idle(&self, job: Job) -> Result<(), Job> {
        self.send_if(job, |state| state.takers_waiting > 0)
    }

    fn send_if(&self, job: Job, may: impl Fn(&State<T>) -> bool) -> Result<(), Job> {
        let mut state = self.lock();
        if state.closed || state.job.is_some() || !may(&state) {
            return Err(job);
        }
        state.job = Some(job);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes up to `max` items of one lane into `batch`; waits for the first, up to `limit`.
    pub(crate) fn take(&self, max: usize, limit: Duration, batch: &mut Vec<T>) -> Taken {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.job.take() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            if let Some(number) = state.next_lane() {
                let lane = &mut state.lanes[number];
                lane.takers += 1;
                let count = max.min(lane.items.len());
                batch.extend(lane.items.drain(..count));
                state.waiting -= count;
                let wake = state.takers_waiting > 0 && state.has_work();
                drop(state);
                if wake {
                    self.filled.notify_one();
                }
                return Taken::From(number);
            }
            if state.closed && state.waiting == 0 {
                return Taken::Closed;
            }
            state.takers_waiting += 1;
            let waited = self.filled.wait_timeout(state, limit);
            let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.takers_waiting -= 1;
            if waited.timed_out() && !state.closed && state.job.is_none() && !state.has_work() {
                return Taken::Nothing;
            }
        }
    }

    /// A batch of lane `number` is done; it was under way for `took`.
    pub(crate) fn done(&self, number: usize, took: Duration) {
        let mut state = self.lock();
        let lane = self.lane(&mut state, number);
        lane.takers = lane.takers.saturating_sub(1);
        lane.usual_us.learn((took.as_micros() as u64).max(1));
        let wake = !lane.items.is_empty() && state.takers_waiting > 0;
        let closed = state.closed;
        drop(state);
        if closed {
            // A taker that finds nothing left ends without waking the next one.
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

    /// Whether nothing waits in `lane` and half of its takers are free.
    pub(crate) fn has_room_to_spare(&self, lane: usize) -> bool {
        let mut state = self.lock();
        let lane = self.lane(&mut state, lane);
        let is_free = lane.items.is_empty() && lane.takers * 2 < lane.takers_max;
        is_free && !state.closed
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many takers are at work for each of the lanes that have a figure of their own.
    pub(crate) fn under_way(&self) -> Vec<usize> {
        let mut state = self.lock();
        let lanes = 0..self.takers_max.len();
        lanes.map(|n| self.lane(&mut state, n).takers).collect()
    }

    /// How many items may wait.
    pub(crate) fn max(&self) -> usize {
        self.items_max
    }

    /// Takes no more in; takers get what is left, and then hear of the close.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn lane<'a>(&self, state: &'a mut State<T>, number: usize) -> &'a mut Lane<T> {
        let lanes = &mut state.lanes;
        while lanes.len() <= number {
            let its = self.takers_max.get(lanes.len()).or(self.takers_max.last());
            lanes.push(Lane {
                items: VecDeque::new(),
                takers: 0,
                takers_max: its.copied().unwrap_or(1).max(1),
                usual_us: Ewma::default(),
            });
        }
        &mut lanes[number]
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// The next lane that has items and may have another taker; it has had its turn then.
    fn next_lane(&mut self) -> Option<usize> {
        let count = self.lanes.len();
        let mut in_turn = (self.next..count).chain(0..self.next.min(count));
        let number = in_turn.find(|&number| self.lanes[number].has_work())?;
        self.next = (number + 1) % count;
        Some(number)
    }

    fn has_work(&self) -> bool {
        self.waiting > 0 && self.lanes.iter().any(Lane::has_work)
    }
}

impl<T> Lane<T> {
    fn has_work(&self) -> bool {
        !self.items.is_empty() && self.takers < self.takers_max
    }

    /// How long the next item would wait, where each taker has one; zero while nothing is known.
    fn expected_wait(&self) -> Duration {
        let ahead = self.items.len() + self.takers;
        if ahead < self.takers_max {
            return Duration::ZERO;
        }
        let turns = (ahead - self.takers_max + 1) as f64 / self.takers_max as f64;
        Duration::from_micros(self.usual_us.value()).mul_f64(turns)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn take<T>(queue: &Queue<T>, max: usize) -> Option<(usize, Vec<T>)> {
        let mut batch = Vec::new();
        match queue.take(max, LONG, &mut batch) {
            Taken::From(lane) => Some((lane, batch)),
            Taken::Nothing | Taken::Closed => None,
        }
    }

    #[test]
    fn a_batch_is_of_one_lane_and_the_lanes_take_turns() {
        let queue = Queue::new(5, &[2]);
        let refused = queue.put([(1, 1), (2, 2), (1, 3), (1, 4), (2, 5), (3, 6)]);
        assert_eq!(refused, [6], "all lanes count together");
        assert_eq!(take(&queue, 2), Some((1, vec![1, 3])));
        assert_eq!(take(&queue, 2), Some((2, vec![2, 5])));
        assert_eq!(take(&queue, 2), Some((1, vec![4])));
        assert!(queue.is_empty());
        assert!(queue.put([(3, 6)]).is_empty());
        assert_eq!(take(&queue, 2), Some((3, vec![6])));
    }

    #[test]
    fn what_is_bounded_elsewhere_finds_room_in_a_full_queue() {
        let queue = Queue::new(1, &[1]);
        assert_eq!(queue.put([(0, 1), (0, 2)]), [2]);
        assert!(queue.put_unbounded([(0, 2)]).is_empty());
        assert_eq!(queue.len(), 2);
        queue.close();
        assert_eq!(queue.put_unbounded([(0, 3)]), [3]);
    }

    #[test]
    fn a_lane_at_its_limit_leaves_the_takers_to_the_others() {
        let queue = Queue::new(10, &[1, 2]);
        let items = [(0, "a1"), (0, "a2"), (1, "b1"), (1, "b2"), (2, "c1")];
        assert!(queue.put(items).is_empty());
        let taken: Vec<_> = (0..4).filter_map(|_| take(&queue, 1)).collect();
        assert_eq!(taken.iter().map(|t| t.0).collect::<Vec<_>>(), [0, 1, 2, 1]);
        assert_eq!((queue.len(), queue.under_way()), (1, vec![1, 2]));
        queue.done(0, Duration::ZERO);
        assert_eq!(take(&queue, 1), Some((0, vec!["a2"])));
        queue.close();
        assert_eq!(queue.put([(0, "a3")]), ["a3"]);
        assert_eq!(take(&queue, 1), None);
    }

    #[test]
    fn a_lane_whose_takers_hang_keeps_nobody_from_the_others() {
        let queue = Arc::new(Queue::new(9, &[1]));
        assert!(queue.put([(1, 1), (1, 2), (2, 3)]).is_empty());
        assert_eq!(take(&queue, 1), Some((1, vec![1])));
        assert_eq!(take(&queue, 1), Some((2, vec![3])));
        let waiting = Arc::clone(&queue);
        let waiting = thread::spawn(move || take(&waiting, 9));
        assert!(queue.put([(2, 4)]).is_empty(), "that lane is taken too");
        queue.done(2, Duration::ZERO);
        assert_eq!(waiting.join().expect("a taker"), Some((2, vec![4])));
        assert!(queue.put([(1, 5)]).is_empty());
        assert_eq!(queue.take_where(|_, &n| n == 5), [(1, 5)]);
        assert_eq!(queue.take_where(|lane, _| lane == 1), [(1, 2)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_left_is_taken_after_the_close() {
        let queue = Queue::new(9, &[1]);
        assert!(queue.put([(0, 1)]).is_empty());
        queue.close();
        assert_eq!(queue.put([(0, 2)]), [2]);
        assert_eq!(take(&queue, 9), Some((0, vec![1])));
        queue.done(0, Duration::ZERO);
        assert_eq!(take(&queue, 9), None);
    }

    #[test]
    fn a_taker_waits_no_longer_than_it_wants() {
        let queue = Queue::<u8>::new(9, &[1]);
        let taken = queue.take(1, Duration::from_millis(1), &mut Vec::new());
        assert_eq!(taken, Taken::Nothing);
    }

    #[test]
    fn who_would_wait_too_long_is_not_let_in() {
        let second = Duration::from_secs(1);
        let queue = Queue::new(100, &[2]).with_wait_max(second * 2);
        assert!(queue.put((0..3).map(|item| (0, item))).is_empty());
        assert_eq!(take(&queue, 1), Some((0, vec![0])));
        assert_eq!(take(&queue, 1), Some((0, vec![1])));
        queue.done(0, second);
        assert_eq!(take(&queue, 1), Some((0, vec![2])));
        // Two under way, a second each: the first to wait does so for half a second.
        assert!(queue.put((3..6).map(|item| (0, item))).is_empty());
        assert_eq!(queue.put([(0, 6)]), [6], "two seconds, and no margin");
    }

    #[test]
    fn a_lane_has_room_to_spare_with_nobody_waiting_and_half_of_its_takers_free() {
        let queue = Queue::new(9, &[2]);
        assert!(queue.has_room_to_spare(0));
        assert!(queue.put([(0, 1)]).is_empty());
        assert!(!queue.has_room_to_spare(0));
        assert!(take(&queue, 1).is_some());
        assert!(!queue.has_room_to_spare(0), "one of two is at work");
        queue.done(0, Duration::ZERO);
        assert!(queue.has_room_to_spare(0));
        queue.close();
        assert!(!queue.has_room_to_spare(0));
    }

    #[test]
    fn a_job_runs_before_what_waits_and_may_be_for_takers_at_rest_alone() {
        let queue = Arc::new(Queue::<i32>::new(2, &[1]));
        let (tells, hears) = channel();
        let job = |name| -> Job {
            let tells = tells.clone();
            Box::new(move || tells.send(name).expect("somebody hears"))
        };
        assert!(queue.send_to_idle(job("idle")).is_err(), "nobody is");
        assert!(queue.put([(0, 1)]).is_empty());
        assert!(queue.send(job("next")).is_ok());
        assert!(queue.send(job("one at a time")).is_err());
        assert_eq!(take(&queue, 1), Some((0, vec![1])));
        assert_eq!(hears.try_recv(), Ok("next"));
        queue.done(0, Duration::ZERO);
        let resting = Arc::clone(&queue);
        let taker = thread::spawn(move || take(&resting, 1));
        while queue.send_to_idle(job("idle")).is_err() {
            thread::yield_now();
        }
        assert_eq!(hears.recv_timeout(LONG), Ok("idle"));
        queue.close();
        assert!(queue.send(job("late")).is_err());
        assert_eq!(taker.join().expect("no panic"), None);
    }
}
