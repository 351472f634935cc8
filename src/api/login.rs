//! Who asks: passwords, tokens and keys, and what each may do.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    accounts::Role,
    audit,
    error::{ApiError, Body},
    world::World,
};
use crate::access::passwords::{Secret, Stored};

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Whoever asks.
#[derive(Clone, Debug)]
pub struct Caller {
    kind: Kind,
    role: Role,
}

#[derive(Clone, Debug)]
enum Kind {
    /// With a token of an account, whose password must be changed first.
    Account { name: Box<str>, initial: bool },
    /// With a key of this name.
    Key(Box<str>),
}

impl Caller {
    /// The account.
    pub fn account(&self) -> Option<&str> {
        match &self.kind {
            Kind::Account { name, .. } => Some(name),
            Kind::Key(_) => None,
        }
    }

    /// The account, or the key.
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Account { name, .. } | Kind::Key(name) => name,
        }
    }

    /// Whether it is a program's.
    pub fn is_key(&self) -> bool {
        matches!(self.kind, Kind::Key(_))
    }

    /// Whether this may be asked at all.
    fn may(&self, method: &Method, path: &str) -> Result<(), ApiError> {
        let looks = *method == Method::GET || *method == Method::HEAD;
        let manages = ["/users", "/api_key", "/logout"].iter().any(|start| path.starts_with(start));
        // Archives have hashes and keys in them: to look at those is to manage.
        let looks = looks && !path.starts_with("/data/");
        match &self.kind {
            Kind::Key(_) if manages => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "API_KEY_NOT_ALLOW",
                "a key manages neither accounts nor keys",
            )),
            Kind::Key(_) => self.role_may(looks),
            Kind::Account { name, initial } => {
                let own = path == "/logout" || path == format!("/users/{name}/change_pwd");
                if own || looks && !*initial {
                    return Ok(());
                }
                if *initial {
                    // Looking is what this one may do, but not at accounts and keys.
                    return match looks && !manages {
                        true => Ok(()),
                        false => Err(ApiError::new(
                            StatusCode::FORBIDDEN,
                            "PASSWORD_EXPIRED",
                            "everybody knows this password: change it first (POST /api/v5/users/admin/change_pwd)",
                        )),
                    };
                }
                self.role_may(looks)
            }
        }
    }

    fn role_may(&self, looks: bool) -> Result<(), ApiError> {
        match self.role {
            Role::Viewer if !looks => Err(ApiError::forbidden("a viewer may only look, and not at archives")),
            _ => Ok(()),
        }
    }
}

#[derive(ToSchema, Deserialize)]
#[schema(as = Login)]
pub struct LogIn {
    username: String,
    password: String,
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(log_out))
}

/// What is served to everybody.
pub fn public_routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(log_in))
}

/// Shows a password and gets a token for it.
#[utoipa::path(
    post,
    path = "/login",
    tag = "session",
    request_body = LogIn,
    responses((status = 200, description = "A token, and what its account may do", body = Value)),
    security(),
)]
pub async fn log_in(
    State(world): State<Arc<World>>,
    Extension(Peer(peer)): Extension<Peer>,
    Body(shown): Body<LogIn>,
) -> Result<Json<Value>, ApiError> {
    let address: IpAddr = peer.ip().to_canonical();
    let locked = || {
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            "LOGIN_LOCKED",
            "too many logins have failed: try again in five minutes",
        )
    };
    let begun = Instant::now();
    if world.throttle.holds(&shown.username, address, begun) {
        return Err(locked());
    }
    let account = world.accounts.find(&shown.username);
    // Who is not there is looked for as long as who is.
    let stored = account.as_ref().and_then(|account| account.stored());
    let stored = stored.or_else(|| Stored::decoy().ok().map(Arc::new)).ok_or_else(locked)?;
    let password = Secret::from(shown.password.into_bytes());
    let busy =
        |_| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", "too many passwords are being tried");
    let is_right = world.hashers.check(stored, password).map_err(busy)?.await.unwrap_or(false);
    let account = account.filter(|_| is_right);
    let account = account.filter(|account| !(account.initial && world.hardened && !address.is_loopback()));
    let Some(account) = account else {
        world.throttle.failed(&shown.username, address, Instant::now());
        tracing::warn!(%address, "a login to the API has failed");
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "BAD_USERNAME_OR_PWD", "wrong name or password"));
    };
    world.throttle.succeeded(&shown.username, address);
    let failed =
        || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the system gives no random bytes");
    let token = world.tokens.issue(&shown.username, Instant::now()).ok_or_else(failed)?;
    let asked = (&Method::POST, "/login");
    audit::record(&world, (&shown.username, false), Some(address), asked, StatusCode::OK, begun.elapsed()).await;
    Ok(Json(json!({
        "token": token,
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "edition": "opensource" },
        "role": account.role,
        "must_change_password": account.initial,
    })))
}

/// Ends the login whose token is shown.
#[utoipa::path(
    post,
    path = "/logout",
    tag = "session",
    responses((status = 204, description = "It counts no more")),
)]
pub async fn log_out(State(world): State<Arc<World>>, headers: HeaderMap) -> StatusCode {
    if let Some(token) = authorization(&headers).and_then(|text| text.strip_prefix("Bearer ")) {
        world.tokens.end(token);
    }
    StatusCode::NO_CONTENT
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

fn caller(world: &World, headers: &HeaderMap) -> Option<Caller> {
    let shown = authorization(headers)?;
    if let Some(token) = shown.strip_prefix("Bearer ") {
        let name = world.tokens.find(token, Instant::now())?;
        let account = world.accounts.find(&name)?;
        return Some(Caller { role: account.role, kind: Kind::Account { name, initial: account.initial } });
    }
    let decoded = STANDARD.decode(shown.strip_prefix("Basic ")?).ok()?;
    let (key, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    let (name, known) = world.keys.all().into_iter().find(|(_, known)| known.is(key, secret))?;
    Some(Caller { role: known.role, kind: Kind::Key(name.into()) })
}

/// Whether who has shown this may still look at a path.
pub fn may_look(world: &World, headers: &HeaderMap, path: &str) -> bool {
    caller(world, headers).is_some_and(|caller| caller.may(&Method::GET, path).is_ok())
}

/// Lets through who may ask.
pub async fn authenticate(
    State(world): State<Arc<World>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let stranger = || {
        let code = match authorization(request.headers()).is_some_and(|shown| shown.starts_with("Basic ")) {
            true => "BAD_API_KEY_OR_SECRET",
            false => "BAD_USERNAME_OR_PWD",
        };
        ApiError::new(StatusCode::UNAUTHORIZED, code, "log in, or show a key")
    };
    let caller = caller(&world, request.headers()).ok_or_else(stranger)?;
    let path = request.uri().path().trim_start_matches("/api/v5");
    caller.may(request.method(), path)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}
