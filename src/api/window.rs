//! Which part of a long listing is wanted, by page or by cursor, and what was found of it.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::{
    error::ApiError,
    page::{LIMIT, Page},
    query::Query,
};

/// How to go on where an answer ended.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes what Window reads")]
pub struct Cursor {
    /// `meta.cursor` of the answer before, or nothing for the beginning; in the place of `page`.
    cursor: Option<String>,
}

/// Which part of a listing in order is wanted: a page by its number, or what comes after a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    skip: usize,
    limit: usize,
    /// By number.
    page: Option<usize>,
    after: Option<String>,
}

impl Window {
    /// By `cursor` if there is one, else by `page`; `limit` in either case.
    ///
    /// # Errors
    /// When a number is out of bounds or the cursor is none, or both are given.
    pub fn of(query: &Query) -> Result<Self, ApiError> {
        let Some(cursor) = query.find("cursor") else {
            let page = Page::of(query)?;
            return Ok(Self { skip: page.first(), limit: page.limit(), page: Some(page.number()), after: None });
        };
        if query.find("page").is_some() {
            return Err(ApiError::bad("either a page or a cursor"));
        }
        Self::by_cursor(query, cursor)
    }

    /// Always by cursor.
    ///
    /// # Errors
    /// When the limit is out of bounds or the cursor is none.
    pub fn of_cursor(query: &Query) -> Result<Self, ApiError> {
        Self::by_cursor(query, query.find("cursor").unwrap_or_default())
    }

    fn by_cursor(query: &Query, cursor: &str) -> Result<Self, ApiError> {
        let limit = Page::of_limit(query.read("limit")?.unwrap_or(LIMIT))?.limit();
        let wrong =
            || ApiError::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER", "the cursor is not one that was given");
        let after = match cursor {
            "" => None,
            text => {
                let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
                Some(String::from_utf8(bytes).map_err(|_| wrong())?)
            }
        };
        Ok(Self { skip: 0, limit, page: None, after })
    }

    /// The name that the answer before ended with.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// What comes before the part that is wanted, and how much is wanted.
    pub fn place(&self) -> (usize, usize) {
        (self.skip, self.limit)
    }
}

/// What was found of a listing.
#[derive(Debug)]
pub struct Found<T> {
    skip: usize,
    limit: usize,
    items: Vec<T>,
    seen: usize,
    is_counted: bool,
    /// Known, however many were seen.
    counted: Option<usize>,
    /// The search was given up here.
    given_up: Option<String>,
}

impl<T> Found<T> {
    /// Nothing by now.
    pub fn new(window: &Window) -> Self {
        let Window { skip, limit, .. } = *window;
        Self {
            skip,
            limit,
            items: Vec::new(),
            seen: 0,
            is_counted: window.after.is_none(),
            counted: None,
            given_up: None,
        }
    }

    /// One more; it is made only when it is wanted.
    pub fn see(&mut self, make: impl FnOnce() -> T) {
        if self.seen >= self.skip && self.items.len() < self.limit {
            self.items.push(make());
        }
        self.seen += 1;
    }

    /// Passes several by if none of them is wanted.
    pub fn pass(&mut self, count: usize) -> bool {
        let passes = self.seen + count <= self.skip || self.items.len() == self.limit;
        self.seen += if passes { count } else { 0 };
        passes
    }

    /// True when there is all that is wanted, and more behind it.
    pub fn is_full(&self) -> bool {
        self.behind() > 0
    }

    /// How many were seen behind what is wanted.
    pub fn behind(&self) -> usize {
        self.seen.saturating_sub(self.skip + self.limit)
    }

    /// Not all are seen.
    pub fn leave_uncounted(&mut self) {
        self.is_counted = false;
    }

    /// No more is looked at: a cursor goes on here, whether there are as many as wanted or not.
    pub fn give_up_at(&mut self, name: String) {
        self.given_up = Some(name);
    }

    /// How many there are is known.
    pub fn count(&mut self, count: usize) {
        self.counted = Some(count);
    }

    /// What is on the page.
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// How many were seen.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// In EMQX's form. `name` tells what a cursor behind an item is made of.
    pub fn into_answer<R: Serialize>(
        self,
        window: &Window,
        name: impl FnOnce(&T) -> String,
        tell: impl FnMut(T) -> Option<R>,
    ) -> Response {
        let hasnext = self.is_full() || self.given_up.is_some();
        let mut meta = json!({ "limit": self.limit, "hasnext": hasnext });
        if let Some(page) = window.page {
            meta["page"] = page.into();
        }
        if let Some(count) = self.counted.or(self.is_counted.then_some(self.seen)) {
            meta["count"] = count.into();
        }
        let last = match (self.given_up, self.items.last()) {
            _ if !hasnext => None,
            (Some(name), _) => Some(name),
            (None, last) => last.map(name),
        };
        if let Some(last) = last {
            meta["cursor"] = URL_SAFE_NO_PAD.encode(last).into();
        }
        written(self.items.into_iter().filter_map(tell), &meta)
            .unwrap_or_else(|error| ApiError::internal(&error).into_response())
    }
}

/// Writes each row as it comes, so that they are never all there beside their text.
fn written<R: Serialize>(rows: impl Iterator<Item = R>, meta: &Value) -> serde_json::Result<Response> {
    let rows_max = rows.size_hint().1.unwrap_or_default();
    let mut text = b"{\"data\":[".to_vec();
    for (number, row) in rows.enumerate() {
        if number > 0 {
            text.push(b',');
        }
        let before = text.len();
        serde_json::to_writer(&mut text, &row)?;
        if number == 0 {
            // The others are about as long.
            text.reserve(rows_max.saturating_sub(1) * (text.len() - before + 1));
        }
    }
    text.extend_from_slice(b"],\"meta\":");
    serde_json::to_writer(&mut text, meta)?;
    text.push(b'}');
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(skip: usize, after: Option<&str>) -> Window {
        Window { skip, limit: 2, page: after.is_none().then_some(1), after: after.map(str::to_owned) }
    }

    #[test]
    fn what_is_wanted_is_kept_and_the_rest_counted() {
        let mut found = Found::new(&window(3, None));
        assert!(found.pass(2));
        assert!(!found.pass(2), "the second of them may be wanted");
        for number in 2..5 {
            found.see(|| number);
        }
        assert_eq!((found.items.as_slice(), found.is_full()), (&[3, 4][..], false));
        assert!(found.pass(100));
        assert_eq!((found.seen, found.behind(), found.is_full()), (105, 100, true));
    }
}
