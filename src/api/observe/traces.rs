use std::{
    fs, io,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thingway_contract::{TopicFilter, TopicLimits};
use utoipa::ToSchema;

use super::{
    trace_log::{LOG_BYTES_MAX, TraceLog},
    zip::zip,
};
use crate::{
    api::{
        error::{ApiError, Body, Path},
        query::Query,
        rows::Rows,
        status::check_node,
        world::{World, date_of_ms, unix_secs},
    },
    watch::{Trace, TraceForm, TraceOf, TracePayload, Watch},
};

const PREFIX: &str = "trace/";
const TRACES_MAX: usize = 30;
const NAME_BYTES_MAX: usize = 64;
/// How long a trace runs whose end is not said.
const USUAL_SECS: u64 = 30 * 60;
const PAYLOAD_LIMIT: usize = 1024;
const PAYLOAD_LIMIT_MAX: usize = 1 << 20;
/// Bytes of an answer of the log.
const READ_BYTES: usize = 1000;
const READ_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TraceType)]
enum Kind {
    #[serde(rename = "clientid")]
    ClientId,
    Topic,
    IpAddress,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TracePayloadEncode)]
enum Encode {
    #[default]
    Text,
    Hex,
    Hidden,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TraceFormatter)]
enum Formatter {
    #[default]
    Text,
    Json,
}

/// A trace, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    kind: Kind,
    value: String,
    start_secs: u64,
    end_secs: u64,
    encode: Encode,
    payload_limit: usize,
    formatter: Formatter,
    stopped: bool,
}

impl Kept {
    fn status(&self, now_secs: u64) -> &'static str {
        match () {
            () if self.stopped || now_secs >= self.end_secs => "stopped",
            () if now_secs < self.start_secs => "waiting",
            () => "running",
        }
    }

    fn trace(&self) -> Option<Trace> {
        let value = self.value.as_str();
        let of = match self.kind {
            Kind::ClientId => TraceOf::Client(value.into()),
            Kind::Topic => TraceOf::Topic(value.into()),
            Kind::IpAddress => TraceOf::Address(value.parse().ok()?),
        };
        let form = TraceForm {
            json: self.formatter == Formatter::Json,
            payload: match self.encode {
                Encode::Text => TracePayload::Text,
                Encode::Hex => TracePayload::Hex,
                Encode::Hidden => TracePayload::Hidden,
            },
            payload_bytes_max: self.payload_limit,
        };
        Some(Trace::new(of, form))
    }
}

/// All traces: what was asked for, and what came.
#[derive(Debug)]
pub struct Traces {
    kept: Rows<Kept>,
    /// Where logs are; `None` for memory.
    folder: Option<PathBuf>,
    logs: parking_lot::Mutex<Vec<(String, Arc<TraceLog>)>>,
    /// A disk that is slow has one thread waiting for it.
    flushing: AtomicBool,
}

impl Traces {
    /// With the traces that were kept. Logs are files in this folder; without one they are in memory.
    pub fn of(settings: &[(String, String)], folder: Option<PathBuf>) -> Result<Self, (String, serde_json::Error)> {
        let kept: Rows<Kept> = Rows::of(PREFIX, settings)?;
        let traces = Self { kept, folder, logs: Default::default(), flushing: AtomicBool::new(false) };
        for (name, row) in traces.kept.all() {
            let log = Arc::new(TraceLog::new(row.trace(), traces.file(&name)));
            traces.logs.lock().push((name, log));
        }
        Ok(traces)
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{name}.log")))
    }

    fn log(&self, name: &str) -> Option<Arc<TraceLog>> {
        self.logs.lock().iter().find(|(known, _)| known == name).map(|(_, log)| log.clone())
    }

    /// Lets those run whose time it is. To be called once a second, and after each change.
    pub fn run(&self, watch: &Watch, now_secs: u64) {
        let is_running = |name: &str| self.kept.find(name).is_some_and(|row| row.status(now_secs) == "running");
        let logs = self.logs.lock();
        let running = logs.iter().filter(|(name, log)| is_running(name) && !log.is_full());
        watch.run_traces(running.filter_map(|(_, log)| log.trace().cloned()).collect());
    }

