//! Servers as child processes.
#![allow(
    clippy::disallowed_methods,
    reason = "other processes can only be polled, and the passing of real time slept through"
)]

use std::{
    env, fs,
    io::Write,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::certificates::Certificates;

/// How long a server may take to be there. An upper bound for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that ends with its owner.
pub struct Running {
    child: Option<Child>,
    start: Box<dyn Fn() -> Command + Send>,
    pub port: u16,
    /// For servers that have another one for encrypted connections.
    pub tls_port: u16,
    pub certificates: Certificates,
    // After the child.
    pub folder: TempDir,
}

impl Running {
    /// Starts a program on a port that is free now, and waits until it takes connections.
    fn start(folder: TempDir, command: impl Fn([u16; 2], &Path) -> Command + Send + 'static) -> Self {
        let both = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [port, tls_port] = both.map(|it| it.local_addr().expect("an address").port());
        let path = folder.path().to_owned();
        let certificates = certificates(&path);
        let start = Box::new(move || command([port, tls_port], &path));
        let mut running = Self { child: None, start, port, tls_port, certificates, folder };
        running.go();
        running
    }

    /// Starts it, again.
    pub fn go(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        let error = log.try_clone().expect("a log");
        let mut command = (self.start)();
        self.child = Some(command.stdin(Stdio::null()).stdout(log).stderr(error).spawn().expect("it starts"));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let child = self.child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("a child");
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "it has ended: {}", log());
            assert!(Instant::now() < deadline, "it does not come up: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it was running");
            child.wait().expect("it has ended");
        }
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(Instant::now() < deadline, "something still listens");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program of this name, in the usual places or in these. Without it the test is skipped, which is said; in CI it must be there.
pub fn need(test: &str, name: &str, folders: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.iter().map(PathBuf::from).chain(usual).map(|folder| folder.join(name)).find(|it| it.exists());
    if found.is_none() {
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} needs {name}");
        // The test harness would swallow the output of a test that passes.
        writeln!(std::io::stderr(), "skipped: {test} needs {name}").expect("standard error");
    }
    found
}

