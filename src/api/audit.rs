//! Who changed what: `/audit`.

use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::ApiError,
    login::{Caller, Peer},
    page::{Page, Paging},
    query::Query,
    world::{World, date_of_ms, unix_ms},
};

/// What the keys of these entries begin with in the store.
pub const AUDIT_PREFIX: &str = "audit/";
/// Entries that are kept. With a further one the oldest goes.
const ENTRIES_MAX: usize = 5000;
/// Bytes of a path that are kept.
const PATH_MAX: usize = 500;

/// The last changes that somebody asked for.
#[derive(Debug, Default)]
pub struct Audit(Mutex<VecDeque<(u64, Entry)>>);

/// A change that somebody asked for. Bodies are not kept: there are secrets in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    at_ms: u64,
    source: String,
    is_key: bool,
    address: Option<IpAddr>,
    method: String,
    path: String,
    status: u16,
    took_ms: u64,
}

fn key_of(number: u64) -> String {
    // In the order of the numbers, so that the store's order is theirs.
    format!("{AUDIT_PREFIX}{number:016x}")
}

impl Audit {
    /// Those among the store's settings.
    ///
    /// # Errors
    /// The key of the first that cannot be read, and why.
    pub fn of(settings: &[(String, String)]) -> Result<Self, (String, serde_json::Error)> {
        let mut entries = Vec::new();
        for (key, value) in settings {
            let number = key.strip_prefix(AUDIT_PREFIX).and_then(|text| u64::from_str_radix(text, 16).ok());
            if let Some(number) = number {
                entries.push((number, serde_json::from_str(value).map_err(|error| (key.clone(), error))?));
            }
        }
        entries.sort_unstable_by_key(|(number, _)| *number);
        Ok(Self(Mutex::new(entries.into())))
    }

    /// The changes of the store that keep one more.
    fn add(&self, entry: Entry) -> Vec<(String, Option<String>)> {
        let mut entries = self.0.lock();
        let number = entries.back().map_or(0, |(number, _)| number + 1);
        let text = serde_json::to_string(&entry).expect("texts and numbers can be written as JSON");
        let mut changes = vec![(key_of(number), Some(text))];
        entries.push_back((number, entry));
        while entries.len() > ENTRIES_MAX {
            changes.extend(entries.pop_front().map(|(number, _)| (key_of(number), None)));
        }
        changes
    }
}

impl Entry {
    fn tell(&self, node: &str) -> Value {
        json!({
            "created_at": date_of_ms(self.at_ms),
            "node": node,
            "from": if self.is_key { "rest_api" } else { "dashboard" },
            "source": self.source,
            "source_ip": self.address.map(|address| address.to_string()),
            "operation_id": self.path,
            "operation_type": self.path.trim_start_matches('/').split('/').next(),
            "operation_result": if self.status < 400 { "success" } else { "failure" },
            "http_method": self.method.to_lowercase(),
            "http_request": { "path": self.path },
            "http_status_code": self.status,
            "duration_ms": self.took_ms,
        })
    }
}

/// Keeps what was asked and how it ended, before that is told.
pub(super) async fn record(
    world: &World,
    source: (&str, bool),
    address: Option<IpAddr>,
    (method, path): (&Method, &str),
    status: StatusCode,
    took: Duration,
) {
    let entry = Entry {
        at_ms: unix_ms(),
        source: source.0.to_owned(),
        is_key: source.1,
        address,
        method: method.to_string(),
        path: path.chars().take(PATH_MAX).collect(),
        status: status.as_u16(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    tracing::info!(source = entry.source, ?address, %method, path = entry.path, status = entry.status, "asked of the API");
    if let Err(error) = world.keep(world.audit.add(entry)).await {
        tracing::error!("what was asked of the API cannot be kept: {error}");
    }
}

/// Records every request that is no mere look.
pub async fn audit(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let caller = request.extensions().get::<Caller>().map(|caller| (caller.name().to_owned(), caller.is_key()));
    let address = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = std::time::Instant::now();
    let response = next.run(request).await;
    if let Some((name, is_key)) = caller {
        let path = path.trim_start_matches("/api/v5");
        record(&world, (&name, is_key), address, (&method, path), response.status(), begun.elapsed()).await;
    }
    response
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The last changes that somebody asked for, the latest first.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "accounts",
    params(
        Paging,
        ("source" = Option<String>, Query, description = "An account, or the name of a key"),
        ("http_method" = Option<String>, Query),
        ("operation_result" = Option<String>, Query, description = "success or failure"),
    ),
    responses((status = 200, description = "A page of what was asked, and how it ended", body = Value))
)]
pub async fn list(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let (source, method) = (query.find("source"), query.find("http_method"));
    let success = match query.find("operation_result") {
        None => None,
        Some("success") => Some(true),
        Some("failure") => Some(false),
        Some(_) => return Err(ApiError::bad("operation_result is success or failure")),
    };
    let mut page = Page::of(&query)?.collect();
    for (_, entry) in world.audit.0.lock().iter().rev() {
        let is_met = source.is_none_or(|source| source == entry.source)
            && method.is_none_or(|method| method.eq_ignore_ascii_case(&entry.method))
            && success.is_none_or(|success| success == (entry.status < 400));
        if is_met {
            page.see(|| entry.tell(&world.node));
        }
    }
    Ok(Json(page.into_json(|told| told)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_ms: u64) -> Entry {
        Entry {
            at_ms,
            source: "admin".into(),
            is_key: false,
            address: None,
            method: "POST".into(),
            path: "/publish".into(),
            status: 200,
            took_ms: 1,
        }
    }

    #[test]
    fn the_oldest_makes_room_and_the_rest_is_read_again() {
        let audit = Audit::default();
        let mut kept = std::collections::BTreeMap::new();
        for at in 0..ENTRIES_MAX as u64 + 3 {
            for (key, value) in audit.add(entry(at)) {
                match value {
                    Some(value) => kept.insert(key, value),
                    None => kept.remove(&key),
                };
            }
        }
        assert_eq!(kept.len(), ENTRIES_MAX);
        let again = Audit::of(&kept.into_iter().collect::<Vec<_>>()).expect("rows");
        assert_eq!(*again.0.lock(), *audit.0.lock());
        assert_eq!(again.0.lock().front().map(|(_, entry)| entry.at_ms), Some(3));
    }
}
