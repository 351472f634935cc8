use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::world::World;

/// Why a request is not answered as its sender wished: a status, EMQX's code for it, and words.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    more: Option<(&'static str, Value)>,
}

/// EMQX's codes that are used here, and what they mean.
const CODES: &[(&str, &str)] = &[
    ("ALREADY_EXISTS", "Resource already existed"),
    ("API_KEY_NOT_ALLOW", "An API key may not do this"),
    ("BAD_API_KEY_OR_SECRET", "Bad API key or secret"),
    ("BAD_CONFIG_SCHEMA", "A setting cannot be so"),
    ("BAD_LISTENER_ID", "Bad listener ID"),
    ("BAD_REQUEST", "Request parameters are invalid"),
    ("BAD_TOPIC", "Topic syntax error"),
    ("BAD_USERNAME_OR_PWD", "Wrong username or password"),
    ("CLIENTID_NOT_FOUND", "Client ID not found"),
    ("EXCEED_LIMIT", "Create resource that exceeds its limit"),
    ("FORBIDDEN", "The role does not allow it"),
    ("INTERNAL_ERROR", "Something failed in the gateway"),
    ("INVALID_PARAMETER", "A parameter cannot be understood"),
    ("LOGIN_LOCKED", "Too many failed logins"),
    ("MESSAGE_ID_NOT_FOUND", "Message ID not found"),
    ("MESSAGE_ID_SCHEMA_ERROR", "Message ID is no number"),
    ("NOT_FOUND", "Resource was not found"),
    ("NO_DEFAULT_VALUE", "There is nothing that could be reset"),
    ("PASSWORD_EXPIRED", "The password has to be changed first"),
    ("RESOURCE_NOT_FOUND", "Resource was not found"),
    ("SERVICE_UNAVAILABLE", "Service unavailable"),
    ("TOPIC_NOT_FOUND", "Topic not found"),
    ("UNSUPPORTED_MEDIA_TYPE", "The body is of another type"),
    ("USER_NOT_FOUND", "User not found"),
];

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), more: None }
    }

    /// The same with one more field.
    pub fn with(self, name: &'static str, value: Value) -> Self {
        Self { more: Some((name, value)), ..self }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    pub fn exists(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "ALREADY_EXISTS", message)
    }

    /// Something failed that should not.
    pub fn internal(error: &impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", error.to_string())
    }

    /// The store cannot keep it.
    pub fn store(error: &impl std::fmt::Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", format!("it cannot be kept: {error}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut told = json!({ "code": self.code, "message": self.message });
        if let Some((name, value)) = self.more {
            told[name] = value;
        }
        (self.status, Json(told)).into_response()
    }
}

/// What is served to everybody.
pub fn public_routes() -> OpenApiRouter<Arc<World>> {
    OpenApiRouter::new().routes(routes!(codes)).routes(routes!(code))
}

/// The codes of errors, and what they mean.
#[utoipa::path(
    get,
    path = "/error_codes",
    tag = "nodes",
    responses((status = 200, description = "Codes", body = Value)),
    security(),
)]
pub async fn codes() -> Json<Value> {
    Json(CODES.iter().map(told).collect())
}

fn told((code, description): &(&str, &str)) -> Value {
    json!({ "code": code, "description": description })
}

/// One code, and what it means.
#[utoipa::path(
    get,
    path = "/error_codes/{code}",
    tag = "nodes",
    params(("code" = String, Path, description = "As errors have it")),
    responses((status = 200, description = "The code", body = Value)),
    security(),
)]
pub async fn code(Path(code): Path<String>) -> Result<Json<Value>, ApiError> {
    let known = CODES.iter().find(|(known, _)| *known == code);
    known.map(|known| Json(told(known))).ok_or_else(|| ApiError::not_found("there is no such code"))
}

/// A body of JSON, refused in the words of the API when it is none.
pub struct Body<T>(pub T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::BytesRejection(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_REQUEST", "the body is too large"))
            }
            Err(JsonRejection::MissingJsonContentType(_)) => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "the content type is not application/json",
            )),
            Err(error) => Err(ApiError::bad(error.body_text())),
        }
    }
}

/// Parts of the path, refused in the words of the API when they cannot be read.
pub struct Path<T>(pub T);

impl<T: serde::de::DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|error| ApiError::bad(error.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path as FilePath};

    use regex::Regex;

    use super::*;

    /// The codes that handlers answer with: each stands behind a status.
    fn used(folder: &FilePath, found: &mut BTreeSet<String>) {
        let code = Regex::new(r#"StatusCode::[A-Z_]+,\s*"([A-Z_]+)""#).unwrap();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                used(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.extend(code.captures_iter(&text).map(|captures| captures[1].to_owned()));
            }
        }
    }

    #[test]
    fn every_code_is_listed_and_has_a_translation() {
        let mut codes = BTreeSet::new();
        used(&FilePath::new(env!("CARGO_MANIFEST_DIR")).join("src/api"), &mut codes);
        assert!(codes.contains("USER_NOT_FOUND") && codes.contains("BAD_REQUEST"), "{codes:?}");
        let listed: BTreeSet<String> = CODES.iter().map(|&(code, _)| code.to_owned()).collect();
        let unlisted: Vec<_> = codes.difference(&listed).collect();
        assert!(unlisted.is_empty(), "CODES lacks {unlisted:?}");
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard/src/i18n/errors.ts");
        let text = fs::read_to_string(file).unwrap();
        let untranslated: Vec<_> = listed.iter().filter(|code| !text.contains(&format!("\n  {code}: \""))).collect();
        assert!(untranslated.is_empty(), "dashboard/src/i18n/errors.ts lacks {untranslated:?}");
    }
}
