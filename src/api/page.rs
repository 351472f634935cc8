use serde_json::{Value, json};
use utoipa::IntoParams;

use super::{error::ApiError, query::Query};

/// How many are on a page unless told.
pub const LIMIT: usize = 100;
const LIMIT_MAX: usize = 10_000;
const PAGE_MAX: usize = 1_000_000;

/// How a page is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    page: Option<usize>,
    /// How many are on a page: 100 unless told.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
}

/// Which part of a listing is wanted: `page` from 1, `limit` at most 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    page: usize,
    limit: usize,
}

/// Collects a page out of everything that a listing comes by.
#[derive(Debug)]
pub struct Collected<T> {
    page: Page,
    seen: usize,
    items: Vec<T>,
}

impl Page {
    /// # Errors
    /// When a number is out of bounds.
    pub fn of(query: &Query) -> Result<Self, ApiError> {
        let wanted = Paging { page: query.read("page")?, limit: query.read("limit")? };
        let (page, limit) = (wanted.page.unwrap_or(1), wanted.limit.unwrap_or(LIMIT));
        if !(1..=PAGE_MAX).contains(&page) || !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::bad(format!("page is from 1 to {PAGE_MAX} and limit from 1 to {LIMIT_MAX}")));
        }
        Ok(Self { page, limit })
    }

    /// The first page with this limit.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub fn of_limit(limit: usize) -> Result<Self, ApiError> {
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::bad(format!("limit is from 1 to {LIMIT_MAX}")));
        }
        Ok(Self { page: 1, limit })
    }

    /// Its number.
    pub const fn number(self) -> usize {
        self.page
    }

    /// How many are on it.
    pub const fn limit(self) -> usize {
        self.limit
    }

    /// How many are before it.
    pub const fn first(self) -> usize {
        (self.page - 1) * self.limit
    }

    /// Nothing by now.
    pub const fn collect<T>(self) -> Collected<T> {
        Collected { page: self, seen: 0, items: Vec::new() }
    }

    /// The page of a list that is there.
    pub fn cut(self, items: Vec<Value>) -> Value {
        let mut collected = self.collect();
        for item in items {
            collected.see(|| item);
        }
        collected.into_json(|item| item)
    }
}

impl<T> Collected<T> {
    /// One more that is in the listing; it is made only when it is on the page.
    pub fn see(&mut self, make: impl FnOnce() -> T) {
        if self.seen >= self.page.first() && self.items.len() < self.page.limit {
            self.items.push(make());
        }
        self.seen += 1;
    }

    /// In EMQX's form.
    pub fn into_json(self, tell: impl FnMut(T) -> Value) -> Value {
        let Page { page, limit } = self.page;
        let hasnext = self.seen > page * limit;
        let meta = json!({ "page": page, "limit": limit, "count": self.seen, "hasnext": hasnext });
        json!({ "data": self.items.into_iter().map(tell).collect::<Vec<_>>(), "meta": meta })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_out_of_what_comes_by() {
        let items = |count: usize| (0..count).map(Value::from).collect::<Vec<_>>();
        let page = Page { page: 2, limit: 3 };
        let told = page.cut(items(7));
        assert_eq!(told, json!({ "data": [3, 4, 5], "meta": { "page": 2, "limit": 3, "count": 7, "hasnext": true } }));
        assert_eq!(page.cut(items(6))["meta"]["hasnext"], false);
        assert_eq!(page.cut(items(2))["data"], json!([]));
    }
}
