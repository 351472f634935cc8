//! What can go wrong, and the sums of a run.

use std::{collections::BTreeMap, fmt};

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Subscribed by wildcards: everything arrives, in order.
    Plain,
    /// Subscribed by a group: everything arrives at one of it.
    Shared,
    /// Published with a delay.
    Delayed,
    /// Retained; nobody subscribes to it but those who look.
    Retained,
    /// The wills of a client, numbered by its connections.
    Will,
    /// Ends a drain. Everybody subscribes to it, and who does not get it has lost the subscription.
    Fence,
}

/// What a server did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Acknowledged, and not there.
    Lost,
    /// QoS 2, and there twice.
    Duplicated,
    /// The first arrival of a message came after that of a later one.
    Reordered,
    /// A client whose session was granted finds none.
    ForgottenSession,
    /// A subscription that was acknowledged gets nothing.
    ForgottenSubscription,
    /// A retained message is older than the latest acknowledged one, or of no message.
    StaleRetained,
    /// A session or a subscription that was ended is there again.
    Resurrected,
    /// An exchange of QoS 2 is not brought to its end.
    Unreleased,
    /// A packet identifier that is in use came with another message.
    IdentifierReused,
    /// A message that nobody sent, or an answer to no question.
    Spurious,
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::Lost,
        Self::Duplicated,
        Self::Reordered,
        Self::ForgottenSession,
        Self::ForgottenSubscription,
        Self::StaleRetained,
        Self::Resurrected,
        Self::Unreleased,
        Self::IdentifierReused,
        Self::Spurious,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::ForgottenSession => "forgotten sessions",
            Self::ForgottenSubscription => "forgotten subscriptions",
            Self::StaleRetained => "stale retained",
            Self::Resurrected => "resurrected",
            Self::Unreleased => "unreleased",
            Self::IdentifierReused => "identifiers reused",
            Self::Spurious => "spurious",
        }
    }
}

/// Sums over a whole run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub rounds: u32,
    pub kills: u32,
    /// Messages whose last acknowledgement came, by quality of service.
    pub acknowledged: [u64; 3],
    /// Deliveries to subscribers.
    pub arrived: u64,
    /// Deliveries of QoS 1 beyond the first, which are allowed.
    pub repeated: u64,
    pub wills: u64,
    pub faults: BTreeMap<Fault, u64>,
    /// Deliveries that were lost, by what and quality of service.
    pub lost: BTreeMap<(Kind, u8), u64>,
    pub duplicated: BTreeMap<(Kind, u8), u64>,
}

impl Figures {
    pub fn total(&self) -> u64 {
        self.faults.values().sum()
    }

    pub fn count(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or(0)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, kills, acknowledged, arrived, repeated, wills, .. } = self;
        write!(out, "rounds {rounds}, kills {kills}, acknowledged qos1 {} qos2 {}", acknowledged[1], acknowledged[2])?;
        write!(out, ", wills {wills}, arrived {arrived}, repeated {repeated}")?;
        for fault in Fault::ALL {
            write!(out, ", {} {}", fault.name(), self.count(fault))?;
            let parts = match fault {
                Fault::Lost => &self.lost,
                Fault::Duplicated => &self.duplicated,
                _ => continue,
            };
            for (at, ((kind, qos), count)) in parts.iter().enumerate() {
                write!(out, "{}{kind:?} qos{qos} {count}", if at == 0 { " (" } else { ", " })?;
            }
            if !parts.is_empty() {
                write!(out, ")")?;
            }
        }
        Ok(())
    }
}
