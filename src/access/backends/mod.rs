//! Authenticators and authorities that ask somebody outside, or verify what somebody outside has signed.

mod account;
mod complaint;
mod granted;
mod http;
mod jwt;
mod row_rules;
mod row_users;

pub use self::{
    account::{Columns, PasswordForm},
    granted::GrantError,
    http::{HttpAuthenticator, HttpAuthority, HttpBackend, WhenDown},
    jwt::{HmacSecret, Jwks, JwtAuthenticator, JwtSettings, KeyError, Keys, PublicKey, Source as TokenSource},
    row_rules::{RowRules, RuleForm},
    row_users::{RowUsers, RowUsersSettings},
};
