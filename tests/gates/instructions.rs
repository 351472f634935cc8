//! Instructions a message, counted by callgrind and compared with `counts.txt`.
//!
//! The counts are of the profile that tests are built with, of the compiler in `rust-toolchain.toml`, and of x86-64 as valgrind emulates it. They
//! cover what the gateway's core does in user space: its runtime, the driver, the protocol, the bus and the transport within the process. What the
//! clients do is left out.

use std::{collections::BTreeMap, env, fmt, fs, io::Write, path::Path, process::Command};

use super::{
    callgrind,
    scenarios::{self, SCENARIOS},
};

/// By how much a count may differ from the committed one.
const TOLERANCE_PERMILLE: u64 = 30;

const HEAD: &str = "\
# Instructions for each message (or connection, ping, match). tests/gates/instructions.rs compares; `just instructions-accept` writes.
";

type Counts = BTreeMap<String, u64>;

/// What is run under valgrind; alone it shows that the schedules do what they say.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_scenario_delivers() {
    scenarios::run_all().await;
}

#[test]
fn instructions_are_as_committed() {
    if !callgrind::SUPPORTED || callgrind::is_running() || !has_valgrind() {
        return;
    }
    let measured = measure();
    assert_eq!(measured.len(), SCENARIOS.len() + 2, "every scenario was counted: {measured:?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gates/counts.txt");
    let committed = parse(&fs::read_to_string(&path).unwrap_or_default());
    let comparison = Comparison { committed: &committed, measured: &measured };
    println!("{comparison}");
    if !cfg!(debug_assertions) {
        println!("counts are committed for the profile of the tests, which this is not: nothing was compared");
    } else if env::var("THINGWAY_INSTRUCTIONS").is_ok_and(|wish| wish == "accept") {
        fs::write(&path, print(&measured)).expect("counts.txt can be written");
    } else {
        assert!(
            comparison.agrees(),
            "instructions for a message differ by more than {} % from tests/gates/counts.txt:\n{comparison}\n\
             More than committed: find out why. Fewer: well done. Either way the file must say what is true: `just instructions-accept`.",
            TOLERANCE_PERMILLE / 10,
        );
    }
}

/// False after saying that the test is skipped; in CI it must be there.
fn has_valgrind() -> bool {
    let found = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "instructions_are_as_committed needs valgrind");
        // The test harness would swallow the output of a test that passes.
        writeln!(std::io::stderr(), "skipped: instructions_are_as_committed needs valgrind").expect("standard error");
    }
    found
}

/// Runs the scenarios under callgrind.
fn measure() -> Counts {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--dump-line=no"])
        .arg(format!("--callgrind-out-file={}", folder.path().join("out").display()))
        .arg(env::current_exe().expect("this program"))
        .args(["--exact", "instructions::every_scenario_delivers", "--nocapture", "--test-threads=1"])
        .env_remove("THINGWAY_TEST_ADDRESS")
        .output()
        .expect("valgrind starts");
    assert!(
        output.status.success(),
        "the scenarios failed under valgrind:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let files = fs::read_dir(folder.path()).expect("the folder is there");
    let mut counts = Counts::new();
    for (name, count) in files.filter_map(|file| read(&file.expect("an entry").path())) {
        let least = counts.entry(name).or_insert(count);
        *least = count.min(*least);
    }
    counts
}

/// The name and the count for each message in a profile; nothing from the one that is written at the end.
fn read(profile: &Path) -> Option<(String, u64)> {
    let profile = fs::read_to_string(profile).expect("a profile");
    let field = |name: &str| profile.lines().find_map(|line| line.strip_prefix(name));
    let (name, messages) = field("desc: Trigger: Client Request: ")?.rsplit_once(": ")?;
    let total: u64 = field("totals: ")?.trim().parse().expect("a count");
    let messages: u64 = messages.parse().expect("a count");
    Some((name.to_owned(), (total + messages / 2) / messages))
}

fn parse(text: &str) -> Counts {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let count = |line: &str| {
        let (name, count) = line.rsplit_once(": ").expect("a line is a name and a count");
        (name.to_owned(), count.trim().parse().expect("a count"))
    };
    lines.map(count).collect()
}

fn print(counts: &Counts) -> String {
    counts.iter().fold(HEAD.to_owned(), |text, (name, count)| format!("{text}{name}: {count}\n"))
}

struct Comparison<'a> {
    committed: &'a Counts,
    measured: &'a Counts,
}

impl Comparison<'_> {
    /// True when the same things were counted, with about the same counts.
    fn agrees(&self) -> bool {
        self.committed.len() == self.measured.len()
            && self.measured.iter().all(|(name, measured)| {
                let committed = self.committed.get(name);
                committed
                    .is_some_and(|committed| measured.abs_diff(*committed) * 1000 <= committed * TOLERANCE_PERMILLE)
            })
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34} {:>9} {:>9} {:>9}", "instructions for each", "committed", "measured", "more")?;
        let gone = self.committed.keys().filter(|name| !self.measured.contains_key(*name));
        for name in self.measured.keys().chain(gone) {
            let (committed, measured) = (self.committed.get(name), self.measured.get(name));
            let show = |count: Option<&u64>| count.map_or("none".to_owned(), u64::to_string);
            let more = committed.zip(measured).map_or("?".to_owned(), |(committed, measured)| {
                format!("{:+.1} %", (*measured as f64 / *committed as f64 - 1.0) * 100.0)
            });
            writeln!(f, "{name:<34} {:>9} {:>9} {more:>9}", show(committed), show(measured))?;
        }
        Ok(())
    }
}

#[test]
fn a_difference_of_more_than_three_percent_is_found() {
    let committed = parse(&print(&Counts::from([("a, QoS 0".into(), 1000), ("b".into(), 50)])));
    let agrees = |a: u64, b: u64| {
        let measured = Counts::from([("a, QoS 0".into(), a), ("b".into(), b)]);
        Comparison { committed: &committed, measured: &measured }.agrees()
    };
    assert!(agrees(1000, 50) && agrees(1030, 51) && agrees(970, 49));
    assert!(!agrees(1031, 50) && !agrees(969, 50) && !agrees(1000, 52) && !agrees(1000, 48));
    let other = Counts::from([("a, QoS 0".into(), 1000)]);
    assert!(!Comparison { committed: &committed, measured: &other }.agrees());
    assert!(!Comparison { committed: &other, measured: &committed }.agrees());
}
