//! MongoDB and what speaks its protocol (OP_MSG, since MongoDB 3.6): one command, `find`, and SCRAM-SHA-256.
//!
//! Written here because of the bounds (how long an answer is comes before it), and because the driver would be the largest tree of dependencies that this
//! project has. It asks the one server that it is given: it does not look for the others of a replica set.

mod bson;
mod filter;
mod scram;

use std::{fmt, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use self::{
    bson::{Elements, Value, Writer},
    scram::Scram,
};
use crate::{
    failure::Failure,
    gather::{ANSWER_BYTES_MAX, Gather, ROWS_MAX},
    row::Rows,
    server::Service,
    template::Values,
};

pub use self::filter::{Filter, FilterError};

const OP_MSG: i32 = 2013;
const HEADER_BYTES: usize = 16;
/// Longest message that is read: names and identifiers are in it beside the values.
const MESSAGE_BYTES_MAX: usize = 2 * ANSWER_BYTES_MAX;

/// A MongoDB server and the way in.
pub struct Mongodb {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The user; empty for nobody.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// The database that knows the user.
    pub auth_source: String,
    /// Encryption.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Documents of a collection.
#[derive(Debug)]
pub struct MongodbFind {
    /// The collection.
    pub collection: Box<str>,
    /// Which of its documents.
    pub filter: Filter,
}

/// The same with values.
pub struct MongodbQuestion {
    collection: Box<str>,
    filter: Zeroizing<Vec<u8>>,
}

/// An open connection.
pub struct MongodbConnection {
    stream: BufReader<Box<dyn Stream>>,
    requests: i32,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl fmt::Debug for Mongodb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mongodb({}:{}/{})", self.host, self.port, self.database)
    }
}

impl Mongodb {
    async fn greet(&self, connection: &mut MongodbConnection) -> Result<(), Failure> {
        connection.say(Writer::new().int("hello", 1).text("$db", "admin")).await?;
        if self.username.is_empty() {
            return Ok(());
        }
        let scram = Scram::new(&self.username)?;
        let skip = Writer::new().truth("skipEmptyExchange", true).end();
        let start = Writer::new()
            .int("saslStart", 1)
            .text("mechanism", "SCRAM-SHA-256")
            .bytes("payload", scram.first().as_bytes())
            .document("options", &skip)
            .text("$db", &self.auth_source);
        let (conversation, server_first, _) = sasl(&connection.say(start).await?)?;
        let password = self.password.clone();
        // Thousands of rounds: not for threads on which others wait.
        let proving = tokio::task::spawn_blocking(move || scram.prove(&password, &server_first));
        let proof = proving.await.map_err(|_| Failure::Refused("the gateway ends".into()))??;
        let go_on = |payload: &str| {
            Writer::new()
                .int("saslContinue", 1)
                .int("conversationId", conversation)
                .bytes("payload", payload.as_bytes())
                .text("$db", &self.auth_source)
        };
        let (_, server_last, done) = sasl(&connection.say(go_on(&proof.message)).await?)?;
        if !proof.is_answered_by(&server_last) {
            return Err(Failure::Refused("it does not know the password itself".into()));
        }
        // Servers before 4.4 want one more turn.
        if !done && !sasl(&connection.say(go_on("")).await?)?.2 {
            return Err(unexpected());
        }
        Ok(())
    }
}

/// The conversation, the payload, and whether that was the last.
fn sasl(reply: &[u8]) -> Result<(i32, String, bool), Failure> {
    let conversation = match Elements::find(reply, "conversationId")? {
        Some(Value::Number(number)) => i32::try_from(number).map_err(|_| unexpected())?,
        _ => return Err(unexpected()),
    };
    let Some(Value::Bytes(payload)) = Elements::find(reply, "payload")? else { return Err(unexpected()) };
    let payload = std::str::from_utf8(payload).map_err(|_| unexpected())?.to_owned();
    Ok((conversation, payload, Elements::find(reply, "done")? == Some(Value::Truth(true))))
}

impl Service for Mongodb {
    type Connection = MongodbConnection;
    type Template = MongodbFind;
    type Question = MongodbQuestion;

    async fn connect(&self) -> Result<MongodbConnection, Failure> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(broken)?;
        tcp.set_nodelay(true).map_err(broken)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|_| Failure::Refused("a host whose certificate could not be checked".into()))?;
                let tls = TlsConnector::from(config.clone()).connect(name, tcp).await;
                Box::new(tls.map_err(|error| Failure::Unreachable(format!("TLS: {error}")))?)
            }
        };
        let mut connection = MongodbConnection { stream: BufReader::new(stream), requests: 0 };
        self.greet(&mut connection).await?;
        Ok(connection)
    }

    async fn ask(&self, connection: &mut MongodbConnection, question: &MongodbQuestion) -> Result<Rows, Failure> {
        let near = Writer::new().text("mode", "primaryPreferred").end();
        let find = Writer::new()
            .text("find", &question.collection)
            .document("filter", &question.filter)
            .int("limit", ROWS_MAX as i32 + 1)
            .int("batchSize", ROWS_MAX as i32 + 1)
            .truth("singleBatch", true)
            .text("$db", &self.database)
            .document("$readPreference", &near);
        let reply = connection.say(find).await?;
        let Some(Value::Document(cursor)) = Elements::find(&reply, "cursor")? else { return Err(unexpected()) };
        let Some(Value::Array(batch)) = Elements::find(cursor, "firstBatch")? else { return Err(unexpected()) };
        let mut gather = Gather::default();
        for element in Elements::of(batch)? {
            let (_, Value::Document(document)) = element? else { return Err(unexpected()) };
            let row = bson::row(document, &mut gather)?;
            gather.push(row)?;
        }
        Ok(gather.into_rows())
    }

    fn fill(template: &MongodbFind, values: &dyn Values) -> Option<MongodbQuestion> {
        Some(MongodbQuestion { collection: template.collection.clone(), filter: template.filter.fill(values)? })
    }

    fn names(template: &MongodbFind) -> Vec<&str> {
        template.filter.names()
    }
}

