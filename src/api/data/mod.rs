//! Archives of what operators have made: `/data`.

mod archive;
mod check;
mod export;
mod folder;
mod import;
mod tables;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use axum::{
    Extension, Json,
    body::{Body as Stream, Bytes},
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    check::{Checked, Wrong, check},
    export::NotWritten,
    folder::{Folder, FolderError, Kept},
    tables::Table,
};
use super::{
    audit,
    error::{ApiError, Body, Path},
    login::{Caller, Peer},
    multipart,
    page::{Page, Paging},
    query::Query,
    status::check_node,
    world::{World, date_of_ms},
};
use crate::config::Config;

/// Bytes of an upload, which are held in memory, one upload at a time. A larger archive is put into the folder by hand.
const UPLOAD_MAX: usize = 64 << 20;
/// Bytes that are read at once for a download.
const CHUNK: usize = 64 << 10;

/// Archives, and who has to do with them.
#[derive(Debug)]
pub struct Data {
    folder: Arc<Folder>,
    /// One is written or taken over at a time.
    working: Arc<Mutex<()>>,
    uploading: Mutex<()>,
}

impl Data {
    /// In a folder that may not be there yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder: Arc::new(Folder::new(folder)), working: Arc::default(), uploading: Mutex::default() }
    }
}

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    let uploads = OpenApiRouter::new().routes(routes!(files, upload)).layer(DefaultBodyLimit::max(UPLOAD_MAX));
    OpenApiRouter::new()
        .routes(routes!(export))
        .routes(routes!(import))
        .routes(routes!(download, remove))
        .merge(uploads)
}

impl From<FolderError> for ApiError {
    fn from(error: FolderError) -> Self {
        match &error {
            FolderError::Name => Self::bad(error.to_string()),
            FolderError::Exists => Self::exists(error.to_string()),
            FolderError::Full => Self::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", error.to_string()),
            FolderError::File(error) => Self::store(error),
        }
    }
}

impl From<NotWritten> for ApiError {
    fn from(error: NotWritten) -> Self {
        match error {
            NotWritten::Folder(error) => error.into(),
            NotWritten::Settings(error) => Self::setting(error),
            NotWritten::TooLarge => Self::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", error.to_string()),
            NotWritten::File(_) | NotWritten::Store(_) => Self::store(&error),
        }
    }
}

impl From<Wrong> for ApiError {
    fn from(wrong: Wrong) -> Self {
        Self::bad(wrong.to_string())
    }
}

fn tell(world: &World, kept: &Kept) -> Value {
    json!({
        "filename": kept.name,
        "node": world.node,
        "created_at": date_of_ms(kept.unix_secs.saturating_mul(1000)),
        "created_at_sec": kept.unix_secs,
        "size": kept.size,
    })
}

/// Works on files, one after the other. Whoever has asked for it may be gone meanwhile.
async fn work<T: Send + 'static>(
    world: &Arc<World>,
    work: impl FnOnce(&World, &Folder) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let turn = world.data.working.clone().lock_owned().await;
    let world = world.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&world, &world.data.folder)
    });
    done.await.unwrap_or_else(|error| Err(ApiError::internal(&error)))
}

/// What goes into an archive.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DataToExport)]
pub struct Wish {
    /// Sections of the settings, as `mqtt`: without it all, of which what was changed at run time is exported.
    root_keys: Option<Vec<String>>,
    /// Of builtin_authn, builtin_authz, banned, psk, dashboard_users, api_keys, topic_metrics, slow_subscriptions, builtin_retainer and delayed; without it all.
    table_sets: Option<Vec<String>>,
}

