//! What a conversation's client may do: asked before anything goes to the bus.

use std::sync::Arc;

use thingway_contract::{CloseReason, Message, Protocol, Qos, SubscribeRefusal, Subscription, TopicFilter, Will};

use super::{conversation::Stage, service::Service};
use crate::{
    access::{
        DenyAction, Guard, is_system,
        rules::{Action, Permission},
        target,
    },
    bus::{Counter, Lane, Session},
};

/// Asks about one client. Borrowed for the length of a request.
pub(super) struct Permits<'a, P: Protocol> {
    pub stage: &'a mut Option<Box<Stage>>,
    pub service: &'a Service<P>,
    pub session: &'a Arc<Session>,
    pub lane: &'a Lane,
}

impl<P: Protocol> Permits<'_, P> {
    /// Whether a message may be published. An error ends the conversation.
    #[inline]
    pub fn publish(&mut self, message: &Message) -> Result<bool, CloseReason> {
        let topic = message.topic();
        if self.is_free() && !is_system(topic) {
            return Ok(true);
        }
        let head = message.head();
        self.ask(Action::Publish { qos: head.qos, retain: head.retain }, topic)
    }

    /// Whether something may be subscribed to. An error ends the conversation.
    pub fn subscribe(&mut self, subscription: &Subscription) -> Result<bool, CloseReason> {
        self.read(&subscription.filter, subscription.options.qos)
    }

    /// The subscriptions with what may not be subscribed to refused. An error ends the conversation.
    pub fn subscribe_all(
        &mut self,
        wanted: Vec<Result<Subscription, SubscribeRefusal>>,
    ) -> Result<Vec<Result<Subscription, SubscribeRefusal>>, CloseReason> {
        if self.is_free() {
            return Ok(wanted);
        }
        let one = |wanted: Result<Subscription, SubscribeRefusal>| {
            Ok(match wanted {
                Ok(subscription) if !self.subscribe(&subscription)? => Err(SubscribeRefusal::NotAuthorized),
                other => other,
            })
        };
        wanted.into_iter().map(one).collect()
    }

    /// Whether what is retained may be read. An error ends the conversation.
    pub fn read(&mut self, filter: &TopicFilter, qos: Qos) -> Result<bool, CloseReason> {
        if self.is_free() {
            return Ok(true);
        }
        self.ask(Action::Subscribe { qos }, filter.filter())
    }

    /// Whether this may be the will from now on. There is no answer by which a client could be told, so that a will that it may not have is an error,
    /// which ends the conversation.
    pub fn will(&mut self, will: &Will) -> Result<(), CloseReason> {
        if self.publish(&will.message)? { Ok(()) } else { Err(CloseReason::NotAuthorized) }
    }

    /// There is nothing to ask.
    #[inline]
    fn is_free(&self) -> bool {
        self.service.access.is_open() && !self.stage.as_deref().is_some_and(Stage::is_guarded)
    }

    fn ask(&mut self, action: Action, topic: &str) -> Result<bool, CloseReason> {
        let access = &self.service.access;
        let publishes = matches!(action, Action::Publish { .. });
        let permission = if publishes && is_system(topic) {
            Permission::Deny
        } else if self.is_free() {
            Permission::Allow
        } else {
            let mount = self.stage.as_deref().filter(|_| access.names().rules_see_mounts).and_then(Stage::mount);
            let mounted = mount.map(|mount| mount.topic(topic));
            let topic = mounted.as_deref().unwrap_or(topic);
            let topic = if publishes { target(topic) } else { topic };
            guard(self.stage, self.session).may(access, self.session.id(), action, topic)
        };
        if permission == Permission::Allow {
            return Ok(true);
        }
        self.lane.count(Counter::AuthorizationDeny, 1);
        match access.deny_action() {
            DenyAction::Ignore => Ok(false),
            DenyAction::Disconnect => Err(CloseReason::NotAuthorized),
        }
    }
}

/// The one that the client was let in with, or one of its own if rules came later.
fn guard<'a>(stage: &'a mut Option<Box<Stage>>, session: &Session) -> &'a mut Guard {
    Stage::guard(stage, || match session.connection() {
        Some(info) => Guard::of_connection(&info),
        None => Guard::of_nobody(),
    })
}
