use thingway_contract::{
    ClientId, Connect, Connected, Credentials, Instant, Outbox, Password, PublisherKey, Refusal, Request, Resumption,
    TopicFilter,
};

use super::{
    Conversation, Fate, acknowledge_at, answer::Answer, keep::Told, publish::Publication, pubsub::Errand,
    request::Question, subscribe::Registration,
};
use crate::{
    blockwise::Body,
    codec::Code,
    resources::{Query, connection_token, is_token_valid},
};

/// The session that the peer has.
#[derive(Debug)]
pub(super) struct Session {
    who: Who,
    pub(super) publisher: PublisherKey,
    /// The gateway keeps it through its own restart.
    pub(super) kept: bool,
    /// What a gateway that keeps it was told last.
    pub(super) told: Option<Told>,
}

/// Whom a session was granted to.
#[derive(Debug, PartialEq, Eq)]
enum Who {
    /// A peer without a connection, by what its request shows.
    Guest(Identity),
    /// A connection.
    Connection(Connection),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Identity {
    client_id: Option<ClientId>,
    username: Option<Box<str>>,
    password: Option<Password>,
}

#[derive(Debug)]
struct Connection {
    client_id: ClientId,
    token: u64,
    /// The token was sent to this peer's address, so its use shows that the peer receives there.
    given_here: bool,
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.client_id == other.client_id && self.token == other.token
    }
}

impl Eq for Connection {}

/// A request that waits for the decision about its session.
#[derive(Debug)]
pub(super) struct Deciding {
    pub(super) question: Question,
    pub(super) acknowledge_at: Instant,
    who: Who,
    after: After,
    /// Not asked for yet.
    connect: Option<Box<Connect>>,
}

impl Deciding {
    /// The gateway was asked: the session before is left.
    pub(super) fn is_asked(&self) -> bool {
        self.connect.is_none()
    }
}

#[derive(Debug)]
enum After {
    /// A connection was opened: its token is the answer.
    Opened,
    Heartbeat,
    Close,
    Do(Task),
}

/// What a request wants done with topics.
#[derive(Debug)]
pub(super) enum Task {
    Publish(Box<Publication>),
    Read(TopicFilter),
    Register(Box<Registration>),
    Errand(Box<Errand>),
}

impl Conversation {
    pub(super) fn is_connected(&self) -> bool {
        self.connection().is_some()
    }

    /// What the session is left with: the token goes on with it until the heartbeat would be missing.
    pub(crate) fn resumption(&self) -> Option<Resumption> {
        let key = self.connection()?.token;
        Some(Resumption { key, until: self.connection_deadline() })
    }

    fn connection(&self) -> Option<&Connection> {
        match self.session.as_deref() {
            Some(Session { who: Who::Connection(connection), .. }) => Some(connection),
            _ => None,
        }
    }

    /// When a connection without requests ends.
    pub(super) fn connection_deadline(&self) -> Instant {
        if self.is_connected() { self.silence_ends(1) } else { Instant::NEVER }
    }

    /// When nothing has come for so many times the silence that ends a connection.
    pub(super) fn silence_ends(&self, patiences: u64) -> Instant {
        if self.config.heartbeat_secs == 0 {
            return Instant::NEVER;
        }
        let patience_ms = u64::from(self.config.heartbeat_secs) * 1500;
        Instant::from_millis(self.last_heard.as_millis().saturating_add(patience_ms * patiences))
    }

