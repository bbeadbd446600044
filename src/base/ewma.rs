//! What reads of this Redis are usually like: how long they take and how large values are. Plain
//! figures that several readers learn at once; one that is lost to another does no harm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of values that are asked for at once, as far as can be foreseen.
const BATCH_BYTES: u64 = 2 * 1024 * 1024;

/// The figures; later ones count more.
#[derive(Debug, Default)]
pub(crate) struct Usual {
    /// Of one read, in microseconds.
    wait_us: AtomicU64,
    /// Of one value.
    bytes: AtomicU64,
}

impl Usual {
    /// What a read takes.
    #[must_use]
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_micros(self.wait_us.load(Ordering::Relaxed))
    }

    /// One took so long.
    pub(crate) fn learn_wait(&self, took: Duration) {
        learn(&self.wait_us, took.as_micros() as u64);
    }

    /// How many keys to ask for at once, up to `max`: fewer where values are large, so that a batch
    /// costs neither memory nor the time of everybody in it.
    #[must_use]
    pub(crate) fn batch_max(&self, max: usize) -> usize {
        let bytes = self.bytes.load(Ordering::Relaxed).max(1);
        let affordable = usize::try_from(BATCH_BYTES / bytes).unwrap_or(max);
        affordable.clamp(1, max)
    }

    /// `count` values of `bytes` in all were read.
    pub(crate) fn learn_sizes(&self, count: usize, bytes: usize) {
        if let Some(mean) = bytes.checked_div(count) {
            learn(&self.bytes, mean as u64);
        }
    }

    /// A batch was more than can be taken: from now on one at a time, until they are found small.
    pub(crate) fn learn_too_large(&self) {
        self.bytes.fetch_max(BATCH_BYTES, Ordering::Relaxed);
    }
}

/// A larger figure counts at once, smaller ones little by little.
fn learn(usual: &AtomicU64, figure: u64) {
    let before = usual.load(Ordering::Relaxed);
    usual.store(figure.max((before * 7 + figure) / 8), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_at_once_where_values_are_large_and_grow_again_little_by_little() {
        let usual = Usual::default();
        usual.learn_sizes(1, 100);
        assert_eq!(usual.batch_max(64), 64);
        usual.learn_sizes(1, 1024 * 1024);
        assert_eq!(usual.batch_max(64), 2);
        usual.learn_too_large();
        assert_eq!(usual.batch_max(64), 1);
        let mut reads = 0;
        while usual.batch_max(64) < 64 {
            usual.learn_sizes(1, 100);
            reads += 1;
        }
        assert!((10..50).contains(&reads), "{reads}");
    }

    #[test]
    fn a_long_wait_counts_at_once_and_short_ones_little_by_little() {
        let usual = Usual::default();
        usual.learn_wait(Duration::from_millis(1));
        usual.learn_wait(Duration::from_millis(80));
        assert_eq!(usual.wait(), Duration::from_millis(80));
        usual.learn_wait(Duration::ZERO);
        assert_eq!(usual.wait(), Duration::from_millis(70));
    }
}
