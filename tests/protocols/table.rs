//! `docs/protocols.md` says the truth: the tests that it names exist, each cell names one or says "none", and no test of meaning is forgotten.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Modules of which the page names no single test: clients of the tests, the matrix, this, and what `docs/security.md` names.
const WITHOUT_TESTS_OF_MEANING: [&str; 10] = [
    "main.rs",
    "endpoint.rs",
    "mqtt.rs",
    "mqtt_sn.rs",
    "coap.rs",
    "matrix.rs",
    "table.rs",
    "access.rs",
    "strangers.rs",
    "threats.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What is between backticks and is the name of a file in Rust, with or without a test.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|name| name.contains(".rs") && !name.contains('…') && !name.contains('{'))
}

fn source(file: &str) -> Option<String> {
    let folder = if file.contains('/') { "tests" } else { "tests/protocols" };
    fs::read_to_string(root().join(folder).join(file)).ok()
}

#[test]
fn named_tests_exist() {
    let page = fs::read_to_string(root().join("docs/protocols.md")).expect("the page");
    let mut count = 0;
    for name in names(&page) {
        let (file, test) = name.split_once("::").unwrap_or((name, ""));
        let source = source(file.strip_prefix("tests/protocols/").unwrap_or(file));
        let source = source.unwrap_or_else(|| panic!("no file {file}"));
        assert!(test.is_empty() || source.contains(&format!("fn {test}()")), "no test {name}");
        count += 1;
    }
    assert!(count > 100, "{count} names were found: is the page read right?");
}

#[test]
fn each_cell_is_proved() {
    let page = fs::read_to_string(root().join("docs/protocols.md")).expect("the page");
    let table = page.split("## The table").nth(1).expect("the table").split("\n## ").next().expect("a section");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() > 20, "{}", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        for cell in &cells[1..] {
            assert!(*cell == "none" || names(cell).next().is_some(), "{}: {cell}", cells[0]);
        }
    }
}

#[test]
fn no_test_is_forgotten() {
    let page = fs::read_to_string(root().join("docs/protocols.md")).expect("the page");
    let named: BTreeSet<_> = names(&page).map(str::to_owned).collect();
    let mut forgotten = Vec::new();
    for entry in fs::read_dir(root().join("tests/protocols")).expect("this folder") {
        let path = entry.expect("an entry").path();
        let file = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        if WITHOUT_TESTS_OF_MEANING.contains(&file.as_str()) {
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source file");
        let mut lines = source.lines();
        while let Some(line) = lines.next() {
            if line.trim() != "#[tokio::test]" && line.trim() != "#[test]" {
                continue;
            }
            let test = lines.next().and_then(|line| line.split("fn ").nth(1)).and_then(|rest| rest.split('(').next());
            let name = format!("{file}::{}", test.expect("a function under the attribute"));
            if !named.contains(&name) {
                forgotten.push(name);
            }
        }
    }
    assert!(forgotten.is_empty(), "docs/protocols.md does not name {forgotten:#?}");
}