    /// Who a request says to come from, as far as that can be told here.
    fn who_of(&self, query: &Query<'_>) -> Result<Who, Answer> {
        let client_id = |text: &str| {
            ClientId::new(text, self.config.client_id_bytes_max)
                .map_err(|_| Answer::text(Code::BAD_REQUEST, "bad clientid"))
        };
        if let Some(token) = query.token {
            let id = query.client_id.ok_or_else(|| Answer::text(Code::BAD_REQUEST, "missing clientid"))?;
            let bad = || Answer::text(Code::UNAUTHORIZED, "invalid token");
            let token: u64 = token.parse().map_err(|_| bad())?;
            return match self.connection().filter(|connection| &*connection.client_id == id) {
                Some(known) if known.token == token => Ok(Who::Connection(Connection {
                    client_id: known.client_id.clone(),
                    token,
                    given_here: known.given_here,
                })),
                // A token of another of its connections must not take this one's session away.
                Some(_) => Err(bad()),
                None if is_token_valid(&self.config.secret, id, token) => {
                    Ok(Who::Connection(Connection { client_id: client_id(id)?, token, given_here: false }))
                }
                None => Err(bad()),
            };
        }
        if self.config.connection_required || self.is_connected() {
            return Err(Answer::text(Code::BAD_REQUEST, "missing token"));
        }
        Ok(Who::Guest(Identity {
            client_id: query.client_id.map(client_id).transpose()?,
            username: query.username.map(Into::into),
            password: query.password.map(Password::copy_of),
        }))
    }

    /// Does a task in the session of whom the request says to come from.
    pub(super) fn admit(&mut self, question: Question, query: &Query<'_>, task: Task, now: Instant, out: &mut Outbox) {
        match self.who_of(query) {
            Ok(who) => self.go_on(question, who, After::Do(task), now, out),
            Err(answer) => self.answer(&question, answer, now, out),
        }
    }

    /// `mqtt/connection`.
    pub(super) fn on_connection(
        &mut self,
        question: Question,
        code: Code,
        query: &Query<'_>,
        now: Instant,
        out: &mut Outbox,
    ) {
        if code == Code::POST {
            let Some(client_id) = query.client_id.filter(|id| !id.is_empty()) else {
                return self.answer(&question, Answer::text(Code::BAD_REQUEST, "missing clientid"), now, out);
            };
            let Ok(client_id) = ClientId::new(client_id, self.config.client_id_bytes_max) else {
                return self.answer(&question, Answer::text(Code::BAD_REQUEST, "bad clientid"), now, out);
            };
            let credentials = Credentials {
                username: query.username.map(Into::into),
                password: query.password.map(Password::copy_of),
                ..Credentials::default()
            };
            let connect = Connect {
                clean_start: self.config.session_expiry_secs == 0,
                credentials,
                ..self.connect_as(Some(client_id.clone()))
            };
            // The token is made when the session is granted.
            let who = Who::Connection(Connection { client_id, token: 0, given_here: true });
            return self.ask_for_session(question, who, connect, After::Opened, now, out);
        }
        if query.client_id.is_none() || query.token.is_none() {
            return self.answer(&question, Answer::text(Code::BAD_REQUEST, "missing clientid or token"), now, out);
        }
        let after = if code == Code::PUT { After::Heartbeat } else { After::Close };
        match self.who_of(query) {
            Ok(who) => self.go_on(question, who, after, now, out),
            Err(answer) => self.answer(&question, answer, now, out),
        }
    }

    /// Goes on in the present session if it is that of whom asks, and asks for one otherwise.
    fn go_on(&mut self, question: Question, who: Who, after: After, now: Instant, out: &mut Outbox) {
        if self.session.as_ref().is_some_and(|session| session.who == who) {
            if let Who::Connection(Connection { given_here: true, .. }) = who {
                self.validated = true;
            }
            return self.after(question, after, now, out);
        }
        let connect = match &who {
            Who::Guest(identity) => Connect {
                clean_start: true,
                session_expiry_secs: 0,
                keep_alive_secs: 0,
                credentials: Credentials {
                    username: identity.username.clone(),
                    password: identity.password.clone(),
                    ..Credentials::default()
                },
                ..self.connect_as(identity.client_id.clone())
            },
            // The token says that the session was granted before; it may only be gone.
            Who::Connection(connection) => Connect {
                must_exist: true,
                resume_key: Some(connection.token),
                keep_will: true,
                ..self.connect_as(Some(connection.client_id.clone()))
            },
        };
        self.ask_for_session(question, who, connect, after, now, out);
    }

    fn connect_as(&self, client_id: Option<ClientId>) -> Connect {
        Connect {
            client_id,
            clean_start: false,
            must_exist: false,
            resume_key: None,
            keep_will: false,
            session_expiry_secs: self.config.session_expiry_secs,
            credentials: Credentials::default(),
            will: None,
            version: 1,
            keep_alive_secs: self.config.heartbeat_secs,
            receive_maximum: self.config.transmission.nstart.max(1).into(),
        }
    }

