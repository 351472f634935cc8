//! The users of the built-in database: `/authentication/{id}/users`.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use thingway_store::SETTING_NAME_BYTES_MAX;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use zeroize::Zeroizing;

use super::{
    error::{ApiError, Body, Path},
    multipart::File,
    page::{Page, Paging},
    query::Query,
    world::World,
};
use crate::access::{
    passwords::{Memory, Secret, Stored},
    scram::{ITERATIONS_MIN, ScramHash, ScramKeys},
    users::{Format, Hashing, Password, ROW_PREFIX, User, UserDatabase, UserKey, parse, row_key},
};

/// Users of the store.
pub(super) const USERS_MAX: usize = 1_000_000;
/// Passwords of an import that have to be hashed first, which takes some 25 ms for each.
const PLAIN_MAX: usize = 500;
/// Bytes of a password.
const PASSWORD_MAX: usize = 65_535;

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(users, add)).routes(routes!(user, change, remove)).routes(routes!(import))
}

/// One of those who are asked, as it is told.
pub(super) fn tell_authenticator(world: &World, name: &str) -> Value {
    let database = |mechanism: &str, id: &str| {
        let (stored, file) = world.users.len();
        let by = match world.users.by() {
            UserKey::ClientId => "clientid",
            UserKey::Username => "username",
        };
        json!({
            "id": id, "mechanism": mechanism, "backend": "built_in_database", "user_id_type": by,
            "users_count": stored, "file_users_count": file,
        })
    };
    match name.split_once('.') {
        None if name == "users" => database("password_based", "built_in_database"),
        None if name == "scram" => database("scram", "scram:built_in_database"),
        Some(("jwt", of)) => json!({ "id": format!("jwt:{of}"), "mechanism": "jwt", "name": of }),
        Some((backend, of)) => {
            json!({ "id": format!("{backend}:{of}"), "mechanism": "password_based", "backend": backend, "name": of })
        }
        None => json!({ "id": name, "mechanism": name }),
    }
}

/// The database, and whether its users get what SCRAM needs.
fn database<'a>(world: &'a World, id: &str) -> Result<(&'a Arc<UserDatabase>, bool), ApiError> {
    let name = match id {
        "built_in_database" | "password_based:built_in_database" => "users",
        "scram:built_in_database" => "scram",
        _ => return Err(ApiError::not_found("there is no such authenticator with users")),
    };
    let is_asked = world.access.settings().chain.names().any(|known| known == name);
    let missing = || ApiError::not_found(format!("nobody asks it: access.authenticators has no {name:?}"));
    is_asked.then(|| (&world.users, name == "scram")).ok_or_else(missing)
}

fn tell(name: &str, user: &User) -> Value {
    let attributes: serde_json::Map<_, _> =
        user.attributes.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let scram: Vec<_> = user.scram.iter().map(|keys| keys.hash().method()).collect();
    json!({
        "user_id": name,
        "is_superuser": user.superuser,
        "attributes": attributes,
        "expires_at": user.expires_unix_secs,
        "password": user.password.as_ref().map(|stored| stored.algorithm()),
        "scram": scram,
    })
}

/// Checks the name of a user.
pub(super) fn check_user_name(name: &str) -> Result<(), String> {
    let most = SETTING_NAME_BYTES_MAX - ROW_PREFIX.len();
    match name.is_empty() || name.len() > most || name.contains('\0') {
        true => Err(format!("a user_id has 1 to {most} bytes")),
        false => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    check_user_name(name).map_err(ApiError::bad)
}

fn missing() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "USER_NOT_FOUND", "there is no such user")
}

/// What is kept of a password.
async fn hashed(
    password: String,
    scram: Vec<(ScramHash, u32)>,
) -> Result<(Arc<Stored>, Box<[Arc<ScramKeys>]>), ApiError> {
    if password.is_empty() || password.len() > PASSWORD_MAX {
        return Err(ApiError::bad(format!("a password has 1 to {PASSWORD_MAX} bytes")));
    }
    let password = Secret::from(password.into_bytes());
    let made = tokio::task::spawn_blocking(move || {
        let failed =
            || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the password cannot be hashed");
        let stored = Stored::new(&password, &mut Memory::default()).map_err(|_| failed())?;
        let keys = |(hash, iterations): &(ScramHash, u32)| ScramKeys::new(*hash, &password, *iterations).map(Arc::new);
        let keys: Result<_, _> = scram.iter().map(keys).collect();
        Ok((Arc::new(stored), keys.map_err(|error| ApiError::bad(error.to_string()))?))
    });
    made.await.unwrap_or_else(|_| {
        Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the password cannot be hashed"))
    })
}

/// Keeps users and lets them count, or leaves all as it was. Whoever has asked for it may be gone meanwhile.
async fn save(world: &Arc<World>, database: &Arc<UserDatabase>, changes: Vec<Row>) -> Result<(), ApiError> {
    let (world, database) = (world.clone(), database.clone());
    let saved = tokio::spawn(async move {
        let rows = changes.iter().map(|(name, user)| (row_key(name), user.as_ref().map(User::to_row))).collect();
        world.keep(rows).await.map_err(|error| ApiError::store(&error))?;
        database.change_stored(changes.into_iter().map(|(name, user)| (name, user.map(Arc::new))));
        Ok(())
    });
    saved.await.unwrap_or_else(|error| Err(ApiError::store(&error)))
}

