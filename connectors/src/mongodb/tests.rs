use std::borrow::Cow;

use tokio::net::TcpListener;

use super::*;
use crate::{LineSettings, Server};

struct Named(&'static str);

impl Values for Named {
    fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "username").then_some(Cow::Borrowed(self.0))
    }
}

fn message(answers: i32, body: &[u8]) -> Vec<u8> {
    let len = (HEADER_BYTES + 5 + body.len()) as i32;
    let mut out: Vec<u8> = [len, 7, answers, OP_MSG, 0].into_iter().flat_map(i32::to_le_bytes).collect();
    out.push(0);
    out.extend_from_slice(body);
    out
}

fn hello() -> Vec<u8> {
    message(1, &Writer::new().double("ok", 1.0).end())
}

/// What `find` says when these answers come in turn, one for each question.
async fn answered(answers: Vec<Vec<u8>>) -> Result<Rows, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        for answer in answers {
            let mut len = [0; 4];
            stream.read_exact(&mut len).await.expect("a question");
            let mut rest = vec![0; i32::from_le_bytes(len) as usize - 4];
            stream.read_exact(&mut rest).await.expect("a question");
            stream.write_all(&answer).await.expect("answered");
        }
        stream.shutdown().await.expect("closed");
        // Until the other side goes away, or it would be told that nobody reads.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let mongodb = Mongodb {
        host: "127.0.0.1".into(),
        port,
        database: "mqtt".into(),
        username: String::new(),
        password: Zeroizing::default(),
        auth_source: "admin".into(),
        tls: None,
    };
    let server = Server::new("mongodb", LineSettings::default(), mongodb);
    let filter = Filter::parse(r#"{"username": "${username}"}"#, |_| true).expect("good");
    let find = MongodbFind { collection: "mqtt_user".into(), filter };
    let rows = server.ask(&Mongodb::fill(&find, &Named("bob")).expect("known")).await;
    drop(server);
    serving.await.expect("served");
    rows
}

fn batch(documents: &[&[u8]]) -> Vec<u8> {
    let mut array = Writer::new();
    for (index, document) in documents.iter().enumerate() {
        array = array.document(&index.to_string(), document);
    }
    let cursor = Writer::new().array("firstBatch", &array.end()).long("id", 0).text("ns", "mqtt.mqtt_user").end();
    message(2, &Writer::new().document("cursor", &cursor).double("ok", 1.0).end())
}

#[tokio::test]
async fn answers_and_their_bounds() {
    let bob = Writer::new().text("password_hash", "x").truth("is_superuser", true).end();
    let rows = answered(vec![hello(), batch(&[&bob])]).await.expect("a row");
    assert_eq!(rows[0].find("password_hash").and_then(|field| field.text()).as_deref(), Some("x"));
    assert!(answered(vec![hello(), batch(&[])]).await.expect("nobody").is_empty());
    let error =
        |code: i32| message(2, &Writer::new().double("ok", 0.0).text("errmsg", "secret").int("code", code).end());
    let malformed = Failure::Malformed("not the protocol of MongoDB".into());
    let mut huge = hello();
    huge[..4].copy_from_slice(&i32::MAX.to_le_bytes());
    let mut negative = hello();
    negative[..4].copy_from_slice(&(-1i32).to_le_bytes());
    let small = Writer::new().end();
    for (answer, failure) in [
        (error(18), Failure::Refused("error 18: the user name or the password is wrong".into())),
        (error(2), Failure::Refused("error 2".into())),
        (error(13435), Failure::Unreachable("error 13435: it ends, or another one is in charge".into())),
        (message(1, &Writer::new().double("ok", 1.0).end()), malformed.clone()),
        (message(2, &Writer::new().double("ok", 1.0).end()), unexpected()),
        (message(2, b"\x05\0\0\0\x01"), Failure::Malformed("no BSON".into())),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), malformed.clone()),
        (negative, malformed),
        (hello()[..9].to_vec(), Failure::Unreachable("early eof".into())),
        (Vec::new(), Failure::Unreachable("early eof".into())),
        (batch(&vec![&small[..]; ROWS_MAX + 1]), Failure::TooLarge),
        (batch(&[&Writer::new().text("x", &"x".repeat(70_000)).end()]), Failure::TooLarge),
    ] {
        assert_eq!(answered(vec![hello(), answer]).await.err(), Some(failure));
    }
    assert_eq!(answered(vec![huge]).await.err(), Some(Failure::TooLarge), "it is not even read");
}
