use thingway_contract::{Instant, Peer};

use crate::hash::keyed;

/// Bits of a token that tell connections of the same client apart.
const NONCE_BITS: u32 = 21;

/// The token of a connection: a number below 2^53, so that clients which take it for a number keep it whole. EMQX's has 32 bits, too few to withstand
/// guessing.
///
/// The low 32 bits prove, to any conversation of a gateway with the same secret, that the gateway gave it to this client: whoever only guesses takes nobody's
/// session away. Whether it is that of the connection which the session was left by, the session knows ([`thingway_contract::Resumption`]).
pub(crate) fn connection_token(secret: &[u8; 16], client_id: &str, nonce: u64) -> u64 {
    let nonce = nonce & ((1 << NONCE_BITS) - 1);
    let proof = keyed(secret, &[b"connection", client_id.as_bytes(), &nonce.to_be_bytes()]) as u32;
    nonce << 32 | u64::from(proof)
}

/// True when the gateway gave this token to this client.
pub(crate) fn is_token_valid(secret: &[u8; 16], client_id: &str, token: u64) -> bool {
    connection_token(secret, client_id, token >> 32) == token
}

/// What stands for a peer's address in Echo values and seeds.
pub(crate) fn address_key(secret: &[u8; 16], peer: &Peer) -> u64 {
    let address = peer.remote.map(|remote| remote.to_string()).unwrap_or_default();
    keyed(secret, &[b"address", address.as_bytes(), &peer.node])
}

/// Seconds that an Echo value is good for, at least; at most twice as long.
const ECHO_SECS: u64 = 120;

fn echo_of(secret: &[u8; 16], address: u64, epoch: u64) -> [u8; 8] {
    keyed(secret, &[b"echo", &address.to_be_bytes(), &epoch.to_be_bytes()]).to_be_bytes()
}

/// An Echo value that only somebody at this address gets to see (RFC 9175, section 2.3).
pub(crate) fn echo_value(secret: &[u8; 16], address: u64, now: Instant) -> [u8; 8] {
    echo_of(secret, address, now.as_millis() / 1000 / ECHO_SECS)
}

/// True when this Echo value was sent to this address lately.
pub(crate) fn echo_is_valid(secret: &[u8; 16], address: u64, value: &[u8], now: Instant) -> bool {
    let epoch = now.as_millis() / 1000 / ECHO_SECS;
    [epoch, epoch.wrapping_sub(1)].iter().any(|&epoch| echo_of(secret, address, epoch) == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_clients_and_the_secrets() {
        let (secret, other) = ([1; 16], [2; 16]);
        let token = connection_token(&secret, "c", u64::MAX);
        assert!(token < 1 << 53 && token >> 32 == 0x1f_ffff);
        assert!(is_token_valid(&secret, "c", token));
        assert!(!is_token_valid(&secret, "d", token) && !is_token_valid(&other, "c", token));
        assert!((0..64).all(|bit| !is_token_valid(&secret, "c", token ^ 1 << bit)));
        assert_ne!(connection_token(&secret, "c", 1), connection_token(&secret, "c", 2));
    }

    #[test]
    fn echo_values_are_the_addresses_and_end() {
        let secret = [1; 16];
        let value = echo_value(&secret, 5, Instant::ZERO.plus_secs(100));
        assert!(echo_is_valid(&secret, 5, &value, Instant::ZERO.plus_secs(239)));
        assert!(!echo_is_valid(&secret, 5, &value, Instant::ZERO.plus_secs(240)));
        assert!(!echo_is_valid(&secret, 6, &value, Instant::ZERO.plus_secs(100)));
    }
}
