//! `docs/security.md` says the truth: each threat names what proves its answer, and what it names is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Where tests are.
const FOLDERS: [&str; 5] = ["src", "tests", "protocols", "connectors", "store"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Adds the names of all tests below a folder.
fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(tests_of(&fs::read_to_string(&path).expect("a source file")));
        }
    }
}

/// The functions that stand below an attribute which makes a test of them.
fn tests_of(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if is_test && !line.starts_with("#[") {
            is_test = false;
            let name = line.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next());
            found.extend(name.map(str::to_owned));
        }
    }
    found
}

fn in_backticks(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for folder in FOLDERS {
        collect(&root().join(folder), &mut tests);
    }
    tests
}

/// The cells of a section's table, row by row.
fn table(title: &str) -> Vec<[String; 3]> {
    let page = fs::read_to_string(root().join("docs/security.md")).expect("the page");
    let section = page.split(&format!("\n## {title}\n")).nth(1).expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let row = |row: &str| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        cells.try_into().unwrap_or_else(|cells| panic!("three cells wanted: {cells:?}"))
    };
    section.lines().filter(|line| line.starts_with("| ")).skip(2).map(row).collect()
}

#[test]
fn each_threat_names_a_test_that_exists() {
    let tests = tests();
    let rows = table("Threats");
    assert!(rows.len() > 50, "{} threats were found: is the page read right?", rows.len());
    for [threat, _, proved] in &rows {
        let names = in_backticks(proved);
        assert!(!names.is_empty(), "nothing proves it: {threat}");
        for name in names {
            let path = root().join(name);
            let is_there = match name.contains('/') {
                true if path.is_dir() => true,
                true => fs::read_to_string(&path).is_ok_and(|source| !tests_of(&source).is_empty()),
                false => tests.contains(name),
            };
            assert!(is_there, "there is no test {name}, which shall prove: {threat}");
        }
    }
}

#[test]
fn what_is_had_by_configuration_has_an_example_and_a_test() {
    let tests = tests();
    let rows = table("What is had by configuration alone");
    assert!(rows.len() > 20, "{} were found: is the page read right?", rows.len());
    for [what, examples, tried] in &rows {
        let (examples, names) = (in_backticks(examples), in_backticks(tried));
        assert!(!examples.is_empty() && !names.is_empty(), "{what}");
        for example in examples {
            assert!(root().join("config/examples").join(example).is_file(), "no example {example} for: {what}");
        }
        for name in names {
            assert!(tests.contains(name), "there is no test {name} for: {what}");
        }
    }
}
