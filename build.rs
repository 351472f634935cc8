//! Builds the management page in `dashboard/` with npm, and writes a table of its files for `src/api/assets.rs` to embed.
//!
//! It runs when the page's sources change, and never fails because Node is not there: the gateway is then built without its page, and says so.
//! `THINGWAY_DASHBOARD_DIR` names a folder with a page that is built already.

use std::{
    collections::hash_map::DefaultHasher,
    env,
    fmt::Write as _,
    fs::{self, File},
    hash::Hasher,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use flate2::{Compression, write::GzEncoder};

/// What the page is made of. Its packages and what was built of it are not, so that they do not set off another build.
const SOURCES: [&str; 7] =
    ["index.html", "package.json", "package-lock.json", "public", "src", "tsconfig.json", "vite.config.ts"];
/// Bytes of a page. More is a mistake, as it would all be in the binary.
const BYTES_MAX: usize = 8 << 20;
/// What npm says when there is no registry to reach.
const UNREACHABLE: [&str; 6] = ["EAI_AGAIN", "ECONNREFUSED", "ENETUNREACH", "ENOTCACHED", "ENOTFOUND", "ETIMEDOUT"];

enum Missing {
    /// The page cannot be had on this machine; the gateway can do without.
    Absent(String),
    /// The page's sources are wrong.
    Broken(String),
}

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=THINGWAY_DASHBOARD_DIR");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let page = match env::var_os("THINGWAY_DASHBOARD_DIR") {
        Some(directory) => prebuilt(PathBuf::from(directory)),
        None => built(&out.join("page")),
    };
    let written = match page {
        Ok(page) => write_table(&out, Some(&page)),
        Err(Missing::Absent(why)) => {
            println!(
                "cargo:warning=the gateway is built without its management page: {why}. Install Node 20 or newer with npm and touch build.rs, or set THINGWAY_DASHBOARD_DIR to a folder with a built page."
            );
            write_table(&out, None)
        }
        Err(Missing::Broken(why)) => Err(io::Error::other(why)),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the management page: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prebuilt(directory: PathBuf) -> Result<PathBuf, Missing> {
    println!("cargo:rerun-if-changed={}", directory.display());
    if directory.join("index.html").is_file() {
        Ok(directory)
    } else {
        Err(Missing::Broken(format!("there is no index.html in THINGWAY_DASHBOARD_DIR, {}", directory.display())))
    }
}

/// Builds the page into the folder.
fn built(target: &Path) -> Result<PathBuf, Missing> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("dashboard");
    // A path that is not there would make cargo run this every time.
    for source in SOURCES.iter().map(|name| root.join(name)).filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", source.display());
    }
    let manifest = File::open(root.join("package.json"))
        .map_err(|error| Missing::Absent(format!("dashboard/package.json: {error}")))?;
    if !Command::new("npm").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return Err(Missing::Absent("there is no npm".into()));
    }
    // A debug and a release build may come here at once.
    manifest.lock().map_err(|error| Missing::Broken(format!("dashboard/package.json: {error}")))?;
    if !packages_are_current(&root) {
        install(&root)?;
    }
    let told = Command::new("npm")
        .args(["run", "--silent", "build"])
        .env("THINGWAY_DASHBOARD_OUT", target)
        .current_dir(&root)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Missing::Broken(format!("npm: {error}")))?;
    if told.status.success() { Ok(target.to_owned()) } else { Err(Missing::Broken(said("npm run build", &told))) }
}

fn install(root: &Path) -> Result<(), Missing> {
    let told = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Missing::Broken(format!("npm: {error}")))?;
    if told.status.success() {
        return Ok(());
    }
    let text = said("npm ci", &told);
    if UNREACHABLE.iter().any(|code| text.contains(code)) {
        return Err(Missing::Absent("npm reaches no registry to get the page's packages from".into()));
    }
    Err(Missing::Broken(text))
}

/// npm leaves this file when it has installed everything.
fn packages_are_current(root: &Path) -> bool {
    let changed = |path: &str| fs::metadata(root.join(path)).and_then(|meta| meta.modified());
    match (changed("node_modules/.package-lock.json"), changed("package-lock.json")) {
        (Ok(installed), Ok(wanted)) => installed >= wanted,
        _ => false,
    }
}

fn said(what: &str, told: &std::process::Output) -> String {
    let (output, errors) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    format!("{what} failed with {}\n{output}{errors}", told.status)
}

/// Writes `page.rs`: the constant `FILES`, sorted by path.
fn write_table(out: &Path, page: Option<&Path>) -> io::Result<()> {
    let mut names = Vec::new();
    if let Some(page) = page {
        collect(page, "", &mut names)?;
    }
    names.sort();
    let (mut table, mut total) = (String::from("const FILES: &[File] = &[\n"), 0);
    for (number, name) in names.iter().enumerate() {
        let file = page.unwrap_or(out).join(name);
        let bytes = fs::read(&file)?;
        total += bytes.len();
        if total > BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {BYTES_MAX} bytes")));
        }
        let kind = content_type(name).ok_or_else(|| io::Error::other(format!("what is {name}?")))?;
        let mut hash = DefaultHasher::new();
        hash.write(&bytes);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        let packed = encoder.finish()?;
        let gzip = if packed.len() < bytes.len() {
            let packed_path = out.join(format!("page-{number}.gz"));
            fs::write(&packed_path, packed)?;
            format!("Some(include_bytes!({packed_path:?}))")
        } else {
            "None".into()
        };
        writeln!(
            table,
            "    File {{ path: {:?}, kind: {kind:?}, tag: \"{:016x}\", plain: include_bytes!({:?}), gzip: {gzip} }},",
            format!("/{name}"),
            hash.finish(),
            file.canonicalize()?,
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("];\n");
    fs::write(out.join("page.rs"), table)
}

fn collect(directory: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| io::Error::other(format!("{name:?} is no text")))?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), names)?;
        } else {
            names.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => return None,
    })
}
