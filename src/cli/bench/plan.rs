use std::{net::SocketAddr, ops::Range, time::Duration};

use thingway_contract::Qos;

use super::{
    dialect::{Identity, Manners},
    sources::Sources,
    topic::Template,
};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections that rest.
    Conn,
    /// Publishers.
    Pub,
    /// Subscribers.
    Sub,
    /// Groups of both.
    Pairs,
}

/// All about a run. Groups are what is repeated: each has so many publishers, and so many subscribers to all of these.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    pub address: SocketAddr,
    pub sources: Sources,
    pub manners: Manners,
    /// In front of client identifiers.
    pub prefix: String,
    /// Number of the first client.
    pub first_number: u64,
    pub topic: Template,
    pub groups: usize,
    /// In each group.
    pub publishers: usize,
    /// In each group.
    pub subscribers: usize,
    /// Subscribers to everything, which then read nothing.
    pub mute: usize,
    /// Connections without a subscription.
    pub idle: usize,
    pub payload_bytes: usize,
    /// Messages a second of all publishers together; without it as many as the window allows.
    pub rate: Option<f64>,
    pub window: u32,
    /// Messages of all publishers together, or to all subscribers together.
    pub limit: Option<u64>,
    /// Connections a second; without it as many as are answered.
    pub connect_rate: Option<f64>,
    /// Connections being made at a time.
    pub connect_window: usize,
    pub connect_timeout: Duration,
    pub threads: usize,
    pub warmup: Duration,
    pub duration: Duration,
    pub drain: Duration,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Idle,
    /// Subscribes, and never reads.
    Mute,
    /// The publisher with this number on its thread.
    Publisher(usize),
    /// The subscriber with this number on its thread.
    Subscriber(usize),
}

/// A client to be.
#[derive(Clone, Debug)]
pub struct Member {
    pub role: Role,
    /// Among all clients of the run.
    pub number: usize,
    pub identity: Identity,
}

/// What one thread of the run does.
#[derive(Clone, Debug, Default)]
pub struct Share {
    pub members: Vec<Member>,
    /// Number, among all of the run, of the thread's first publisher.
    pub first_publisher: usize,
    /// For each of the thread's publishers, how many messages it may send.
    pub allowances: Vec<u64>,
}

impl Plan {
    pub fn clients(&self) -> usize {
        self.groups * (self.publishers + self.subscribers) + self.mute + self.idle
    }

    pub fn all_publishers(&self) -> usize {
        self.groups * self.publishers
    }

    pub fn qos(&self) -> Qos {
        self.manners.qos
    }

    /// What thread number `thread` does. A group is never divided, so that a publisher and its subscribers know of each other.
    pub fn share(&self, thread: usize) -> Share {
        let groups = part(self.groups, thread, self.threads);
        let mut share = Share { first_publisher: groups.start * self.publishers, ..Share::default() };
        for group in groups.clone() {
            for member in 0..self.subscribers {
                let number = group * self.subscribers + member;
                let identity = self.identity('s', number, Some(self.filter(group, number)), None);
                let role = Role::Subscriber(number - groups.start * self.subscribers);
                share.members.push(Member { role, number, identity });
            }
        }
        for number in part(self.mute, thread, self.threads) {
            let identity = self.identity('m', number, Some(self.topic.everything()), None);
            share.members.push(Member { role: Role::Mute, number, identity });
        }
        for number in part(self.idle, thread, self.threads) {
            let identity = self.identity('c', number, None, None);
            share.members.push(Member { role: Role::Idle, number, identity });
        }
        for group in groups {
            for member in 0..self.publishers {
                let publisher = group * self.publishers + member;
                let number = self.groups * self.subscribers + publisher;
                let topic = self.topic.fill(self.first_number + group as u64, self.first_number + publisher as u64);
                let identity = self.identity('p', publisher, None, Some(topic));
                let role = Role::Publisher(share.allowances.len());
                share.members.push(Member { role, number, identity });
                share.allowances.push(self.allowance(publisher));
            }
        }
        share
    }

    /// The number that a publisher puts into its messages.
    pub fn publisher_number(&self, publisher: usize) -> u32 {
        (self.first_number as usize + publisher) as u32
    }

