//! What benches measure by: resident memory by number, processor time by thread, sizes of what is allocated.
#![allow(dead_code, reason = "no bench needs all of it")]

pub mod crowd;

use std::{
    alloc::{GlobalAlloc, Layout},
    collections::BTreeMap,
    env, fs,
    str::FromStr,
    sync::atomic::{AtomicBool, AtomicIsize, Ordering},
    time::{Duration, Instant},
};

use mimalloc::MiMalloc;

/// Memory by number of connections. The slope leaves out what is there but once, and evens out tables that double.
pub struct Slope {
    pub resident_before: usize,
    sizes_before: BTreeMap<usize, isize>,
    asked_before: isize,
    quarter: (usize, usize),
    all: (usize, usize),
}

impl Slope {
    pub fn begin() -> Self {
        Self {
            resident_before: resident_bytes(),
            sizes_before: sizes(),
            asked_before: LIVE_BYTES.load(Ordering::Relaxed),
            quarter: (0, 0),
            all: (0, 0),
        }
    }

    pub fn sample(&mut self, number: usize, count: usize) {
        if number == count / 4 {
            self.quarter = (number, resident_bytes());
        }
        if number == count {
            self.all = (number, resident_bytes());
        }
    }

    pub fn report(&self, name: &str) -> usize {
        let ((few, few_bytes), (all, all_bytes)) = (self.quarter, self.all);
        let slope = (all_bytes as f64 - few_bytes as f64) / (all - few) as f64;
        let mean = (all_bytes as f64 - self.resident_before as f64) / all as f64;
        println!(
            "  {name:<12} {slope:>9.1} bytes a connection from a quarter of them to all, {mean:.1} from none to all"
        );
        all_bytes
    }

    pub fn report_sizes(&self) {
        if !COUNTING.load(Ordering::Relaxed) {
            return;
        }
        for (size, live) in sizes() {
            let each = (live - self.sizes_before.get(&size).unwrap_or(&0)) as f64 / self.all.0 as f64;
            if each >= 0.01 {
                println!("    {each:>6.2} of {size:>5} bytes");
            }
        }
        let asked = LIVE_BYTES.load(Ordering::Relaxed) - self.asked_before;
        println!("    {:>6.1} bytes asked for, tables and all", asked as f64 / self.all.0 as f64);
    }
}

/// Processor time of this process's threads.
pub struct Threads(BTreeMap<String, Duration>);

impl Threads {
    /// By name, alike ones taken together: the cores, and the rest, which is the clients.
    pub fn now() -> Self {
        let mut times = BTreeMap::new();
        for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let spent = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let nanos = spent.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
            let group = if name.starts_with("core-") { "cores" } else { "others" };
            *times.entry(group.into()).or_default() += Duration::from_nanos(nanos);
        }
        Self(times)
    }

    pub fn since(&self, earlier: &Self, group: &str) -> f64 {
        let of = |times: &Self| times.0.get(group).copied().unwrap_or_default();
        of(self).saturating_sub(of(earlier)).as_secs_f64()
    }
}

pub fn report_time(name: &str, count: usize, (begun, before): &(Instant, Threads)) {
    let now = Threads::now();
    let (cores, others) = (now.since(before, "cores"), now.since(before, "others"));
    println!(
        "  {name:<22} {:>7.2} s; gateway's cores {cores:.3} CPU s ({:.2} us a connection), clients {others:.3} CPU s",
        begun.elapsed().as_secs_f64(),
        cores * 1e6 / count as f64,
    );
}

pub fn number<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: expected a number")),
        Err(_) => default,
    }
}

pub fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// The program's allocator, which counts sizes when it is told to.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIZE_MAX: usize = 1024;
pub static COUNTING: AtomicBool = AtomicBool::new(false);
pub static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);
static LIVE: [AtomicIsize; SIZE_MAX / 8 + 1] = [const { AtomicIsize::new(0) }; SIZE_MAX / 8 + 1];

// SAFETY: hands everything to the allocator that the gateway itself uses.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout, 1);
        // SAFETY: the caller's.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(layout, -1);
        // SAFETY: the caller's.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout, -1);
        count(Layout::from_size_align(size, layout.align()).unwrap_or(layout), 1);
        // SAFETY: the caller's.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }
}

fn count(layout: Layout, change: isize) {
    if !COUNTING.load(Ordering::Relaxed) {
        return;
    }
    LIVE_BYTES.fetch_add(change * layout.size() as isize, Ordering::Relaxed);
    if let Some(live) = LIVE.get(layout.size().div_ceil(8)) {
        live.fetch_add(change, Ordering::Relaxed);
    }
}

fn sizes() -> BTreeMap<usize, isize> {
    LIVE.iter().enumerate().map(|(at, live)| (at * 8, live.load(Ordering::Relaxed))).collect()
}
