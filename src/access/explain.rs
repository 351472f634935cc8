//! Why somebody may connect, publish or subscribe: the way of a decision, without anything coming of it. Nothing is counted, remembered or granted.

use std::sync::Arc;

use thingway_contract::{Instant, Qos, Refusal, TopicFilter, Transport};

use super::{
    Access, Attempt, Grant, Identity, Known, Said,
    entrance::Entrance,
    inquiry::ask_once,
    is_system,
    policy::{Look, Reason},
    rules::{Action, Permission},
    target, unix_ms,
};

/// What somebody wants.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A connection.
    Connect,
    /// To publish.
    Publish {
        /// To this topic.
        topic: Box<str>,
        /// With this quality of service.
        qos: Qos,
        /// With the retain flag.
        retain: bool,
    },
    /// To subscribe.
    Subscribe {
        /// To this.
        filter: TopicFilter,
        /// With this quality of service.
        qos: Qos,
    },
}

/// One thing that was looked at on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was looked at: an authenticator, a source of rules, a setting.
    pub source: String,
    /// What it says.
    pub says: Verdict,
    /// Which of its rules, or in words what it does.
    pub detail: Option<String>,
}

/// What one of them says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No.
    Deny,
    /// Nothing: the next one shall decide.
    Ignore,
    /// It changes what is asked about.
    Changes,
}

/// A decision, and how it came about.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Yes or no.
    pub allowed: bool,
    /// In words: who decided, and by what.
    pub decided_by: String,
    /// The way there.
    pub steps: Vec<Step>,
}

/// The way of one decision.
#[derive(Default)]
struct Way(Vec<Step>);

impl Way {
    fn step(&mut self, source: impl Into<String>, says: Verdict, detail: impl Into<Option<String>>) {
        self.0.push(Step { source: source.into(), says, detail: detail.into() });
    }

    fn end(self, allowed: bool, decided_by: impl Into<String>) -> Explained {
        Explained { allowed, decided_by: decided_by.into(), steps: self.0 }
    }
}

/// Who was let in, or why not.
type Entered = Result<(Grant, String), String>;

