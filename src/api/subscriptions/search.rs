//! Looking for subscriptions, in the order of client ids and, for each client, of filters.

use std::{borrow::Cow, sync::Arc};

use axum::response::Response;
use serde_json::Value;
use thingway_contract::{FilterKind, SubscriptionOptions, Topic, TopicFilter};

use super::tell;
use crate::{
    api::{
        directory::{Source, View},
        error::ApiError,
        query::Query,
        window::{Found, Window},
        world::World,
    },
    bus::{Bus, Feed, Session},
};

/// Subscribers that are sorted for one answer. When more subscribe to what is looked for, they are found by going through all clients in order, for then it is not
/// far from one to the next.
const SORTED_MAX: usize = 20_000;
/// Clients that are looked at for one answer. Behind them a cursor goes on.
const LOOKED_AT_MAX: usize = 40_000;
/// Between a client id, which has none in it, and a filter.
const BETWEEN: char = '\0';

/// What subscriptions are looked for by.
pub struct Wanted {
    client: Option<String>,
    qos: Option<u8>,
    topic: Option<String>,
    group: Option<String>,
    matching: Option<String>,
}

/// Where the answer before ended.
#[derive(Clone, Copy)]
struct After<'a> {
    id: &'a str,
    /// `None` when there is no more of that client.
    filter: Option<&'a str>,
}

struct Row {
    session: Arc<Session>,
    filter: TopicFilter,
    options: SubscriptionOptions,
}

impl Wanted {
    pub fn of(world: &World, query: &Query) -> Result<Self, ApiError> {
        let text = |name| query.find(name).map(str::to_owned);
        let matching = text("match_topic");
        if let Some(text) = &matching {
            super::parse_topic(world, text)?;
        }
        let qos = query.read("qos")?;
        Ok(Self { client: text("clientid"), qos, topic: text("topic"), group: text("share_group"), matching })
    }

    fn is_anything(&self) -> bool {
        self.qos.is_none() && self.topic.is_none() && self.group.is_none() && self.matching.is_none()
    }

    fn is_met(&self, filter: &TopicFilter, options: &SubscriptionOptions, matching: Option<Topic<'_>>) -> bool {
        let is_topic = |topic: &str| filter.filter() == topic || text_of(filter) == topic;
        self.qos.is_none_or(|qos| qos == options.qos as u8)
            && self.topic.as_deref().is_none_or(is_topic)
            && self
                .group
                .as_deref()
                .is_none_or(|group| matches!(filter.kind(), FilterKind::Shared(name) if **name == *group))
            && matching.is_none_or(|topic| filter.matches(topic))
    }

    /// The sessions that can have what is wanted, if the routes know them and they are not too many.
    fn known(&self, world: &World, matching: Option<Topic<'_>>) -> Option<Vec<Arc<Session>>> {
        let mut sessions = if let Some(id) = &self.client {
            world.bus.session(id).into_iter().collect()
        } else if let Some(topic) = &self.topic {
            match TopicFilter::parse(topic, world.bus.tuning().topic_limits) {
                Ok(filter) => world.bus.routes().sessions_of(filter.filter(), SORTED_MAX)?,
                Err(_) => Vec::new(),
            }
        } else {
            world.bus.routes().sessions_matching(matching?, SORTED_MAX)?
        };
        sessions.sort_unstable_by(|a, b| a.id().cmp(b.id()));
        // One that subscribes several times is found as often.
        sessions.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Some(sessions)
    }

