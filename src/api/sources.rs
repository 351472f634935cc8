//! Where it is decided what clients may do, by EMQX's paths: `/authorization/sources`. They are settings of `access`: `sources` is their order.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    backends::{self, Changes, Kind},
    error::{ApiError, Body, Path},
    order::{List::Sources, Order, take_enable, take_name, take_text},
    world::World,
};
use crate::{
    access::{
        Source,
        rules::{RULES_MAX, Rules},
    },
    config::{
        ACL_CONF,
        own_rules::{self, OF_DATABASE as DATABASE, OF_FILES as FILES, OF_SETTINGS as SETTINGS, PARTS},
    },
};

const RULE_FILES: &str = "access.rule_files";

/// What is served here.
pub fn routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(reorder))
        .routes(routes!(find, change, remove))
        .routes(routes!(relocate))
        .routes(routes!(status))
}

/// The one that a type means: a part of the gateway's own rules, or a service.
fn find_in(order: &Order, id: &str) -> Result<String, ApiError> {
    let part = match id {
        "built_in_database" => return Ok(DATABASE.to_owned()),
        "settings" => Some(SETTINGS),
        "file" => Some(FILES),
        _ => None,
    };
    match part {
        Some(part) if count_of(order, part) > 0 => Ok(part.to_owned()),
        Some(_) => Err(ApiError::not_found("there is no such source")),
        None if id.starts_with(own_rules::ALL) => Err(ApiError::not_found("there is no such source")),
        None => order.find_service(id),
    }
}

/// It is a part of the gateway's own rules, and no service.
fn is_part(name: &str) -> bool {
    PARTS.contains(&name)
}

/// How many sources a part of the gateway's own rules is, as far as settings say it.
fn count_of(order: &Order, part: &str) -> usize {
    let len = |key: &str| order.values.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    match part {
        SETTINGS => len("access.rules").min(1),
        FILES => len(RULE_FILES) + usize::from(!text_of(order).is_empty()),
        _ => 1,
    }
}

/// The rules in the form of EMQX's file.
fn text_of(order: &Order) -> &str {
    order.values.get(ACL_CONF).and_then(Value::as_str).unwrap_or_default()
}

/// All of them that are there; then those that are not asked.
fn names(order: &Order) -> Vec<String> {
    let parts = [DATABASE, FILES, SETTINGS].map(str::to_owned);
    let off = parts.into_iter().filter(|part| !order.is_asked(part));
    order.all().cloned().chain(off).filter(|name| !is_part(name) || count_of(order, name) > 0).collect()
}

/// What one is: files are told one by one.
fn tell(world: &World, order: &Order, name: &str) -> Vec<Value> {
    let policy = world.access.policy();
    let rules = |is_it: &dyn Fn(&Rules) -> bool| {
        let of = |source: &Source| match source {
            Source::Rules(rules) if is_it(rules) => Some(rules.len()),
            _ => None,
        };
        policy.sources.iter().find_map(of).unwrap_or(0)
    };
    let written = |place: &str| rules(&|rules| rules.source() == Some(place));
    let mut told = match name {
        DATABASE => vec![json!({
            "type": "built_in_database", "max_rules": RULES_MAX,
            "rules_count": rules(&|rules| matches!(rules, Rules::Database(_))),
        })],
        SETTINGS => vec![json!({ "type": "settings", "name": "access.rules", "rules_count": written("access.rules") })],
        FILES => {
            let files = order.values.get(RULE_FILES).and_then(Value::as_array).into_iter().flatten();
            let mut told: Vec<_> = files
                .map(|file| {
                    let path = file["path"].as_str().unwrap_or_default();
                    json!({ "type": "file", "path": path, "rules_count": written(path) })
                })
                .collect();
            if !text_of(order).is_empty() {
                told.push(json!({ "type": "file", "rules": text_of(order), "rules_count": written(ACL_CONF) }));
            }
            told
        }
        service => {
            let (kind, of) = service.split_once('.').unwrap_or((service, ""));
            let mut told = json!({ "type": kind, "name": of });
            if let Some(kind) = Kind::find(kind) {
                backends::tell(kind, Sources, &format!("access.{service}"), &order.values, &mut told);
            }
            vec![told]
        }
    };
    for one in &mut told {
        one["enable"] = order.is_asked(name).into();
    }
    told
}

/// Takes the type out of a body, and the name that the source gets.
fn taken(body: &mut Map<String, Value>) -> Result<(String, Option<String>), ApiError> {
    let kind = take_text(body, "type")?.ok_or_else(|| ApiError::bad("type: it has to be there"))?;
    Ok((kind, take_name(body)?))
}

