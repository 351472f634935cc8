//! Accounts of operators: `/users`.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::{ApiError, Body, Path},
    login::Caller,
    rows::Rows,
    world::World,
};
use crate::access::passwords::{Memory, Secret, Stored};

/// What the keys of accounts begin with in the store.
pub const ACCOUNT_PREFIX: &str = "account/";

/// The name of the first account.
pub const FIRST: &str = "admin";

pub(super) const ACCOUNTS_MAX: usize = 1000;
const NAME_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 1000;
const PASSWORD_MIN: usize = 8;
const PASSWORD_MAX: usize = 256;

pub type Accounts = Rows<Account>;

/// What somebody may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    #[default]
    Administrator,
    /// Look.
    Viewer,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What is kept of the password.
    password: String,
    #[serde(default)]
    pub role: Role,
    #[serde(default)]
    description: String,
    /// Everybody knows the password: whoever has shown it may only look, and change it.
    #[serde(default)]
    pub initial: bool,
}

impl Account {
    /// The account of a first start.
    pub fn first(password: Option<&[u8]>) -> Option<Self> {
        let initial = password.is_none();
        let password = Stored::new(password.unwrap_or(b"public"), &mut Memory::default()).ok()?.to_string();
        Some(Self { password, role: Role::Administrator, description: "the first account".into(), initial })
    }

    /// Of a row that was kept elsewhere.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_row(name: &str, row: &str) -> Result<Self, String> {
        if !is_name(name) {
            return Err(NAMES.to_owned());
        }
        let account: Self = serde_json::from_str(row).map_err(|error| error.to_string())?;
        if account.stored().is_none() || account.description.len() > DESCRIPTION_MAX {
            return Err("it has no hash of a password, or too long a description".into());
        }
        Ok(account)
    }

    pub fn stored(&self) -> Option<Arc<Stored>> {
        self.password.parse().ok().map(Arc::new)
    }

    fn tell(&self, name: &str) -> Value {
        json!({
            "username": name,
            "role": self.role,
            "description": self.description,
            "backend": "local",
            "must_change_password": self.initial,
        })
    }
}

async fn hashed(password: String) -> Result<String, ApiError> {
    if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&password.len()) {
        return Err(ApiError::bad(format!("a password has from {PASSWORD_MIN} to {PASSWORD_MAX} bytes")));
    }
    let password = Secret::from(password.into_bytes());
    let made = tokio::task::spawn_blocking(move || Stored::new(&password, &mut Memory::default())).await;
    match made {
        Ok(Ok(stored)) => Ok(stored.to_string()),
        _ => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the password cannot be hashed")),
    }
}

const NAMES: &str = "a name has at most 100 letters, digits, \"-\", \"_\", \".\" and \"@\"";

fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(good)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if is_name(name) { Ok(()) } else { Err(ApiError::bad(NAMES)) }
}

fn check_description(description: &str) -> Result<(), ApiError> {
    match description.len() > DESCRIPTION_MAX {
        true => Err(ApiError::bad(format!("a description has at most {DESCRIPTION_MAX} bytes"))),
        false => Ok(()),
    }
}

/// Whether there is anybody else who may do everything.
fn has_other_administrator(world: &World, name: &str) -> bool {
    world.accounts.all().iter().any(|(other, account)| other != name && account.role == Role::Administrator)
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(change, remove)).routes(routes!(change_password))
}

/// All accounts.
#[utoipa::path(
    get,
    path = "/users",
    tag = "accounts",
    responses((status = 200, description = "Accounts, by name", body = Value)),
)]
pub async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    Json(world.accounts.all().iter().map(|(name, account)| account.tell(name)).collect())
}

#[derive(ToSchema, Deserialize)]
#[schema(as = NewAccount)]
pub struct New {
    username: String,
    password: String,
    #[serde(default)]
    role: Role,
    #[serde(default)]
    description: String,
}

/// A new account.
#[utoipa::path(
    post,
    path = "/users",
    tag = "accounts",
    request_body = New,
    responses((status = 200, description = "The account", body = Value)),
)]
pub async fn add(State(world): State<Arc<World>>, Body(new): Body<New>) -> Result<Json<Value>, ApiError> {
    check_name(&new.username)?;
    check_description(&new.description)?;
    let password = hashed(new.password).await?;
    let account = Account { password, role: new.role, description: new.description, initial: false };
    let _changing = world.changes.lock().await;
    if world.accounts.find(&new.username).is_some() {
        return Err(ApiError::exists("there is such an account"));
    }
    if world.accounts.len() >= ACCOUNTS_MAX {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "EXCEED_LIMIT",
            format!("there are {ACCOUNTS_MAX} accounts"),
        ));
    }
    keep(&world, &new.username, Some(account.clone())).await?;
    Ok(Json(account.tell(&new.username)))
}

