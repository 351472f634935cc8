//! What a process costs, as the kernel tells.

use std::fs;

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// Ticks a second in `/proc/{pid}/stat`: USER_HZ is 100 on every architecture that Rust's standard library supports.
const TICKS_PER_SEC: f64 = 100.0;

/// Seconds of processor time that a process has had, in all its threads.
pub fn cpu_secs(pid: u32) -> Option<f64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Resident memory of a process.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Seconds of processor time that this process has had.
pub fn own_cpu_secs() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
    })
}

fn parse_stat(text: &str) -> Option<f64> {
    // The name, in brackets, may hold anything.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_SEC)
}

fn parse_status(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        assert_eq!(parse_stat("42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1"), Some(2.0));
        assert_eq!(parse_stat("42 (a"), None);
        assert_eq!(parse_status("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n"), Some(12_288));
    }

    #[test]
    fn of_this_process() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).is_some_and(|bytes| bytes > 0));
        assert!(cpu_secs(pid).is_some_and(|secs| (secs - own_cpu_secs()).abs() < 1.0));
    }
}
