//! What every process shows of itself, under the names that all Prometheus clients use: CPU, memory,
//! threads, descriptors, and when it started. They are read from `/proc` for every page; a figure that
//! cannot be read stays as it was.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Counter, Gauge, IntGauge};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::observe::metrics::families::Family;

pub(crate) struct Process {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    threads: IntGauge,
    open_descriptors: IntGauge,
    max_descriptors: IntGauge,
}

impl Process {
    /// For a process that started at `start`.
    pub(crate) fn new(new: &Family<'_>, start: SystemTime) -> prometheus::Result<Self> {
        let since_1970 = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        new.register(Gauge::new(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
        )?)?
        .set(since_1970.as_secs_f64());
        let gauge = |name, help| new.register(IntGauge::new(name, help)?);
        Ok(Self {
            cpu_seconds: new.register(Counter::new(
                "process_cpu_seconds_total",
                "CPU time used, by the program and by the kernel for it.",
            )?)?,
            resident_bytes: gauge("process_resident_memory_bytes", "Resident memory.")?,
            threads: gauge("process_threads", "Threads.")?,
            open_descriptors: gauge("process_open_fds", "Open file descriptors.")?,
            max_descriptors: gauge("process_max_fds", "File descriptors at most.")?,
        })
    }

    /// Reads the figures.
    pub(crate) fn update(&self) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(stat) = parse(&stat) {
            let cpu_seconds = stat.cpu_ticks as f64 / clock_ticks_per_second() as f64;
            let more = cpu_seconds - self.cpu_seconds.get();
            self.cpu_seconds.inc_by(more.max(0.0));
            let bytes = stat.resident_pages.saturating_mul(page_size() as i64);
            self.resident_bytes.set(bytes);
            self.threads.set(stat.threads);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is that of this very reading.
            let open = open.count().saturating_sub(1);
            self.open_descriptors.set(open as i64);
        }
        let max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        self.max_descriptors
            .set(i64::try_from(max).unwrap_or(i64::MAX));
    }
}

/// The figures of `/proc/self/stat`, proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// User and kernel together.
    cpu_ticks: u64,
    threads: i64,
    resident_pages: i64,
}

fn parse(stat: &str) -> Option<Stat> {
    // The process's name may hold anything, but after the last ") " there are only figures.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
    Some(Stat {
        cpu_ticks: u64::try_from(field(14)? + field(15)?).ok()?,
        threads: field(20)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_proc_are_found_whatever_the_name_of_the_process() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 120 30 13 14 20 0 43 0 999 88888 1234 77";
        let expected = Stat {
            cpu_ticks: 150,
            threads: 43,
            resident_pages: 1234,
        };
        assert_eq!(parse(stat), Some(expected));
        assert_eq!(parse("42 (cut"), None);
    }
}
