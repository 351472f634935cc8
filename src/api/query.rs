use std::collections::HashMap;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::error::ApiError;

/// The query string: names, and all values of each.
#[derive(Debug, Default)]
pub struct Query(HashMap<String, Vec<String>>);

impl Query {
    /// The value of a name; the last when it comes several times.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.last().map(String::as_str)
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of a name as whatever can be read from text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let wrong = || {
            ApiError::new(
                axum::http::StatusCode::BAD_REQUEST,
                "INVALID_PARAMETER",
                format!("{name} cannot be understood"),
            )
        };
        self.find(name).map(|text| text.parse().map_err(|_| wrong())).transpose()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()) {
            query.0.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Ok(query)
    }
}