/// A program that runs as this user if we are root, since some servers refuse to be.
fn as_user(user: &str, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups").arg(program);
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// A folder for a server of this user, with certificates.
fn folder_of(user: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Certificates::make(folder.path());
    ok(Command::new("chmod").arg("600").arg(&made.key));
    if is_root() {
        ok(Command::new("chown").arg("-R").arg(user).arg(folder.path()));
    }
    folder
}

/// Those of a folder.
fn certificates(folder: &Path) -> Certificates {
    let [ca, certificate, key] = ["ca.pem", "certificate.pem", "key.pem"].map(|name| folder.join(name));
    Certificates { ca, certificate, key }
}

/// Runs it and insists on success.
pub fn ok(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Repeats something until it succeeds: a server that listens may not serve yet.
fn retry(command: impl Fn() -> Command) {
    let deadline = Instant::now() + PATIENCE;
    while !command().output().is_ok_and(|output| output.status.success()) {
        if Instant::now() > deadline {
            ok(&mut command());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

const POSTGRESQL: &[&str] = &[
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/14/bin",
];

/// PostgreSQL with the user thingway, whose password is "word".
pub fn postgresql(test: &str) -> Option<(Running, impl Fn(&str))> {
    let [initdb, postgres, psql] =
        [need(test, "initdb", POSTGRESQL)?, need(test, "postgres", POSTGRESQL)?, need(test, "psql", POSTGRESQL)?];
    let folder = folder_of("postgres");
    let (data, word) = (folder.path().join("data"), folder.path().join("word"));
    fs::write(&word, "word\n").expect("written");
    ok(as_user("postgres", &initdb)
        .args(["--username=thingway", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .arg(format!("--pwfile={}", word.display()))
        .arg(&data)
        .current_dir(folder.path()));
    let running = Running::start(folder, move |[port, _], folder| {
        let mut command = as_user("postgres", &postgres);
        let files = certificates(folder);
        command.args(["-c", "ssl=on", "-c"]).arg(format!("ssl_cert_file={}", files.certificate.display()));
        command.arg("-c").arg(format!("ssl_key_file={}", files.key.display()));
        command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "fsync=off", "-c"]).arg(format!("unix_socket_directories={}", folder.display()));
        command.current_dir(folder);
        command
    });
    let port = running.port;
    let sql = move |text: &str| {
        let command = || {
            let mut command = Command::new(&psql);
            command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "thingway", "-d", "postgres"]);
            command.args(["-v", "ON_ERROR_STOP=1", "-q", "-c", text]).env("PGPASSWORD", "word");
            command
        };
        retry(command);
    };
    Some((running, sql))
}

/// MariaDB with the user thingway, whose password is "word", and the database mqtt.
pub fn mariadb(test: &str) -> Option<(Running, impl Fn(&str))> {
    let [install, server, client] =
        [need(test, "mariadb-install-db", &[])?, need(test, "mariadbd", &[])?, need(test, "mariadb", &[])?];
    let folder = folder_of("mysql");
    ok(as_user("mysql", &install)
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(format!("--datadir={}", folder.path().join("data").display()))
        .current_dir(folder.path()));
    let running = Running::start(folder, move |[port, _], folder| {
        let mut command = as_user("mysql", &server);
        command.arg("--no-defaults").arg(format!("--datadir={}", folder.join("data").display()));
        command.arg(format!("--socket={}", folder.join("socket").display()));
        command.arg(format!("--pid-file={}", folder.join("pid").display()));
        let files = certificates(folder);
        command.arg(format!("--ssl-cert={}", files.certificate.display()));
        command.arg(format!("--ssl-key={}", files.key.display())).arg(format!("--ssl-ca={}", files.ca.display()));
        command.arg(format!("--port={port}")).args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
        command.current_dir(folder);
        command
    });
    let socket = running.folder.path().join("socket");
    let sql = move |text: &str| {
        retry(|| {
            let mut command = Command::new(&client);
            command.arg("--no-defaults").arg(format!("--socket={}", socket.display()));
            command.args(["--user=root", "--batch", "-e", text]);
            command
        });
    };
    sql("CREATE DATABASE IF NOT EXISTS mqtt");
    sql(
        "CREATE USER IF NOT EXISTS thingway@'127.0.0.1' IDENTIFIED BY 'word'; GRANT SELECT ON mqtt.* TO thingway@'127.0.0.1'",
    );
    Some((running, sql))
}

/// Redis, whose password is "word".
pub fn redis(test: &str) -> Option<(Running, impl Fn(&[&str]))> {
    let [server, client] = [need(test, "redis-server", &[])?, need(test, "redis-cli", &[])?];
    let folder = folder_of("root");
    let running = Running::start(folder, move |[port, tls_port], folder| {
        let mut command = Command::new(&server);
        let files = certificates(folder);
        command.args(["--tls-port", &tls_port.to_string(), "--tls-auth-clients", "yes", "--tls-cert-file"]);
        command.arg(files.certificate).arg("--tls-key-file").arg(files.key).arg("--tls-ca-cert-file").arg(files.ca);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--requirepass", "word"]);
        command.args(["--save", "", "--appendonly", "yes", "--dir"]).arg(folder);
        command.current_dir(folder);
        command
    });
    let port = running.port;
    let say = move |words: &[&str]| {
        let output = ok(Command::new(&client)
            .args(["-p", &port.to_string(), "-a", "word", "--no-auth-warning", "-n", "3", "-e"])
            .args(words));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!told.starts_with("(error)"), "{told}");
    };
    Some((running, say))
}

/// OpenLDAP with the tree dc=example,dc=org, whose administrator's password is "word", and these entries in it.
pub fn slapd(test: &str, entries: &str) -> Option<Running> {
    let [server, add] = [need(test, "slapd", &[])?, need(test, "slapadd", &[])?];
    let folder = folder_of("root");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder");
    let schema = "/etc/ldap/schema";
    let configuration = format!(
        "include {schema}/core.schema\ninclude {schema}/cosine.schema\ninclude {schema}/inetorgperson.schema\n\
         attributetype ( 1.3.6.1.4.1.11.2.53.2.2.3.1.2.3.1.1 NAME 'isSuperuser' EQUALITY booleanMatch \
         SYNTAX 1.3.6.1.4.1.1466.115.121.1.7 SINGLE-VALUE )\n\
         attributetype ( 1.3.6.1.4.1.11.2.53.2.2.3.1.2.3.4.1 NAME ( 'mqttPublishTopic' ) EQUALITY caseExactMatch \
         SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )\n\
         attributetype ( 1.3.6.1.4.1.11.2.53.2.2.3.1.2.3.4.2 NAME ( 'mqttSubscriptionTopic' ) EQUALITY caseExactMatch \
         SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )\n\
         attributetype ( 1.3.6.1.4.1.11.2.53.2.2.3.1.2.3.4.3 NAME ( 'mqttPubSubTopic' ) EQUALITY caseExactMatch \
         SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )\n\
         objectclass ( 1.3.6.1.4.1.11.2.53.2.2.3.1.2.3.4 NAME 'mqttUser' SUP top AUXILIARY \
         MAY ( isSuperuser $ mqttPublishTopic $ mqttSubscriptionTopic $ mqttPubSubTopic ) )\n\
         moduleload back_mdb\npidfile {0}/pid\n\
         TLSCACertificateFile {0}/ca.pem\nTLSCertificateFile {0}/certificate.pem\nTLSCertificateKeyFile {0}/key.pem\ndatabase mdb\nmaxsize 10485760\nsuffix dc=example,dc=org\n\
         rootdn cn=admin,dc=example,dc=org\nrootpw word\ndirectory {1}\n\
         access to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n",
        folder.path().display(),
        data.display(),
    );
    let configuration = configuration.replacen("moduleload", "modulepath /usr/lib/ldap\nmoduleload", 1);
    let file = folder.path().join("slapd.conf");
    fs::write(&file, configuration).expect("written");
    let ldif = folder.path().join("entries.ldif");
    fs::write(&ldif, entries).expect("written");
    ok(Command::new(add).arg("-f").arg(&file).arg("-l").arg(&ldif));
    Some(Running::start(folder, move |[port, tls_port], folder| {
        let mut command = Command::new(&server);
        let places = format!("ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/");
        command.arg("-f").arg(folder.join("slapd.conf")).args(["-d", "0", "-h", &places]);
        command
    }))
}