    /// Whether there is anything to flush, and nobody does it.
    pub fn begins_to_flush(&self) -> bool {
        !self.logs.lock().is_empty() && !self.flushing.swap(true, Ordering::AcqRel)
    }

    /// Writes what came into the logs. Blocks.
    pub fn flush(&self) {
        let logs = self.logs.lock().clone();
        for (name, log) in logs {
            if let Err(error) = log.flush() {
                tracing::warn!(trace = name, "the log of a trace cannot be written: {error}");
            }
        }
        self.flushing.store(false, Ordering::Release);
    }

    fn tell(&self, name: &str, row: &Kept, node: &str) -> Value {
        let log = self.log(name);
        let status = if log.as_ref().is_some_and(|log| log.is_full()) { "stopped" } else { row.status(unix_secs()) };
        let log_bytes = log.map_or(0, |log| log.bytes());
        let mut told = json!({
            "name": name,
            "type": row.kind,
            "start_at": date_of_ms(row.start_secs.saturating_mul(1000)),
            "end_at": date_of_ms(row.end_secs.saturating_mul(1000)),
            "payload_encode": row.encode,
            "payload_limit": row.payload_limit,
            "formatter": row.formatter,
            "status": status,
            "log_size": { node: log_bytes },
        });
        let key = serde_json::to_value(row.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
        told[key.unwrap_or_default()] = row.value.clone().into();
        told
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no such trace")
}

fn failed(error: &io::Error) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", format!("the log of the trace: {error}"))
}

/// A time: seconds since 1970, or a date.
fn time_of(value: Option<&Value>, usual: u64, name: &str) -> Result<u64, ApiError> {
    let wrong = || ApiError::bad(format!("{name} is no date"));
    match value {
        None | Some(Value::Null) => Ok(usual),
        Some(Value::Number(number)) => number.as_u64().ok_or_else(wrong),
        Some(Value::String(text)) => {
            let time = humantime::parse_rfc3339_weak(text).map_err(|_| wrong())?;
            Ok(time.duration_since(std::time::UNIX_EPOCH).map_err(|_| wrong())?.as_secs())
        }
        Some(_) => Err(wrong()),
    }
}

/// A trace that is to run.
#[derive(Deserialize, ToSchema)]
#[schema(as = TraceToRun)]
pub struct Wish {
    /// A letter, and then letters, digits, `-` and `_`; at most 64.
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    clientid: Option<String>,
    topic: Option<String>,
    ip_address: Option<String>,
    /// Seconds since 1970, or a date; now without it.
    #[schema(value_type = Option<String>)]
    start_at: Option<Value>,
    /// Half an hour after its start without it.
    #[schema(value_type = Option<String>)]
    end_at: Option<Value>,
    #[serde(default)]
    payload_encode: Encode,
    payload_limit: Option<usize>,
    #[serde(default)]
    formatter: Formatter,
}

impl Wish {
    fn check(self) -> Result<(String, Kept), ApiError> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let begins = self.name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        if !begins || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(fine) {
            return Err(ApiError::bad("name is a letter, and then letters, digits, - and _, at most 64"));
        }
        let value = match self.kind {
            Kind::ClientId => self.clientid,
            Kind::Topic => self.topic,
            Kind::IpAddress => self.ip_address,
        };
        let value = value.filter(|value| !value.is_empty() && value.len() <= 4096);
        let value = value.ok_or_else(|| ApiError::bad("what the trace is about is missing, or too long"))?;
        let value = match self.kind {
            Kind::Topic if TopicFilter::parse(&value, TopicLimits::default()).is_err() => {
                return Err(ApiError::bad("topic is no topic filter"));
            }
            Kind::IpAddress => {
                let address: IpAddr = value.parse().map_err(|_| ApiError::bad("ip_address is no address"))?;
                address.to_canonical().to_string()
            }
            _ => value,
        };
        let now = unix_secs();
        let start_secs = time_of(self.start_at.as_ref(), now, "start_at")?.max(now);
        let end_secs = time_of(self.end_at.as_ref(), start_secs.saturating_add(USUAL_SECS), "end_at")?;
        if end_secs <= start_secs {
            return Err(ApiError::bad("end_at is past, or not after start_at"));
        }
        let payload_limit = self.payload_limit.unwrap_or(PAYLOAD_LIMIT);
        if payload_limit > PAYLOAD_LIMIT_MAX {
            return Err(ApiError::bad("payload_limit is at most 1048576"));
        }
        let (encode, formatter) = (self.payload_encode, self.formatter);
        let kind = self.kind;
        Ok((self.name, Kept { kind, value, start_secs, end_secs, encode, payload_limit, formatter, stopped: false }))
    }
}

