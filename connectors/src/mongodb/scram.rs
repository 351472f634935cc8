//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's side.

use std::num::NonZeroU32;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    digest, hmac, pbkdf2,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Rounds that a server may ask for: fewer prove too little, more would take too long.
const ROUNDS: std::ops::RangeInclusive<u32> = 4096..=200_000;

/// A conversation that has begun.
pub struct Scram {
    first_bare: String,
    nonce: String,
}

/// What proves that we know the password, and what will prove that the server does.
pub struct Proof {
    /// The last message of the client.
    pub message: String,
    signature: [u8; 32],
}

impl Scram {
    /// Begins it.
    pub fn new(username: &str) -> Result<Self, Failure> {
        let mut random = [0; 24];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| Failure::Refused("the system gives no random bytes".into()))?;
        Ok(Self::with_nonce(username, STANDARD.encode(random)))
    }

    fn with_nonce(username: &str, nonce: String) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        Self { first_bare: format!("n={username},r={nonce}"), nonce }
    }

    /// The first message.
    pub fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the server's first message. Takes a while: not for where anybody waits.
    pub fn prove(&self, password: &str, server_first: &str) -> Result<Proof, Failure> {
        let bad = || Failure::Malformed("not what SCRAM has".into());
        let part = |key: &str| server_first.split(',').find_map(|part| part.strip_prefix(key)).ok_or_else(bad);
        let (nonce, salt, rounds) = (part("r=")?, part("s=")?, part("i=")?);
        // The server's nonce begins with ours: it was not made for another conversation.
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(bad());
        }
        let salt = STANDARD.decode(salt).map_err(|_| bad())?;
        let rounds = rounds.parse::<u32>().ok().filter(|rounds| ROUNDS.contains(rounds)).and_then(NonZeroU32::new);
        let rounds = rounds.ok_or_else(|| Failure::Refused("SCRAM with too few or too many rounds".into()))?;
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut *salted);
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let without_proof = format!("c=biws,r={nonce}");
        let all = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, stored_key.as_ref()), all.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref()), all.as_bytes());
        let message = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok(Proof { message, signature: expected.as_ref().try_into().map_err(|_| bad())? })
    }
}

impl Proof {
    /// The server's last message shows that it knows the password, too.
    pub fn is_answered_by(&self, server_last: &str) -> bool {
        server_last == format!("v={}", STANDARD.encode(self.signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677() {
        let scram = Scram::with_nonce("user", "rOprNGfwEbeRWgbNEkqO".into());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = scram.prove("pencil", server_first).expect("good");
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(proof.message, expected);
        assert!(proof.is_answered_by("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!proof.is_answered_by("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="));
    }

    #[test]
    fn a_server_may_not_choose_everything() {
        let scram = Scram::with_nonce("a=b,c", "abc".into());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=abc");
        for bad in [
            "",
            "r=abcd",
            "r=other,s=AAAA,i=4096",
            "r=abc,s=AAAA,i=4096",
            "r=abcd,s=!,i=4096",
            "r=abcd,s=AAAA,i=1",
            "r=abcd,s=AAAA,i=4294967295",
        ] {
            assert!(scram.prove("x", bad).is_err(), "{bad}");
        }
        assert!(scram.prove("x", "r=abcd,s=AAAA,i=4096").is_ok());
    }
}
