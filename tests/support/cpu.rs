//! What a process has used of the machine, as the kernel counts it: what else runs here does not change it.

use std::fs;
use std::path::Path;

/// CPU seconds of a host since its start.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// Of all that ran in it, also in threads that have ended.
    pub all: f64,
    /// Of the thread that serves the page and the API.
    pub api: f64,
}

impl Cpu {
    pub fn of(pid: u32) -> Cpu {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the host runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number of ticks");
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the host runs").flatten().map(|task| task.path());
        let api = threads.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "api"));
        // A tick is a hundredth of a second on Linux; nanoseconds are there by thread only.
        Cpu { all: (ticks(11) + ticks(12)) / 100.0, api: api.map(|task| nanoseconds(&task) / 1e9).sum() }
    }

    /// From an earlier look to this one.
    pub fn since(self, before: Cpu) -> Cpu {
        Cpu { all: self.all - before.all, api: self.api - before.api }
    }
}

fn nanoseconds(task: &Path) -> f64 {
    let text = fs::read_to_string(task.join("schedstat")).expect("the thread runs");
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).expect("a number of nanoseconds")
}