/// All traces.
#[utoipa::path(
    get, path = "/trace", tag = "observing",
    responses((status = 200, description = "Traces", body = Vec<Value>)),
)]
pub async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    let traces = &world.observe.traces;
    Json(traces.kept.all().iter().map(|(name, row)| traces.tell(name, row, &world.node)).collect())
}

/// Begins a trace.
#[utoipa::path(
    post, path = "/trace", tag = "observing",
    request_body = Wish,
    responses((status = 200, description = "It runs, or will", body = Value)),
)]
pub async fn add(State(world): State<Arc<World>>, Body(wish): Body<Wish>) -> Result<Json<Value>, ApiError> {
    let (name, row) = wish.check()?;
    let traces = &world.observe.traces;
    let _changing = world.changes.lock().await;
    if traces.kept.find(&name).is_some() {
        return Err(ApiError::exists("there is a trace of this name"));
    }
    if traces.kept.len() >= TRACES_MAX {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", "there are 30 traces: delete one"));
    }
    if let Some(folder) = &traces.folder {
        fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    let log = Arc::new(TraceLog::new(row.trace(), traces.file(&name)));
    world.keep(vec![traces.kept.change(&name, Some(&row))]).await.map_err(|error| ApiError::store(&error))?;
    traces.kept.set(&name, Some(row.clone()));
    traces.logs.lock().push((name.clone(), log));
    traces.run(world.bus.watch(), unix_secs());
    Ok(Json(traces.tell(&name, &row, &world.node)))
}

/// Ends a trace; its log stays.
#[utoipa::path(
    put, path = "/trace/{name}/stop", tag = "observing",
    params(("name" = String, Path, description = "The trace's name")),
    responses((status = 200, description = "It runs no more", body = Value)),
)]
pub async fn stop(State(world): State<Arc<World>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let traces = &world.observe.traces;
    let _changing = world.changes.lock().await;
    let row = traces.kept.find(&name).ok_or_else(unknown)?;
    let row = Kept { stopped: true, ..row };
    world.keep(vec![traces.kept.change(&name, Some(&row))]).await.map_err(|error| ApiError::store(&error))?;
    traces.kept.set(&name, Some(row));
    traces.run(world.bus.watch(), unix_secs());
    Ok(Json(json!({ "name": name, "enable": false })))
}

