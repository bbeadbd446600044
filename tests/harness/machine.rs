//! How long the machine lets threads wait that could run: what the kernel itself counts (schedstat).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(100);

/// A thread that looks at other threads. Ends when dropped.
pub struct Machine {
    stop: Arc<AtomicBool>,
    looking: Option<JoinHandle<Duration>>,
}

impl Machine {
    /// Looks at the threads of a process, by the folder of its tasks in `/proc`, and at our own.
    pub fn watch(tasks: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let folders = [tasks, PathBuf::from("/proc/self/task")];
        let looking = std::thread::spawn(move || {
            let mut before = HashMap::new();
            let mut longest = Duration::ZERO;
            look(&folders, &mut before);
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(PERIOD);
                longest = longest.max(look(&folders, &mut before));
            }
            longest
        });
        Self {
            stop,
            looking: Some(looking),
        }
    }

    /// The longest that one thread had to wait within a tenth of a second.
    pub fn stop(mut self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let looking = self.looking.take().expect("it looks");
        looking.thread().unpark();
        looking.join().expect("it does not panic")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(looking) = self.looking.take() {
            let _ = looking.join();
        }
    }
}

/// The longest wait of one thread since the last look.
fn look(folders: &[PathBuf], before: &mut HashMap<PathBuf, u64>) -> Duration {
    let mut longest_ns = 0;
    for folder in folders {
        let Ok(tasks) = std::fs::read_dir(folder) else {
            continue;
        };
        for task in tasks.flatten() {
            let path = task.path().join("schedstat");
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            // Time on a processor, time of waiting for one, both in nanoseconds, and how often.
            let waited_ns = text.split(' ').nth(1).and_then(|word| word.parse().ok());
            let waited_ns: u64 = waited_ns.unwrap_or_default();
            if let Some(known_ns) = before.insert(path, waited_ns) {
                longest_ns = longest_ns.max(waited_ns.saturating_sub(known_ns));
            }
        }
    }
    Duration::from_nanos(longest_ns)
}