impl Access {
    /// What would come of it, and why. Authenticators and sources that are elsewhere are asked.
    ///
    /// Who wants to publish or subscribe and shows a password is let in first; without one it is taken for whom it says it is, with what the built-in database
    /// knows of it. What tokens and other services would bring is not known then.
    pub async fn explain(
        &self,
        mut attempt: Attempt,
        transport: Transport,
        wanted: &Wanted,
        now: Instant,
    ) -> Explained {
        let mut way = Way::default();
        let entrance = self.entrance.load_full();
        let names = &entrance.settings.names;
        entrance.find_attributes(&mut attempt);
        for (name, value) in attempt.attributes.iter() {
            way.step("access.attributes", Verdict::Changes, format!("{name} is {value:?}"));
        }
        let attempt = Arc::new(attempt);
        let connects = matches!(wanted, Wanted::Connect);
        let (grant, by) = if connects || attempt.password.is_some() {
            match self.enter(&entrance, &attempt, transport, now, &mut way).await {
                Ok(entered) => entered,
                Err(why) => return way.end(false, why),
            }
        } else {
            (entrance.settings.chain.presume(&attempt).unwrap_or_default(), String::new())
        };
        let superuser = grant.superuser;
        let grant = Grant { attributes: grant.attributes.over(&attempt.attributes), ..grant };
        let identity = Arc::new(Identity::new(&attempt, grant));
        let client_id = attempt.client_id.as_ref().map_or("", |id| id.as_str());
        let mount = match entrance.mount(&identity.who(client_id)) {
            Ok(mount) => mount,
            Err(_) => {
                let source = format!("listeners.{}.mountpoint", attempt.listener);
                way.step(&source, Verdict::Deny, "a placeholder has no value that may stand in a topic".to_owned());
                return way.end(false, format!("it cannot be mounted ({source})"));
            }
        };
        let prefix = mount.as_ref().map(|mount| mount.prefix().clone());
        match wanted {
            Wanted::Connect => {
                if let Some(prefix) = prefix {
                    way.step("mountpoint", Verdict::Changes, format!("all its topics are below {prefix}"));
                }
                if let Err(Refusal::QuotaExceeded) = entrance.quotas.take(&identity, client_id, now) {
                    way.step("access.quota", Verdict::Deny, "there are as many connections as there may be".to_owned());
                    return way.end(false, "there are as many connections as there may be (access.quota)");
                }
                self.explain_subscriptions(&entrance, &identity, client_id, &mut way).await;
                way.end(true, if superuser { format!("{by}, as a superuser") } else { by })
            }
            Wanted::Publish { topic, qos, retain } => {
                let username = || identity.username().map(Into::into);
                let rewritten = names.rewrites.as_ref();
                let rewritten = rewritten.and_then(|all| all.publication(topic, client_id, &username));
                if let Some(topic) = &rewritten {
                    way.step("access.rewrite", Verdict::Changes, format!("the topic becomes {topic}"));
                }
                let topic = rewritten.as_deref().unwrap_or(topic);
                if is_system(topic) {
                    way.step("$SYS", Verdict::Deny, None);
                    return way.end(false, "$SYS is the gateway's own");
                }
                let mounted = mount.as_ref().map(|mount| mount.topic(topic));
                if let Some(topic) = &mounted {
                    way.step("mountpoint", Verdict::Changes, format!("on the bus it is {topic}"));
                }
                let asked = mounted.as_deref().filter(|_| names.rules_see_mounts).unwrap_or(topic);
                let action = Action::Publish { qos: *qos, retain: *retain };
                let (allowed, why) = self.explain_rules(&identity, client_id, action, target(asked), &mut way).await;
                way.end(allowed, why)
            }
            Wanted::Subscribe { filter, qos } => {
                let username = || identity.username().map(Into::into);
                let rewritten = names.rewrites.as_ref();
                let rewritten = rewritten.and_then(|all| all.subscription(filter.filter(), client_id, &username));
                if let Some(filter) = &rewritten {
                    way.step("access.rewrite", Verdict::Changes, format!("the filter becomes {filter}"));
                }
                let own = rewritten.as_deref().unwrap_or(filter.filter());
                let mounted = prefix.map(|prefix| format!("{prefix}{own}"));
                if let Some(filter) = &mounted {
                    way.step("mountpoint", Verdict::Changes, format!("on the bus it is {filter}"));
                }
                let asked = mounted.as_deref().filter(|_| names.rules_see_mounts).unwrap_or(own);
                let action = Action::Subscribe { qos: *qos };
                let (allowed, why) = self.explain_rules(&identity, client_id, action, asked, &mut way).await;
                way.end(allowed, why)
            }
        }
    }

    async fn enter(
        &self,
        entrance: &Entrance,
        attempt: &Arc<Attempt>,
        transport: Transport,
        now: Instant,
        way: &mut Way,
    ) -> Entered {
        let settings = &entrance.settings;
        if let Some(ban) = self.bans.find(attempt, unix_ms()) {
            let why = if ban.reason.is_empty() { String::new() } else { format!(", {}", ban.reason) };
            way.step("bans", Verdict::Deny, format!("{ban}"));
            return Err(format!("{ban} is banned{why}"));
        }
        way.step("bans", Verdict::Ignore, None);
        if settings.trusting_listeners.contains(&*attempt.listener) {
            let key = format!("listeners.{}.authenticate", attempt.listener);
            way.step(&key, Verdict::Allow, None);
            return Ok((Grant::default(), format!("nobody is asked about who comes by this listener ({key} = false)")));
        }
        let chain = &settings.chain;
        if chain.is_empty() {
            return match settings.refuse_without_chain {
                true => Err("no authenticator is configured (gateway.security = \"hardened\")".into()),
                false => Ok((Grant::default(), "no authenticator is configured".into())),
            };
        }
        if attempt.is_anonymous() && settings.allow_anonymous {
            way.step("access.allow_anonymous", Verdict::Allow, None);
            let why = "it shows no user name and no password (access.allow_anonymous = true)";
            return Ok((Grant::default(), why.into()));
        }
        let spoofable = transport == Transport::Udp;
        if entrance.backoff.as_ref().is_some_and(|backoff| backoff.holds(attempt, spoofable, now.as_millis())) {
            way.step("access.backoff", Verdict::Deny, "it has to wait".to_owned());
            return Err("it has shown wrong credentials too often and has to wait (access.backoff)".into());
        }
        let told = tokio::time::timeout(settings.timeout, chain.tell(attempt)).await;
        let Ok(told) = told else {
            return Err("the authenticators give no answer in time (access.timeout)".into());
        };
        for (name, said) in told {
            match said {
                Said::Ignore => way.step(name, Verdict::Ignore, None),
                Said::Allow(grant) => {
                    way.step(name, Verdict::Allow, grant.superuser.then(|| "as a superuser".to_owned()));
                    return Ok((grant, format!("by {name}")));
                }
                Said::Deny(refusal) => {
                    way.step(name, Verdict::Deny, format!("{refusal:?}"));
                    return Err(format!("by {name}: {refusal:?}"));
                }
            }
        }
        let names = chain.names().collect::<Vec<_>>().join(", ");
        Err(format!("none of {names} knows who that is"))
    }

