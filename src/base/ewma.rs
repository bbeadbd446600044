//! A running average of a figure that several threads learn at once. It is plain on purpose: a sample
//! that two threads overwrite for each other does no harm.

use std::sync::atomic::{AtomicU64, Ordering};

/// An exponentially weighted moving average: every sample counts for an eighth of it. In the unit of
/// its samples; 0 before the first one.
#[derive(Debug, Default)]
pub(crate) struct Ewma(AtomicU64);

impl Ewma {
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The first sample is the average, whatever it is.
    pub(crate) fn learn(&self, sample: u64) {
        self.0.store(self.with(sample), Ordering::Relaxed);
    }

    /// The same, but a sample above the average becomes the average at once: for what must not be
    /// underrated.
    pub(crate) fn learn_peak(&self, sample: u64) {
        self.0
            .store(sample.max(self.with(sample)), Ordering::Relaxed);
    }

    /// From now on the average is at least `least`, until smaller samples have lowered it.
    pub(crate) fn raise_to(&self, least: u64) {
        self.0.fetch_max(least, Ordering::Relaxed);
    }

    fn with(&self, sample: u64) -> u64 {
        match self.value() {
            0 => sample,
            average => (average * 7 + sample) / 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_for_an_eighth() {
        let average = Ewma::default();
        average.learn(80);
        assert_eq!(average.value(), 80, "the first one as it is");
        average.learn(160);
        assert_eq!(average.value(), 90);
    }

    #[test]
    fn a_peak_counts_at_once_and_lower_samples_little_by_little() {
        let average = Ewma::default();
        average.learn_peak(1);
        average.learn_peak(80);
        assert_eq!(average.value(), 80);
        average.learn_peak(0);
        assert_eq!(average.value(), 70);
        average.raise_to(60);
        assert_eq!(average.value(), 70);
        average.raise_to(100);
        assert_eq!(average.value(), 100);
    }
}
