//! The management page's files, which `build.rs` has embedded. Without them, a page that says where the API is and how to get the other.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::world::World;

include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// What the page may do: run its own scripts, ask this gateway, and speak MQTT over WebSocket to a listener of it, which has another port.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Names under this have a hash of what is in them.
const HASHED: &str = "/assets/";

/// A file of the page.
#[derive(Debug)]
struct File {
    path: &'static str,
    kind: &'static str,
    /// A hash of its bytes.
    tag: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
}

/// The page, or what stands in for it.
pub fn routes() -> Router<Arc<World>> {
    let mut router = Router::new();
    for file in FILES {
        router = router.route(file.path, get(move |headers: HeaderMap| async move { serve(file, &headers) }));
    }
    match FILES.iter().find(|file| file.path == "/index.html") {
        Some(file) => router.route("/", get(move |headers: HeaderMap| async move { serve(file, &headers) })),
        None => router.route("/", get(stand_in)),
    }
}

fn serve(file: &'static File, asked: &HeaderMap) -> Response {
    let packed = file.gzip.filter(|_| takes_gzip(asked));
    let tag = if packed.is_some() { format!("\"{}-gz\"", file.tag) } else { format!("\"{}\"", file.tag) };
    let kept = if file.path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let head: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, kept),
        (header::ETAG, &tag),
        (header::VARY, "Accept-Encoding"),
    ];
    if knows(asked, file.tag) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    let kind = [(header::CONTENT_TYPE, file.kind)];
    match packed {
        Some(bytes) => (head, kind, [(header::CONTENT_ENCODING, "gzip")], bytes).into_response(),
        None => (head, kind, file.plain).into_response(),
    }
}

/// Whether Accept-Encoding takes gzip (RFC 9110, section 12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    let (mut any, mut gzip) = (false, None);
    for value in asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()) {
        for coding in value.split(',') {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let taken = weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0));
            if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                gzip = Some(taken);
            } else if name == "*" {
                any = taken;
            }
        }
    }
    gzip.unwrap_or(any)
}

/// Whether If-None-Match names what would be sent, in either form (RFC 9110, section 13.1.2).
fn knows(asked: &HeaderMap, tag: &str) -> bool {
    let values = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        let known = known.strip_prefix("W/").unwrap_or(known);
        let bare = known.strip_prefix('"').and_then(|known| known.strip_suffix('"')).unwrap_or_default();
        known == "*" || bare.strip_suffix("-gz").unwrap_or(bare) == tag
    })
}

/// For a gateway that was built without its page.
async fn stand_in() -> Response {
    const TEXT: &str = concat!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">",
        "<meta name=\"color-scheme\" content=\"light dark\"><title>Thingway</title></head>\n<body>\n<main>\n<h1>Thingway ",
        env!("CARGO_PKG_VERSION"),
        "</h1>\n<p>The gateway runs, but it was built without its management page.</p>\n",
        "<p>To get the page, build again where Node 20 or newer and npm are installed (<code>touch build.rs</code>, then ",
        "<code>cargo build --release</code>), or set <code>THINGWAY_DASHBOARD_DIR</code> to a folder with a built page.</p>\n",
        "<p>The API is here: <code>POST /api/v5/login</code>, <code>GET /api/v5/clients</code> and so on. ",
        "<a href=\"/api-docs/openapi.json\">Its description</a>, <a href=\"/api/v5/status\">how the gateway is</a>.</p>\n",
        "</main>\n</body>\n</html>\n"
    );
    let head = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (head, TEXT).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, http::HeaderValue};

    use super::*;

    const SCRIPT: File = File {
        path: "/assets/index-1a2b.js",
        kind: "text/javascript; charset=utf-8",
        tag: "00ff",
        plain: b"let plain;",
        gzip: Some(b"packed"),
    };

    fn asking(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn header(answer: &Response, name: HeaderName) -> Option<&str> {
        answer.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn gzip_goes_to_those_who_take_it() {
        for (accept, packed) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("deflate, *;q=0.1", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("gzip;q=none", false),
        ] {
            let answer = serve(&SCRIPT, &asking(header::ACCEPT_ENCODING, accept));
            assert_eq!(header(&answer, header::CONTENT_ENCODING), packed.then_some("gzip"), "{accept}");
            assert_eq!(header(&answer, header::ETAG), Some(if packed { "\"00ff-gz\"" } else { "\"00ff\"" }));
            let body = to_bytes(answer.into_body(), 100).await.unwrap();
            assert_eq!(&body[..], if packed { &b"packed"[..] } else { b"let plain;" }, "{accept}");
        }
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        for (known, status) in [
            ("\"00ff\"", 304),
            ("\"00ff-gz\"", 304),
            ("W/\"00ff\"", 304),
            ("\"aa\", \"00ff\"", 304),
            ("*", 304),
            ("\"aa\"", 200),
            ("00ff", 200),
            ("\"\"", 200),
        ] {
            let answer = serve(&SCRIPT, &asking(header::IF_NONE_MATCH, known));
            assert_eq!(answer.status(), status, "{known}");
            assert_eq!(header(&answer, header::CACHE_CONTROL), Some("public, max-age=31536000, immutable"));
        }
    }

    #[test]
    fn what_is_embedded_is_a_page() {
        if FILES.is_empty() {
            return;
        }
        let index = FILES.iter().find(|file| file.path == "/index.html").expect("an index");
        let text = std::str::from_utf8(index.plain).unwrap();
        assert!(!text.contains("<style") && !text.contains("style="), "the policy allows no style in the page");
        assert!(text.match_indices("<script").all(|(at, _)| text[at..].starts_with("<script type=\"module\" ")));
        for file in FILES.iter().filter(|file| file.path != "/index.html" && file.kind.starts_with("text/")) {
            assert!(file.path.starts_with(HASHED), "{} would not be kept by browsers", file.path);
        }
    }
}
