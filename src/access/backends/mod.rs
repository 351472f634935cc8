//! Authenticators and authorities that ask somebody outside.

mod account;
mod complaint;
mod row_rules;
mod row_users;

pub use self::{
    account::{Columns, PasswordForm},
    row_rules::{RowRules, RuleForm},
    row_users::{RowUsers, RowUsersSettings},
};
