//! Redis and what speaks its protocol (RESP2), with HGET, HMGET and HGETALL.
//!
//! Written here because of the bounds: how long an answer is comes before it, so that one that is too large is never read.

use std::{fmt, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::{
    failure::Failure,
    gather::{Gather, ROWS_MAX, text_or_bytes},
    row::{Field, Row, Rows},
    server::Service,
    template::{Template, TemplateError, Values},
};

/// Longest line: an error, a number, a length.
const LINE_BYTES_MAX: u64 = 4096;
/// Most words of a command, and so most fields that HMGET asks for.
const WORDS_MAX: usize = 64;

/// A Redis server and the way in.
pub struct Redis {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The number of the database.
    pub database: u32,
    /// The user; empty for the default one.
    pub username: String,
    /// The password; empty for none.
    pub password: Zeroizing<String>,
    /// Encryption.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A command whose words are templates: a value is a part of one word, whatever it is.
#[derive(Debug)]
pub struct RedisCommand {
    words: Box<[Template]>,
    answer: RedisAnswer,
}

/// What the answer's values are called.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RedisAnswer {
    /// By the fields that were asked for.
    Fields(Arc<[Box<str>]>),
    /// As the answer says.
    All,
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisCommandError {
    /// A word is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Another command.
    #[error("expected HGET, HMGET or HGETALL")]
    Command,
    /// Too few or too many words for the command.
    #[error("expected HGET key field, HMGET key field ..., or HGETALL key, of at most 64 words")]
    Words,
    /// A field is a placeholder: what it asks for would be a stranger's choice.
    #[error("fields have no placeholders")]
    Field,
}

/// A command with its values.
pub struct RedisQuestion {
    words: Vec<Zeroizing<String>>,
    answer: RedisAnswer,
}

impl RedisCommand {
    /// Reads a command.
    ///
    /// # Errors
    /// When it is none of those that are known here.
    pub fn parse(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, RedisCommandError> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        let answer = match (name.as_str(), words.len()) {
            ("HGETALL", 2) => RedisAnswer::All,
            ("HGET", 3) | ("HMGET", 3..=WORDS_MAX) => {
                if words[2..].iter().any(|field| field.contains("${")) {
                    return Err(RedisCommandError::Field);
                }
                RedisAnswer::Fields(words[2..].iter().map(|&field| field.into()).collect())
            }
            ("HGET" | "HMGET" | "HGETALL", _) => return Err(RedisCommandError::Words),
            _ => return Err(RedisCommandError::Command),
        };
        let words = words.into_iter().map(|word| Template::parse(word, &is_known)).collect::<Result<_, _>>()?;
        Ok(Self { words, answer })
    }

    /// It asks for all fields, and their names are a part of the answer.
    pub fn asks_for_all(&self) -> bool {
        self.answer == RedisAnswer::All
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({}:{}/{})", self.host, self.port, self.database)
    }
}

/// An open connection.
pub struct RedisConnection {
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What a server answers.
#[derive(Debug)]
enum Reply {
    Null,
    Simple,
    Number(i64),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
}

impl Service for Redis {
    type Connection = RedisConnection;
    type Template = RedisCommand;
    type Question = RedisQuestion;

    async fn connect(&self) -> Result<RedisConnection, Failure> {
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
        let mut connection = RedisConnection { stream: BufReader::new(stream) };
        let database = self.database.to_string();
        let mut greetings: Vec<Vec<&str>> = Vec::new();
        match (self.username.as_str(), self.password.as_str()) {
            ("", "") => {}
            ("", password) => greetings.push(vec!["AUTH", password]),
            (username, password) => greetings.push(vec!["AUTH", username, password]),
        }
        if self.database != 0 {
            greetings.push(vec!["SELECT", &database]);
        }
        for greeting in greetings {
            connection.say(&greeting, &mut Gather::default()).await?;
        }
        Ok(connection)
    }

    async fn ask(&self, connection: &mut RedisConnection, question: &RedisQuestion) -> Result<Rows, Failure> {
        let words: Vec<&str> = question.words.iter().map(|word| word.as_str()).collect();
        let mut gather = Gather::default();
        let reply = connection.say(&words, &mut gather).await?;
        let row = match (&question.answer, reply) {
            (RedisAnswer::Fields(names), Reply::Array(values)) if values.len() == names.len() => names
                .iter()
                .cloned()
                .zip(values)
                .map(|(name, value)| Ok((name, field(value)?)))
                .collect::<Result<Row, Failure>>()?,
            (RedisAnswer::Fields(names), value @ (Reply::Bulk(_) | Reply::Null)) if names.len() == 1 => {
                [(names[0].clone(), field(value)?)].into_iter().collect()
            }
            (RedisAnswer::All, Reply::Array(values)) if values.len().is_multiple_of(2) => {
                let mut row = Row::default();
                let mut values = values.into_iter();
                while let (Some(name), Some(value)) = (values.next(), values.next()) {
                    let Reply::Bulk(name) = name else { return Err(unexpected()) };
                    let name = String::from_utf8(name)
                        .map_err(|_| Failure::Malformed("a field whose name is no text".into()))?;
                    row.push(name, field(value)?);
                }
                row
            }
            _ => return Err(unexpected()),
        };
        // A hash that is not there has no fields, or only empty ones.
        if row.iter().any(|(_, field)| *field != Field::Null) {
            gather.push(row)?;
        }
        Ok(gather.into_rows())
    }

    fn fill(template: &RedisCommand, values: &dyn Values) -> Option<RedisQuestion> {
        let word = |word: &Template| word.fill(values, |value, out| out.push_str(value));
        let words = template.words.iter().map(word).collect::<Option<_>>()?;
        Some(RedisQuestion { words, answer: template.answer.clone() })
    }

    fn names(template: &RedisCommand) -> Vec<&str> {
        template.words.iter().flat_map(Template::names).collect()
    }
}

fn field(reply: Reply) -> Result<Field, Failure> {
    Ok(match reply {
        Reply::Null => Field::Null,
        Reply::Number(number) => Field::Integer(number),
        Reply::Bulk(bytes) => text_or_bytes(bytes),
        Reply::Simple | Reply::Array(_) => return Err(unexpected()),
    })
}

fn broken(error: std::io::Error) -> Failure {
    Failure::Unreachable(error.to_string())
}

fn unexpected() -> Failure {
    Failure::Malformed("not what the command answers".into())
}

/// What an error means. The rest of its line may quote what was asked.
fn of_error(line: &str) -> Failure {
    let code = line.split(' ').next().unwrap_or_default();
    let code = if code.len() <= 32 && code.bytes().all(|b| b.is_ascii_uppercase()) { code } else { "an error" };
    match code {
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" => Failure::Unreachable(code.into()),
        "MOVED" | "ASK" => Failure::Refused(format!("{code}: it is a part of a cluster, which is not supported")),
        "NOAUTH" | "WRONGPASS" => Failure::Refused(format!("{code}: the user name or the password is wrong")),
        "NOPERM" => Failure::Refused("NOPERM: the user may not do this".into()),
        "WRONGTYPE" => Failure::Refused("WRONGTYPE: the key is no hash".into()),
        code => Failure::Refused(code.into()),
    }
}

impl RedisConnection {
    async fn say(&mut self, words: &[&str], gather: &mut Gather) -> Result<Reply, Failure> {
        let mut out = Zeroizing::new(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&out).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        let (sign, rest) = self.line().await?;
        if sign != b'*' {
            return self.plain(sign, &rest, gather).await;
        }
        let Some(len) = length(&rest)? else { return Ok(Reply::Null) };
        // Each row of ours would be two of them.
        if len > 2 * ROWS_MAX {
            return Err(Failure::TooLarge);
        }
        let mut all = Vec::with_capacity(len);
        for _ in 0..len {
            let (sign, rest) = self.line().await?;
            all.push(self.plain(sign, &rest, gather).await?);
        }
        Ok(Reply::Array(all))
    }

    /// A reply that is no array.
    async fn plain(&mut self, sign: u8, rest: &str, gather: &mut Gather) -> Result<Reply, Failure> {
        match sign {
            b'+' => Ok(Reply::Simple),
            b'-' => Err(of_error(rest)),
            b':' => rest.parse().map(Reply::Number).map_err(|_| unexpected()),
            b'$' => {
                let Some(len) = length(rest)? else { return Ok(Reply::Null) };
                gather.weigh(len)?;
                let mut bytes = vec![0; len];
                self.stream.read_exact(&mut bytes).await.map_err(broken)?;
                let mut end = [0; 2];
                self.stream.read_exact(&mut end).await.map_err(broken)?;
                if end == *b"\r\n" { Ok(Reply::Bulk(bytes)) } else { Err(unexpected()) }
            }
            _ => Err(Failure::Malformed("not the protocol of Redis".into())),
        }
    }

    /// A line's first byte and the rest of it.
    async fn line(&mut self) -> Result<(u8, String), Failure> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await.map_err(broken)?;
        if read == 0 {
            return Err(Failure::Unreachable("it has closed the connection".into()));
        }
        let whole = line.strip_suffix(b"\r\n").and_then(|line| line.split_first());
        match whole {
            Some((sign, rest)) => Ok((*sign, String::from_utf8_lossy(rest).into_owned())),
            None if read as u64 == LINE_BYTES_MAX => Err(Failure::TooLarge),
            None if line.ends_with(b"\n") => Err(Failure::Malformed("not the protocol of Redis".into())),
            None => Err(Failure::Unreachable("it has closed the connection in the middle of a line".into())),
        }
    }
}

/// A length; `None` for "there is none".
fn length(text: &str) -> Result<Option<usize>, Failure> {
    match text {
        "-1" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Failure::Malformed("not the protocol of Redis".into())),
    }
}

#[cfg(test)]
mod tests {
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

    fn command(text: &str) -> Result<RedisCommand, RedisCommandError> {
        RedisCommand::parse(text, |name| ["username", "clientid"].contains(&name))
    }

    #[test]
    fn words_are_split_before_values_come() {
        let evil = "x password\r\nFLUSHALL\r\n${username}";
        let question = Redis::fill(&command("hmget  u:${username} a b").expect("good"), &Named(evil)).expect("known");
        let words: Vec<_> = question.words.iter().map(|word| word.as_str()).collect();
        assert_eq!(words, ["hmget", "u:x password\r\nFLUSHALL\r\n${username}", "a", "b"]);
        assert!(Redis::fill(&command("HGETALL ${clientid}").expect("good"), &Named("x")).is_none());
        for (text, error) in [
            ("", RedisCommandError::Command),
            ("GET x", RedisCommandError::Command),
            ("EVAL x", RedisCommandError::Command),
            ("HGET x", RedisCommandError::Words),
            ("HGETALL a b", RedisCommandError::Words),
            ("HMGET a ${username}", RedisCommandError::Field),
            ("HGETALL ${x}", RedisCommandError::Template(TemplateError::Unknown("x".into()))),
        ] {
            assert_eq!(command(text).err(), Some(error), "{text}");
        }
    }

    /// What becomes of one answer, byte for byte.
    async fn answered(text: &str, answer: &[u8]) -> Result<Rows, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let answer = answer.to_vec();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.expect("a question");
            stream.write_all(&answer).await.expect("answered");
            stream.shutdown().await.expect("closed");
            // Until the other side goes away, or it would be told that nobody reads.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        });
        let redis = Redis {
            host: "127.0.0.1".into(),
            port,
            database: 0,
            username: String::new(),
            password: Zeroizing::default(),
            tls: None,
        };
        let server = Server::new("redis", LineSettings::default(), redis);
        let question = Redis::fill(&command(text).expect("good"), &Named("bob")).expect("known");
        let rows = server.ask(&question).await;
        drop(server);
        serving.await.expect("served");
        rows
    }

    #[tokio::test]
    async fn answers_and_their_bounds() {
        let rows = answered("HMGET k a b c", b"*3\r\n$1\r\nx\r\n$-1\r\n:7\r\n").await.expect("a row");
        let told = |name: &str| rows[0].find(name).and_then(|field| field.text().map(Cow::into_owned));
        assert_eq!((rows.len(), told("a"), told("b"), told("c")), (1, Some("x".into()), None, Some("7".into())));
        let rows = answered("HGETALL k", b"*2\r\n$3\r\nt/#\r\n$3\r\nall\r\n").await.expect("a row");
        assert_eq!(rows[0].find("t/#").and_then(|field| field.text()).as_deref(), Some("all"));
        assert!(answered("HGETALL k", b"*0\r\n").await.expect("nobody").is_empty());
        assert!(answered("HMGET k a b", b"*2\r\n$-1\r\n$-1\r\n").await.expect("nobody").is_empty());
        assert!(answered("HGET k a", b"$-1\r\n").await.expect("nobody").is_empty());
        let refused = |text: &str| Failure::Refused(text.into());
        let gone = |text: &str| Failure::Unreachable(text.into());
        let malformed = Failure::Malformed("not the protocol of Redis".into());
        for (answer, failure) in [
            (&b"-WRONGTYPE Operation 'secret'\r\n"[..], refused("WRONGTYPE: the key is no hash")),
            (b"-weird secret\r\n", refused("an error")),
            (b"-LOADING x\r\n", gone("LOADING")),
            (b"$65537\r\n", Failure::TooLarge),
            (b"*2001\r\n", Failure::TooLarge),
            (b"*99999999999999999999\r\n", malformed.clone()),
            (b"$-2\r\n", malformed.clone()),
            (b"HTTP/1.1 400\r\n", malformed.clone()),
            (b"*1\r\n*1\r\n", malformed),
            (b"+OK\r\n", unexpected()),
            (b"", gone("it has closed the connection")),
            (b"$10\r\nhal", gone("early eof")),
            (b"*2\r\n$1", gone("it has closed the connection in the middle of a line")),
        ] {
            assert_eq!(answered("HGETALL k", answer).await.err(), Some(failure), "{}", answer.escape_ascii());
        }
        assert_eq!(answered("HGETALL k", &[b'-'; 5000]).await.err(), Some(Failure::TooLarge));
    }
}