impl Wish {
    fn tables(&self, by_key: bool) -> Result<Vec<Table>, ApiError> {
        let Some(names) = &self.table_sets else {
            return Ok(Table::ALL.into_iter().filter(|table| !by_key || !table.is_for_accounts_only()).collect());
        };
        let mut tables = Vec::new();
        for name in names {
            let table = Table::of_name(name).ok_or_else(|| ApiError::bad(format!("Invalid table sets: {name}")))?;
            if by_key && table.is_for_accounts_only() {
                return Err(not_by_key());
            }
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        Ok(tables)
    }
}

fn not_by_key() -> ApiError {
    let why = "the archive has accounts or keys in it, and a key manages neither";
    ApiError::new(StatusCode::FORBIDDEN, "API_KEY_NOT_ALLOW", why)
}

/// Writes an archive of what operators have made: it has hashes of passwords, keys and secrets in it. One that a key asks for has neither accounts nor keys of the API.
#[utoipa::path(
    post,
    path = "/data/export",
    tag = "data",
    request_body(content = Wish, description = "All without a body"),
    responses((status = 200, description = "The archive", body = Value)),
)]
pub async fn export(
    State(world): State<Arc<World>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let wish: Wish = match body.is_empty() {
        true => Wish::default(),
        false => serde_json::from_slice(&body).map_err(|error| ApiError::bad(error.to_string()))?,
    };
    let tables = wish.tables(caller.is_key())?;
    if let Some(roots) = &wish.root_keys {
        let sections = Config::keys();
        if let Some(unknown) = roots.iter().find(|root| !sections.iter().any(|section| section.name == **root)) {
            return Err(ApiError::bad(format!("Invalid root keys: {unknown}")));
        }
    }
    let told = work(&world, move |world, folder| {
        let told = export::write(world, folder, &tables, wish.root_keys.as_deref())?;
        tracing::info!("exported {told}");
        Ok(told)
    });
    Ok(Json(tell(&world, &told.await?.kept)))
}

/// All archives.
#[utoipa::path(
    get,
    path = "/data/files",
    tag = "data",
    params(Paging),
    responses((status = 200, description = "A page of archives, the latest first", body = Value)),
)]
pub async fn files(State(world): State<Arc<World>>, query: Query) -> Result<Json<Value>, ApiError> {
    let page = Page::of(&query)?;
    let folder = world.data.folder.clone();
    let listed = tokio::task::spawn_blocking(move || folder.list()).await;
    let all = listed.map_err(|error| ApiError::internal(&error))?.map_err(|error| ApiError::store(&error))?;
    Ok(Json(page.cut(all.iter().map(|kept| tell(&world, kept)).collect())))
}

/// Takes an archive in, after all of it was checked. It is not taken over by that.
#[utoipa::path(
    post,
    path = "/data/files",
    tag = "data",
    request_body(
        content(("multipart/form-data")),
        description = "A form whose file is the archive, at most 64 MiB; its name ends with .tar.gz"
    ),
    responses((status = 204, description = "It is kept under its name")),
)]
pub async fn upload(
    State(world): State<Arc<World>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let _uploading = world.data.uploading.lock().await;
    let sent = multipart::File::from_request(request, &world).await?;
    let name = sent.name.ok_or_else(|| {
        ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "an archive is sent as the file of a form (multipart/form-data)",
        )
    })?;
    work(&world, move |_, folder| {
        let mut unfinished = folder.create(&name)?;
        unfinished.file.write_all(&sent.content).map_err(|error| ApiError::store(&error))?;
        drop(sent.content);
        may_have(&caller, &check(again(&unfinished.file)?)?)?;
        unfinished.finish().map_err(|error| ApiError::store(&error))?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// A file from its beginning.
fn again(file: &File) -> Result<File, ApiError> {
    let rewound = || {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok::<_, io::Error>(file)
    };
    rewound().map_err(|error| ApiError::store(&error))
}

/// A key has nothing to do with accounts and keys.
fn may_have(caller: &Caller, checked: &Checked) -> Result<(), ApiError> {
    match caller.is_key() && checked.tables.iter().any(|table| table.is_for_accounts_only()) {
        true => Err(not_by_key()),
        false => Ok(()),
    }
}

fn missing() -> ApiError {
    ApiError::not_found("there is no such archive")
}

fn open(folder: &Folder, name: &str) -> Result<(File, Kept), ApiError> {
    folder.open(name).map_err(|error| ApiError::store(&error))?.ok_or_else(missing)
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = DataToImport)]
pub struct Import {
    /// An archive, as the list has it.
    filename: String,
    /// This node, if one is named.
    node: Option<String>,
}

/// Takes over an archive: all of it or, if anything is wrong with it, nothing. What is in it replaces what has the same key, and what is not in it stays.
#[utoipa::path(
    post,
    path = "/data/import",
    tag = "data",
    request_body = Import,
    responses((status = 200, description = "What became of settings, and of each table", body = Value)),
)]
pub async fn import(
    State(world): State<Arc<World>>,
    Extension(caller): Extension<Caller>,
    Body(wish): Body<Import>,
) -> Result<Json<Value>, ApiError> {
    if let Some(node) = &wish.node {
        check_node(&world, node)?;
    }
    // Whoever has asked for it may be gone before it is done.
    let taken = tokio::spawn(async move {
        let name = wish.filename.clone();
        let checked = work(&world, move |_, folder| {
            let (file, _) = open(folder, &name)?;
            let checked = check(again(&file)?)?;
            Ok((checked, file))
        });
        let (checked, file) = checked.await?;
        may_have(&caller, &checked)?;
        let (made_by, made_on) = (checked.manifest.made_by.clone(), checked.manifest.node.clone());
        let _changing = world.changes.lock().await;
        let mut told = import::take_over(&world, checked, again(&file)?).await?;
        tracing::info!(archive = wish.filename, made_by, made_on, "imported {told}");
        told["filename"] = wish.filename.into();
        told["node"] = world.node.clone().into();
        Ok(Json(told))
    });
    taken.await.unwrap_or_else(|error| Err(ApiError::internal(&error)))
}

