//! `docs/mqtt-conformance.md` says the truth: it has each statement of the standards once, and the tests that it names exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The statements of a section: how many, counted from 1, and the identifiers that the standard leaves out.
type Section = (&'static str, u32, &'static [u32]);

/// Appendix B of the standard of 29 October 2014. Its chapter 7 has four more than the sections of the protocol. One identifier is
/// printed as MQTT-3-8.3-4.
const STATEMENTS_3_1_1: &[Section] = &[
    ("1.5.3", 3, &[]),
    ("2.2.2", 2, &[]),
    ("2.3.1", 7, &[]),
    ("3.1.0", 2, &[]),
    ("3.1.2", 24, &[]),
    ("3.1.3", 11, &[]),
    ("3.1.4", 5, &[]),
    ("3.2.0", 1, &[]),
    ("3.2.2", 6, &[]),
    ("3.3.1", 12, &[]),
    ("3.3.2", 3, &[]),
    ("3.3.4", 1, &[]),
    ("3.3.5", 2, &[]),
    ("3.6.1", 1, &[]),
    ("3.8.1", 1, &[]),
    ("3.8.3", 4, &[]),
    ("3.8.4", 6, &[]),
    ("3.9.3", 2, &[]),
    ("3.10.1", 1, &[]),
    ("3.10.3", 2, &[]),
    ("3.10.4", 6, &[]),
    ("3.12.4", 1, &[]),
    ("3.14.1", 1, &[]),
    ("3.14.4", 3, &[]),
    ("4.1.0", 2, &[]),
    ("4.3.1", 1, &[]),
    ("4.3.2", 2, &[]),
    ("4.3.3", 2, &[]),
    ("4.4.0", 1, &[]),
    ("4.5.0", 2, &[]),
    ("4.6.0", 6, &[]),
    ("4.7.1", 3, &[]),
    ("4.7.2", 1, &[]),
    ("4.7.3", 4, &[]),
    ("4.8.0", 2, &[]),
    ("6.0.0", 4, &[]),
    ("7.0.0", 2, &[]),
    ("7.1.1", 1, &[]),
    ("7.1.2", 1, &[]),
];

/// Appendix B of the standard of 7 March 2019. There is no MQTT-2.2.1-1.
const STATEMENTS_5_0: &[Section] = &[
    ("1.5.4", 3, &[]),
    ("1.5.5", 1, &[]),
    ("1.5.7", 1, &[]),
    ("2.1.3", 1, &[]),
    ("2.2.1", 6, &[1]),
    ("2.2.2", 1, &[]),
    ("3.1.0", 2, &[]),
    ("3.1.2", 30, &[]),
    ("3.1.3", 12, &[]),
    ("3.1.4", 6, &[]),
    ("3.2.0", 2, &[]),
    ("3.2.2", 22, &[]),
    ("3.3.1", 13, &[]),
    ("3.3.2", 20, &[]),
    ("3.3.4", 10, &[]),
    ("3.4.2", 3, &[]),
    ("3.5.2", 3, &[]),
    ("3.6.1", 1, &[]),
    ("3.6.2", 3, &[]),
    ("3.7.2", 3, &[]),
    ("3.8.1", 1, &[]),
    ("3.8.3", 5, &[]),
    ("3.8.4", 8, &[]),
    ("3.9.2", 2, &[]),
    ("3.9.3", 2, &[]),
    ("3.10.1", 1, &[]),
    ("3.10.3", 2, &[]),
    ("3.10.4", 6, &[]),
    ("3.11.2", 2, &[]),
    ("3.11.3", 2, &[]),
    ("3.12.4", 1, &[]),
    ("3.14.0", 1, &[]),
    ("3.14.1", 1, &[]),
    ("3.14.2", 4, &[]),
    ("3.14.4", 3, &[]),
    ("3.15.1", 1, &[]),
    ("3.15.2", 3, &[]),
    ("4.1.0", 2, &[]),
    ("4.2.0", 1, &[]),
    ("4.3.1", 1, &[]),
    ("4.3.2", 5, &[]),
    ("4.3.3", 13, &[]),
    ("4.4.0", 2, &[]),
    ("4.5.0", 2, &[]),
    ("4.6.0", 6, &[]),
    ("4.7.0", 1, &[]),
    ("4.7.1", 2, &[]),
    ("4.7.2", 1, &[]),
    ("4.7.3", 4, &[]),
    ("4.8.2", 6, &[]),
    ("4.9.0", 3, &[]),
    ("4.12.0", 7, &[]),
    ("4.12.1", 2, &[]),
    ("4.13.1", 1, &[]),
    ("4.13.2", 1, &[]),
    ("6.0.0", 4, &[]),
];

