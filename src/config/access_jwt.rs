use std::path::PathBuf;

use super::{
    schema::{settings, words},
    value::{Period, SecretText, Texts},
};

words! {
    /// Where a client shows its token.
    pub enum JwtFrom {
        /// As its password.
        Password = "password",
        /// As its user name.
        Username = "username",
    }
}

settings! {
    /// Tokens (JWT) that let clients in (`access.authenticators = ["jwt.NAME"]`). One of `secret`, `secret_file`, `public_key_file` and `jwks_url` says what
    /// verifies them, and that alone which algorithms are taken: HS256, HS384 and HS512 for a secret; RS256 to RS512, PS256 to PS512, ES256, ES384 or EdDSA by
    /// the kind of a public key.
    pub struct AccessJwt {
        /// Where a client shows its token: "password" or "username". What is no token there is left to the next authenticator; a token that is not good is refused.
        from: JwtFrom = JwtFrom::Password;
        /// The secret of HMAC, of at least 16 bytes.
        secret: SecretText = SecretText::default();
        /// A file that has it. A line break at its end is not part of it.
        secret_file: PathBuf = PathBuf::new();
        /// The secret is written in base64.
        secret_base64: bool = false;
        /// A file with a public key or a certificate, in PEM form.
        public_key_file: PathBuf = PathBuf::new();
        /// Where public keys are published (JWKS). They are fetched at the start, after each `jwks_refresh`, and when a token names one that is not there, but
        /// for that at most once in 10 seconds. While they cannot be fetched those that were are used. 100 keys at most.
        jwks_url: String = String::new();
        /// Headers for that, such as { x-api-key = "..." }.
        jwks_headers: Texts = Texts::default();
        /// How often they are fetched.
        jwks_refresh: Period = Period::from_secs(300);
        /// How long that may take.
        jwks_timeout: Period = Period::from_secs(5);
        /// A file with the certificate authorities that are trusted for that, in PEM form; "" for those of the system.
        ca_file: PathBuf = PathBuf::new();
        /// Claims that a token must have, such as { username = "${username}", aud = "mqtt" }, with placeholders as for http, but for what clients do.
        claims: Texts = Texts::default();
        /// How far the clock of whoever signed may be from this one.
        leeway: Period = Period::ZERO;
        /// The claim with rules, as EMQX has them; "" for none. They count before all others, and bind who brings them.
        acl_claim: String = "acl".into();
        /// The claim that makes a superuser, for whom no rule counts, when it is true; "" for none.
        superuser_claim: String = "is_superuser".into();
        /// The connection ends when the token does.
        disconnect_after_expire: bool = true;
    }
}