/// The settings of a body.
fn settings(order: &Order, name: &str, body: &mut Map<String, Value>) -> Result<Changes, ApiError> {
    // What is told, and can be sent back as it is.
    ["rules_count", "position"].iter().for_each(|told| drop(body.remove(*told)));
    let unknown = |field: &String| ApiError::bad(format!("{field}: there is no such field here"));
    match name {
        DATABASE => {
            if body.remove("max_rules").is_some_and(|most| most != RULES_MAX) {
                return Err(ApiError::bad(format!("max_rules: it can be nothing but {RULES_MAX} here")));
            }
            body.keys().next().map_or(Ok(Changes::new()), |field| Err(unknown(field)))
        }
        FILES => {
            let (text, path) = (body.remove("rules"), body.remove("path"));
            if let Some(field) = body.keys().next() {
                return Err(unknown(field));
            }
            if count_of(order, FILES) > 1 {
                return Err(ApiError::bad(format!("there are several files: {RULE_FILES} of /configs changes them")));
            }
            let files = match (&text, &path) {
                (Some(Value::String(text)), None) if !text.trim().is_empty() => json!([]),
                // As it was told, whatever its form.
                (None, Some(path))
                    if path.is_string()
                        && order.values.get(RULE_FILES).is_some_and(|files| files[0]["path"] == *path) =>
                {
                    return Ok(Changes::new());
                }
                (None, Some(Value::String(path))) if !path.is_empty() => json!([{ "path": path }]),
                _ => return Err(ApiError::bad("rules: the text of an acl.conf, or path: where one is")),
            };
            let text = text.unwrap_or_else(|| "".into());
            Ok([(ACL_CONF.to_owned(), Some(text)), (RULE_FILES.to_owned(), Some(files))].into())
        }
        SETTINGS => body.keys().next().map_or(Ok(Changes::new()), |field| Err(unknown(field))),
        service => {
            let kind = service.split_once('.').and_then(|(kind, _)| Kind::find(kind));
            let kind = kind.filter(|kind| !kind.asks_about_topics.is_empty());
            let kind = kind.ok_or_else(|| ApiError::bad("type: there is no such source here"))?;
            backends::read(kind, Sources, &format!("access.{service}"), body)
        }
    }
}

/// Where it is decided what clients may do, in order; then what has settings and is not asked.
#[utoipa::path(
    get,
    path = "/authorization/sources",
    tag = "access",
    responses((status = 200, description = "The sources, with EMQX's fields", body = Value)),
)]
async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    let order = Order::of(&world, Sources);
    let mut told: Vec<_> = names(&order).iter().flat_map(|name| tell(&world, &order, name)).collect();
    for (place, one) in told.iter_mut().enumerate() {
        one["position"] = place.into();
    }
    Json(json!({ "sources": told }))
}

/// One source.
#[utoipa::path(
    get,
    path = "/authorization/sources/{type}",
    tag = "access",
    params(("type" = String, Path, description = "built_in_database, settings, file, http, postgresql, mysql, redis, mongodb or ldap; TYPE:NAME when there are some of a type")),
    responses((status = 200, description = "The source", body = Value)),
)]
async fn find(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let order = Order::of(&world, Sources);
    let name = find_in(&order, &id)?;
    Ok(Json(tell(&world, &order, &name).into_iter().next().unwrap_or_default()))
}

