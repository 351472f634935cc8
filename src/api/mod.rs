//! The management interface: REST under `/api/v5` with EMQX's paths, fields and codes, and metrics for Prometheus.
//!
//! It runs on the runtime that is no data path, and looks at the bus from outside: no listing takes a lock for longer than one session's copy takes.

mod accounts;
mod banned;
mod clients;
mod error;
mod keys;
mod listeners;
mod login;
mod observe;
mod page;
mod publish;
mod query;
mod rates;
mod retained;
mod rows;
mod server;
mod status;
mod subscriptions;
mod throttle;
mod tokens;
mod world;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};

pub use self::{
    accounts::{ACCOUNT_PREFIX, Role},
    keys::KEY_PREFIX,
    server::{Server, ServerSettings},
    world::{ListenerCounts, ListenerView, World},
};
use self::{error::ApiError, login::authenticate};

/// Bytes of a request's body.
const BODY_MAX: usize = 4 << 20;

/// Everything that is served.
fn router(world: Arc<World>) -> Router {
    let guarded = Router::new()
        .route("/logout", post(login::log_out))
        .route("/users", get(accounts::list).post(accounts::add))
        .route("/users/{name}", axum::routing::put(accounts::change).delete(accounts::remove))
        .route("/users/{name}/change_pwd", post(accounts::change_password))
        .route("/api_key", get(keys::list).post(keys::add))
        .route("/api_key/{name}", get(keys::find).put(keys::change).delete(keys::remove))
        .route("/nodes", get(status::nodes))
        .route("/nodes/{node}", get(status::node))
        .route("/nodes/{node}/stats", get(status::node_stats))
        .route("/nodes/{node}/metrics", get(status::node_metrics))
        .route("/stats", get(status::stats))
        .route("/metrics", get(status::metrics))
        .route("/monitor_current", get(rates::current))
        .route("/monitor_current/nodes/{node}", get(rates::current_of_node))
        .route("/clients", get(clients::list))
        .route("/clients/kickout/bulk", post(clients::kick_all))
        .route("/clients/{id}", get(clients::find).delete(clients::kick))
        .route("/clients/{id}/subscriptions", get(subscriptions::of_client))
        .route("/clients/{id}/subscribe", post(subscriptions::subscribe))
        .route("/clients/{id}/subscribe/bulk", post(subscriptions::subscribe_all))
        .route("/clients/{id}/unsubscribe", post(subscriptions::unsubscribe))
        .route("/clients/{id}/unsubscribe/bulk", post(subscriptions::unsubscribe_all))
        .route("/sessions_count", get(clients::count))
        .route("/subscriptions", get(subscriptions::list))
        .route("/topics", get(subscriptions::topics))
        .route("/topics/{topic}", get(subscriptions::topic))
        .route("/publish", post(publish::one))
        .route("/publish/bulk", post(publish::many))
        .route("/mqtt/retainer/messages", get(retained::list))
        .route("/mqtt/retainer/message/{topic}", get(retained::find).delete(retained::remove))
        .route("/banned", get(banned::list).post(banned::add).delete(banned::clear))
        .route("/banned/{kind}/{who}", delete(banned::remove))
        .route("/listeners", get(listeners::list))
        .route("/listeners/{id}", get(listeners::find))
        .route("/prometheus/stats", get(status::prometheus))
        .merge(Router::from(observe::routes()))
        .route_layer(middleware::from_fn_with_state(world.clone(), authenticate));
    let api = Router::new()
        .route("/login", post(login::log_in))
        .route("/status", get(status::status))
        .route("/error_codes", get(error::codes))
        .merge(guarded)
        .fallback(unknown)
        .method_not_allowed_fallback(not_so);
    Router::new()
        .nest("/api/v5", api)
        .route("/status", get(status::status))
        .route(
            "/metrics",
            get(status::prometheus).route_layer(middleware::from_fn_with_state(world.clone(), authenticate)),
        )
        .route("/", get(root))
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

/// Until there is a page.
async fn root() -> Response {
    let text = concat!(
        "Thingway ",
        env!("CARGO_PKG_VERSION"),
        "\n\nThe API is below /api/v5: POST /api/v5/login, GET /api/v5/status, GET /api/v5/clients ... See docs/api.md.\n"
    );
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// What browsers are told about every answer.
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
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
