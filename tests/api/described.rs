//! The description of the API, which other tests take the list of all operations from.

use serde_json::Value;

use crate::{Managed, http::Caller};

/// An operation that the API describes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// `GET`.
    pub method: String,
    /// Below `/api/v5`, with parameters in braces.
    pub path: String,
    /// Nobody has to log in.
    pub open: bool,
    /// It has a body.
    pub has_body: bool,
}

impl Operation {
    /// Its path with every parameter filled in.
    pub fn path_of(&self, value: &str) -> String {
        let parts = self.path.split('/').map(|part| if part.starts_with('{') { value } else { part });
        // This one would go on for ever.
        let query = if self.path == "/live" { "?events=none" } else { "" };
        format!("/api/v5{}{query}", parts.collect::<Vec<_>>().join("/"))
    }
}

/// Everything that is described.
pub async fn operations(caller: &Caller) -> Vec<Operation> {
    let document = caller.get("/api-docs/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&String, &Value)| {
        let operations = item.as_object().expect("operations").clone();
        let path = path.clone();
        operations.into_iter().map(move |(method, told)| Operation {
            method: method.to_uppercase(),
            path: path.clone(),
            open: told.get("security").is_some(),
            has_body: told.get("requestBody").is_some(),
        })
    };
    paths.iter().flat_map(of_path).collect()
}

#[tokio::test]
async fn every_path_is_described() {
    let managed = Managed::start().await;
    let document = managed.admin.without_token().get("/api-docs/openapi.json").await.json();
    assert_eq!(document["openapi"].as_str().map(|version| version.starts_with("3.1")), Some(true));
    assert_eq!(document["servers"][0]["url"], "/api/v5");
    let all = operations(&managed.admin).await;
    for (method, path, open) in
        [("GET", "/clients", false), ("POST", "/login", true), ("DELETE", "/banned/{kind}/{who}", false)]
    {
        let found = all.iter().find(|operation| operation.method == method && operation.path == path);
        assert_eq!(found.map(|operation| operation.open), Some(open), "{method} {path}");
    }
    let told = |path: &str, method: &str| document["paths"][path][method].clone();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{method} {path}");
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            let ids = operation["operationId"].as_str().expect("an id");
            assert!(!ids.is_empty());
        }
    }
    assert!(told("/clients", "get")["parameters"].to_string().contains("like_clientid"));
    assert!(told("/publish", "post")["responses"]["202"].is_object());
}
