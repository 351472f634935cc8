//! How `build.rs` goes about the page: npm is run when something about the page has changed, and not otherwise.
//!
//! A crate of nothing but the script is built, with an npm that writes down what it was asked for.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

const MANIFEST: &str = "[package]\nname = \"page\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[build-dependencies]\nflate2 = { version = \"1\", default-features = false, features = [\"rust_backend\"] }\n[workspace]\n";
const NPM: &str = r#"#!/bin/sh
echo "$*" >> "$(dirname "$0")/asked"
case "$1" in
ci) mkdir -p node_modules && echo '{}' > node_modules/.package-lock.json ;;
run) mkdir -p "$THINGWAY_DASHBOARD_OUT" && cp index.html "$THINGWAY_DASHBOARD_OUT/index.html" ;;
esac
"#;

struct Crate {
    directory: tempfile::TempDir,
}

impl Crate {
    fn new() -> Self {
        let made = Self { directory: tempfile::tempdir().unwrap() };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["src", "bin", "dashboard/src"] {
            fs::create_dir_all(made.path(folder)).unwrap();
        }
        made.write("Cargo.toml", MANIFEST);
        made.write("src/lib.rs", "include!(concat!(env!(\"OUT_DIR\"), \"/page.rs\"));\npub fn all() -> &'static [File] { FILES }\npub struct File { pub path: &'static str, pub kind: &'static str, pub tag: &'static str, pub plain: &'static [u8], pub gzip: Option<&'static [u8]> }\n");
        for file in ["build.rs", "Cargo.lock"] {
            fs::copy(root.join(file), made.path(file)).unwrap();
        }
        for file in ["package.json", "package-lock.json", "index.html", "src/main.ts"] {
            made.write(&format!("dashboard/{file}"), "{}");
        }
        made.write("bin/npm", NPM);
        fs::set_permissions(made.path("bin/npm"), fs::Permissions::from_mode(0o755)).unwrap();
        made
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Changes a file so that its time tells, however coarse the file system's clock is.
    fn touch(&self, name: &str, later: Duration) {
        self.write(name, "{ }");
        let file = fs::File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(SystemTime::now() + later).unwrap();
    }

    /// Builds it, and tells what npm was asked for, but for its version.
    fn build(&self) -> Vec<String> {
        let asked = self.path("bin/asked");
        fs::write(&asked, "").unwrap();
        let path = format!("{}:{}", self.path("bin").display(), env::var("PATH").unwrap());
        let told = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--quiet"])
            .current_dir(self.directory.path())
            .env("PATH", path)
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env_remove("THINGWAY_DASHBOARD_DIR")
            .output()
            .unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let text = fs::read_to_string(&asked).unwrap();
        text.lines().filter(|line| *line != "--version").map(str::to_owned).collect()
    }
}

#[test]
fn npm_is_run_when_the_page_has_changed_and_not_otherwise() {
    let page = Crate::new();
    let installs = "ci --no-audit --no-fund --loglevel=error";
    let builds = "run --silent build";
    assert_eq!(page.build(), [installs, builds]);
    assert_eq!(page.build(), [""; 0], "nothing has changed");
    page.write("src/other.rs", "");
    page.write("dashboard/node_modules/made", "");
    page.write("dashboard/README.md", "");
    assert_eq!(page.build(), [""; 0], "nothing of the page has changed");
    page.touch("dashboard/src/main.ts", Duration::from_secs(2));
    assert_eq!(page.build(), [builds], "its packages are there");
    page.touch("dashboard/package-lock.json", Duration::from_secs(4));
    assert_eq!(page.build(), [installs, builds], "other packages are wanted");
}
