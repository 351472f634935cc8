use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    failure::Failure,
    line::{Line, LineCounts, LineSettings},
    row::Rows,
    template::Values,
};

/// How long a connection that nobody needs is kept. Shorter than what firewalls and databases usually wait.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Rows that come later.
pub type Asking = Pin<Box<dyn Future<Output = Result<Rows, Failure>> + Send>>;

/// A kind of server, and how it is asked in its own words.
pub trait Service: fmt::Debug + Send + Sync + 'static {
    /// A connection that questions can be put to, one at a time.
    type Connection: Send;
    /// What is asked, with the places that values go to.
    type Template: fmt::Debug + Send + Sync;
    /// What is asked, with its values.
    type Question: Send + Sync;

    /// Connects.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Failure>> + Send;

    /// Asks. A connection that was left in the middle of this is not used again.
    fn ask(
        &self,
        connection: &mut Self::Connection,
        question: &Self::Question,
    ) -> impl Future<Output = Result<Rows, Failure>> + Send;

    /// The question that values make of a template. `None` when one is not known, or nothing of this service can have it.
    fn fill(template: &Self::Template, values: &dyn Values) -> Option<Self::Question>;

    /// The names of placeholders.
    fn names(template: &Self::Template) -> Vec<&str>;
}

/// A server with its line, and the connections to it that are open and free. They are opened when they are needed, so that it need not be there before; there
/// are never more than the line lets questions pass at a time.
pub struct Server<S: Service> {
    line: Line,
    service: S,
    free: Mutex<Vec<Free<S::Connection>>>,
    free_max: usize,
}

struct Free<C> {
    connection: C,
    since: Instant,
}

impl<S: Service> fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("service", &self.service).field("line", &self.line).finish_non_exhaustive()
    }
}

impl<S: Service> Server<S> {
    /// The server that the configuration calls so.
    pub fn new(name: &str, settings: LineSettings, service: S) -> Self {
        Self { line: Line::new(name, settings), service, free: Mutex::default(), free_max: settings.at_once.max(1) }
    }

    /// Its line.
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// Asks. A connection whose server has gone since it was used last is replaced without anybody noticing: all questions only read.
    ///
    /// # Errors
    /// When there is no answer, or none of use.
    pub async fn ask(&self, question: &S::Question) -> Result<Rows, Failure> {
        self.line.ask(self.ask_on_line(question)).await
    }

    async fn ask_on_line(&self, question: &S::Question) -> Result<Rows, Failure> {
        loop {
            let free = self.take();
            let is_old = free.is_some();
            let mut connection = match free {
                Some(connection) => connection,
                None => self.service.connect().await?,
            };
            let answer = self.service.ask(&mut connection, question).await;
            match &answer {
                // Each turn takes one away: the last of them is new.
                Err(failure) if failure.is_outage() && is_old => continue,
                Ok(_) | Err(Failure::Refused(_)) => self.give(connection),
                // Something of the answer may still be on its way.
                Err(_) => {}
            }
            return answer;
        }
    }

    fn take(&self) -> Option<S::Connection> {
        let mut free = self.free.lock();
        let oldest = Instant::now().checked_sub(IDLE_MAX);
        free.retain(|it| oldest.is_none_or(|oldest| it.since > oldest));
        free.pop().map(|it| it.connection)
    }

    fn give(&self, connection: S::Connection) {
        let mut free = self.free.lock();
        if free.len() < self.free_max {
            free.push(Free { connection, since: Instant::now() });
        }
    }
}

/// A question about somebody, to one server.
pub trait Query: fmt::Debug + Send + Sync {
    /// Asks. `None` when something that the question is about is not known.
    fn ask(&self, values: &dyn Values) -> Option<Asking>;

    /// The values that the question is made of, by name.
    fn names(&self) -> Vec<&str>;

    /// What became of all questions to this server.
    fn counts(&self) -> LineCounts;

    /// True while the server is left alone, because it does not answer.
    fn is_resting(&self) -> bool {
        false
    }
}

/// A template and whom it is for.
#[derive(Debug)]
pub struct QueryTo<S: Service> {
    server: Arc<Server<S>>,
    template: S::Template,
}

impl<S: Service> QueryTo<S> {
    /// A question to this server.
    pub const fn new(server: Arc<Server<S>>, template: S::Template) -> Self {
        Self { server, template }
    }
}

impl<S: Service> Query for QueryTo<S> {
    fn ask(&self, values: &dyn Values) -> Option<Asking> {
        let question = S::fill(&self.template, values)?;
        let server = self.server.clone();
        Some(Box::pin(async move { server.ask(&question).await }))
    }

    fn names(&self) -> Vec<&str> {
        S::names(&self.template)
    }

    fn counts(&self) -> LineCounts {
        self.server.line.counts()
    }

    fn is_resting(&self) -> bool {
        self.server.line.is_resting()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::template::Template;

    /// Counts connections, and answers as it is told.
    #[derive(Debug, Default)]
    struct Fake {
        connected: AtomicUsize,
        answers: Mutex<Vec<Result<Rows, Failure>>>,
    }

    impl Service for Fake {
        type Connection = usize;
        type Template = Template;
        type Question = ();

        async fn connect(&self) -> Result<usize, Failure> {
            Ok(self.connected.fetch_add(1, Ordering::Relaxed))
        }

        async fn ask(&self, _: &mut usize, (): &()) -> Result<Rows, Failure> {
            self.answers.lock().pop().unwrap_or(Ok(Rows::new()))
        }

        fn fill(_: &Template, _: &dyn Values) -> Option<()> {
            Some(())
        }

        fn names(template: &Template) -> Vec<&str> {
            template.names().collect()
        }
    }

    fn gone() -> Result<Rows, Failure> {
        Err(Failure::Unreachable("gone".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_used_again_until_they_fail_or_grow_old() {
        let server = Server::new("fake", LineSettings::default(), Fake::default());
        let connected = || server.service.connected.load(Ordering::Relaxed);
        assert_eq!(connected(), 0, "nobody has asked");
        for _ in 0..3 {
            assert!(server.ask(&()).await.is_ok());
        }
        assert_eq!(connected(), 1);
        server.service.answers.lock().push(gone());
        assert!(server.ask(&()).await.is_ok(), "the old one has gone, and a new one answers");
        assert_eq!(connected(), 2);
        server.service.answers.lock().extend([gone(), gone()]);
        assert!(server.ask(&()).await.is_err(), "the new one fails, too");
        assert_eq!(connected(), 3);
        assert!(server.ask(&()).await.is_ok());
        assert_eq!(connected(), 4, "one that has failed is not used again");
        tokio::time::advance(IDLE_MAX + Duration::from_secs(1)).await;
        assert!(server.ask(&()).await.is_ok());
        assert_eq!(connected(), 5);
        server.service.answers.lock().push(Err(Failure::TooLarge));
        assert_eq!(server.ask(&()).await.err(), Some(Failure::TooLarge));
        assert!(server.ask(&()).await.is_ok());
        assert_eq!(connected(), 6, "the rest of an answer that is too large is not waited for");
    }
}
