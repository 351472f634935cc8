//! What the gateway signs with what it hands out, as CoAP's tokens: they must hold good when it comes back.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use crate::config::{Config, StoreDurability};

const BYTES: usize = 16;

/// The secret of this gateway: kept in `{data_dir}/secret`, which only its owner may read, unless nothing is to be kept.
pub(super) fn secret(config: &Config) -> io::Result<[u8; BYTES]> {
    if config.store.durability == StoreDurability::Memory {
        return fresh();
    }
    let folder = &config.gateway.data_dir;
    let path = folder.join("secret");
    if let Ok(found) = fs::read(&path)
        && let Ok(secret) = found.try_into()
    {
        return Ok(secret);
    }
    fs::create_dir_all(folder)?;
    let secret = fresh()?;
    write(folder, &path, &secret)?;
    Ok(secret)
}

/// Puts it there whole or not at all.
fn write(folder: &Path, path: &Path, secret: &[u8]) -> io::Result<()> {
    let new = folder.join("secret.new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(secret)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn fresh() -> io::Result<[u8; BYTES]> {
    let mut secret = [0; BYTES];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut secret).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_when_the_gateway_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.gateway.data_dir = folder.path().join("data");
        let first = secret(&config).expect("a secret");
        assert_eq!(secret(&config).expect("a secret"), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = fs::metadata(config.gateway.data_dir.join("secret")).expect("a file");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        // One that was cut short is made anew.
        fs::write(config.gateway.data_dir.join("secret"), b"short").expect("written");
        assert_ne!(secret(&config).expect("a secret"), first);
        config.store.durability = StoreDurability::Memory;
        assert_ne!(secret(&config).expect("a secret"), secret(&config).expect("a secret"));
    }
}
