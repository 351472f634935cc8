//! Where archives are kept: files of a folder, under names that cannot lead out of it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Archives that are kept.
pub const FILES_MAX: usize = 20;
const NAME_BYTES_MAX: usize = 128;
const ENDING: &str = ".tar.gz";

/// The folder. It is made when something is written.
#[derive(Debug)]
pub struct Folder(PathBuf);

/// An archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, in seconds since 1970.
    pub unix_secs: u64,
}

/// Why no file is taken.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A name that is none.
    #[error(
        "a name has letters, digits, \"-\", \"_\" and \".\", does not begin with \".\", and ends with \"{ENDING}\": at most {NAME_BYTES_MAX} bytes"
    )]
    Name,
    /// There is such a file.
    #[error("there is such a file")]
    Exists,
    /// There are as many as may be.
    #[error("{FILES_MAX} files are kept already: delete one first")]
    Full,
    /// The system says no.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// A file that is being written. It is there when it is complete.
#[derive(Debug)]
pub struct Unfinished {
    /// To be written.
    pub file: File,
    path: PathBuf,
    finished: PathBuf,
}

/// Checks a name.
///
/// # Errors
/// [`FolderError::Name`].
pub fn check_name(name: &str) -> Result<(), FolderError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_good = name.len() <= NAME_BYTES_MAX
        && name.len() > ENDING.len()
        && name.ends_with(ENDING)
        && !name.starts_with('.')
        && name.chars().all(good);
    if is_good { Ok(()) } else { Err(FolderError::Name) }
}

impl Folder {
    /// A folder that may not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// All archives, the latest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn list(&self) -> io::Result<Vec<Kept>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // It may be gone again.
            let Ok(metadata) = entry.metadata() else { continue };
            if check_name(&name).is_ok() && metadata.is_file() {
                all.push(kept(name, &metadata));
            }
        }
        all.sort_unstable_by(|a, b| (b.unix_secs, &b.name).cmp(&(a.unix_secs, &a.name)));
        Ok(all)
    }

    /// An archive to read; `None` when there is none of this name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(&self, name: &str) -> io::Result<Option<(File, Kept)>> {
        let path = self.0.join(name);
        // A link would lead elsewhere.
        let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        if check_name(name).is_err() || !is_file(&path) {
            return Ok(None);
        }
        let file = File::open(path)?;
        let kept = kept(name.to_owned(), &file.metadata()?);
        Ok(Some((file, kept)))
    }

    /// Begins to write an archive, for its owner's eyes alone.
    ///
    /// # Errors
    /// When there may be no file of this name.
    pub fn create(&self, name: &str) -> Result<Unfinished, FolderError> {
        check_name(name)?;
        let finished = self.0.join(name);
        if fs::symlink_metadata(&finished).is_ok() {
            return Err(FolderError::Exists);
        }
        if self.list()?.len() >= FILES_MAX {
            return Err(FolderError::Full);
        }
        fs::create_dir_all(&self.0)?;
        let path = self.0.join(format!("{name}.part"));
        let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok(Unfinished { file, path, finished })
    }

    /// A file without a name.
    ///
    /// # Errors
    /// When there can be none.
    pub fn scratch(&self) -> io::Result<File> {
        fs::create_dir_all(&self.0)?;
        let path = self.0.join("export.part");
        let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        fs::remove_file(path)?;
        Ok(file)
    }

    /// Takes an archive away; false when there is none of this name.
    ///
    /// # Errors
    /// When it stays.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        if check_name(name).is_err() {
            return Ok(false);
        }
        match fs::remove_file(self.0.join(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Unfinished {
    /// It is complete, and safe on the disk.
    ///
    /// # Errors
    /// When it is not.
    pub fn finish(self) -> io::Result<Kept> {
        self.file.sync_all()?;
        let name = self.finished.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let kept = kept(name, &self.file.metadata()?);
        fs::rename(&self.path, &self.finished)?;
        File::open(self.finished.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(kept)
    }
}

impl Drop for Unfinished {
    /// What was not finished goes; what was has another name.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn kept(name: String, metadata: &fs::Metadata) -> Kept {
    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let since = written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Kept { name, size: metadata.len(), unix_secs: since.as_secs() }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        for good in ["a.tar.gz", "thingway-export-2026-01-31-00-00-00.000.tar.gz", "A_b-c..tar.gz"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = format!("{}.tar.gz", "x".repeat(NAME_BYTES_MAX));
        for bad in [
            "",
            ".tar.gz",
            "..tar.gz",
            "a.tgz",
            "../a.tar.gz",
            "a/b.tar.gz",
            "a\\b.tar.gz",
            "ä.tar.gz",
            "a\0.tar.gz",
            &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_come_and_go() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(place.path().join("backup"));
        assert_eq!(folder.list().expect("none"), []);
        let mut unfinished = folder.create("a.tar.gz").expect("room");
        unfinished.file.write_all(b"abc").expect("written");
        assert!(folder.list().expect("none").is_empty() && folder.open("a.tar.gz").expect("none").is_none());
        let kept = unfinished.finish().expect("safe");
        assert_eq!((kept.name.as_str(), kept.size), ("a.tar.gz", 3));
        assert_eq!(folder.list().expect("one"), [kept.clone()]);
        let (file, found) = folder.open("a.tar.gz").expect("read").expect("there");
        assert_eq!((found, file.metadata().expect("one").permissions().mode() & 0o777), (kept, 0o600));
        assert!(matches!(folder.create("a.tar.gz"), Err(FolderError::Exists)));
        drop(folder.create("b.tar.gz").expect("room"));
        std::os::unix::fs::symlink("/etc/passwd", place.path().join("backup/l.tar.gz")).expect("a link");
        assert!(folder.open("l.tar.gz").expect("none").is_none() && folder.list().expect("one").len() == 1);
        for number in 1..FILES_MAX {
            folder.create(&format!("{number}.tar.gz")).expect("room").finish().expect("safe");
        }
        assert!(matches!(folder.create("b.tar.gz"), Err(FolderError::Full)));
        assert!(folder.remove("a.tar.gz").expect("gone") && !folder.remove("a.tar.gz").expect("gone"));
        assert!(!folder.remove("../backup/1.tar.gz").expect("no name"));
        folder.scratch().expect("a file").write_all(b"x").expect("written");
        assert_eq!(
            fs::read_dir(place.path().join("backup")).expect("a folder").count(),
            FILES_MAX,
            "nothing else is left"
        );
    }
}
