//! Who may import whom, held to by reading the sources. `docs/architecture.md` tells why.

#[path = "layering/source.rs"]
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use source::{blank, paths};

/// The modules of `src/`, and which of the others each may name. A module that is not here fails the test: decide where it belongs.
///
/// `lib.rs` only lists modules, and is free. `main.rs` stands above all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli", "config", "gateway", "logging"]),
    (
        "gateway",
        &[
            "access",
            "access_config",
            "api",
            "bus",
            "cluster",
            "config",
            "logging",
            "metrics",
            "net",
            "network",
            "protocols",
            "rules",
            "store",
            "watch",
        ],
    ),
    ("cli", &["access", "access_config", "config", "store"]),
    ("access_config", &["access", "config"]),
    ("api", &["access", "bus", "config", "logging", "metrics", "store", "watch"]),
    ("cluster", &["access", "bus", "logging", "metrics", "store"]),
    ("rules", &["access", "bus", "logging", "metrics", "store"]),
    ("protocols", &["access", "bus", "config", "logging", "net"]),
    ("net", &["access", "bus", "logging", "metrics", "network", "store", "watch"]),
    ("access", &["bus", "logging", "metrics", "network", "store"]),
    ("bus", &["logging", "metrics", "store", "watch"]),
    ("store", &["logging", "metrics"]),
    ("config", &["network"]),
    ("watch", &["logging"]),
    ("metrics", &[]),
    ("logging", &[]),
    ("network", &[]),
];

/// Crates of concrete protocols, and the modules that may name them. `cli` may, because `pub` and `sub` are clients of these.
const PROTOCOL_CRATES: &[(&str, &[&str])] = &[
    ("thingway_mqtt", &["protocols", "cli"]),
    ("thingway_mqtt_sn", &["protocols", "cli"]),
    ("thingway_coap", &["protocols", "cli"]),
    ("thingway_lwm2m", &["protocols"]),
    ("thingway_stomp", &["protocols"]),
    ("thingway_custom", &["protocols"]),
];

/// What the packages under `protocols/` may depend on among each other; all may depend on the contract.
const PROTOCOL_DEPENDENCIES: &[(&str, &str)] = &[("lwm2m", "coap")];

/// What has no place in the sources of a protocol, with the reason.
const IMPURE_PATHS: &[(&str, &str)] = &[
    ("tokio", "a protocol is no async code"),
    ("std::net::TcpStream", "a protocol has no sockets"),
    ("std::net::TcpListener", "a protocol has no sockets"),
    ("std::net::UdpSocket", "a protocol has no sockets"),
    ("std::os", "a protocol has no descriptors"),
    ("std::fs", "a protocol has no files"),
    ("std::thread", "a protocol has no threads"),
    ("std::env", "a protocol has no environment"),
    ("std::process", "a protocol starts nothing"),
    ("std::sync::Mutex", "a protocol has no locks"),
    ("std::sync::RwLock", "a protocol has no locks"),
    ("parking_lot", "a protocol has no locks"),
    ("std::time::Instant", "a protocol is told the time"),
    ("std::time::SystemTime", "a protocol is told the time"),
];

/// Packages that no protocol may depend on.
const IMPURE_PACKAGES: &[&str] = &[
    "tokio",
    "tokio-util",
    "mio",
    "socket2",
    "async-std",
    "smol",
    "futures-util",
    "parking_lot",
    "quinn",
    "rustls",
    "tracing",
];

/// Beyond this a file is reported, beyond the next it fails.
const FILE_LINES_LONG: usize = 600;
const FILE_LINES_MAX: usize = 900;
const MAIN_LINES_MAX: usize = 99;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Violation {
    file: PathBuf,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.rule)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with this ending, with their texts, in a stable order.
