//! From the topics that a client writes to those on the bus, and back: rewriting, mount points, and what clients are subscribed to without asking.

mod mount;
mod rewrite;
mod template;

use std::collections::HashMap;

use thingway_contract::{Subscription, SubscriptionOptions, TopicFilter, TopicLimits};

pub use self::{
    mount::{MOUNT_ATTRIBUTE, Mount},
    rewrite::{Rewrite, RewriteError, Rewrites},
    template::Template,
};
use super::rules::Who;

/// What happens to topics.
#[derive(Debug, Default)]
pub struct Names {
    /// Where the clients of a listener are mounted, by its name.
    pub mounts: HashMap<Box<str>, Template>,
    /// What topics become; `None` for nothing else.
    pub rewrites: Option<Rewrites>,
    /// What clients are subscribed to when they connect.
    pub auto_subscriptions: Box<[AutoSubscription]>,
    /// Rules are asked about topics with their mount point.
    pub rules_see_mounts: bool,
}

/// A subscription that a client has without asking.
#[derive(Clone, Debug)]
pub struct AutoSubscription {
    /// To what.
    pub filter: Template,
    /// How it is served.
    pub options: SubscriptionOptions,
}

impl Names {
    /// What a client is subscribed to without asking. What would be no filter is left out.
    pub fn auto_subscriptions(&self, who: &Who<'_>) -> Vec<Subscription> {
        if who.protocol == "coap" {
            // Its clients know messages by what they observe, and nothing else.
            return Vec::new();
        }
        let one = |auto: &AutoSubscription| {
            let filter = TopicFilter::parse(&auto.filter.fill(who)?, TopicLimits::default()).ok()?;
            Some(Subscription { filter, options: auto.options })
        };
        self.auto_subscriptions.iter().filter_map(one).collect()
    }
}

/// Splits `$delayed/10/a` into `$delayed/10/` and `a`; other topics have nothing in front.
pub(super) fn split_delay(topic: &str) -> (&str, &str) {
    let inner = topic.strip_prefix("$delayed/").and_then(|rest| rest.split_once('/')).map_or(topic, |(_, inner)| inner);
    topic.split_at(topic.len() - inner.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_delayed_is_split() {
        assert_eq!(split_delay("$delayed/10/a/b"), ("$delayed/10/", "a/b"));
        assert_eq!(split_delay("$delayed/10"), ("", "$delayed/10"));
        assert_eq!(split_delay("a/b"), ("", "a/b"));
    }

    #[test]
    fn automatic_subscriptions_have_the_clients_name() {
        let auto = |text: &str| AutoSubscription {
            filter: Template::parse(text).expect("a template"),
            options: SubscriptionOptions::default(),
        };
        let names =
            Names { auto_subscriptions: [auto("c/${clientid}/#"), auto("u/${username}")].into(), ..Names::default() };
        let filters = |who: &Who<'_>| -> Vec<String> {
            names.auto_subscriptions(who).iter().map(|subscription| subscription.filter.to_string()).collect()
        };
        assert_eq!(filters(&Who { client_id: "7", ..Who::nobody() }), ["c/7/#"]);
        assert_eq!(filters(&Who { client_id: "+", username: Some("bob"), ..Who::nobody() }), ["u/bob"]);
    }
}
