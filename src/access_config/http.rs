//! Web servers that are asked.

use std::{path::Path, sync::Arc};

use thingway_connectors::{BreakerSettings, HttpService, LineSettings, Question, QuestionMethod, QuestionText};
use zeroize::Zeroizing;

use super::{AccessError, service_error};
use crate::{
    access::{
        Authenticator, Authority,
        backends::{HttpAuthenticator, HttpAuthority, HttpBackend, WhenDown},
        is_of_attempts, is_of_inquiries,
    },
    config::{self, AccessHttp, Config, HttpBody, HttpMethod},
};

/// The authenticator that is called so.
pub(super) fn authenticator(config: &Config, name: &str) -> Result<Arc<dyn Authenticator>, AccessError> {
    let backend = backend(config, name, is_of_attempts)
        .map_err(|unknown| unknown.unwrap_or_else(|| AccessError::Unknown(format!("http.{name}"))))?;
    Ok(Arc::new(HttpAuthenticator::new(backend)?))
}

/// The authority that is called so.
pub(super) fn authority(config: &Config, name: &str) -> Result<Arc<dyn Authority>, AccessError> {
    let backend = backend(config, name, is_of_inquiries)
        .map_err(|unknown| unknown.unwrap_or_else(|| AccessError::UnknownSource(format!("http.{name}"))))?;
    Ok(Arc::new(HttpAuthority::new(backend)))
}

/// `None` when there is none of this name.
fn backend(config: &Config, name: &str, is_known: fn(&str) -> bool) -> Result<HttpBackend, Option<AccessError>> {
    let settings = config.access.http.get(name).ok_or(None)?;
    let error = |key: &str, why: &dyn std::fmt::Display| Some(service_error("http", name, key, why));
    let authorization = authorization(settings, name)?;
    let mut headers: Vec<_> = settings.headers.iter().collect();
    if let Some(text) = &authorization {
        headers.push(("authorization", text));
    }
    let text = QuestionText {
        method: match (settings.method, settings.body) {
            (HttpMethod::Get, _) => QuestionMethod::Get,
            (HttpMethod::Post, HttpBody::Json) => QuestionMethod::PostJson,
            (HttpMethod::Post, HttpBody::Form) => QuestionMethod::PostForm,
        },
        url: &settings.url,
        headers: &headers,
        fields: &settings.fields.iter().collect::<Vec<_>>(),
    };
    // What the operator wrote is told, but for the values of headers.
    let question = Question::parse(&text, is_known).map_err(|why| error("url", &why))?;
    let line = LineSettings {
        timeout: settings.timeout.duration(),
        at_once: settings.connections.into(),
        waiting_max: settings.waiting_max as usize,
        breaker: BreakerSettings { failures: settings.failures.into(), rest: settings.rest.duration() },
    };
    let name = format!("http.{name}");
    let authorities = Some(settings.ca_file.as_path()).filter(|path| !path.as_os_str().is_empty());
    let service = HttpService::new(&name, line, authorities).map_err(|why| error("ca_file", &why))?;
    Ok(HttpBackend {
        service,
        question,
        when_down: when_down(settings.when_down),
        cache_time: settings.cache_time.duration(),
        cache_max: settings.cache_max as usize,
        name: name.into(),
    })
}

fn authorization(settings: &AccessHttp, name: &str) -> Result<Option<Zeroizing<String>>, Option<AccessError>> {
    let in_file = !settings.authorization_file.as_os_str().is_empty();
    let own = settings.authorization.reveal();
    match (own.is_empty(), in_file) {
        (true, false) => Ok(None),
        (false, true) => Err(Some(service_error("http", name, "authorization", &"it is in a file, too"))),
        (false, false) => Ok(Some(Zeroizing::new(own.to_owned()))),
        (true, true) => {
            let text = secret_file(&settings.authorization_file);
            text.map(Some).map_err(|why| Some(service_error("http", name, "authorization_file", &why)))
        }
    }
}

/// What a file has, without the line break at its end.
pub(super) fn secret_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let bare = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Zeroizing::new(bare.strip_suffix('\r').unwrap_or(bare).to_owned()))
}

const fn when_down(when_down: config::WhenDown) -> WhenDown {
    match when_down {
        config::WhenDown::Deny => WhenDown::Deny,
        config::WhenDown::Ignore => WhenDown::Ignore,
    }
}
