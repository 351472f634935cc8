use md5::{Digest, Md5};
use zeroize::Zeroizing;

/// A digest that other systems keep of passwords. None is good for this; they are read so that their users can move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// MD5.
    Md5,
    /// SHA-1, which EMQX calls "sha".
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Where the salt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaltPosition {
    /// There is none.
    Disable,
    /// Before the password.
    Prefix,
    /// After the password.
    Suffix,
}

impl DigestAlgorithm {
    pub(super) const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "digest-md5",
            Self::Sha1 => "digest-sha1",
            Self::Sha256 => "digest-sha256",
            Self::Sha512 => "digest-sha512",
        }
    }

    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    pub(super) fn salted(self, position: SaltPosition, salt: &[u8], password: &[u8]) -> Zeroizing<Vec<u8>> {
        let (first, second) = match position {
            SaltPosition::Disable => (password, &[][..]),
            SaltPosition::Prefix => (salt, password),
            SaltPosition::Suffix => (password, salt),
        };
        let algorithm = match self {
            Self::Md5 => {
                let mut digest = Md5::new();
                digest.update(first);
                digest.update(second);
                return digest.finalize().to_vec().into();
            }
            Self::Sha1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &ring::digest::SHA256,
            Self::Sha512 => &ring::digest::SHA512,
        };
        let mut digest = ring::digest::Context::new(algorithm);
        digest.update(first);
        digest.update(second);
        digest.finish().as_ref().to_vec().into()
    }
}

impl SaltPosition {
    pub(super) const ALL: [Self; 3] = [Self::Disable, Self::Prefix, Self::Suffix];

    /// EMQX's word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefix => "prefix",
            Self::Suffix => "suffix",
        }
    }
}
