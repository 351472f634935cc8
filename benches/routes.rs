//! Routes and retained messages at scale: rates, times and bytes.
//!
//! `cargo bench --bench routes` takes a million subscriptions, `ROUTES=10000000 cargo bench --bench routes` ten.
//! Nine in ten filters are exact, the others hold wildcards, all over five levels.

use std::{
    alloc::{GlobalAlloc, Layout},
    hint::black_box,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use mimalloc::MiMalloc;
use thingway::bus::{
    retained::{RetainLimits, Retained},
    routes::{RouteScratch, Routes, Target},
};
use thingway_contract::{
    Instant as Moment, Message, MessageHead, Properties, SubscriptionOptions, Topic, TopicFilter, TopicLimits,
};

/// Counts what is asked for, rounded up to the allocator's size classes.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: hands everything to the allocator that the gateway itself uses.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(class(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(class(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }
}

/// Of mimalloc: steps of 8 to 64 bytes, then four to each doubling.
fn class(size: usize) -> usize {
    if size <= 64 {
        return size.next_multiple_of(8);
    }
    size.next_multiple_of(size.next_power_of_two() / 8)
}

struct Session {
    _number: usize,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn main() {
    let count = std::env::var("ROUTES").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    subscriptions(count);
    crowd(1_000_000.min(count));
    retained(1_000_000.min(count));
}

fn text_of(number: usize) -> String {
    let fleet = number % 100;
    match number % 30 {
        0 => format!("fleet/{fleet}/vehicle/{number}/+"),
        10 => format!("fleet/+/vehicle/{number}/#"),
        20 => format!("fleet/{fleet}/+/{number}/state"),
        _ => format!("fleet/{fleet}/vehicle/{number}/state"),
    }
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, TopicLimits::default()).expect("a valid filter")
}

fn topic(text: &str) -> Topic<'_> {
    Topic::parse(text, TopicLimits::default()).expect("a valid topic")
}

fn sessions(count: usize) -> Vec<Arc<Session>> {
    (0..count).map(|number| Arc::new(Session { _number: number })).collect()
}

