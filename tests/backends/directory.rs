//! OpenLDAP with EMQX's attributes.

use crate::{
    BAD_CREDENTIALS, UNAVAILABLE, WELCOME, code, contract, credentials, gateway,
    servers::{self, Running},
};

/// bob's password is "secret", as SSHA with the salt "pepper"; root's is "toor", which lies there as it is.
const ENTRIES: &str = "\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ou=devices,dc=example,dc=org
objectClass: organizationalUnit
ou: devices

dn: uid=bob,ou=devices,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: mqttUser
uid: bob
cn: bob
sn: bob
userPassword: {SSHA}D4kSuvPIF4rZzl+dW9Km/1788fBwZXBwZXI=
mqttPublishTopic: by/${clientid}/#
mqttSubscriptionTopic: news/#
mqttSubscriptionTopic: more/#

dn: uid=root,ou=devices,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: mqttUser
uid: root
cn: root
sn: root
userPassword: toor
isSuperuser: TRUE
";

fn access(running: &Running, more: &str) -> String {
    let port = running.port;
    format!(
        "[access]\nauthenticators = [\"ldap.main\"]\nsources = [\"ldap.main\"]\n\
         [access.ldap.main]\nserver = \"127.0.0.1:{port}\"\nusername = \"cn=admin,dc=example,dc=org\"\npassword = \"word\"\n\
         limits = {{ failures = 1, rest = \"50ms\" }}\n{more}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ldap() {
    let Some(mut running) = servers::slapd("ldap", ENTRIES) else { return };
    let by_name = "base_dn = \"uid=${username},ou=devices,dc=example,dc=org\"";
    let by_filter =
        "base_dn = \"ou=devices,dc=example,dc=org\"\nfilter = \"(&(objectClass=mqttUser)(uid=${username}))\"";
    for place in [by_name, by_filter] {
        for method in ["hash", "bind"] {
            let gateway = gateway(&access(&running, &format!("{place}\nmethod = \"{method}\""))).await;
            contract::authenticates(&gateway).await;
            contract::authorizes(&gateway).await;
        }
    }
    let bind = gateway(&access(&running, &format!("{by_filter}\nmethod = \"bind\""))).await;
    for (what, more) in [
        ("no such attribute", format!("{by_name}\npassword_attribute = \"description\"")),
        ("no hash", format!("{by_name}\npassword_attribute = \"cn\"\npassword_hash = \"sha256\"")),
        ("no name", "base_dn = \"devices ${username}\"".into()),
    ] {
        assert_eq!(code(&gateway(&access(&running, &more)).await, "bob", "secret").await, UNAVAILABLE, "{what}");
    }
    let wrong = access(&running, by_name).replace("\"word\"", "\"other\"");
    assert_eq!(code(&gateway(&wrong).await, "bob", "secret").await, UNAVAILABLE);
    let anonymous = access(&running, by_name).replace("username = \"cn=admin,dc=example,dc=org\"", "");
    assert_eq!(code(&gateway(&anonymous).await, "bob", "secret").await, UNAVAILABLE, "who may not read passwords");
    let anonymous = format!("{anonymous}method = \"bind\"\n");
    let without = gateway(&anonymous).await;
    assert_eq!(code(&without, "bob", "secret").await, WELCOME);
    assert_eq!(code(&without, "bob", "").await, BAD_CREDENTIALS, "a bind without a password is none");
    let encrypted = access(&running, &format!("{by_name}\nTLS"));
    let own_port = encrypted.replace(&format!(":{}\"", running.port), &format!(":{}\"", running.tls_port));
    crate::is_encrypted(&own_port, &running.certificates).await;
    crate::is_encrypted(&encrypted.replace("TLS", "TLS\nstart_tls = true"), &running.certificates).await;
    let (mut client, _) = bind.connect(&credentials("c1", "bob", "secret")).await;
    running.kill();
    assert_eq!(code(&bind, "root", "toor").await, UNAVAILABLE);
    client.ping().await;
    running.go();
    crate::sql::until(async || code(&bind, "root", "toor").await == WELCOME).await;
}
