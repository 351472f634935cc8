use thingway_contract::{Instant, Peer};

use crate::hash::keyed;

/// The token of a connection: a number of 32 bits, of which four tell connections of the same client apart and 28 prove, to any conversation of a
/// gateway with the same secret, that the gateway gave it to this client.
///
/// That is what EMQX's form has room for. Whoever must withstand guessing at line rate needs DTLS.
pub(crate) fn connection_token(secret: &[u8; 16], client_id: &str, nonce: u8) -> u32 {
    let nonce = nonce & 0x0f;
    let proof = keyed(secret, &[b"connection", client_id.as_bytes(), &[nonce]]) as u32;
    u32::from(nonce) << 28 | proof & 0x0fff_ffff
}

/// True when the gateway gave this token to this client.
pub(crate) fn is_token_valid(secret: &[u8; 16], client_id: &str, token: u32) -> bool {
    connection_token(secret, client_id, (token >> 28) as u8) == token
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
        let token = connection_token(&secret, "c", 0xf7);
        assert_eq!(token >> 28, 7);
        assert!(is_token_valid(&secret, "c", token));
        assert!(!is_token_valid(&secret, "d", token) && !is_token_valid(&other, "c", token));
        assert!((0..32).all(|bit| !is_token_valid(&secret, "c", token ^ 1 << bit)));
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
