//! The description of the API, made from its code: `/api-docs/openapi.json`.

use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ContentBuilder, InfoBuilder, OpenApi, Ref, ResponseBuilder, SecurityRequirement, Server,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

/// An error.
#[derive(ToSchema)]
#[schema(as = Error)]
#[expect(dead_code, reason = "it only describes what ApiError writes")]
struct Described {
    /// What it is, in EMQX's words.
    code: String,
    /// What it is, for people.
    message: String,
}

/// The document, with what is the same for every path.
pub fn document(mut api: OpenApi) -> Bytes {
    api.info = InfoBuilder::new()
        .title("Thingway")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The management interface of a Thingway gateway. Paths, fields and codes are EMQX 5's where it has the same."))
        .build();
    api.servers = Some(vec![Server::new("/api/v5")]);
    let components = api.components.get_or_insert_with(Components::new);
    components.schemas.insert(Described::name().into_owned(), Described::schema());
    for (name, scheme) in [("token", HttpAuthScheme::Bearer), ("key", HttpAuthScheme::Basic)] {
        components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
    }
    api.security = Some(["token", "key"].map(|name| SecurityRequirement::new(name, [] as [&str; 0])).into());
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Described::name()))).build();
    let refused = ResponseBuilder::new().description("It is refused").content("application/json", content).build();
    for item in api.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().filter_map(Option::as_mut);
        for operation in operations {
            operation.responses.responses.insert("default".into(), refused.clone().into());
        }
    }
    let text = api.to_json().expect("texts and numbers can be written as JSON");
    text.into()
}

/// `GET /api-docs/openapi.json`
pub async fn serve(document: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}
