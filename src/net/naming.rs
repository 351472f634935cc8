//! The topics of one client's requests: what they become on the bus by rewriting and by where the client is mounted, and back.

use std::sync::Arc;

use thingway_contract::{
    Message, SubscribeRefusal, Subscription, Topic, TopicFilter, TopicLimits, UnsubscribeRefusal, Will,
};

use super::conversation::Stage;
use crate::{
    access::names::{Mount, Names, Rewrites},
    bus::Session,
};

/// What the gateway makes of a topic may have more levels than clients may write.
const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: usize::MAX };

/// What happens to one conversation's topics as long as it goes on: what its client subscribed to by a name is found again by it when it unsubscribes. It is counted
/// for the conversation alone, so that cores do not contend for it.
pub(super) struct OwnNames(Arc<Names>);

impl OwnNames {
    /// `None` when nothing happens to them.
    pub fn of(names: Arc<Names>, is_mounted: bool) -> Option<Arc<Self>> {
        (names.rewrites.is_some() || is_mounted && names.rules_see_mounts).then(|| Arc::new(Self(names)))
    }

    /// Rules are asked about topics with their mount point.
    pub fn rules_see_mounts(&self) -> bool {
        self.0.rules_see_mounts
    }
}

/// One client's topics. Without rewriting and mount point all stay what they are, and nothing is allocated.
pub(super) struct Naming<'a> {
    names: Option<Arc<OwnNames>>,
    client_id: &'a str,
    username: Username<'a>,
    mount: Option<Arc<Mount>>,
}

/// Where the user name is found, if it is asked for.
enum Username<'a> {
    Known(Option<&'a str>),
    Of(&'a Session),
}

impl<'a> Naming<'a> {
    /// Of a client that has its session.
    #[inline]
    pub fn of_session(session: &'a Session, stage: Option<&Stage>) -> Self {
        let names = stage.and_then(Stage::names).cloned();
        let mount = stage.and_then(Stage::mount).cloned();
        Self { names, client_id: session.id(), username: Username::Of(session), mount }
    }

    /// Of a client that is about to have one.
    pub fn of_client(
        names: Option<Arc<OwnNames>>,
        client_id: &'a str,
        username: Option<&'a str>,
        mount: Option<&Arc<Mount>>,
    ) -> Self {
        Self { names, client_id, username: Username::Known(username), mount: mount.cloned() }
    }

    #[inline]
    fn rewrites(&self) -> Option<&Rewrites> {
        self.names.as_ref()?.0.rewrites.as_ref()
    }

    fn username(&self) -> Option<Box<str>> {
        match self.username {
            Username::Known(name) => name.map(Into::into),
            Username::Of(session) => session.connection()?.username,
        }
    }

    /// A publication by the rules for rewriting; `None` when what comes of it is no topic.
    #[inline]
    pub fn rewritten(&self, message: Message) -> Option<Message> {
        let Some(rewrites) = self.rewrites() else { return Some(message) };
        match rewrites.publication(message.topic(), self.client_id, &|| self.username()) {
            None => Some(message),
            Some(topic) => Some(message.with_topic(Topic::parse(&topic, LIMITS).ok()?)),
        }
    }

    /// A publication as it is on the bus; `None` when its topic would be too long.
    #[inline]
    pub fn inward(&self, message: Message) -> Option<Message> {
        match &self.mount {
            None => Some(message),
            Some(mount) => mount.inward(&message),
        }
    }

    /// A filter by the rules for rewriting; `None` when what comes of it is none.
    pub fn rewritten_filter(&self, filter: TopicFilter) -> Option<TopicFilter> {
        let Some(rewrites) = self.rewrites() else { return Some(filter) };
        match rewrites.subscription(filter.filter(), self.client_id, &|| self.username()) {
            None => Some(filter),
            Some(text) => filter.with_filter(&text).ok(),
        }
    }

    /// A filter as it is on the bus; `None` when it would be too long.
    pub fn inward_filter(&self, filter: TopicFilter) -> Option<TopicFilter> {
        match &self.mount {
            None => Some(filter),
            Some(mount) => mount.filter(&filter),
        }
    }

    fn changes_nothing(&self) -> bool {
        self.mount.is_none() && self.rewrites().is_none()
    }

    /// Subscriptions by the rules for rewriting.
    pub fn rewritten_subscriptions(
        &self,
        wanted: Vec<Result<Subscription, SubscribeRefusal>>,
    ) -> Vec<Result<Subscription, SubscribeRefusal>> {
        each_filter(wanted, self.rewrites().is_none(), |filter| self.rewritten_filter(filter))
    }

    /// Subscriptions as they are on the bus.
    pub fn inward_subscriptions(
        &self,
        wanted: Vec<Result<Subscription, SubscribeRefusal>>,
    ) -> Vec<Result<Subscription, SubscribeRefusal>> {
        each_filter(wanted, self.mount.is_none(), |filter| self.inward_filter(filter))
    }

    /// Filters to be unsubscribed as they are on the bus.
    pub fn unsubscribed(
        &self,
        filters: Vec<Result<TopicFilter, UnsubscribeRefusal>>,
    ) -> Vec<Result<TopicFilter, UnsubscribeRefusal>> {
        if self.changes_nothing() {
            return filters;
        }
        let one = |filter| self.rewritten_filter(filter).and_then(|filter| self.inward_filter(filter));
        let one = |filter: Result<TopicFilter, _>| one(filter?).ok_or(UnsubscribeRefusal::FilterInvalid);
        filters.into_iter().map(one).collect()
    }

    /// A will by the rules for rewriting; `None` when what comes of it is no topic.
    pub fn rewritten_will(&self, mut will: Box<Will>) -> Option<Box<Will>> {
        will.message = self.rewritten(will.message.clone())?;
        Some(will)
    }

    /// A will as it is on the bus; `None` when its topic would be too long.
    pub fn inward_will(&self, mut will: Box<Will>) -> Option<Box<Will>> {
        will.message = self.inward(will.message.clone())?;
        Some(will)
    }

    /// Messages as the client sees them.
    pub fn outward(&self, messages: Vec<Message>) -> Vec<Message> {
        match &self.mount {
            None => messages,
            Some(mount) => messages.iter().filter_map(|message| mount.outward(message)).collect(),
        }
    }
}

fn each_filter(
    wanted: Vec<Result<Subscription, SubscribeRefusal>>,
    changes_nothing: bool,
    change: impl Fn(TopicFilter) -> Option<TopicFilter>,
) -> Vec<Result<Subscription, SubscribeRefusal>> {
    if changes_nothing {
        return wanted;
    }
    let one = |wanted: Result<Subscription, SubscribeRefusal>| {
        let Subscription { filter, options } = wanted?;
        change(filter).map(|filter| Subscription { filter, options }).ok_or(SubscribeRefusal::FilterInvalid)
    };
    wanted.into_iter().map(one).collect()
}