/// One more, which is asked before the others, as EMQX does it.
#[utoipa::path(
    post,
    path = "/authorization/sources",
    tag = "access",
    request_body(content = BTreeMap<String, Value>, description = "type and EMQX's fields of it; name for a further one of a type"),
    responses((status = 204, description = "It is asked, about whoever is connected, too")),
)]
async fn add(
    State(world): State<Arc<World>>,
    Body(mut body): Body<Map<String, Value>>,
) -> Result<StatusCode, ApiError> {
    let (kind, called) = taken(&mut body)?;
    let enable = take_enable(&mut body)?;
    let _changing = world.changes.lock().await;
    let order = Order::of(&world, Sources);
    let name = match &*kind {
        "built_in_database" | "file" if called.is_some() => return Err(ApiError::bad("name: there is one of it")),
        "built_in_database" => DATABASE.to_owned(),
        "file" => FILES.to_owned(),
        kind => format!("{kind}.{}", called.as_deref().unwrap_or(Sources.unnamed())),
    };
    let is_there = match &*name {
        // It is always there, and all that can be said of it is whether it is asked.
        DATABASE => false,
        FILES => count_of(&order, FILES) > 0,
        service => order.all().any(|known| known == service) || order.has_settings(&format!("access.{service}")),
    };
    if is_there {
        return Err(ApiError::bad("there is such a source, or an authenticator of this name"));
    }
    let changes = settings(&order, &name, &mut body)?;
    order.keep(&world, &order.switched(&name, enable), changes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Other settings in place of those that it has. What it is not asked for while `enable` is false is kept.
#[utoipa::path(
    put,
    path = "/authorization/sources/{type}",
    tag = "access",
    params(("type" = String, Path, description = "As for GET")),
    request_body(content = BTreeMap<String, Value>, description = "As for POST; secrets may be sent as they were told"),
    responses((status = 204, description = "It is so, for whoever is connected, too")),
)]
async fn change(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(mut body): Body<Map<String, Value>>,
) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let order = Order::of(&world, Sources);
    let name = find_in(&order, &id)?;
    let (kind, called) = taken(&mut body)?;
    let enable = take_enable(&mut body)?;
    let (type_of, of) = match &*name {
        DATABASE => ("built_in_database", None),
        FILES => ("file", None),
        SETTINGS => ("settings", Some("access.rules")),
        service => service.split_once('.').map_or((service, None), |(kind, of)| (kind, Some(of))),
    };
    if kind != type_of || called.as_deref().is_some_and(|called| Some(called) != of) {
        return Err(ApiError::bad("type and name stay what they are"));
    }
    let changes = settings(&order, &name, &mut body)?;
    order.keep(&world, &order.switched(&name, enable), changes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// It is not asked any more, and its settings go, unless it is an authenticator, too. The rules of the built-in database stay.
#[utoipa::path(
    delete,
    path = "/authorization/sources/{type}",
    tag = "access",
    params(("type" = String, Path, description = "As for GET")),
    responses((status = 204, description = "It is gone, for whoever is connected, too")),
)]
async fn remove(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let order = Order::of(&world, Sources);
    let name = find_in(&order, &id)?;
    let mut asked = order.switched(&name, false);
    let changes = match &*name {
        SETTINGS => return Err(ApiError::bad("they are the setting access.rules, which /configs changes")),
        FILES if count_of(&order, FILES) > 1 => {
            return Err(ApiError::bad(format!("there are several files: {RULE_FILES} of /configs changes them")));
        }
        FILES => {
            // Files that there may be later are asked.
            let place = asked.iter().rposition(|known| is_part(known)).map_or(asked.len(), |last| last + 1);
            asked.insert(place, name);
            [(ACL_CONF.to_owned(), Some("".into())), (RULE_FILES.to_owned(), Some(json!([])))].into()
        }
        other => order.leftovers(other),
    };
    order.keep(&world, &asked, changes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where a source is wanted.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcePosition {
    /// front, rear, before:TYPE or after:TYPE.
    position: String,
}

/// It is asked at another place.
#[utoipa::path(
    post,
    path = "/authorization/sources/{type}/move",
    tag = "access",
    params(("type" = String, Path, description = "As for GET")),
    responses((status = 204, description = "It is there, for whoever is connected, too")),
)]
async fn relocate(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Body(wanted): Body<SourcePosition>,
) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let order = Order::of(&world, Sources);
    let name = find_in(&order, &id)?;
    let asked = order.moved(&name, &wanted.position, |id| find_in(&order, id))?;
    order.keep(&world, &asked, Changes::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What one is called in an order.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceType {
    /// As for `GET`.
    r#type: String,
}

/// All of them are asked in this order.
#[utoipa::path(
    put,
    path = "/authorization/sources/order",
    tag = "access",
    request_body(content = Vec<SourceType>, description = "Each that is asked, once; those that are not have no place"),
    responses((status = 204, description = "It is so, for whoever is connected, too")),
)]
async fn reorder(State(world): State<Arc<World>>, Body(types): Body<Vec<SourceType>>) -> Result<StatusCode, ApiError> {
    let _changing = world.changes.lock().await;
    let order = Order::of(&world, Sources);
    let mut names: Vec<_> = types.iter().map(|named| find_in(&order, &named.r#type)).collect::<Result<_, _>>()?;
    // Parts without rules are not told, and stay behind the others.
    let is_empty = |name: &&String| is_part(name) && count_of(&order, name) == 0;
    names.extend(order.asked.iter().filter(is_empty).cloned());
    order.keep(&world, &order.in_order(names)?, Changes::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How it is, and what became of the questions to it.
#[utoipa::path(
    get,
    path = "/authorization/sources/{type}/status",
    tag = "access",
    params(("type" = String, Path, description = "As for GET")),
    responses((status = 200, description = "connected, or disconnected while a service has failed too often and is left alone; stopped when it is not asked", body = Value)),
)]
async fn status(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let order = Order::of(&world, Sources);
    Ok(Json(order.tell_status(&world, &find_in(&order, &id)?)))
}
