//! The management interface: REST under `/api/v5` with EMQX's paths, fields and codes, and metrics for Prometheus.
//!
//! It runs on the runtime that is no data path, and looks at the bus from outside: listings read directories of their own, and take a session's lock for no longer
//! than its copy takes.

mod accounts;
mod assets;
mod audit;
mod authentication;
mod authorization;
mod backends;
mod banned;
mod chain;
mod clients;
mod configs;
mod data;
mod date;
mod delayed;
mod directories;
mod directory;
mod error;
mod explain;
mod families;
mod forms;
mod gateways;
mod keys;
mod listeners;
mod login;
mod multipart;
mod names;
mod observe;
mod openapi;
mod order;
mod page;
mod psk;
mod publish;
mod query;
mod rates;
mod retained;
mod roots;
mod rows;
mod server;
mod sources;
mod status;
mod subscriptions;
mod throttle;
mod tokens;
mod window;
mod world;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, header},
    middleware,
    response::Response,
    routing::get,
};
use utoipa_axum::router::OpenApiRouter;

pub use self::{
    accounts::{ACCOUNT_PREFIX, Role},
    families::{Family, FamilyKind, Labels},
    keys::KEY_PREFIX,
    server::{Server, ServerSettings, TlsConfig},
    world::{Apply, CertificateView, ExportCount, Exports, ListenerCounts, ListenerView, Listeners, World},
};
use self::{error::ApiError, login::authenticate};

/// Bytes of a request's body.
const BODY_MAX: usize = 4 << 20;

/// What is served to those who may ask.
fn guarded() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .merge(login::routes())
        .merge(accounts::routes())
        .merge(keys::routes())
        .merge(status::routes())
        .merge(rates::routes())
        .merge(clients::routes())
        .merge(subscriptions::routes())
        .merge(publish::routes())
        .merge(retained::routes())
        .merge(banned::routes())
        .merge(authentication::routes())
        .merge(chain::routes())
        .merge(authorization::routes())
        .merge(sources::routes())
        .merge(explain::routes())
        .merge(listeners::routes())
        .merge(audit::routes())
        .merge(configs::routes())
        .merge(delayed::routes())
        .merge(forms::routes())
        .merge(roots::routes())
        .merge(names::routes())
        .merge(gateways::routes())
        .merge(observe::routes())
        .merge(data::routes())
        .merge(psk::routes())
}

/// What is served to everybody.
fn open() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().merge(login::public_routes()).merge(status::public_routes()).merge(error::public_routes())
}

/// Everything that is served.
fn router(world: Arc<World>) -> Router {
    let (guarded, mut described) = guarded().split_for_parts();
    let (open, others) = open().split_for_parts();
    described.merge(others);
    let description = openapi::document(described);
    let describe = get(move || openapi::serve(description.clone()));
    let guarded = guarded
        .route_layer(middleware::from_fn_with_state(world.clone(), audit::audit))
        .route_layer(middleware::from_fn_with_state(world.clone(), authenticate));
    let api = Router::new().merge(guarded).merge(open).fallback(unknown).method_not_allowed_fallback(not_so);
    Router::new()
        .nest("/api/v5", api)
        .route("/api-docs/openapi.json", describe.clone())
        .route("/api-docs/swagger.json", describe)
        .route("/status", get(status::status))
        .route("/ready", get(observe::ready))
        .route(
            "/metrics",
            get(status::prometheus).route_layer(middleware::from_fn_with_state(world.clone(), authenticate)),
        )
        .merge(assets::routes())
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::map_response(secure))
        .with_state(world)
}

async fn unknown() -> ApiError {
    ApiError::not_found("there is no such path")
}

async fn not_so() -> ApiError {
    ApiError::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "BAD_REQUEST",
        "there is such a path, but not with this method",
    )
}

/// What browsers are told about every answer that does not say so itself.
async fn secure(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