/// Users of the built-in database.
#[utoipa::path(
    get,
    path = "/authentication/{id}/users",
    tag = "access",
    params(
        ("id" = String, Path, description = "built_in_database or scram:built_in_database; EMQX's password_based:built_in_database, too"),
        Paging,
        ("like_user_id" = Option<String>, Query, description = "A part of the name"),
        ("is_superuser" = Option<bool>, Query, description = "Those whom no rule binds, or the others"),
    ),
    responses((status = 200, description = "A page of the store's users, by name; those of a file are not listed", body = Value)),
)]
pub async fn users(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let (database, for_scram) = database(&world, &id)?;
    let (like, superuser) = (query.find("like_user_id"), query.read::<bool>("is_superuser")?);
    let mut collected = Page::of(&query)?.collect();
    database.for_each_stored(|name, user| {
        let wanted = like.is_none_or(|part| name.contains(part))
            && superuser.is_none_or(|wanted| user.superuser == wanted)
            && (!for_scram || !user.scram.is_empty());
        if wanted {
            collected.see(|| tell(name, user));
        }
        ControlFlow::Continue(())
    });
    Ok(Json(collected.into_json(|told| told)))
}

#[derive(ToSchema, Deserialize)]
#[schema(as = NewUser)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// The user name, or the client id with access.users.by = "client_id".
    user_id: String,
    password: String,
    #[serde(default)]
    is_superuser: bool,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Seconds since 1970.
    expires_at: Option<u64>,
}

/// A user, who may connect from now on.
#[utoipa::path(
    post,
    path = "/authentication/{id}/users",
    tag = "access",
    params(("id" = String, Path, description = "The database, as for the list")),
    request_body = New,
    responses((status = 201, description = "The user", body = Value)),
)]
pub async fn add(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let (database, for_scram) = database(&world, &id)?;
    check_name(&new.user_id)?;
    let exists = || ApiError::exists("there is such a user");
    if database.stored(&new.user_id).is_some() {
        return Err(exists());
    }
    let scram = if for_scram { vec![(ScramHash::Sha256, ITERATIONS_MIN)] } else { Vec::new() };
    let (password, scram) = hashed(new.password, scram).await?;
    let user = User {
        password: Some(password),
        scram,
        superuser: new.is_superuser,
        attributes: new.attributes.into_iter().collect(),
        expires_unix_secs: new.expires_at,
    };
    let told = tell(&new.user_id, &user);
    let _changing = world.changes.lock().await;
    if database.stored(&new.user_id).is_some() {
        return Err(exists());
    }
    if database.len().0 >= USERS_MAX {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", format!("there are {USERS_MAX} users")));
    }
    save(&world, database, vec![(new.user_id.into(), Some(user))]).await?;
    Ok((StatusCode::CREATED, Json(told)))
}

/// One user of the store.
#[utoipa::path(
    get,
    path = "/authentication/{id}/users/{user_id}",
    tag = "access",
    params(
        ("id" = String, Path, description = "The database, as for the list"),
        ("user_id" = String, Path, description = "The name"),
    ),
    responses((status = 200, description = "The user", body = Value)),
)]
pub async fn user(
    State(world): State<Arc<World>>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (database, _) = database(&world, &id)?;
    database.stored(&name).map(|user| Json(tell(&name, &user))).ok_or_else(missing)
}

#[derive(ToSchema, Deserialize)]
#[schema(as = ChangedUser)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Another name is refused: it only may be repeated.
    user_id: Option<String>,
    password: Option<String>,
    is_superuser: Option<bool>,
    attributes: Option<BTreeMap<String, String>>,
    /// Seconds since 1970; 0 for never.
    expires_at: Option<u64>,
}

/// Another password, or another right; what is not named stays.
#[utoipa::path(
    put,
    path = "/authentication/{id}/users/{user_id}",
    tag = "access",
    params(
        ("id" = String, Path, description = "The database, as for the list"),
        ("user_id" = String, Path, description = "The name"),
    ),
    request_body = Change,
    responses((status = 200, description = "The user", body = Value)),
)]
pub async fn change(
    State(world): State<Arc<World>>,
    Path((id, name)): Path<(String, String)>,
    Body(change): Body<Change>,
) -> Result<Json<Value>, ApiError> {
    let (database, for_scram) = database(&world, &id)?;
    let known = database.stored(&name).ok_or_else(missing)?;
    if change.user_id.is_some_and(|other| other != name) {
        return Err(ApiError::bad("a user keeps its name"));
    }
    let hashed = match change.password {
        Some(password) => {
            let mut hashes: Vec<_> = known.scram.iter().map(|keys| (keys.hash(), keys.iterations())).collect();
            if hashes.is_empty() && for_scram {
                hashes.push((ScramHash::Sha256, ITERATIONS_MIN));
            }
            Some(hashed(password, hashes).await?)
        }
        None => None,
    };
    let _changing = world.changes.lock().await;
    let mut user = User::clone(&*database.stored(&name).ok_or_else(missing)?);
    if let Some((password, scram)) = hashed {
        (user.password, user.scram) = (Some(password), scram);
    }
    if let Some(superuser) = change.is_superuser {
        user.superuser = superuser;
    }
    if let Some(attributes) = change.attributes {
        user.attributes = attributes.into_iter().collect();
    }
    if let Some(expires) = change.expires_at {
        user.expires_unix_secs = Some(expires).filter(|secs| *secs > 0);
    }
    let told = tell(&name, &user);
    save(&world, database, vec![(name.into(), Some(user))]).await?;
    Ok(Json(told))
}

