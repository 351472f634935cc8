//! What the process takes, and turns for tests that measure it.

use std::fs;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURNS: RwLock<()> = RwLock::const_new(());

/// For a test that may run beside others.
pub async fn together() -> RwLockReadGuard<'static, ()> {
    TURNS.read().await
}

/// For a test that measures memory, which all tests of this process share.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    TURNS.write().await
}

/// Resident memory of this process, gateway and clients alike, in bytes.
pub fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux tells about its processes");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second field is the resident pages") * 4096
}

/// Insists that the process has not grown by more than `bytes_max` since it had `before`.
pub fn assert_flat(what: &str, before: usize, bytes_max: usize) {
    let grown = resident().saturating_sub(before);
    assert!(grown <= bytes_max, "{what}: {} KiB more than before, {} KiB allowed", grown / 1024, bytes_max / 1024);
}
