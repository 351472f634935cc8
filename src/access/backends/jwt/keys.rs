//! What tokens are verified with. A key is of one kind, and a token that names an algorithm of another is not verified by it, whatever it says.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{hmac, signature};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject};
use x509_parser::{
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519, Oid,
    },
    prelude::{FromDer, X509Certificate},
    x509::SubjectPublicKeyInfo,
};

use super::token::decode;
use crate::access::passwords::Secret;

/// Shortest secret for HMAC, in bytes.
const SECRET_BYTES_MIN: usize = 16;
/// Bits of RSA keys that are taken.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// How tokens are signed (RFC 7518, RFC 8037). "none" is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::Hs256 => Some(hmac::HMAC_SHA256),
            Self::Hs384 => Some(hmac::HMAC_SHA384),
            Self::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    fn rsa(self) -> Option<&'static signature::RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }
}

/// A secret that tokens are signed and verified with.
#[derive(Clone, Debug)]
pub struct HmacSecret(Secret);

/// A key that tokens are verified with, whose other half is not here.
#[derive(Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA, with PKCS#1 1.5 or PSS padding: modulus and exponent.
    Rsa {
        /// The modulus.
        n: Box<[u8]>,
        /// The exponent.
        e: Box<[u8]>,
    },
    /// ECDSA with P-256: a point.
    P256(Box<[u8]>),
    /// ECDSA with P-384: a point.
    P384(Box<[u8]>),
    /// Ed25519.
    Ed25519(Box<[u8]>),
}

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not base64.
    #[error("the secret is not base64")]
    Base64,
    /// Short enough to be guessed.
    #[error("the secret is shorter than 16 bytes")]
    Short,
    /// Not in PEM form.
    #[error("no public key and no certificate in PEM form")]
    NoKey,
    /// Of a kind that is not used for tokens here.
    #[error("the key is not RSA with 2048 to 8192 bits, P-256, P-384 or Ed25519")]
    Kind,
}

impl HmacSecret {
    /// A secret as it is, or in base64.
    ///
    /// # Errors
    /// When it is not base64, or too short.
    pub fn new(text: &[u8], is_base64: bool) -> Result<Self, KeyError> {
        let secret = if is_base64 {
            Secret::from(BASE64_STANDARD.decode(text.trim_ascii()).map_err(|_| KeyError::Base64)?)
        } else {
            Secret::copy_of(text)
        };
        if secret.len() < SECRET_BYTES_MIN { Err(KeyError::Short) } else { Ok(Self(secret)) }
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let Some(algorithm) = algorithm.hmac() else { return false };
        // Compares in constant time.
        hmac::verify(&hmac::Key::new(algorithm, &self.0), signed, signature).is_ok()
    }
}

impl PublicKey {
    /// Reads a public key, or a certificate's, in PEM form.
    ///
    /// # Errors
    /// When there is none, or of another kind.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(text) {
            let (_, info) = SubjectPublicKeyInfo::from_der(&key).map_err(|_| KeyError::NoKey)?;
            return Self::from_info(&info);
        }
        let certificate = CertificateDer::from_pem_slice(text).map_err(|_| KeyError::NoKey)?;
        let (_, certificate) = X509Certificate::from_der(&certificate).map_err(|_| KeyError::NoKey)?;
        Self::from_info(certificate.public_key())
    }

    fn from_info(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyError> {
        let kind = &info.algorithm.algorithm;
        let bytes: &[u8] = &info.subject_public_key.data;
        if *kind == OID_PKCS1_RSAENCRYPTION {
            let Ok(x509_parser::public_key::PublicKey::RSA(key)) = info.parsed() else { return Err(KeyError::Kind) };
            return Self::rsa(key.modulus, key.exponent);
        }
        if *kind == OID_SIG_ED25519 {
            return Self::checked(Self::Ed25519(bytes.into()));
        }
        let curve: Option<Oid<'_>> = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        match curve {
            Some(curve) if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256 => {
                Self::checked(Self::P256(bytes.into()))
            }
            Some(curve) if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_NIST_EC_P384 => {
                Self::checked(Self::P384(bytes.into()))
            }
            _ => Err(KeyError::Kind),
        }
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        fn bare(number: &[u8]) -> &[u8] {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            &number[zeros..]
        }
        Self::checked(Self::Rsa { n: bare(n).into(), e: bare(e).into() })
    }

    /// What has not the length of a key verifies nothing, and is better told at once.
    fn checked(self) -> Result<Self, KeyError> {
        let fits = match &self {
            Self::Rsa { n, e } => RSA_BYTES.contains(&n.len()) && (1..=8).contains(&e.len()),
            Self::P256(point) => point.len() == 65 && point[0] == 4,
            Self::P384(point) => point.len() == 97 && point[0] == 4,
            Self::Ed25519(key) => key.len() == 32,
        };
        if fits { Ok(self) } else { Err(KeyError::Kind) }
    }

    /// Reads the members of a JSON Web Key (RFC 7517).
    pub(super) fn from_jwk(
        kty: &str,
        crv: Option<&str>,
        member: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, KeyError> {
        let bytes = |name: &str| member(name).and_then(|text| decode(&text)).ok_or(KeyError::NoKey);
        match (kty, crv) {
            ("RSA", _) => Self::rsa(&bytes("n")?, &bytes("e")?),
            ("EC", Some("P-256")) => Self::checked(Self::P256([&[4][..], &bytes("x")?, &bytes("y")?].concat().into())),
            ("EC", Some("P-384")) => Self::checked(Self::P384([&[4][..], &bytes("x")?, &bytes("y")?].concat().into())),
            ("OKP", Some("Ed25519")) => Self::checked(Self::Ed25519(bytes("x")?.into())),
            _ => Err(KeyError::Kind),
        }
    }

    /// Whether tokens of this algorithm are for this kind of key.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => algorithm.rsa().is_some(),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if !self.is_for(algorithm) {
            return false;
        }
        let plain = |kind: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(kind, key).verify(signed, signature).is_ok()
        };
        match self {
            Self::Rsa { n, e } => algorithm.rsa().is_some_and(|parameters| {
                signature::RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok()
            }),
            Self::P256(key) => plain(&signature::ECDSA_P256_SHA256_FIXED, key),
            Self::P384(key) => plain(&signature::ECDSA_P384_SHA384_FIXED, key),
            Self::Ed25519(key) => plain(&signature::ED25519, key),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "Rsa",
            Self::P256(_) => "P256",
            Self::P384(_) => "P384",
            Self::Ed25519(_) => "Ed25519",
        })
    }
}