    fn ask_for_session(
        &mut self,
        question: Question,
        who: Who,
        connect: Connect,
        after: After,
        now: Instant,
        out: &mut Outbox,
    ) {
        let acknowledge_at = acknowledge_at(&question, &self.config, now);
        let connect = Some(Box::new(connect));
        self.deciding = Some(Box::new(Deciding { question, acknowledge_at, who, after, connect }));
        self.leave_session(now, out);
    }

    /// Asks for another session once all that was asked for in this one is answered: a session that is left answers nothing more.
    pub(super) fn leave_session(&mut self, now: Instant, out: &mut Outbox) {
        if self.pending.is_some() {
            return;
        }
        let Some(connect) = self.deciding.as_mut().and_then(|deciding| deciding.connect.take()) else { return };
        if self.session.is_some() && !self.is_connected() {
            // The observations of a guest go with its session.
            self.end_observations(Code::SERVICE_UNAVAILABLE, now, out);
        }
        out.request(Request::Connect(connect));
    }

    pub(super) fn on_connected(&mut self, connected: Connected, now: Instant, out: &mut Outbox) {
        let Some(deciding) = self.deciding.take() else { return };
        let Deciding { question, mut who, after, .. } = *deciding;
        if let (Who::Connection(connection), After::Opened) = (&mut who, &after) {
            // The random number depends on address and time alone, and connections may follow each other faster than the clock moves.
            let nonce = self.endpoint.random() ^ connected.publisher.0;
            connection.token = connection_token(&self.config.secret, &connection.client_id, nonce);
        }
        self.session =
            Some(Box::new(Session { who, publisher: connected.publisher, kept: connected.kept, told: None }));
        self.fate = Fate::Default;
        if let Some(parked) = connected.parked {
            self.restore(*parked, connected.kept, now, out);
        }
        self.after(question, after, now, out);
    }

    fn after(&mut self, question: Question, after: After, now: Instant, out: &mut Outbox) {
        match after {
            After::Opened => {
                let token = self.connection().map_or(0, |connection| connection.token);
                let body = Body::Bytes(token.to_string().into_bytes());
                self.answer(&question, Answer { body, ..Answer::code(Code::CREATED) }, now, out);
            }
            After::Heartbeat => self.answer(&question, Answer::code(Code::CHANGED), now, out),
            After::Close => {
                self.abandon(now, out);
                self.answer(&question, Answer::code(Code::DELETED), now, out);
                self.fate = Fate::Left;
                self.closed = true;
                out.close();
            }
            After::Do(Task::Publish(publication)) => self.publish(question, publication, now, out),
            After::Do(Task::Read(filter)) => self.read(question, filter, false, Instant::NEVER, now, out),
            After::Do(Task::Register(registration)) => self.register(question, registration, now, out),
            After::Do(Task::Errand(errand)) => self.run(question, errand, now, out),
        }
    }

    pub(super) fn on_refused(&mut self, refusal: &Refusal, now: Instant, out: &mut Outbox) {
        let Some(deciding) = self.deciding.take() else { return };
        let answer = match (refusal, &deciding.after) {
            // Closed is what the peer wants it to be, and a repeated request is not told otherwise.
            (Refusal::NoSession, After::Close) => Answer::code(Code::DELETED),
            (Refusal::NoSession, _) => Answer::text(Code::UNAUTHORIZED, "no connection"),
            (Refusal::ClientIdRejected, _) => Answer::text(Code::BAD_REQUEST, "bad clientid"),
            (
                Refusal::BadCredentials | Refusal::NotAuthorized | Refusal::Banned | Refusal::BadAuthenticationMethod,
                _,
            ) => Answer::text(Code::UNAUTHORIZED, "not authorized"),
            (Refusal::ConnectionRateExceeded, _) => Answer::too_many("too many connections"),
            _ => Answer::code(Code::SERVICE_UNAVAILABLE),
        };
        self.answer(&deciding.question, answer, now, out);
    }
}