/// Takes a user away, who stays connected until its connection ends.
#[utoipa::path(
    delete,
    path = "/authentication/{id}/users/{user_id}",
    tag = "access",
    params(
        ("id" = String, Path, description = "The database, as for the list"),
        ("user_id" = String, Path, description = "The name"),
    ),
    responses((status = 204, description = "It is gone")),
)]
pub async fn remove(
    State(world): State<Arc<World>>,
    Path((id, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (database, _) = database(&world, &id)?;
    let _changing = world.changes.lock().await;
    database.stored(&name).ok_or_else(missing)?;
    save(&world, database, vec![(name.into(), None)]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Users out of a file: all of them or, if anything is wrong, none. Who is there already gets what the file has.
#[utoipa::path(
    post,
    path = "/authentication/{id}/import_users",
    tag = "access",
    params(
        ("id" = String, Path, description = "The database, as for the list"),
        ("hashing" = Option<String>, Query, description = "How what the file has as password_hash was hashed, as in access.users.file_hashing; sha256 unless told"),
    ),
    request_body(
        content(("text/csv"), ("application/json"), ("multipart/form-data")),
        description = "A list in JSON or CSV with EMQX's columns user_id, password (at most 500 of them) or password_hash and salt, is_superuser; or a form with such a file"
    ),
    responses((status = 200, description = "How many they were", body = Value)),
)]
pub async fn import(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    query: Query,
    file: File,
) -> Result<Json<Value>, ApiError> {
    let (database, for_scram) = database(&world, &id)?;
    let hashing = query.find("hashing").unwrap_or("sha256").parse::<Hashing>();
    let hashing = hashing.map_err(|error| ApiError::bad(format!("hashing: {error}")))?;
    let named = file.name.as_deref().map(Format::of_name).filter(|format| *format != Format::Mosquitto);
    let format = match (named, file.kind.as_str()) {
        (Some(format), _) => format,
        (None, "application/json") => Format::Json,
        (None, "text/csv") => Format::Csv,
        _ => {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "a file is text/csv or application/json, or its name ends with .csv or .json",
            ));
        }
    };
    let text = Zeroizing::new(file.content.to_vec());
    drop(file);
    let users = tokio::task::spawn_blocking(move || read(&text, format, hashing, for_scram)).await;
    let users = users.unwrap_or_else(|error| Err(ApiError::store(&error)))?;
    let total = users.len();
    let _changing = world.changes.lock().await;
    let replaced = users.iter().filter(|(name, _)| database.stored(name).is_some()).count();
    if database.len().0 + total - replaced > USERS_MAX {
        let most = format!("there would be more than {USERS_MAX} users");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", most));
    }
    save(&world, database, users).await?;
    Ok(Json(json!({ "total": total, "success": total, "override": replaced, "skipped": 0, "failed": 0 })))
}

/// A user as it is to be, or is no more.
type Row = (Box<str>, Option<User>);

fn read(text: &[u8], format: Format, hashing: Hashing, for_scram: bool) -> Result<Vec<Row>, ApiError> {
    let text = std::str::from_utf8(text).map_err(|_| ApiError::bad("the file is not UTF-8"))?;
    let users = parse(text, format, hashing).map_err(|error| ApiError::bad(error.to_string()))?;
    let plain = users.iter().filter(|user| matches!(user.password, Password::Plain(_))).count();
    if plain > PLAIN_MAX {
        let most = format!(
            "more than {PLAIN_MAX} passwords would have to be hashed: import hashes, or use `thingway users import`"
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", most));
    }
    let mut memory = Memory::default();
    let mut one = |named: crate::access::users::NamedUser| {
        check_name(&named.name)?;
        let mut user = named.user;
        user.password = match named.password {
            Password::Plain(plain) => {
                if for_scram && user.scram.is_empty() {
                    let keys = ScramKeys::new(ScramHash::Sha256, &plain, ITERATIONS_MIN);
                    user.scram = [Arc::new(keys.map_err(|error| ApiError::bad(error.to_string()))?)].into();
                }
                let stored = Stored::new(&plain, &mut memory).map_err(|error| ApiError::store(&error))?;
                Some(Arc::new(stored))
            }
            Password::Stored(stored) => Some(stored),
            Password::None => None,
        };
        Ok((named.name, Some(user)))
    };
    users.into_iter().map(&mut one).collect()
}
