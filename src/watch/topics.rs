use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use thingway_contract::{Message, Qos, filter_matches};

use super::{Look, Watch};

/// What is counted of a topic, as EMQX names it.
pub const TOPIC_COUNTS: [&str; 9] = [
    "messages.in",
    "messages.out",
    "messages.dropped",
    "messages.qos0.in",
    "messages.qos0.out",
    "messages.qos1.in",
    "messages.qos1.out",
    "messages.qos2.in",
    "messages.qos2.out",
];

const IN: usize = 0;
const OUT: usize = 1;
const DROPPED: usize = 2;
const OF_QOS: usize = 3;

/// What was counted of a topic.
#[derive(Debug, Default)]
pub struct TopicCounts([AtomicU64; TOPIC_COUNTS.len()]);

impl TopicCounts {
    fn add(&self, index: usize) {
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    /// In the order of [`TOPIC_COUNTS`].
    pub fn all(&self) -> [u64; TOPIC_COUNTS.len()] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// Topics whose messages are counted. A table is replaced as a whole, so that it is read without a lock.
#[derive(Debug, Default)]
pub(super) struct Topics(ArcSwap<Table>);

#[derive(Debug, Default)]
struct Table {
    names: HashMap<Box<str>, Arc<TopicCounts>>,
    /// With wildcards. Each is compared with every message, so there are few.
    filters: Vec<(Box<str>, Arc<TopicCounts>)>,
}

impl Topics {
    fn count(&self, message: &Message, each: impl Fn(&TopicCounts)) {
        let table = self.0.load();
        let topic = message.topic();
        if let Some(counts) = table.names.get(topic) {
            each(counts);
        }
        for (filter, counts) in &table.filters {
            if filter_matches(filter, topic) {
                each(counts);
            }
        }
    }

    pub fn published(&self, message: &Message) {
        self.count(message, |counts| {
            counts.add(IN);
            counts.add(OF_QOS + 2 * message.head().qos as usize);
        });
    }

    pub fn delivered(&self, message: &Message, qos: Qos) {
        self.count(message, |counts| {
            counts.add(OUT);
            counts.add(OF_QOS + 2 * qos as usize + 1);
        });
    }

    pub fn dropped(&self, message: &Message) {
        self.count(message, |counts| counts.add(DROPPED));
    }
}

impl Watch {
    /// Has the messages of these topics counted, and of no others.
    pub fn count_topics(&self, topics: impl IntoIterator<Item = (Box<str>, Arc<TopicCounts>)>) {
        let mut table = Table::default();
        for (topic, counts) in topics {
            if topic.contains(['+', '#']) {
                table.filters.push((topic, counts));
            } else {
                table.names.insert(topic, counts);
            }
        }
        let any = !table.names.is_empty() || !table.filters.is_empty();
        self.topics.0.store(Arc::new(table));
        self.set(Look::Topics, any);
    }
}