    async fn explain_subscriptions(
        &self,
        entrance: &Entrance,
        identity: &Arc<Identity>,
        client_id: &str,
        way: &mut Way,
    ) {
        let names = &entrance.settings.names;
        for subscription in names.auto_subscriptions(&identity.who(client_id)) {
            let filter = subscription.filter;
            let own = filter.filter();
            let asked = match entrance.mount(&identity.who(client_id)) {
                Ok(Some(mount)) if names.rules_see_mounts => format!("{}{own}", mount.prefix()),
                _ => own.to_owned(),
            };
            let action = Action::Subscribe { qos: subscription.options.qos };
            let mut unseen = Way::default();
            let (allowed, why) = self.explain_rules(identity, client_id, action, &asked, &mut unseen).await;
            let (says, what) = match allowed {
                true => (Verdict::Changes, "it is subscribed to"),
                false => (Verdict::Ignore, "it may not be subscribed to"),
            };
            way.step("access.auto_subscribe", says, format!("{what} {filter}: {why}"));
        }
    }

    async fn explain_rules(
        &self,
        identity: &Arc<Identity>,
        client_id: &str,
        action: Action,
        topic: &str,
        way: &mut Way,
    ) -> (bool, String) {
        let policy = self.policy();
        let timeout = self.settings().timeout;
        let mut known = Known::default();
        let who = identity.who(client_id);
        let (permission, why) = loop {
            let place = match policy.look(&who, &identity.grant, action, topic, &known) {
                Look::Ask(place) => place,
                Look::Decided(permission, reason) => {
                    policy.tell_passed(&who, &identity.grant, action, topic, &known, &mut |source| {
                        way.step(source, Verdict::Ignore, None);
                    });
                    let says = match permission {
                        Permission::Allow => Verdict::Allow,
                        Permission::Deny => Verdict::Deny,
                    };
                    let (source, detail, why) = told(reason);
                    way.step(source, says, detail);
                    break (permission, why);
                }
            };
            ask_once(&policy, identity, client_id, (place, action, topic), timeout, &mut known).await;
        };
        (permission == Permission::Allow, why)
    }
}

/// The source, its rule, and all of it in words.
fn told(reason: Reason<'_>) -> (String, Option<String>, String) {
    match reason {
        Reason::Superuser => ("superuser".into(), None, "it is a superuser, whom no rule binds".into()),
        Reason::Own(rule) => (
            "credentials".into(),
            Some(rule.place.to_string()),
            format!("by a rule that came with the credentials, {}", rule.place),
        ),
        Reason::Rule(rule) => {
            (rule.place.source.to_string(), Some(rule.place.to_string()), format!("by {}", rule.place))
        }
        Reason::Authority(name) => (name.into(), None, format!("by {name}")),
        Reason::NoMatch => {
            ("access.no_match".into(), None, "there are rules, and none is about it (access.no_match)".into())
        }
        Reason::NoRules => ("no rules".into(), None, "there are no rules".into()),
    }
}