/// An archive, as a file. Who has fetched it is told in the audit log.
#[utoipa::path(
    get,
    path = "/data/files/{filename}",
    tag = "data",
    params(
        ("filename" = String, Path, description = "Its name"),
        ("node" = Option<String>, Query, description = "This node, if one is named"),
    ),
    responses((status = 200, description = "The archive", body = Vec<u8>, content_type = "application/octet-stream")),
)]
pub async fn download(
    State(world): State<Arc<World>>,
    Extension(caller): Extension<Caller>,
    Extension(Peer(peer)): Extension<Peer>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    if let Some(node) = query.find("node") {
        check_node(&world, node)?;
    }
    let begun = Instant::now();
    let (folder, wanted, by) = (world.data.folder.clone(), name.clone(), caller.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let (file, kept) = open(&folder, &wanted)?;
        if by.is_key() {
            may_have(&by, &check(again(&file)?)?)?;
        }
        Ok::<_, ApiError>((again(&file)?, kept))
    });
    let (file, kept) = opened.await.map_err(|error| ApiError::internal(&error))??;
    let path = format!("/data/files/{name}");
    let source = (caller.name(), caller.is_key());
    let address = Some(peer.ip().to_canonical());
    audit::record(&world, source, address, (&Method::GET, &path), StatusCode::OK, begun.elapsed()).await;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, kept.size.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, stream(file)).into_response())
}

/// A file as a body, read piece by piece.
fn stream(file: File) -> Stream {
    Stream::from_stream(futures_util::stream::try_unfold(file, async |mut file| {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; CHUNK];
            let count = file.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, io::Error>((piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        Ok::<_, io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), file)))
    }))
}

/// Removes an archive.
#[utoipa::path(
    delete,
    path = "/data/files/{filename}",
    tag = "data",
    params(
        ("filename" = String, Path, description = "Its name"),
        ("node" = Option<String>, Query, description = "This node, if one is named"),
    ),
    responses((status = 204, description = "It is gone")),
)]
pub async fn remove(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    query: Query,
) -> Result<StatusCode, ApiError> {
    if let Some(node) = query.find("node") {
        check_node(&world, node)?;
    }
    let removed = work(&world, move |_, folder| folder.remove(&name).map_err(|error| ApiError::store(&error)));
    if removed.await? { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}