    fn filter(&self, group: usize, subscriber: usize) -> String {
        let group_number = self.first_number + group as u64;
        match self.publishers {
            // Without publishers of their own, subscribers have a topic each.
            0 => self.topic.fill(group_number, self.first_number + subscriber as u64),
            1 => self.topic.fill(group_number, self.first_number + group as u64),
            _ => self.topic.filter(group_number),
        }
    }

    fn identity(&self, kind: char, number: usize, filter: Option<String>, topic: Option<String>) -> Identity {
        let client_id = format!("{}{kind}{}", self.prefix, self.first_number + number as u64);
        Identity { client_id, filter, topic }
    }

    fn allowance(&self, publisher: usize) -> u64 {
        let publishers = self.all_publishers() as u64;
        match self.limit {
            Some(limit) if self.kind != Kind::Sub => {
                limit / publishers + u64::from((publisher as u64) < limit % publishers)
            }
            _ => u64::MAX,
        }
    }
}

/// The part of a thread, of so many things.
fn part(things: usize, thread: usize, threads: usize) -> Range<usize> {
    things * thread / threads..things * (thread + 1) / threads
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run of groups of this shape.
    pub fn plan(groups: usize, publishers: usize, subscribers: usize) -> Plan {
        let manners = Manners { username: None, password: None, keep_alive_secs: 60, qos: Qos::AtMostOnce };
        Plan {
            kind: Kind::Pairs,
            address: SocketAddr::from(([127, 0, 0, 1], 1883)),
            sources: Sources::default(),
            manners,
            prefix: "x-".into(),
            first_number: 10,
            topic: Template::from("t/%g/%i"),
            groups,
            publishers,
            subscribers,
            mute: 0,
            idle: 0,
            payload_bytes: 16,
            rate: None,
            window: 1,
            limit: Some(100),
            connect_rate: None,
            connect_window: 1,
            connect_timeout: Duration::from_secs(1),
            threads: 1,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
            drain: Duration::ZERO,
        }
    }

    fn topics(plan: &Plan) -> (Vec<String>, Vec<String>) {
        let shares: Vec<_> = (0..plan.threads).map(|thread| plan.share(thread)).collect();
        let members = || shares.iter().flat_map(|share| &share.members);
        (
            members().filter_map(|member| member.identity.filter.clone()).collect(),
            members().filter_map(|member| member.identity.topic.clone()).collect(),
        )
    }

    #[test]
    fn the_three_shapes() {
        let (filters, topics_out) = topics(&plan(1, 1, 3));
        assert_eq!((filters, topics_out), (vec!["t/10/10".to_owned(); 3], vec!["t/10/10".to_owned()]));
        let (filters, topics_in) = topics(&plan(1, 3, 1));
        assert_eq!(
            (filters, topics_in),
            (vec!["t/10/#".to_owned()], ["t/10/10", "t/10/11", "t/10/12"].map(Into::into).into())
        );
        let (filters, topics) = topics(&plan(2, 1, 1));
        assert_eq!(filters, topics);
        assert_eq!(topics, ["t/10/10", "t/11/11"]);
    }

    #[test]
    fn threads_divide_all_there_is() {
        let mut plan = plan(5, 3, 2);
        (plan.threads, plan.mute, plan.idle) = (3, 2, 4);
        let shares: Vec<_> = (0..3).map(|thread| plan.share(thread)).collect();
        assert_eq!(shares.iter().map(|share| share.members.len()).sum::<usize>(), plan.clients());
        assert_eq!(shares.iter().map(|share| share.first_publisher).collect::<Vec<_>>(), [0, 3, 9]);
        assert_eq!(shares.iter().flat_map(|share| &share.allowances).sum::<u64>(), 100);
        let mut ids: Vec<_> =
            shares.iter().flat_map(|share| &share.members).map(|member| &member.identity.client_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), plan.clients());
        for share in &shares {
            let publishers = share.members.iter().filter_map(|member| match member.role {
                Role::Publisher(index) => Some(index),
                _ => None,
            });
            assert!(publishers.eq(0..share.allowances.len()));
        }
    }
}