fn files(folder: &Path, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.is_file() && path.to_string_lossy().ends_with(ending) {
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.push((path.strip_prefix(root()).unwrap_or(&path).to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn assert_none(violations: &[Violation]) {
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The module of `src/` that a file belongs to: `src/net/tcp.rs` and `src/net.rs` to `net`.
fn module(file: &Path) -> String {
    let mut parts = file.components().skip_while(|part| part.as_os_str() != "src").skip(1);
    let first = parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

/// Resolves a path to the module of `src/` that it names: `crate::net::x`, `thingway::net::x` in the program, `super::super::net::x` in a file deep enough.
fn target(file: &Path, path: &str) -> Option<String> {
    let mut parts = path.split("::").peekable();
    match *parts.peek()? {
        "crate" | "thingway" => {
            parts.next();
            parts.next().map(str::to_owned)
        }
        "super" => {
            let ups = path.split("::").take_while(|part| *part == "super").count();
            // Modules above the file: its folders below src/, and one more for a file that is not mod.rs.
            let depth = file.components().skip_while(|part| part.as_os_str() != "src").count().saturating_sub(1);
            let is_mod = file.file_name().is_some_and(|name| name == "mod.rs");
            let depth = if is_mod { depth - 1 } else { depth };
            (ups >= depth).then(|| parts.nth(ups).map(str::to_owned)).flatten()
        }
        _ => None,
    }
}

fn check_imports(file: &Path, source: &str) -> Vec<Violation> {
    let module = module(file);
    if module == "lib" {
        return Vec::new();
    }
    let violation = |line, rule| Violation { file: file.to_owned(), line, rule };
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
        return vec![violation(1, format!("the module {module} is not in the table of tests/layering.rs"))];
    };
    let mut violations = Vec::new();
    for (line, path) in paths(source) {
        let first = path.split("::").next().unwrap_or_default();
        if let Some((_, users)) = PROTOCOL_CRATES.iter().find(|(name, _)| *name == first)
            && !users.contains(&module.as_str())
        {
            violations.push(violation(line, format!("{module} names {first}; only {} may", users.join(" and "))));
        }
        if let Some(target) = target(file, &path)
            && target != module
            && MAY_IMPORT.iter().any(|(name, _)| *name == target)
            && !allowed.contains(&target.as_str())
        {
            violations.push(violation(line, format!("{module} imports {target}: {path}")));
        }
    }
    violations
}

/// The modules that import each other in a circle, if any.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        edges: &BTreeMap<String, BTreeSet<String>>,
        trail: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = trail.iter().position(|name| name == at) {
            return Some(trail[start..].to_vec());
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        trail.push(at.to_owned());
        let found = edges.get(at).into_iter().flatten().find_map(|next| visit(next, edges, trail, done));
        trail.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| visit(start, edges, &mut Vec::new(), &mut done))
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let violations: Vec<_> =
        files(&root().join("src"), ".rs").iter().flat_map(|(file, text)| check_imports(file, text)).collect();
    assert_none(&violations);
}

#[test]
fn modules_do_not_import_in_circles() {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in files(&root().join("src"), ".rs") {
        let module = module(&file);
        if module == "lib" {
            continue;
        }
        let targets = paths(&text).into_iter().filter_map(|(_, path)| target(&file, &path));
        let known = targets.filter(|target| *target != module && MAY_IMPORT.iter().any(|(name, _)| name == target));
        edges.entry(module.clone()).or_default().extend(known);
    }
    assert_eq!(circle(&edges), None);
    let table =
        MAY_IMPORT.iter().map(|(name, may)| ((*name).to_owned(), may.iter().map(|name| (*name).to_owned()).collect()));
    assert_eq!(circle(&table.collect()), None, "the table itself allows a circle");
}

fn check_purity(file: &Path, source: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (line, path) in paths(source) {
        for (impure, why) in IMPURE_PATHS {
            if path == *impure || path.starts_with(&format!("{impure}::")) {
                violations.push(Violation { file: file.to_owned(), line, rule: format!("{path}: {why}") });
            }
        }
    }
    violations
}

/// What a manifest of a protocol must not depend on, development apart.
fn check_manifest(file: &Path, manifest: &str) -> Vec<Violation> {
    let package =
        file.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut violations = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in manifest.lines().enumerate() {
        let mut tell = |rule: String| violations.push(Violation { file: file.to_owned(), line: index + 1, rule });
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            in_dependencies = header.ends_with("dependencies") && !header.ends_with("dev-dependencies");
            if header.contains("dependencies.") {
                tell("write dependencies as one line each, so that they can be checked".into());
            }
            continue;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
        if !in_dependencies || name.is_empty() || name.starts_with('#') {
            continue;
        }
        if IMPURE_PACKAGES.contains(&name) {
            tell(format!("the protocol {package} depends on {name}"));
        }
        if let Some(other) = name.strip_prefix("thingway-")
            && other != "contract"
            && !PROTOCOL_DEPENDENCIES.contains(&(package.as_str(), other))
        {
            tell(format!("the protocol {package} depends on the protocol {other}"));
        }
        if name == "thingway" {
            tell(format!("the protocol {package} depends on the gateway"));
        }
    }
    violations
}

#[test]
fn protocols_are_pure() {
    let mut violations = Vec::new();
    for (file, text) in files(&root().join("protocols"), ".rs") {
        let in_source = file.components().any(|part| part.as_os_str() == "src");
        if in_source {
            violations.extend(check_purity(&file, &text));
        }
        if file.ends_with("src/lib.rs") && !blank(&text).contains("#![forbid(unsafe_code)]") {
            violations.push(Violation { file, line: 1, rule: "#![forbid(unsafe_code)] is missing".into() });
        }
    }
    for (file, text) in files(&root().join("protocols"), "Cargo.toml") {
        violations.extend(check_manifest(&file, &text));
    }
    assert_none(&violations);
}

#[test]
fn files_stay_readable() {
    let mut too_long = Vec::new();
    for folder in ["src", "protocols", "tests"] {
        for (file, text) in files(&root().join(folder), ".rs") {
            let lines = text.lines().count();
            if lines > FILE_LINES_LONG {
                println!("{}: {lines} lines, more than {FILE_LINES_LONG}", file.display());
            }
            let max = if file == Path::new("src/main.rs") { MAIN_LINES_MAX } else { FILE_LINES_MAX };
            if lines > max {
                too_long.push(Violation {
                    file,
                    line: max + 1,
                    rule: format!("{lines} lines, at most {max} are allowed"),
                });
            }
        }
    }
    assert_none(&too_long);
}

fn rules(file: &str, source: &str) -> Vec<(usize, String)> {
    check_imports(Path::new(file), source).into_iter().map(|violation| (violation.line, violation.rule)).collect()
}

#[test]
fn forbidden_imports_are_seen() {
    for (file, source, line) in [
        ("src/bus/routes.rs", "use std::fmt;\nuse crate::net::Core;\n", 2),
        ("src/bus/routes.rs", "use crate::{\n    bus::Session,\n    net::{\n        core,\n    },\n};\n", 4),
        ("src/bus/routes/trie.rs", "fn f() {\n    super::super::super::net::g();\n}\n", 2),
        ("src/bus/mod.rs", "fn f() { super::net::g() }\n", 1),
        ("src/bus/mod.rs", "fn f() -> crate::config::Config { todo() }\n", 1),
        ("src/bus/mod.rs", "pub(in crate::bus) use crate::access as entrance;\n", 1),
        ("src/net/tcp.rs", "use crate::config;\n", 1),
        ("src/access/mod.rs", "use crate :: net :: x;\n", 1),
        ("src/bus/mod.rs", "use crate::access::Access;\n", 1),
        ("src/config/mod.rs", "const A: char = '\"'; use crate::bus::B;\n", 1),
    ] {
        let found = rules(file, source);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [line], "{file}: {source} {found:?}");
    }
    assert_eq!(rules("src/main.rs", "use thingway::{config, net};\n"), [(1, "main imports net: thingway::net".into())]);
    assert_eq!(rules("src/new/mod.rs", ""), [(1, "the module new is not in the table of tests/layering.rs".into())]);
}

#[test]
fn protocol_crates_are_seen() {
    let expected = [(1, "net names thingway_mqtt; only protocols and cli may".to_owned())];
    assert_eq!(rules("src/net/tcp.rs", "use thingway_mqtt::Mqtt;\n"), expected);
    assert_eq!(rules("src/net/tcp.rs", "type M = thingway_mqtt::Mqtt;\n"), expected);
    assert_eq!(rules("src/net/tcp.rs", "use thingway_mqtt;\n"), expected);
    assert_eq!(rules("src/protocols.rs", "use thingway_mqtt::Mqtt;\n"), []);
    assert_eq!(rules("src/cli/publish.rs", "use thingway_mqtt::Mqtt;\n"), []);
}

#[test]
fn allowed_imports_pass() {
    for (file, source) in [
        ("src/bus/routes.rs", "use super::shared;\nuse crate::bus::Session;\nuse thingway_contract::Qos;\n"),
        ("src/bus/routes.rs", "// use crate::net::Core;\n/* crate::net /* crate::api */ crate::net */\n"),
        ("src/bus/routes.rs", "const A: &str = \"crate::net\"; const B: &str = r#\"\" crate::net \"#;\n"),
        ("src/bus/routes.rs", "/// See [`crate::net`].\nfn f<'a>(x: &'a str) -> char { '\\'' }\n"),
        (
            "src/net/tcp.rs",
            "use crate::{bus::{self, Bus}, access::Access};\nmod tests { use super::*; use super::super::wheel; }\n",
        ),
        ("src/gateway.rs", "use crate::{net, bus, config::Config, protocols};\n"),
        ("src/lib.rs", "pub mod net;\npub use crate::net::Core;\n"),
    ] {
        assert_eq!(rules(file, source), [], "{file}: {source}");
    }
}

#[test]
fn impure_protocols_are_seen() {
    let file = Path::new("protocols/x/src/lib.rs");
    for source in [
        "use tokio;\n",
        "use tokio::net::TcpStream;\n",
        "use std::{fmt, time::{Duration, Instant}};\n",
        "fn f() { let _ = std::time::SystemTime::now(); }\n",
        "use std::net::{SocketAddr, UdpSocket};\n",
    ] {
        assert_eq!(check_purity(file, source).len(), 1, "{source}");
    }
    assert_eq!(check_purity(file, "use std::{net::SocketAddr, time::Duration};\nuse crate::Instant;\n"), []);

    let manifest = "[package]\nname = \"x\"\n[dependencies]\nbytes = \"1\"\ntokio.workspace = true\nthingway-contract.workspace = true\n\
                    thingway-coap = { path = \"../coap\" }\n[dev-dependencies]\ntokio = \"1\"\n";
    let lines =
        |file: &str| check_manifest(Path::new(file), manifest).iter().map(|found| found.line).collect::<Vec<_>>();
    assert_eq!(lines("protocols/x/Cargo.toml"), [5, 7]);
    assert_eq!(lines("protocols/lwm2m/Cargo.toml"), [5]);
}

#[test]
fn circles_are_seen() {
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            edges.entry((*from).into()).or_default().insert((*to).into());
        }
        edges
    };
    assert_eq!(circle(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(circle(&edges(&[("a", "b"), ("b", "c"), ("c", "b")])), Some(vec!["b".into(), "c".into()]));
}