async fn forget(world: &World, names: Vec<String>) -> Result<StatusCode, ApiError> {
    let traces = &world.observe.traces;
    let changes = names.iter().map(|name| traces.kept.change(name, None)).collect();
    world.keep(changes).await.map_err(|error| ApiError::store(&error))?;
    let mut logs = Vec::new();
    for name in &names {
        traces.kept.set(name, None);
        logs.extend(traces.log(name));
        traces.logs.lock().retain(|(known, _)| known != name);
    }
    traces.run(world.bus.watch(), unix_secs());
    let removed = tokio::task::spawn_blocking(move || logs.iter().try_for_each(|log| log.remove())).await;
    match removed {
        Ok(Err(error)) => Err(failed(&error)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Ends a trace, and forgets it with its log.
#[utoipa::path(
    delete, path = "/trace/{name}", tag = "observing",
    params(("name" = String, Path, description = "The trace's name")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn remove(State(world): State<Arc<World>>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    world.observe.traces.kept.find(&name).ok_or_else(unknown)?;
    forget(&world, vec![name]).await
}

/// Ends all traces, and forgets them with their logs.
#[utoipa::path(
    delete, path = "/trace", tag = "observing",
    responses((status = 204, description = "They are gone")),
)]
pub async fn clear(State(world): State<Arc<World>>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let names = world.observe.traces.kept.all().into_iter().map(|(name, _)| name).collect();
    forget(&world, names).await
}

async fn read(world: &World, name: &str, position: u64, bytes: usize) -> Result<Vec<u8>, ApiError> {
    let log = world.observe.traces.log(name).ok_or_else(unknown)?;
    let read = tokio::task::spawn_blocking(move || {
        log.flush()?;
        log.read(position, bytes)
    });
    let lost = |_| failed(&io::Error::other("the thread that reads it has failed"));
    read.await.map_err(lost)?.map_err(|error| failed(&error))
}

/// A trace's log, whole: as a zip with a file in it, or as its text.
#[utoipa::path(
    get, path = "/trace/{name}/download", tag = "observing",
    params(
        ("name" = String, Path, description = "The trace's name"),
        ("format" = Option<String>, Query, description = "zip, which it is unless told, or text"),
        ("node" = Option<String>, Query, description = "This node, if one is named"),
    ),
    responses((status = 200, description = "Lines", content(
        (Vec<u8> = "application/x-zip"),
        (String = "text/plain"),
    ))),
)]
pub async fn download(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    check_node_of(&world, &query)?;
    let is_text = match query.find("format") {
        None | Some("zip") => false,
        Some("text") => true,
        Some(_) => return Err(ApiError::bad("format is zip or text")),
    };
    let text = read(&world, &name, 0, LOG_BYTES_MAX).await?;
    if !is_text && text.is_empty() {
        return Err(ApiError::not_found("Trace is empty"));
    }
    let (kind, ending, content) = match is_text {
        true => ("text/plain; charset=utf-8", "log", text),
        false => {
            let log = world.observe.traces.log(&name).ok_or_else(unknown)?;
            let file = format!("{}-{name}.log", world.node.replace(['/', '\\'], "_"));
            let zipped = tokio::task::spawn_blocking(move || zip(&file, log.written_secs(), &text)).await;
            let zipped = zipped.map_err(|error| ApiError::internal(&error))?;
            ("application/x-zip", "zip", zipped.map_err(|error| ApiError::internal(&error))?)
        }
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{ending}\"")),
    ];
    Ok((headers, content).into_response())
}

fn check_node_of(world: &World, query: &Query) -> Result<(), ApiError> {
    query.find("node").map_or(Ok(()), |node| check_node(world, node))
}

/// How much there is of a trace's log, and when that was written.
#[utoipa::path(
    get, path = "/trace/{name}/log_detail", tag = "observing",
    params(("name" = String, Path, description = "The trace's name")),
    responses((status = 200, description = "For this node: bytes, and seconds since 1970", body = Vec<Value>)),
)]
pub async fn log_detail(State(world): State<Arc<World>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let log = world.observe.traces.log(&name).ok_or_else(unknown)?;
    let flushed = tokio::task::spawn_blocking({
        let log = log.clone();
        move || log.flush()
    });
    flushed.await.map_err(|error| ApiError::internal(&error))?.map_err(|error| failed(&error))?;
    Ok(Json(json!([{ "node": world.node, "size": log.bytes(), "mtime": log.written_secs() }])))
}

/// A part of a trace's log.
#[utoipa::path(
    get, path = "/trace/{name}/log", tag = "observing",
    params(
        ("name" = String, Path, description = "The trace's name"),
        ("position" = Option<u64>, Query, description = "Where to begin: what `meta` told last"),
        ("bytes" = Option<u64>, Query, description = "How much, 1,000 without it and 1 MiB at most"),
        ("node" = Option<String>, Query, description = "This node, if one is named"),
    ),
    responses((status = 200, description = "Text, and where to go on", body = Value)),
)]
pub async fn log(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    check_node_of(&world, &query)?;
    let position = query.read("position")?.unwrap_or(0);
    let bytes = query.read("bytes")?.unwrap_or(READ_BYTES).clamp(4, READ_BYTES_MAX);
    let mut text = read(&world, &name, position, bytes).await?;
    let is_end = text.len() < bytes;
    // A character is not cut in two.
    if let Err(error) = std::str::from_utf8(&text)
        && error.error_len().is_none()
    {
        text.truncate(error.valid_up_to());
    }
    let position = position.saturating_add(text.len() as u64);
    let items = String::from_utf8_lossy(&text);
    let mut meta = json!({ "position": position, "bytes": bytes });
    if is_end {
        meta["hint"] = "eof".into();
    }
    Ok(Json(json!({ "meta": meta, "items": items })))
}
