use super::schema::{settings, words};

words! {
    /// How a shared subscription chooses the member that gets a message.
    pub enum Strategy {
        /// Each member in turn.
        RoundRobin = "round_robin",
        /// Any member.
        Random = "random",
        /// The same member until it leaves.
        Sticky = "sticky",
        /// Messages of one publisher go to one member.
        HashClientId = "hash_client_id",
        /// Messages on one topic go to one member.
        HashTopic = "hash_topic",
    }
}

settings! {
    /// Shared subscriptions: `$share/{group}/{filter}`.
    pub struct Shared {
        /// Which member of a group gets a message: "round_robin" (each in turn), "random", "sticky" (the same until it leaves),
        /// "hash_client_id" (messages of one publisher to one member) or "hash_topic" (messages on one topic to one member).
        strategy: Strategy = Strategy::RoundRobin;
    }
}