/// What a row may say when it names no test.
const REASONS: &[&str] = &["binds the client", "the gateway makes no connections of its own"];

#[derive(Debug)]
struct Row {
    id: String,
    says: String,
    proof: String,
}

#[test]
fn every_statement_is_in_the_table_once() {
    for (version, sections, count) in [("3.1.1", STATEMENTS_3_1_1, 141), ("5.0", STATEMENTS_5_0, 251)] {
        let mut found = BTreeSet::new();
        for row in &tables()[version] {
            assert!(found.insert(row.id.clone()), "MQTT {version} has {} twice", row.id);
            assert!(row.says.len() > 10, "MQTT {version} {} says too little", row.id);
        }
        let wanted: BTreeSet<String> = sections
            .iter()
            .flat_map(|(section, last, missing)| {
                (1..=*last)
                    .filter(|number| !missing.contains(number))
                    .map(move |number| format!("[MQTT-{section}-{number}]"))
            })
            .collect();
        let missing: Vec<_> = wanted.difference(&found).collect();
        let surplus: Vec<_> = found.difference(&wanted).collect();
        assert!(missing.is_empty() && surplus.is_empty(), "MQTT {version}: missing {missing:?}, surplus {surplus:?}");
        assert_eq!(wanted.len(), count, "the standard's own number of statements");
    }
}

#[test]
fn every_proof_is_a_test_that_runs_or_an_honest_reason() {
    let mut problems = Vec::new();
    for (version, rows) in tables() {
        for Row { id, proof, .. } in rows {
            let tests: Vec<_> = proof.split('`').skip(1).step_by(2).collect();
            if tests.is_empty() && !REASONS.iter().any(|reason| proof.starts_with(reason)) {
                problems.push(format!("{version} {id}: neither a test nor a reason"));
            }
            for test in tests {
                if let Err(problem) = check_test(test) {
                    problems.push(format!("{version} {id}: {problem}"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_check_sees_what_is_wrong() {
    assert_eq!(check_test("connect.rs::a_second_connect_is_a_protocol_error"), Ok(()));
    for wrong in [
        "connect.rs",
        "connect.rs::no_such_test",
        "no_such_file.rs::a_second_connect_is_a_protocol_error",
        // Functions that are no tests, and a part of a name.
        "connect.rs::raw_answer",
        "connect.rs::a_second_connect",
        "table.rs::check_test",
    ] {
        assert!(check_test(wrong).is_err(), "{wrong}");
    }
}

fn tables() -> BTreeMap<String, Vec<Row>> {
    let page = fs::read_to_string(root().join("docs/mqtt-conformance.md")).expect("the page is there");
    let mut tables: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    let mut version = None;
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## MQTT ") {
            version = Some(title.to_owned());
        } else if line.starts_with("| [MQTT-") {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [id, says, proof] = cells[..] else { panic!("three cells in {line}") };
            let row = Row { id: id.into(), says: says.into(), proof: proof.into() };
            tables.entry(version.clone().expect("a heading before the rows")).or_default().push(row);
        }
    }
    tables
}

/// Finds `file.rs::name` as a function with a test attribute, in a file that its `main.rs` compiles.
fn check_test(test: &str) -> Result<(), String> {
    let (file, name) = test.split_once("::").ok_or_else(|| format!("{test} is no file and test"))?;
    let (path, main) = match file.split_once('/') {
        None => (root().join("tests/conformance").join(file), root().join("tests/conformance/main.rs")),
        Some(("common", _)) => (root().join("tests").join(file), root().join("tests/common/mod.rs")),
        Some(("bad_input", _)) => (root().join("tests").join(file), root().join("tests/bad_input/main.rs")),
        Some(_) => {
            let tests = root().join("protocols/mqtt/tests");
            (tests.join(file), tests.join("machine/main.rs"))
        }
    };
    let source = read(&path)?;
    let module = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let compiled = read(&main)?.lines().any(|line| line.trim_start_matches("pub ") == format!("mod {module};"));
    if !compiled {
        return Err(format!("{} does not compile {file}", main.display()));
    }
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let heads = [format!("fn {name}("), format!("async fn {name}(")];
    let at = lines
        .iter()
        .position(|line| heads.iter().any(|head| line.starts_with(head)))
        .ok_or_else(|| format!("no {name} in {}", path.display()))?;
    let attributes: Vec<_> =
        lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///")).collect();
    let is_test = attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    let is_ignored = attributes.iter().any(|line| line.starts_with("#[ignore"));
    match (is_test, is_ignored) {
        (true, false) => Ok(()),
        (true, true) => Err(format!("{test} is ignored")),
        (false, _) => Err(format!("{test} is no test")),
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|fault| format!("{}: {fault}", path.display()))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
