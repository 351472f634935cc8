//! Web servers: a client that asks one, or sends to one, by way of a [`Line`].

mod question;

use std::{
    error::Error,
    fmt, fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use zeroize::Zeroizing;

pub use self::question::{Question, QuestionError, QuestionMethod, QuestionText, Unfit};
use crate::{
    failure::Failure,
    line::{Line, LineCounts, LineSettings},
};

/// Largest body of an answer, in bytes. A larger one is [`Failure::TooLarge`].
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest head of an answer, in bytes. A larger one is [`Failure::Malformed`].
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 128;
/// How long a connection is kept that nothing is asked over.
const IDLE: Duration = Duration::from_secs(30);

/// A web server, with its bounds. Redirects are not followed.
pub struct HttpService {
    line: Line,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What a server has answered. Credentials may be in it: it is overwritten when dropped, and not shown.
pub struct HttpAnswer {
    /// 200 to 299, or 400 to 499: of everything else a [`Failure`] is made.
    pub status: u16,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

/// What a server says to what was sent to it, whatever that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// How long it wants to be left alone (`Retry-After`, RFC 9110, section 10.2.3).
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The file with certificate authorities.
    #[error("{path}: {error}")]
    AuthorityFile {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// There is nothing in it.
    #[error("{0}: no certificate in PEM form")]
    NoAuthority(String),
    /// rustls does not take the settings.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl HttpService {
    /// A client that trusts the certificate authorities of a file, or without one those of the system.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn new(name: &str, settings: LineSettings, authorities: Option<&Path>) -> Result<Self, HttpError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(settings.timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(authorities)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.at_once)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .build(connector);
        Ok(Self { line: Line::new(name, settings), client })
    }

    /// Asks. Must be called within tokio's runtime.
    ///
    /// # Errors
    /// When it does not answer, or answers with anything but 200 to 299 and 400 to 499: 500 and above are its own failure, for which it is left alone
    /// for a while when they do not stop.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Result<HttpAnswer, Failure> {
        let exchange = async {
            let (status, _, body) = self.exchange(request).await?;
            match status.as_u16() {
                status @ (200..=299 | 400..=499) => Ok(HttpAnswer { status, body }),
                500.. => Err(Failure::Unreachable(format!("it answers {}", named(status)))),
                _ => Err(Failure::Refused(format!("it answers {}, and no redirect is followed", named(status)))),
            }
        };
        self.line.ask(exchange).await
    }

    /// Sends, for those who know what each status asks of them. A server that answers is there, whatever it answers. Must be called within tokio's runtime.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<HttpReply, Failure> {
        let exchange = async {
            let (status, headers, mut body) = self.exchange(request).await?;
            let retry_after = retry_after(&headers, SystemTime::now());
            Ok(HttpReply { status: status.as_u16(), retry_after, body: std::mem::take(&mut *body) })
        };
        self.line.ask(exchange).await
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap, Zeroizing<Vec<u8>>), Failure> {
        let answer = self.client.request(request).await.map_err(|error| failure(&error))?;
        let (head, mut incoming) = answer.into_parts();
        let mut body = Zeroizing::new(Vec::new());
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| failure(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > BODY_BYTES_MAX - body.len() {
                return Err(Failure::TooLarge);
            }
            extend(&mut body, &data);
        }
        Ok((head.status, head.headers, body))
    }

    /// True while it is left alone.
    pub fn is_resting(&self) -> bool {
        self.line.is_resting()
    }

    /// What became of all questions.
    pub fn counts(&self) -> LineCounts {
        self.line.counts()
    }
}

impl fmt::Debug for HttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").field("line", &self.line).finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Adds bytes without leaving copies of those before when there is no room.
fn extend(body: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if body.capacity() - body.len() < data.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((body.len() + data.len()).max(2 * body.capacity())));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(data);
}

/// Seconds, or the time when it may be asked again.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(secs) => Some(Duration::from_secs(secs)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or(Duration::ZERO)),
    }
}

fn named(status: StatusCode) -> String {
    status.to_string()
}

fn tls(authorities: Option<&Path>) -> Result<ClientConfig, HttpError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let shown = || path.display().to_string();
            let text = fs::read(path).map_err(|error| HttpError::AuthorityFile { path: shown(), error })?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|_| HttpError::NoAuthority(shown()))?;
                roots.add(certificate)?;
            }
            if roots.is_empty() {
                return Err(HttpError::NoAuthority(shown()));
            }
        }
        None => {
            let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Who is to blame for an error, told without values: the causes' own words have none.
fn failure(error: &(dyn Error + 'static)) -> Failure {
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // A head beyond its bounds is among these.
        if let Some(error) = error.downcast_ref::<hyper::Error>().filter(|error| error.is_parse()) {
            return Failure::Malformed(error.to_string());
        }
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = error.source();
    }
    Failure::Unreachable(texts.join(": "))
}

#[cfg(test)]
mod tests;
