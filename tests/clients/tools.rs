//! Finding the programs that tests need. Without one a test skips by name; in CI (`CI=true`) it fails.

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The tool, or `None` after saying which test is skipped for the want of it.
pub fn need(test: &str, tool: &str, found: Option<PathBuf>) -> Option<PathBuf> {
    if found.is_none() {
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} needs {tool}, and CI has everything");
        // The test harness would swallow what `eprintln!` says in a test that passes.
        writeln!(std::io::stderr(), "skipped: {test} needs {tool}").expect("there is a standard error");
    }
    found
}

/// A program in PATH, or where Debian has it for root alone.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Node, when the packages of `tests/clients/node` are installed too.
pub fn node() -> Option<PathBuf> {
    node_directory().join("node_modules/mqtt/package.json").is_file().then(|| program("node"))?
}

pub fn node_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node")
}

/// A Python that has the clients of `tests/clients/python/requirements.txt`: `THINGWAY_PYTHON`, the virtual environment that `.ci/run` makes, or the system's.
pub fn python() -> Option<PathBuf> {
    python_with("import paho.mqtt.client, aiomqtt, aiocoap, mqttsn.client")
}

/// A Python that can do these imports.
pub fn python_with(imports: &str) -> Option<PathBuf> {
    let candidates = [
        env::var_os("THINGWAY_PYTHON").map(PathBuf::from),
        Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/venv/bin/python")),
        program("python3"),
    ];
    candidates.into_iter().flatten().find(|python| {
        Command::new(python)
            .args(["-c", imports])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// libcoap's client, in the build without TLS, which is all that these tests need.
pub fn coap_client() -> Option<PathBuf> {
    program("coap-client-notls").or_else(|| program("coap-client"))
}

pub fn chromium() -> Option<PathBuf> {
    program("chromium").or_else(|| program("chromium-browser")).or_else(|| program("google-chrome"))
}
