//! What a conversation's client may do: asked before anything goes to the bus.

use std::sync::Arc;

use thingway_contract::{
    CloseReason, Instant, Message, Protocol, Qos, Request, SubscribeRefusal, Subscription, Token, TopicFilter, Will,
};

use super::{conversation::Stage, naming::Naming, service::Service};
use crate::{
    access::{
        DenyAction, Guard, May, Question, is_system,
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
    pub now: Instant,
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

    fn look(&mut self, action: Action, topic: &str) -> May {
        let publishes = matches!(action, Action::Publish { .. });
        if publishes && is_system(topic) {
            return May::Decided(Permission::Deny);
        }
        if self.is_free() {
            return May::Decided(Permission::Allow);
        }
        let access = &self.service.access;
        let sees_mounts = |stage: &&Stage| stage.names().is_some_and(|names| names.rules_see_mounts());
        let mount = self.stage.as_deref().filter(sees_mounts).and_then(Stage::mount);
        let mounted = mount.map(|mount| mount.topic(topic));
        let topic = mounted.as_deref().unwrap_or(topic);
        let topic = if publishes { target(topic) } else { topic };
        guard(self.stage, self.session).may(access, self.session.id(), action, topic, self.now)
    }

    /// What has to be asked before a request can be decided on.
    pub fn questions(&mut self, request: &Request, naming: &Naming<'_>) -> Vec<Question> {
        let mut questions = Vec::new();
        match request {
            Request::Publish { message, .. } => questions.extend(self.question_of(message, naming)),
            Request::SetWill { will: Some(will) } => questions.extend(self.question_of(&will.message, naming)),
            Request::Subscribe { token, subscriptions } => {
                for subscription in subscriptions.iter().flatten() {
                    let action = Action::Subscribe { qos: subscription.options.qos };
                    // What nobody has asked for is not rewritten.
                    let is_rewritten = *token != Token::NONE;
                    questions.extend(self.question_about(action, &subscription.filter, naming, is_rewritten));
                }
            }
            Request::ReadRetained { filter, .. } => {
                let action = Action::Subscribe { qos: Qos::AtMostOnce };
                questions.extend(self.question_about(action, filter, naming, true));
            }
            _ => {}
        }
        questions
    }

    fn question_of(&mut self, message: &Message, naming: &Naming<'_>) -> Option<Question> {
        let message = naming.rewritten(message.clone())?;
        let head = message.head();
        self.question(Action::Publish { qos: head.qos, retain: head.retain }, message.topic())
    }

    fn question_about(
        &mut self,
        action: Action,
        filter: &TopicFilter,
        naming: &Naming<'_>,
        is_rewritten: bool,
    ) -> Option<Question> {
        match is_rewritten {
            true => self.question(action, naming.rewritten_filter(filter.clone())?.filter()),
            false => self.question(action, filter.filter()),
        }
    }

    fn question(&mut self, action: Action, topic: &str) -> Option<Question> {
        match self.look(action, topic) {
            May::Ask(question) => Some(question),
            May::Decided(_) => None,
        }
    }

    /// The client's subscriptions that it may not have, and what has to be asked before all of them can be decided on.
    pub fn examine(&mut self) -> (Vec<TopicFilter>, Vec<Question>) {
        let (mut denied, mut questions) = (Vec::new(), Vec::new());
        let mount = self.stage.as_deref().and_then(Stage::mount).cloned();
        for (filter, options) in self.session.subscriptions() {
            // Rules are about the names that the client uses.
            let own = match &mount {
                Some(mount) => filter.filter().strip_prefix(&**mount.prefix()).unwrap_or(""),
                None => filter.filter(),
            };
            match self.look(Action::Subscribe { qos: options.qos }, own) {
                May::Decided(Permission::Allow) => {}
                May::Decided(Permission::Deny) => denied.push(filter),
                May::Ask(question) => questions.push(question),
            }
        }
        (denied, questions)
    }

    fn ask(&mut self, action: Action, topic: &str) -> Result<bool, CloseReason> {
        let access = &self.service.access;
        let permission = match self.look(action, topic) {
            May::Decided(permission) => permission,
            // It was asked before, and rules have changed in this very moment; or there are too many questions.
            May::Ask(_) => Permission::Deny,
        };
        if permission == Permission::Allow {
            return Ok(true);
        }
        self.lane.count(Counter::AuthorizationDeny, 1);
        let word = if matches!(action, Action::Publish { .. }) { "publish" } else { "subscribe" };
        self.service.bus.watch().denied(word, topic, &|| self.session.who());
        match access.deny_action() {
            DenyAction::Ignore => Ok(false),
            DenyAction::Disconnect => Err(CloseReason::NotAuthorized),
        }
    }
}

/// The one that the client was let in with, or one of its own if rules came later.
fn guard<'a>(stage: &'a mut Option<Box<Stage>>, session: &Session) -> &'a mut Guard {
    let guard = Stage::guard(stage, || match session.connection() {
        Some(info) => Guard::of_connection(&info),
        None => Guard::of_nobody(),
    });
    if session.takes_doubt() {
        guard.doubt();
    }
    guard
}