    /// Finds what is wanted and tells it.
    pub fn find(&self, world: &World, window: &Window) -> Response {
        let matching =
            self.matching.as_deref().and_then(|text| Topic::parse(text, world.bus.tuning().topic_limits).ok());
        let mut found = Found::new(window);
        let after = window.after().map(|name| match name.split_once(BETWEEN) {
            Some((id, filter)) => After { id, filter: Some(filter) },
            None => After { id: name, filter: None },
        });
        match self.known(world, matching) {
            Some(sessions) => {
                let from = after.map_or(0, |after| sessions.partition_point(|session| **session.id() < *after.id));
                for session in &sessions[from..] {
                    self.see(&mut found, session, after, matching);
                    if found.is_full() && window.after().is_some() {
                        found.leave_uncounted();
                        break;
                    }
                }
            }
            None => self.walk(world, &mut found, after, matching),
        }
        let name = |row: &Row| format!("{}{BETWEEN}{}", row.session.id(), row.filter);
        let tell = |row: Row| -> Option<Value> { Some(tell(world, row.session.id(), &row.filter, &row.options)) };
        found.into_answer(window, name, tell)
    }

    /// Goes through all clients in order.
    fn walk(&self, world: &World, found: &mut Found<Row>, after: Option<After<'_>>, matching: Option<Topic<'_>>) {
        let view: Arc<View<_>> = world.directories.clients.look(&world.bus);
        let mut left = LOOKED_AT_MAX;
        // The client that the answer before ended with may have more.
        let last = after.filter(|after| after.filter.is_some());
        if let Some(session) = last.and_then(|after| world.bus.session(after.id)) {
            self.see(found, &session, after, matching);
        }
        for (block, from) in view.blocks_after(after.map(|after| after.id)) {
            let facts = &block.facts()[from..];
            let all = || facts.iter().map(|facts| facts.subscriptions as usize).sum();
            if self.is_anything() && found.pass(all()) {
                continue;
            }
            for (at, facts) in (from..).zip(facts) {
                let may_be = facts.subscriptions > 0
                    && self.qos.is_none_or(|qos| facts.may_have_qos(qos))
                    && (self.group.is_none() || facts.may_share());
                if !may_be || self.is_anything() && found.pass(facts.subscriptions as usize) {
                    continue;
                }
                if let Some(session) = world.bus.session(block.name(at)) {
                    self.see(found, &session, after, matching);
                }
                left -= 1;
                if left == 0 && !found.is_full() {
                    found.leave_uncounted();
                    return found.give_up_at(block.name(at).to_owned());
                }
            }
            if found.is_full() && !self.is_anything() {
                return found.leave_uncounted();
            }
        }
    }

    fn see(
        &self,
        found: &mut Found<Row>,
        session: &Arc<Session>,
        after: Option<After<'_>>,
        matching: Option<Topic<'_>>,
    ) {
        if session.subscriptions_len() == 0 {
            return;
        }
        let after = after.filter(|after| **session.id() == *after.id);
        let is_behind = |filter: &TopicFilter| match after {
            None => true,
            Some(After { filter: Some(after), .. }) => *text_of(filter) > *after,
            Some(After { filter: None, .. }) => false,
        };
        let mut wanted = session.subscriptions();
        wanted.retain(|(filter, options)| self.is_met(filter, options, matching) && is_behind(filter));
        wanted.sort_by(|(a, _), (b, _)| text_of(a).cmp(&text_of(b)));
        for (filter, options) in wanted {
            found.see(|| Row { session: session.clone(), filter, options });
        }
    }
}

/// A filter as it was written.
fn text_of(filter: &TopicFilter) -> Cow<'_, str> {
    match filter.kind() {
        FilterKind::Plain => filter.filter().into(),
        _ => filter.to_string().into(),
    }
}

/// The directory of all filters that somebody subscribes to.
#[derive(Debug)]
pub struct Filters;

impl Source for Filters {
    type Name = Arc<str>;
    type Facts = ();
    const COLUMNS: usize = 1;

    fn feed<'a>(&self, bus: &'a Bus) -> &'a Feed<Arc<str>> {
        bus.changed_filters()
    }

    fn names(&self, bus: &Bus) -> Vec<Arc<str>> {
        bus.routes().filters()
    }

    fn read(&self, bus: &Bus, name: &str, tell: &mut dyn FnMut(&[&str], ())) {
        if bus.routes().has(name) {
            tell(&[], ());
        }
    }
}
