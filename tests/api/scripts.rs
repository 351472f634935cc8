//! A script of calls as scripts for EMQX make them.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    Managed, PASSWORD,
    common::{Connect, Version},
    tools,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_script_for_emqx_goes_on_working() {
    let test = "a_script_for_emqx_goes_on_working";
    if tools::need(test, "curl", tools::program("curl")).is_none()
        || tools::need(test, "python3", tools::program("python3")).is_none()
    {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::with(|config| {
        config.gateway.data_dir = folder.path().into();
        config.access.authenticators = vec!["users".into()];
    })
    .await;
    let user = json!({ "user_id": "someone", "password": "something" });
    let made = managed.admin.post("/api/v5/authentication/built_in_database/users", &user).await;
    assert_eq!(made.status, 201, "{made:?}");
    let connect = Connect::new(Version::V5, "device").username("someone").password("something");
    let (mut client, _) = managed.gateway.connect(&connect).await;
    client.subscribe("sensors/#", 1).await;
    let address = managed.gateway.gateway().api_address().expect("it is served");
    let run = move || {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/emqx.sh"))
            .args([&format!("http://{address}/api/v5"), PASSWORD])
            .stdin(Stdio::null())
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await.expect("it runs").expect("it starts");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(told.ends_with("all as EMQX answers it\n"), "{told}");
}