impl MongodbConnection {
    /// Says a command, and gives the answer if it is not an error.
    async fn say(&mut self, command: Writer) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let body = command.end();
        self.requests = self.requests.wrapping_add(1);
        let len = (HEADER_BYTES + 5 + body.len()) as i32;
        let mut out = Zeroizing::new(Vec::with_capacity(len as usize));
        for number in [len, self.requests, 0, OP_MSG, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        // One section, which is the document.
        out.push(0);
        out.extend_from_slice(&body);
        self.stream.write_all(&out).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        let reply = self.reply().await?;
        match Elements::find(&reply, "ok")? {
            Some(Value::Double(1.0) | Value::Number(1) | Value::Truth(true)) => Ok(reply),
            _ => Err(of_error(&reply)?),
        }
    }

    async fn reply(&mut self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut header = [0; HEADER_BYTES + 5];
        self.stream.read_exact(&mut header).await.map_err(broken)?;
        let number = |at: usize| header[at..at + 4].try_into().map_or(0, i32::from_le_bytes);
        let (len, answers, code, flags, section) = (number(0), number(8), number(12), number(16), header[20]);
        // More of a message than its document is nothing that was asked for; neither is a checksum.
        if code != OP_MSG || answers != self.requests || flags != 0 || section != 0 {
            return Err(Failure::Malformed("not the protocol of MongoDB".into()));
        }
        let len = usize::try_from(len).ok().and_then(|len| len.checked_sub(header.len()));
        let len = len.ok_or_else(|| Failure::Malformed("not the protocol of MongoDB".into()))?;
        if len > MESSAGE_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        let mut body = Zeroizing::new(vec![0; len]);
        self.stream.read_exact(&mut body).await.map_err(broken)?;
        Ok(body)
    }
}

fn broken(error: std::io::Error) -> Failure {
    Failure::Unreachable(error.to_string())
}

fn unexpected() -> Failure {
    Failure::Malformed("not what the command answers".into())
}

/// What an error means. Its text may quote what was asked.
fn of_error(reply: &[u8]) -> Result<Failure, Failure> {
    let Some(Value::Number(code)) = Elements::find(reply, "code")? else { return Err(unexpected()) };
    Ok(match code {
        // Not reachable, ends, steps down, is none that may be asked, takes too long.
        6 | 7 | 50 | 89 | 91 | 189 | 262 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436 => {
            Failure::Unreachable(format!("error {code}: it ends, or another one is in charge"))
        }
        18 => Failure::Refused("error 18: the user name or the password is wrong".into()),
        13 => Failure::Refused("error 13: the user may not do this".into()),
        code => Failure::Refused(format!("error {code}")),
    })
}

#[cfg(test)]
mod tests;
