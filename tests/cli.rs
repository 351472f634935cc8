//! The program's commands, run as operators run them.

mod common;
#[path = "cli/migrating.rs"]
mod migrating;
#[path = "cli/store.rs"]
mod store;
#[path = "cli/users.rs"]
mod users;

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program in a directory of its own, where no configuration lies about, and without settings in the environment.
fn run_in(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thingway"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("THINGWAY_") {
            command.env_remove(name);
        }
    }
    let output = command.current_dir(directory).args(arguments).envs(environment.iter().copied()).output();
    let Output { status, stdout, stderr } = output.expect("the program runs");
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).expect("UTF-8"),
        err: String::from_utf8(stderr).expect("UTF-8"),
    }
}

fn directory_with(config: &str) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("thingway.toml"), config).expect("written");
    directory
}

fn run(config: &str, arguments: &[&str]) -> Ran {
    run_in(directory_with(config).path(), arguments, &[])
}

#[test]
fn version_is_told() {
    let ran = run("", &["version"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), concat!("thingway ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn check_sums_up_a_good_configuration() {
    let ran = run("[listeners.tcp.second]\nbind = \"127.0.0.1:7001\"\n", &["check"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    for line in ["configuration good", "  file       thingway.toml", "  listener   tcp.second: mqtt on 127.0.0.1:7001"]
    {
        assert!(ran.out.lines().any(|found| found == line), "{line}\n{}", ran.out);
    }
}

#[test]
fn check_without_a_file_is_good() {
    let directory = TempDir::new().expect("a directory");
    assert_eq!(run_in(directory.path(), &["check"], &[]).code, Some(0));
}

#[test]
fn check_tells_all_errors_with_file_line_key_and_expectation() {
    let ran = run("[mqtt]\nmax_qos = 7\nmax_inflight = 3\n\n[listeners.ws.default]\nbind = 1883\n", &["check"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    let expected = "\
error: thingway.toml:3: mqtt.max_inflight: unknown key, did you mean mqtt.inflight_max?
error: thingway.toml:2: mqtt.max_qos: found 7, expected a whole number from 0 to 2
error: thingway.toml:6: listeners.ws.default.bind: :1883 is taken by listeners.tcp.default.bind (built-in default), \
expected an address that no other listener has
3 errors in the configuration
";
    assert_eq!(ran.err, expected);
}

#[test]
fn check_compiles_what_access_has() {
    let folder = directory_with("");
    fs::write(folder.path().join("acl.conf"), "{allow, all}.\n{deny, all, sing}.\n").expect("written");
    fs::write(folder.path().join("users.csv"), "user_id,password\nbob\n").expect("written");
    let config = "[access]\n\
        attributes = [{ name = \"a\", value = \"nth(clientid\" }]\n\
        rewrite = [{ source = \"#\", destination = \"$7\" }]\n\
        rule_files = [{ path = \"acl.conf\" }]\n\
        users.file = \"users.csv\"\n\
        bans = [{ address = \"x\" }]\n";
    fs::write(folder.path().join("thingway.toml"), config).expect("written");
    let ran = run_in(folder.path(), &["check"], &[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    for (line, expected) in [
        (2, "access.attributes:1: \"nth(clientid\""),
        (3, "access.rewrite:1: \"$7\" is no destination"),
        (4, "access.rule_files: acl.conf:2"),
        (6, "access.bans:1: \"x\" is no address"),
    ] {
        let expected = format!("error: thingway.toml:{line}: {expected}");
        assert!(ran.err.lines().any(|told| told.starts_with(&expected)), "{expected}\n{}", ran.err);
    }
    assert!(ran.err.contains("users.csv: line 2"), "{}", ran.err);
    assert!(ran.err.ends_with("5 errors in the configuration\n"), "{}", ran.err);
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let ran = run("", &["check", "--config", "absent.toml"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with("error: absent.toml: cannot be read: "), "{}", ran.err);
}

#[test]
fn a_bad_configuration_does_not_serve() {
    let ran = run("[mqtt]\nmax_qos = 7\n", &[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("thingway.toml:2: mqtt.max_qos"), "{}", ran.err);
}

/// A configuration without these listeners.
fn off(names: &[&str]) -> String {
    names.iter().map(|name| format!("[listeners.{name}]\nenable = false\n")).collect()
}

#[test]
fn a_busy_port_is_told_with_its_place() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let off = off(&["tls.default", "ws.default", "wss.default", "quic.default", "udp.mqttsn", "udp.coap"]);
    let ran = run(&format!("{off}[listeners.tcp.default]\nbind = \"{address}\"\n"), &[]);
    assert_eq!(ran.code, Some(1));
    let expected =
        format!("thingway.toml:14: listeners.tcp.default.bind: listener tcp.default: cannot listen on {address}");
    assert!(ran.err.contains(&expected), "{}", ran.err);
}

#[test]
fn busy_places_of_all_kinds_are_told_with_their_key() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("mqtt.sock");
    let _unix = UnixListener::bind(&path).expect("a socket");
    let tcp = tcp.local_addr().expect("an address").to_string();
    let udp = udp.local_addr().expect("an address").to_string();
    let path = path.display().to_string();
    let places = [
        ("tcp.default", &tcp),
        ("tls.default", &tcp),
        ("ws.default", &tcp),
        ("wss.default", &tcp),
        ("quic.default", &udp),
        ("udp.mqttsn", &udp),
        ("udp.coap", &udp),
        ("unix.default", &path),
    ];
    for (name, bind) in places {
        let others: Vec<_> = places.iter().map(|(other, _)| *other).filter(|other| *other != name).collect();
        let config = format!("{}[listeners.{name}]\nenable = true\nbind = {bind:?}\n", off(&others));
        let line = config.lines().count();
        let ran = run(&config, &[]);
        assert_eq!(ran.code, Some(1), "{name}");
        let expected = format!("thingway.toml:{line}: listeners.{name}.bind: listener {name}: cannot listen on {bind}");
        assert!(ran.err.contains(&expected), "{expected}\n{}", ran.err);
    }
}

#[test]
fn explain_tells_which_layer_set_a_value() {
    let directory = directory_with("[mqtt]\nmax_qos = 1\nreceive_maximum = 10\ninflight_max = 11\n");
    let environment = [("THINGWAY_MQTT__RECEIVE_MAXIMUM", "20"), ("THINGWAY_MQTT__INFLIGHT_MAX", "21")];
    let explain = |key| run_in(directory.path(), &["explain", key, "--set", "mqtt.inflight_max=31"], &environment).out;
    for (key, value, origin, default) in [
        ("mqtt.max_qos", "1", "thingway.toml:2", "2"),
        ("mqtt.receive_maximum", "20", "environment variable THINGWAY_MQTT__RECEIVE_MAXIMUM", "1024"),
        ("mqtt.inflight_max", "31", "command line --set mqtt.inflight_max=31", "1024"),
        ("mqtt.upgrade_qos", "false", "built-in default", "false"),
    ] {
        let text = explain(key);
        let expected = format!("{key} = {value}\n  set by    {origin}\n  default   {default}\n");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn explain_of_an_unknown_key_suggests() {
    let ran = run("", &["explain", "mqtt.max_qoss"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (Some(1), "error: there is no key \"mqtt.max_qoss\", did you mean mqtt.max_qos?\n")
    );
}

#[test]
fn the_file_can_be_named_in_the_environment() {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("other.toml"), "gateway.name = \"elsewhere\"\n").expect("written");
    let ran = run_in(directory.path(), &["explain", "gateway.name"], &[("THINGWAY_CONFIG", "other.toml")]);
    assert!(ran.out.starts_with("gateway.name = \"elsewhere\"\n  set by    other.toml:1\n"), "{}{}", ran.out, ran.err);
}

#[test]
fn data_dir_is_short_for_a_setting() {
    let ran = run("gateway.data_dir = \"x\"\n", &["--data-dir", "/somewhere", "explain", "gateway.data_dir"]);
    assert!(ran.out.starts_with("gateway.data_dir = \"/somewhere\"\n"), "{}", ran.out);
}

#[test]
fn the_printed_configuration_file_is_good() {
    let printed = run("", &["config"]).out;
    assert!(printed.contains("\n#max_qos = 2\n"));
    assert_eq!(run(&printed, &["check"]).code, Some(0));
}

#[test]
fn the_examples_are_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in fs::read_dir(root.join("config/examples")).expect("the examples") {
        let path = entry.expect("an entry").path();
        let ran = run_in(root, &["check", "--config", path.to_str().expect("UTF-8")], &[]);
        // Files that an example names are its reader's.
        let others =
            ran.err.lines().filter(|line| line.starts_with("error: ") && !line.contains(": cannot read /")).count();
        assert_eq!(others, 0, "{}: {}", path.display(), ran.err);
        count += 1;
    }
    assert!(count > 0);
}
