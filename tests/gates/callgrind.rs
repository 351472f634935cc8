//! Requests to callgrind, which are instructions that do nothing outside of valgrind (`valgrind/valgrind.h` and `valgrind/callgrind.h`).

/// The machine whose instructions are counted and committed.
pub const SUPPORTED: bool = cfg!(all(target_arch = "x86_64", target_os = "linux"));

const RUNNING_ON_VALGRIND: usize = 0x1001;
const BASE: usize = (b'C' as usize) << 24 | (b'T' as usize) << 16;
const ZERO_STATS: usize = BASE + 1;
const TOGGLE_COLLECT: usize = BASE + 2;
const DUMP_STATS_AT: usize = BASE + 3;

/// True under valgrind.
pub fn is_running() -> bool {
    request(RUNNING_ON_VALGRIND, 0) != 0
}

/// Counts on the calling thread from here, or no more.
pub fn toggle_collect() {
    request(TOGGLE_COLLECT, 0);
}

/// Forgets what was counted.
pub fn zero() {
    request(ZERO_STATS, 0);
}

/// Writes what was counted under a name, and forgets it.
pub fn dump(name: &str) {
    let name = std::ffi::CString::new(name).expect("a name without NUL");
    request(DUMP_STATS_AT, name.as_ptr().addr());
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn request(request: usize, argument: usize) -> usize {
    let arguments: [usize; 6] = [request, argument, 0, 0, 0, 0];
    let mut answer = 0usize;
    // SAFETY: the sequence turns a register round to where it was, and exchanges another with itself: nothing changes but the flags. Valgrind
    // knows it, reads the arguments, whose text lives until after the call, and answers in rdx.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") answer,
        );
    }
    answer
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn request(_: usize, _: usize) -> usize {
    0
}
