//! A collector: takes what comes as OTLP over HTTP, reads it with OpenTelemetry's own messages, and answers as it is told.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::{
    metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

/// What came.
#[derive(Debug)]
pub enum Came {
    /// Spans.
    Traces(ExportTraceServiceRequest),
    /// Values.
    Metrics(ExportMetricsServiceRequest),
}

/// What a request gets.
#[derive(Clone, Debug)]
pub enum Then {
    /// This status, with headers that end in a line break, and this body.
    Answer(u16, &'static str, Vec<u8>),
    /// Nothing.
    Silence,
    /// The beginning of an answer, and the end of the connection.
    HalfAnAnswer,
}

/// It took all.
pub const OK: Then = Then::Answer(200, "content-type: application/x-protobuf\r\n", Vec::new());

/// A collector that runs.
pub struct Receiver {
    /// Where.
    pub address: SocketAddr,
    /// The headers of what came, and what it was.
    pub came: mpsc::Receiver<(String, Came)>,
    then: watch::Sender<Then>,
}

impl Receiver {
    /// One that takes all.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (tell, came) = mpsc::channel(10_000);
        let (then, answers) = watch::channel(OK);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, tell.clone(), answers.clone()));
            }
        });
        Self { address, came, then }
    }

    /// Its address, as it is configured.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What requests get from now on.
    pub fn answer(&self, then: Then) {
        self.then.send_replace(then);
    }

    /// The next that comes.
    pub async fn next(&mut self) -> (String, Came) {
        self.came.recv().await.expect("the collector runs")
    }
}

async fn serve(mut stream: TcpStream, tell: mpsc::Sender<(String, Came)>, answers: watch::Receiver<Then>) {
    let mut held = Vec::new();
    loop {
        let head = loop {
            if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut held).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8(held.drain(..head).collect()).expect("a head is text");
        let length = text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.expect("a length");
        while held.len() < length {
            if stream.read_buf(&mut held).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body: Vec<u8> = held.drain(..length).collect();
        let came = match text.lines().next().expect("a first line") {
            "POST /v1/traces HTTP/1.1" => Came::Traces(Message::decode(&body[..]).expect("a request of traces")),
            "POST /v1/metrics HTTP/1.1" => Came::Metrics(Message::decode(&body[..]).expect("a request of metrics")),
            other => panic!("{other}"),
        };
        let then = answers.borrow().clone();
        let _ = tell.send((text, came)).await;
        let written = match then {
            Then::Answer(status, headers, body) => {
                let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat()).await
            }
            Then::Silence => {
                let _ = stream.read_buf(&mut held).await;
                return;
            }
            Then::HalfAnAnswer => {
                let _ = stream.write_all(b"HTTP/1.1 200 X\r\ncontent-le").await;
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}
