//! A web server of somebody else, as far as tests need one.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method, path and query.
    pub line: String,
    /// The other lines of its head.
    pub head: String,
    pub body: String,
}

impl Asked {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

type Answer = Arc<dyn Fn(&Asked) -> (u16, String) + Send + Sync>;

/// Answers requests as it was told, and remembers them.
pub struct Web {
    pub address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Web {
    pub async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Arc::new(answer)));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let shared = (answer.clone(), asked.clone());
        drop(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(tokio::spawn(serve(stream, shared.clone())));
            }
        }));
        Self { address, answer, asked }
    }

    /// Answers otherwise from now on.
    pub fn answer(&self, answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) {
        *self.answer.lock() = Arc::new(answer);
    }

    /// What it was asked since this was called last.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock())
    }
}

/// One connection, over which requests follow each other.
async fn serve(mut stream: TcpStream, (answer, asked): (Arc<Mutex<Answer>>, Arc<Mutex<Vec<Asked>>>)) -> Option<()> {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            stream.read_buf(&mut held).await.ok().filter(|count| *count > 0)?;
        };
        let text = String::from_utf8_lossy(&held[..end]).into_owned();
        let (line, head) = text.split_once("\r\n").unwrap_or((&text, ""));
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while held.len() < end + 4 + length {
            stream.read_buf(&mut held).await.ok().filter(|count| *count > 0)?;
        }
        let body = String::from_utf8_lossy(&held[end + 4..end + 4 + length]).into_owned();
        drop(held.drain(..end + 4 + length));
        let request = Asked { line: line.trim_end_matches(" HTTP/1.1").into(), head: head.into(), body };
        asked.lock().push(request.clone());
        let make = answer.lock().clone();
        let (status, body) = make(&request);
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.ok()?;
    }
}
