/// Why a service gave no answer that is of use. The texts are for logs: they name neither values nor credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// It cannot be reached, or broke off.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// It was not asked, because it has failed too often lately.
    #[error("not asked: it has failed too often lately")]
    Resting,
    /// It was not asked, because too many questions wait for it already.
    #[error("not asked: too many questions wait for it")]
    Busy,
    /// It refuses the question: a wrong password of ours, no such table, bad syntax.
    #[error("refused: {0}")]
    Refused(String),
    /// Its answer is larger than it may be.
    #[error("the answer is too large")]
    TooLarge,
    /// Its answer cannot be understood.
    #[error("the answer cannot be understood: {0}")]
    Malformed(String),
}

impl Failure {
    /// The service, rather than the question or its answer, is at fault: a reason to leave it alone for a while.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable(_))
    }
}
