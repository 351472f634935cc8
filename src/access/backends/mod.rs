//! Authenticators and authorities that ask somebody outside, or verify what somebody outside has signed.

mod granted;
mod http;
mod jwt;

pub use self::{
    granted::GrantError,
    http::{HttpAuthenticator, HttpAuthority, HttpBackend, WhenDown},
    jwt::{HmacSecret, Jwks, JwtAuthenticator, JwtSettings, KeyError, Keys, PublicKey, Source as TokenSource},
};
