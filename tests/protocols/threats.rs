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

#[test]
fn each_threat_names_a_test_that_exists() {
    let mut tests = BTreeSet::new();
    for folder in FOLDERS {
        collect(&root().join(folder), &mut tests);
    }
    let page = fs::read_to_string(root().join("docs/security.md")).expect("the page");
    let section = page.split("\n## Threats").nth(1).expect("the section").split("\n## ").next().expect("its text");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() > 50, "{} threats were found: is the page read right?", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let names = in_backticks(cells[2]);
        assert!(!names.is_empty(), "nothing proves it: {row}");
        for name in names {
            let path = root().join(name);
            let is_there = match name.contains('/') {
                true if path.is_dir() => true,
                true => fs::read_to_string(&path).is_ok_and(|source| !tests_of(&source).is_empty()),
                false => tests.contains(name),
            };
            assert!(is_there, "there is no test {name}, which shall prove: {}", cells[0]);
        }
    }
}
