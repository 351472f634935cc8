//! The management page's files.

use crate::{
    Managed,
    http::{Answer, Caller},
};

async fn ask(caller: &Caller, path: &str, headers: &str) -> Answer {
    caller.raw(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{headers}\r\n").as_bytes()).await
}

/// What stands between the two.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

#[tokio::test]
async fn the_page_is_served_to_everybody_and_kept_by_browsers() {
    let managed = Managed::start().await;
    let stranger = managed.admin.without_token();
    let index = ask(&stranger, "/", "").await;
    assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(index.header("cache-control"), Some("no-cache"));
    assert_eq!(index.header("x-content-type-options"), Some("nosniff"));
    let policy = index.header("content-security-policy").expect("a policy");
    assert!(!policy.contains("unsafe"), "{policy}");
    let Some(script) = between(index.text(), "src=\"", "\"") else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI has Node, and the gateway there its page");
        assert!(index.text().contains("/api/v5") && index.text().contains("THINGWAY_DASHBOARD_DIR"), "{index:?}");
        return;
    };
    assert!(policy.contains("script-src 'self'") && policy.contains("connect-src 'self' ws: wss:"), "{policy}");
    let tag = index.header("etag").expect("a tag").to_owned();
    let again = ask(&stranger, "/", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((again.status, again.text()), (304, ""));
    assert_eq!(again.header("content-security-policy"), index.header("content-security-policy"));

    let plain = ask(&stranger, script, "").await;
    assert_eq!((plain.status, plain.header("content-encoding")), (200, None));
    assert_eq!(plain.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let packed = ask(&stranger, script, "Accept-Encoding: gzip, deflate, br\r\n").await;
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
    assert_ne!(packed.header("etag"), plain.header("etag"), "other bytes");
    let length = |answer: &Answer| answer.header("content-length").and_then(|text| text.parse::<usize>().ok());
    assert!(length(&packed) < length(&plain), "{:?} {:?}", length(&packed), length(&plain));
}

#[tokio::test]
async fn nothing_else_is_a_file() {
    let managed = Managed::start().await;
    for path in
        ["/assets/nothing.js", "/assets/", "/assets/../index.html", "/assets/..%2f..%2fCargo.toml", "/src/main.tsx"]
    {
        let answer = ask(&managed.admin, path, "").await;
        assert_eq!((answer.status, answer.code()), (404, "NOT_FOUND".into()), "{path}");
    }
    assert_eq!(managed.get("/api/v5/stats").await.header("cache-control"), Some("no-store"));
    assert_eq!(managed.admin.ask("POST", "/", None).await.status, 405);
}