fn subscriptions(count: usize) {
    println!("{count} subscriptions of {} sessions, one in ten with wildcards", count / 10);
    let sessions = sessions(count / 10);
    let routes = Routes::new();
    let (live, resident) = (LIVE.load(Ordering::Relaxed), resident_bytes());
    let mut busy = std::time::Duration::ZERO;
    let mut slowest = std::time::Duration::ZERO;
    for batch in (0..count).step_by(1000) {
        let filters: Vec<_> = (batch..(batch + 1000).min(count)).map(|number| filter(&text_of(number))).collect();
        for (number, filter) in filters.iter().enumerate() {
            let session = &sessions[(batch + number) % sessions.len()];
            let start = Instant::now();
            let replaced = routes.insert(filter, session, SubscriptionOptions::default());
            let taken = start.elapsed();
            busy += taken;
            slowest = slowest.max(taken);
            assert_eq!(replaced, Ok(None));
        }
    }
    println!("  subscribe            {:>10.0} /s, slowest {slowest:?}", count as f64 / busy.as_secs_f64());
    println!(
        "  bytes a route        {:>10.1} allocated, {:.1} resident; the filter's text is part of it",
        (LIVE.load(Ordering::Relaxed) - live) as f64 / count as f64,
        (resident_bytes() - resident) as f64 / count as f64
    );

    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut scratch = RouteScratch::default();
    let topics: Vec<_> = (0..1_000_000)
        .map(|_| {
            let number = random.below(count);
            format!("fleet/{}/vehicle/{number}/state", number % 100)
        })
        .collect();
    let mut visited = 0;
    let start = Instant::now();
    for text in &topics {
        visited += routes.route(topic(text), None, &mut scratch, |target| {
            black_box(matches!(target, Target::Direct { .. }));
        });
    }
    let mean = start.elapsed() / topics.len() as u32;
    assert_eq!(visited, topics.len(), "every topic has one subscriber");
    let mut times = Vec::with_capacity(topics.len());
    for text in &topics {
        let start = Instant::now();
        black_box(routes.route(topic(text), None, &mut scratch, |_| {}));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "  match                {mean:>10?} mean, {:?} median, {:?} p99",
        times[times.len() / 2],
        percentile(&times)
    );

    std::thread::scope(|scope| {
        let (routes, sessions, topics) = (&routes, &sessions, &topics);
        let writer = scope.spawn(move || {
            let filters: Vec<_> = (count..count + 200_000).map(|number| filter(&text_of(number))).collect();
            let start = Instant::now();
            for filter in &filters {
                routes.insert(filter, &sessions[0], SubscriptionOptions::default()).expect("not exclusive");
            }
            for filter in &filters {
                assert!(routes.remove(filter, &sessions[0]));
            }
            400_000.0 / start.elapsed().as_secs_f64()
        });
        let mut times = Vec::with_capacity(topics.len());
        let mut scratch = RouteScratch::default();
        for text in topics.iter().cycle() {
            if writer.is_finished() {
                break;
            }
            let start = Instant::now();
            black_box(routes.route(topic(text), None, &mut scratch, |_| {}));
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let rate = writer.join().expect("the writer does not panic");
        println!(
            "  match while writing  {:>10?} median, {:?} p99, at {rate:.0} changes/s",
            times[times.len() / 2],
            percentile(&times)
        );
    });

    drop((topics, times));
    let start = Instant::now();
    for number in 0..count {
        assert!(routes.remove(&filter(&text_of(number)), &sessions[number % sessions.len()]));
    }
    println!("  unsubscribe          {:>10.0} /s, parsing included", count as f64 / start.elapsed().as_secs_f64());
    println!("  left                 {:>10} bytes", LIVE.load(Ordering::Relaxed).saturating_sub(live));
}

fn crowd(count: usize) {
    println!("one topic with {count} subscribers");
    let sessions = sessions(count);
    let routes = Routes::new();
    let crowded = filter("crowd");
    let live = LIVE.load(Ordering::Relaxed);
    let start = Instant::now();
    let mut random = Random(88_172_645_463_325_252);
    let mut order: Vec<_> = (0..count).collect();
    for place in (1..count).rev() {
        order.swap(place, random.below(place + 1));
    }
    for &number in &order {
        routes.insert(&crowded, &sessions[number], SubscriptionOptions::default()).expect("not exclusive");
    }
    println!("  subscribe            {:>10.0} /s", count as f64 / start.elapsed().as_secs_f64());
    println!("  bytes a subscription {:>10.1}", (LIVE.load(Ordering::Relaxed) - live) as f64 / count as f64);
    let mut scratch = RouteScratch::default();
    for (name, with) in [("alone", None), ("with 1 wildcard", Some("#")), ("with 2 wildcards", Some("+"))] {
        if let Some(with) = with {
            for session in sessions.iter().step_by(1000) {
                routes.insert(&filter(with), session, SubscriptionOptions::default()).expect("not exclusive");
            }
        }
        let start = Instant::now();
        let mut sum = 0;
        let visited = routes.route(topic("crowd"), None, &mut scratch, |target| {
            if let Target::Direct { session, .. } = target {
                sum ^= Arc::as_ptr(session).addr();
            }
        });
        black_box(sum);
        assert_eq!(visited, count);
        println!("  visit {name:<16} {:>8.2} ns a subscriber", start.elapsed().as_nanos() as f64 / count as f64);
    }
    let start = Instant::now();
    for &number in &order {
        assert!(routes.remove(&crowded, &sessions[number]));
    }
    println!("  unsubscribe          {:>10.0} /s", count as f64 / start.elapsed().as_secs_f64());
}

fn retained(count: usize) {
    println!("{count} retained messages of 32 bytes");
    let retained = Retained::new(RetainLimits::default());
    let live = LIVE.load(Ordering::Relaxed);
    let head = MessageHead { retain: true, ..MessageHead::default() };
    let start = Instant::now();
    for number in 0..count {
        let text = format!("site/{}/device/{}/value", number % 1000, number / 1000);
        retained.insert(Message::new(head, topic(&text), Properties::default(), &[b'x'; 32])).expect("within limits");
    }
    println!(
        "  insert               {:>10.0} /s, making the message included",
        count as f64 / start.elapsed().as_secs_f64()
    );
    println!(
        "  bytes a message      {:>10.1}, the message included",
        (LIVE.load(Ordering::Relaxed) - live) as f64 / count as f64
    );
    for text in
        ["#", "site/500/device/#", "site/+/device/77/value", "site/500/device/77/+", "site/+/nothing", "+/500/+/77/#"]
    {
        let mut matches = 0;
        let start = Instant::now();
        retained.matching(text, Moment::ZERO, |message| {
            matches += 1;
            black_box(message);
            ControlFlow::Continue(())
        });
        let taken = start.elapsed();
        println!(
            "  match {text:<23} {matches:>8} in {taken:>12?}, {:.0} ns a match",
            taken.as_nanos() as f64 / f64::from(matches.max(1))
        );
    }
}

fn percentile(sorted: &[std::time::Duration]) -> std::time::Duration {
    sorted[sorted.len() * 99 / 100]
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
