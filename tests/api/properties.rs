//! What a tester makes up from the description of the API: requests of every shape, for every operation.

use std::process::{Command, Stdio};

use crate::{Managed, tools};

/// Those that would end the test's own login, lock it out, or never end.
const LEFT_OUT: [&str; 4] = ["/login", "/logout", "/live", "/users/{name}/change_pwd"];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_made_up_is_answered_as_described() {
    let Some(python) = tools::need("properties", "schemathesis", tools::python_with("import schemathesis")) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::with(|config| config.gateway.data_dir = folder.path().join("data")).await;
    let address = managed.gateway.gateway().api_address().expect("it is served");
    let mut command = Command::new(python);
    command
        .current_dir(folder.path())
        .args(["-m", "schemathesis.cli", "--no-color", "run"])
        .arg(format!("http://{address}/api-docs/openapi.json"))
        .arg("-H")
        .arg(managed.admin.authorization().trim_end())
        .args(["--phases", "coverage,fuzzing", "--max-examples", "10", "--generation-deterministic"])
        .args([
            "--continue-on-failure",
            "--suppress-health-check",
            "all",
            "--request-timeout",
            "30",
            "--warnings",
            "off",
        ])
        // What a schema cannot say is refused, and rightly so.
        .args(["--exclude-checks", "positive_data_acceptance"]);
    for path in LEFT_OUT {
        command.args(["--exclude-path", path]);
    }
    let run = move || command.stdin(Stdio::null()).output();
    let output = tokio::task::spawn_blocking(run).await.expect("it runs").expect("it starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("Fuzzing"), "it did what it was asked: {told}");
    assert_eq!(managed.get("/api/v5/stats").await.status, 200, "the login has lasted");
}
