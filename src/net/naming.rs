//! The topics of one client's requests: what they become on the bus by rewriting and by where the client is mounted, and back.

use std::sync::Arc;

use thingway_contract::{
    Message, SubscribeRefusal, Subscription, Topic, TopicFilter, TopicLimits, UnsubscribeRefusal, Will,
};

use super::conversation::Stage;
use crate::{
    access::names::{Mount, Names},
    bus::Session,
};

/// What the gateway makes of a topic may have more levels than clients may write.
const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: usize::MAX };

/// One client's topics. Without rewriting and mount point all stay what they are, and nothing is allocated.
pub(super) struct Naming<'a> {
    names: &'a Names,
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
    pub fn of_session(names: &'a Names, session: &'a Session, stage: Option<&Stage>) -> Self {
        let mount = stage.and_then(Stage::mount).cloned();
        Self { names, client_id: session.id(), username: Username::Of(session), mount }
    }

    /// Of a client that is about to have one.
    pub fn of_client(
        names: &'a Names,
        client_id: &'a str,
        username: Option<&'a str>,
        mount: Option<&Arc<Mount>>,
    ) -> Self {
        Self { names, client_id, username: Username::Known(username), mount: mount.cloned() }
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
        let Some(rewrites) = &self.names.rewrites else { return Some(message) };
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
        let Some(rewrites) = &self.names.rewrites else { return Some(filter) };
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
        self.mount.is_none() && self.names.rewrites.is_none()
    }

    /// Subscriptions by the rules for rewriting.
    pub fn rewritten_subscriptions(
        &self,
        wanted: Vec<Result<Subscription, SubscribeRefusal>>,
    ) -> Vec<Result<Subscription, SubscribeRefusal>> {
        each_filter(wanted, self.names.rewrites.is_none(), |filter| self.rewritten_filter(filter))
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
