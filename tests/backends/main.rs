//! Databases and directories that are asked who may connect and what clients may do: real servers, on ports and in folders of their own, which end with the
//! test. Without one its tests are skipped by name; in CI it must be there.

#[path = "../clients/certificates.rs"]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod certificates;
#[path = "../common/mod.rs"]
mod common;

mod contract;
mod directory;
mod mongodb;
mod outages;
mod redis;
mod servers;
mod sql;

use thingway::config::Config;

use certificates::Certificates;
use common::{Client, Connect, TestGateway, Version};

/// A gateway with these settings of `access`, which nobody has to wait for after wrong passwords.
async fn gateway(access: &str) -> TestGateway {
    let parsed = Config::from_toml(access).unwrap_or_else(|error| panic!("{error}\n{access}"));
    TestGateway::with(|config| {
        config.access = parsed.access;
        config.access.backoff.enable = false;
    })
    .await
}

fn credentials(client_id: &str, username: &str, password: &str) -> Connect {
    Connect::new(Version::V5, client_id).username(username).password(password)
}

/// The code that a CONNECT is answered with.
async fn code(gateway: &TestGateway, username: &str, password: &str) -> u8 {
    let mut client = Client::open(gateway.address, Version::V5).await;
    client.send(&credentials("probe", username, password).bytes()).await;
    client.connack().await.code
}

/// Bob comes in by an encrypted connection (with these settings of access, and `TLS` where those of encryption go), and nobody does when it is not the right
/// server that answers.
async fn is_encrypted(access: &str, certificates: &Certificates) {
    let with = |ca: &Certificates, more: &str| {
        access.replace("TLS", &format!("tls = {{ enable = true, ca_file = \"{}\"{more} }}", ca.ca.display()))
    };
    let own =
        format!(", certificate = \"{}\", key = \"{}\"", certificates.certificate.display(), certificates.key.display());
    assert_eq!(code(&gateway(&with(certificates, &own)).await, "bob", "secret").await, WELCOME);
    let folder = tempfile::tempdir().expect("a folder");
    let others = Certificates::make(folder.path());
    assert_eq!(code(&gateway(&with(&others, &own)).await, "bob", "secret").await, UNAVAILABLE, "another authority");
}

const WELCOME: u8 = 0;
const BAD_CREDENTIALS: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;
const UNAVAILABLE: u8 = 0x88;