#[derive(ToSchema, Deserialize)]
#[schema(as = AccountChange)]
pub struct Change {
    role: Option<Role>,
    description: Option<String>,
}

/// Another role or description.
#[utoipa::path(
    put,
    path = "/users/{name}",
    tag = "accounts",
    params(("name" = String, Path, description = "The account")),
    request_body = Change,
    responses((status = 200, description = "The account", body = Value)),
)]
pub async fn change(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    Body(change): Body<Change>,
) -> Result<Json<Value>, ApiError> {
    let _changing = world.changes.lock().await;
    let mut account = found(&world, &name)?;
    if let Some(description) = change.description {
        check_description(&description)?;
        account.description = description;
    }
    if let Some(role) = change.role {
        if role != Role::Administrator && !has_other_administrator(&world, &name) {
            return Err(ApiError::bad("it is the last administrator"));
        }
        account.role = role;
    }
    keep(&world, &name, Some(account.clone())).await?;
    Ok(Json(account.tell(&name)))
}

/// Removes an account; its logins end.
#[utoipa::path(
    delete,
    path = "/users/{name}",
    tag = "accounts",
    params(("name" = String, Path, description = "The account")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn remove(
    State(world): State<Arc<World>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    found(&world, &name)?;
    if caller.account() == Some(&name) {
        return Err(ApiError::bad("nobody removes the own account"));
    }
    if !has_other_administrator(&world, &name) {
        return Err(ApiError::bad("it is the last administrator"));
    }
    keep(&world, &name, None).await?;
    world.tokens.end_all_of(&name);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(ToSchema, Deserialize)]
#[schema(as = PasswordChange)]
pub struct ChangePassword {
    old_pwd: String,
    new_pwd: String,
}

/// Another password; logins with the old one end.
#[utoipa::path(
    post,
    path = "/users/{name}/change_pwd",
    tag = "accounts",
    params(("name" = String, Path, description = "The account")),
    request_body = ChangePassword,
    responses((status = 204, description = "It counts from now on")),
)]
pub async fn change_password(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    Body(change): Body<ChangePassword>,
) -> Result<StatusCode, ApiError> {
    let wrong = || ApiError::new(StatusCode::BAD_REQUEST, "BAD_USERNAME_OR_PWD", "the old password is another");
    let account = found(&world, &name)?;
    let stored = account.stored().ok_or_else(wrong)?;
    if change.old_pwd == change.new_pwd {
        return Err(ApiError::bad("the new password is the old one"));
    }
    let old = Secret::from(change.old_pwd.into_bytes());
    let checked = world.hashers.check(stored, old).map_err(|full| ApiError::store(&full))?;
    if !checked.await.unwrap_or(false) {
        return Err(wrong());
    }
    let password = hashed(change.new_pwd).await?;
    let _changing = world.changes.lock().await;
    let account = Account { password, initial: false, ..found(&world, &name)? };
    keep(&world, &name, Some(account)).await?;
    world.tokens.end_all_of(&name);
    Ok(StatusCode::NO_CONTENT)
}

fn found(world: &World, name: &str) -> Result<Account, ApiError> {
    let missing = || ApiError::new(StatusCode::NOT_FOUND, "USER_NOT_FOUND", "there is no such account");
    world.accounts.find(name).ok_or_else(missing)
}

/// The first account is only made while there is none: with any other it is kept, too, or it would be gone at the next start.
pub(super) fn change_of_first(world: &World) -> Option<(String, Option<String>)> {
    world.accounts.find(FIRST).map(|first| world.accounts.change(FIRST, Some(&first)))
}

async fn keep(world: &World, name: &str, account: Option<Account>) -> Result<(), ApiError> {
    let first = change_of_first(world).filter(|_| name != FIRST);
    let changes = first.into_iter().chain([world.accounts.change(name, account.as_ref())]).collect();
    world.keep(changes).await.map_err(|error| ApiError::store(&error))?;
    world.accounts.set(name, account);
    Ok(())
}
