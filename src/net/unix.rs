//! Unix domain sockets.

use std::{
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// Where a Unix socket is, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixOptions {
    /// The socket's path. A file there that nobody listens on is replaced if it is a socket.
    pub path: PathBuf,
    /// Permission bits, as 0o660.
    pub mode: u32,
}

/// A socket file, removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Listens on the path.
pub(super) fn bind(options: &UnixOptions) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(&options.path)?;
    let listener = UnixListener::bind(&options.path)?;
    std::fs::set_permissions(&options.path, std::fs::Permissions::from_mode(options.mode))?;
    let file = SocketFile { path: options.path.clone(), identity: Identity::of(&options.path)? };
    listener.set_nonblocking(true)?;
    Ok((listener, file))
}

/// Removes a socket that nobody listens on. Anything else in the way stays, and binding will fail.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if metadata.file_type().is_socket()
        && let Err(error) = UnixStream::connect(path)
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Tells a socket file from another that was put in its place; inode numbers alone are used again.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Self { inode: metadata.ino(), changed: (metadata.ctime(), metadata.ctime_nsec()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be another's by now; and one that cannot be removed is replaced at the next start.
        if Identity::of(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_what_is_dead() {
        let directory = tempfile::tempdir().unwrap();
        let options = UnixOptions { path: directory.path().join("s"), mode: 0o600 };
        let (listener, file) = bind(&options).unwrap();
        assert_eq!(std::fs::metadata(&options.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bind(&options).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        // As after a crash: the file is there, the listener is not.
        let (_listener, second) = bind(&options).unwrap();
        drop(file);
        assert!(options.path.exists(), "the old owner must not remove the new socket");
        drop(second);
        assert!(!options.path.exists());
        std::fs::write(&options.path, "a file").unwrap();
        assert_eq!(bind(&options).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read(&options.path).unwrap(), b"a file");
    }
}
