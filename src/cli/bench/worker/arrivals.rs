use hashbrown::{HashMap, hash_map::Entry};

use crate::cli::bench::stamp::{Arrival, Seen, Stamp};

/// Streams from publishers elsewhere that are told apart; those beyond are not looked at for order.
const STREAMS_MAX: usize = 1_000_000;

/// What each subscriber has seen of each publisher.
#[derive(Debug)]
pub enum Arrivals {
    /// The publishers are this thread's.
    Own {
        seen: Vec<Seen>,
        /// Subscribers and publishers of a group.
        subscribers: usize,
        publishers: usize,
        /// The number of the thread's first publisher.
        first_number: u32,
    },
    /// The publishers are elsewhere.
    Strange(HashMap<(usize, u32), Stream, foldhash::fast::RandomState>),
}

/// One publisher's messages to one subscriber.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    seen: Seen,
    first: u32,
    distinct: u64,
}

impl Arrivals {
    /// For so many subscribers on the thread, and groups of this shape.
    pub fn new(all_subscribers: usize, subscribers: usize, publishers: usize, first_number: u32) -> Self {
        match publishers {
            0 => Self::Strange(HashMap::default()),
            _ => {
                let seen = vec![Seen::default(); all_subscribers * publishers];
                Self::Own { seen, subscribers, publishers, first_number }
            }
        }
    }

    /// Notes a message; `None` when it was not for this subscriber.
    #[inline]
    pub fn note(&mut self, subscriber: usize, stamp: Stamp) -> Option<Arrival> {
        match self {
            Self::Own { seen, subscribers, publishers, first_number } => {
                let group_number = *first_number as usize + subscriber / *subscribers * *publishers;
                let publisher = (stamp.publisher as usize).checked_sub(group_number).filter(|at| at < publishers)?;
                Some(seen[subscriber * *publishers + publisher].note(stamp.sequence))
            }
            Self::Strange(streams) => {
                let count = streams.len();
                Some(match streams.entry((subscriber, stamp.publisher)) {
                    Entry::Vacant(_) if count >= STREAMS_MAX => Arrival::New,
                    Entry::Vacant(entry) => {
                        let mut seen = Seen::default();
                        let arrival = seen.note(stamp.sequence);
                        entry.insert(Stream { seen, first: stamp.sequence, distinct: 1 });
                        arrival
                    }
                    Entry::Occupied(mut entry) => {
                        let stream = entry.get_mut();
                        let arrival = stream.seen.note(stamp.sequence);
                        stream.first = stream.first.min(stamp.sequence);
                        stream.distinct += u64::from(arrival != Arrival::Again);
                        arrival
                    }
                })
            }
        }
    }

    /// Messages between the first and the last of streams from elsewhere that have not come.
    pub fn missing(&self) -> u64 {
        match self {
            Self::Own { .. } => 0,
            Self::Strange(streams) => streams
                .values()
                .map(|stream| u64::from(stream.seen.last() - stream.first + 1).saturating_sub(stream.distinct))
                .sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(publisher: u32, sequence: u32) -> Stamp {
        Stamp { due_ns: 0, publisher, sequence }
    }

    #[test]
    fn groups_have_publishers_of_their_own() {
        // Two groups of two subscribers and three publishers, numbered from 10.
        let mut arrivals = Arrivals::new(4, 2, 3, 10);
        for (subscriber, publisher, expected) in [
            (0, 10, Some(Arrival::New)),
            (0, 10, Some(Arrival::Again)),
            (1, 10, Some(Arrival::New)),
            (1, 12, Some(Arrival::New)),
            (1, 13, None),
            (0, 9, None),
            (2, 13, Some(Arrival::New)),
            (3, 15, Some(Arrival::New)),
            (3, 16, None),
            (3, 12, None),
        ] {
            assert_eq!(arrivals.note(subscriber, stamp(publisher, 1)), expected, "{subscriber} {publisher}");
        }
    }

    #[test]
    fn what_strangers_sent_is_missed_between_first_and_last() {
        let mut arrivals = Arrivals::new(1, 1, 0, 0);
        for (publisher, sequence) in [(5, 7), (5, 10), (5, 9), (5, 9), (6, 1), (6, 3)] {
            assert!(arrivals.note(0, stamp(publisher, sequence)).is_some());
        }
        assert_eq!(arrivals.missing(), 2);
    }
}
