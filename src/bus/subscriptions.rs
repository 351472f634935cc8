use std::collections::HashMap;

use thingway_contract::{SubscriptionOptions, TopicFilter};

/// Subscriptions from which on a session keeps an index; below it looking at each is quicker and takes no memory.
const INDEX_FROM: usize = 16;

/// The subscriptions of one session.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    list: Vec<(TopicFilter, SubscriptionOptions)>,
    #[expect(clippy::box_collection, reason = "rare: a map in place would cost every session its size")]
    index: Option<Box<HashMap<TopicFilter, usize, foldhash::fast::RandomState>>>,
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &(TopicFilter, SubscriptionOptions)> {
        self.list.iter()
    }

    pub fn as_slice(&self) -> &[(TopicFilter, SubscriptionOptions)] {
        &self.list
    }

    /// All filters begin with this.
    pub fn are_below(&self, prefix: &str) -> bool {
        self.list.iter().all(|(filter, _)| filter.filter().starts_with(prefix))
    }

    pub fn contains(&self, filter: &TopicFilter) -> bool {
        self.position(filter).is_some()
    }

    /// Adds a subscription or replaces its options; true when it is new.
    pub fn insert(&mut self, filter: TopicFilter, options: SubscriptionOptions) -> bool {
        if let Some(at) = self.position(&filter) {
            self.list[at].1 = options;
            return false;
        }
        if self.list.len() < 4 {
            // One at a time: most clients hold one subscription, and the idle cost counts.
            self.list.reserve_exact(1);
        }
        self.list.push((filter, options));
        match &mut self.index {
            Some(index) => {
                let at = self.list.len() - 1;
                index.insert(self.list[at].0.clone(), at);
            }
            None if self.list.len() >= INDEX_FROM => {
                let index = self.list.iter().enumerate().map(|(at, (filter, _))| (filter.clone(), at)).collect();
                self.index = Some(Box::new(index));
            }
            None => {}
        }
        true
    }

    /// True when it was there.
    pub fn remove(&mut self, filter: &TopicFilter) -> bool {
        let Some(at) = self.position(filter) else { return false };
        self.list.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(filter);
            if let Some((moved, _)) = self.list.get(at) {
                index.insert(moved.clone(), at);
            }
            if self.list.len() < INDEX_FROM / 2 {
                self.index = None;
            }
        }
        true
    }

    pub fn take_all(&mut self) -> Vec<(TopicFilter, SubscriptionOptions)> {
        self.index = None;
        std::mem::take(&mut self.list)
    }

    fn position(&self, filter: &TopicFilter) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(filter).copied(),
            None => self.list.iter().position(|(held, _)| held == filter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use thingway_contract::{Qos, TopicLimits};

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((any::<bool>(), 0u8..40, 0u8..3), 1..300)) {
            let mut subscriptions = Subscriptions::default();
            let mut model = BTreeMap::new();
            for (add, topic, qos) in steps {
                let filter = TopicFilter::parse(&format!("t/{topic}"), TopicLimits::default()).expect("valid");
                if add {
                    let qos = Qos::from_u8(qos).expect("valid");
                    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
                    let is_new = model.insert(filter.to_string(), options).is_none();
                    prop_assert_eq!(subscriptions.insert(filter, options), is_new);
                } else {
                    prop_assert_eq!(subscriptions.remove(&filter), model.remove(filter.filter()).is_some());
                }
                prop_assert_eq!(subscriptions.len(), model.len());
                for (filter, options) in subscriptions.iter() {
                    prop_assert_eq!(model.get(filter.filter()), Some(options));
                    prop_assert!(subscriptions.contains(filter));
                }
            }
        }
    }
}
