//! Looking for clients: what is asked for, and the directory that it is looked for in.

use std::{collections::HashSet, net::SocketAddr};

use foldhash::fast::RandomState;
use memchr::memmem::Finder;
use parking_lot::RwLock;
use thingway_contract::{ClientId, Qos};

use crate::{
    api::{
        directory::{Bits, Block, Source, View},
        error::ApiError,
        query::Query,
        window::{Found, Window},
    },
    bus::{Bus, Feed, Look},
};

/// Names in one request.
pub const NAMES_MAX: usize = 1000;
/// So many names are looked for one after the other, which goes through memory as fast as it can be read; more are compared with each client's.
const NAMES_SOUGHT_MAX: usize = 8;
/// Hits of a text that are counted behind a page.
const COUNTED_MAX: usize = 100_000;
/// Subscriptions of a client that are looked at; one with more may have any.
const SUBSCRIPTIONS_SEEN_MAX: usize = 64;

/// The columns of the directory.
const USERNAME: usize = 1;
const ADDRESS: usize = 2;

/// What the directory knows of a client that is no text.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    connected_at_ms: u64,
    /// When its session began; 0 when nobody knows.
    began_secs: u32,
    /// How many subscriptions it has.
    pub subscriptions: u32,
    version: u8,
    /// The number of the protocol's name.
    protocol: u8,
    flags: u8,
}

const CONNECTED: u8 = 1;
const CLEAN_START: u8 = 2;
const SHARES: u8 = 4;
/// And the next two for the others.
const QOS_0: u8 = 8;

impl Facts {
    /// It may have a subscription with this QoS.
    pub fn may_have_qos(self, qos: u8) -> bool {
        self.flags & QOS_0 << qos.min(2) != 0
    }

    /// It may have a shared subscription.
    pub fn may_share(self) -> bool {
        self.flags & SHARES != 0
    }

    fn is(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The directory of all clients.
#[derive(Debug, Default)]
pub struct Clients {
    /// Of protocols, by number.
    protocols: RwLock<Vec<&'static str>>,
}

impl Clients {
    fn number(&self, protocol: &'static str) -> u8 {
        let place = |names: &[&str]| names.iter().position(|name| *name == protocol).map(|at| at as u8);
        if let Some(number) = place(&self.protocols.read()) {
            return number;
        }
        let mut names = self.protocols.write();
        place(&names).unwrap_or_else(|| {
            names.push(protocol);
            names.len() as u8 - 1
        })
    }
}

/// A peer's address without its port, as it is shown and searched for.
pub fn address_of(remote: SocketAddr) -> String {
    remote.ip().to_canonical().to_string()
}

impl Source for Clients {
    type Name = ClientId;
    type Facts = Facts;
    const COLUMNS: usize = 3;

    fn feed<'a>(&self, bus: &'a Bus) -> &'a Feed<ClientId> {
        bus.changed_clients()
    }

    fn names(&self, bus: &Bus) -> Vec<ClientId> {
        let mut names = Vec::with_capacity(bus.gauges().sessions);
        bus.for_each_session(|session| names.push(session.id().clone()));
        names
    }

    fn read(&self, bus: &Bus, name: &str, tell: &mut dyn FnMut(&[&str], Facts)) {
        let Some(session) = bus.session(name) else { return };
        let zero_ms = bus.config().events.clock_zero_unix_ms;
        session.look(|Look { connection, subscriptions, began_secs }| {
            let mut facts = Facts {
                connected_at_ms: 0,
                began_secs: began_secs.unwrap_or(0),
                subscriptions: subscriptions.len() as u32,
                version: 0,
                protocol: 0,
                flags: 0,
            };
            if subscriptions.len() > SUBSCRIPTIONS_SEEN_MAX {
                facts.flags |= SHARES | (7 * QOS_0);
            } else {
                for (filter, options) in subscriptions {
                    facts.flags |= QOS_0 << options.qos as u8;
                    facts.flags |= if filter.share_name().is_some() { SHARES } else { 0 };
                }
            }
            let Some(connection) = connection else { return tell(&["", ""], facts) };
            facts.connected_at_ms = zero_ms.saturating_add(connection.connected_at.as_millis());
            facts.version = connection.version;
            facts.protocol = self.number(connection.origin.protocol);
            facts.flags |= CONNECTED | if connection.clean_start { CLEAN_START } else { 0 };
            let address = connection.remote.map(address_of).unwrap_or_default();
            tell(&[connection.username.as_deref().unwrap_or(""), &address], facts);
        });
    }
}

const _: () = assert!(Qos::ExactlyOnce as u8 == 2);

/// What clients are looked for by.
#[derive(Default)]
pub struct Wanted {
    /// A user name that is one of these.
    usernames: HashSet<Box<[u8]>, RandomState>,
    /// The same, while they are few.
    sought: Vec<Finder<'static>>,
    /// Texts and the columns that have to hold them: one of the columns each.
    texts: Vec<(Finder<'static>, &'static [usize])>,
    address: Option<String>,
    protocol: Option<String>,
    connected: Option<bool>,
    clean_start: Option<bool>,
    version: Option<u8>,
    connected_from_ms: Option<u64>,
    connected_to_ms: Option<u64>,
    began_from_ms: Option<u64>,
    began_to_ms: Option<u64>,
    /// Something is asked for that no client has.
    is_hopeless: bool,
}

impl Wanted {
    pub fn of(query: &Query) -> Result<Self, ApiError> {
        let connected = match query.find("conn_state") {
            None => None,
            Some("connected") => Some(true),
            Some("disconnected" | "idle") => Some(false),
            Some(_) => return Err(ApiError::bad("conn_state is connected, idle or disconnected")),
        };
        let names = query.all("username");
        let usernames: HashSet<Box<[u8]>, RandomState> = names.iter().map(|name| name.as_bytes().into()).collect();
        if usernames.len() > NAMES_MAX {
            return Err(ApiError::bad(format!("at most {NAMES_MAX} names")));
        }
        let mut wanted = Self {
            address: query.find("ip_address").map(str::to_owned),
            protocol: query.find("proto_name").map(str::to_owned),
            connected,
            clean_start: query.read("clean_start")?,
            version: query.read("proto_ver")?,
            connected_from_ms: time(query, "gte_connected_at")?,
            connected_to_ms: time(query, "lte_connected_at")?,
            began_from_ms: time(query, "gte_created_at")?,
            began_to_ms: time(query, "lte_created_at")?,
            ..Self::default()
        };
        wanted.holds(query.find("like_clientid"), &[0]);
        wanted.holds(query.find("like_username"), &[USERNAME]);
        wanted.holds(query.find("q"), &[0, USERNAME, ADDRESS]);
        // What is to be equal holds it, too, which is found more quickly than it is compared.
        let address = wanted.address.clone();
        wanted.holds(address.as_deref(), &[ADDRESS]);
        let can_be_sought = |name: &[u8]| !name.is_empty() && !name.contains(&0);
        if usernames.len() <= NAMES_SOUGHT_MAX && usernames.iter().all(|name| can_be_sought(name)) {
            wanted.sought = usernames.iter().map(|name| Finder::new(name).into_owned()).collect();
        }
        wanted.usernames = usernames;
        Ok(wanted)
    }

    /// Only those that speak this protocol.
    pub fn speaking(self, protocol: &str) -> Self {
        Self { protocol: Some(protocol.to_owned()), ..self }
    }

    fn holds(&mut self, text: Option<&str>, columns: &'static [usize]) {
        match text {
            Some(text) if text.contains('\0') => self.is_hopeless = true,
            Some(text) if !text.is_empty() => self.texts.push((Finder::new(text).into_owned(), columns)),
            _ => {}
        }
    }

    /// Nothing is asked for.
    fn is_anything(&self) -> bool {
        self.texts.is_empty() && !self.asks_for_facts() && !self.is_hopeless
    }

    /// Something is asked for that is no text.
    fn asks_for_facts(&self) -> bool {
        self.connected.is_some() || self.asks_for_beginning() || self.asks_for_connection()
    }

    fn asks_for_beginning(&self) -> bool {
        self.began_from_ms.is_some() || self.began_to_ms.is_some()
    }

    /// Something is asked for that only a connection has.
    fn asks_for_connection(&self) -> bool {
        !self.usernames.is_empty()
            || self.address.is_some()
            || self.protocol.is_some()
            || self.clean_start.is_some()
            || self.version.is_some()
            || self.connected_from_ms.is_some()
            || self.connected_to_ms.is_some()
    }

    /// Looks through a view for what is on a page.
    pub fn find(&self, clients: &Clients, view: &View<Facts>, window: &Window) -> Found<ClientId> {
        let mut found = Found::new(window);
        if self.is_hopeless {
            return found;
        }
        let protocol = self.protocol.as_deref().map(|wanted| {
            let names = clients.protocols.read();
            names.iter().position(|name| name.eq_ignore_ascii_case(wanted)).map(|at| at as u8)
        });
        if protocol == Some(None) {
            return found;
        }
        let protocol = protocol.flatten();
        let counted_max = if self.texts.is_empty() { usize::MAX } else { COUNTED_MAX };
        let asks_for_facts = self.asks_for_facts();
        // There is enough, and more need not be counted.
        let is_seen = |found: &mut Found<ClientId>| {
            let is_seen = found.is_full() && (window.after().is_some() || found.behind() > counted_max);
            if is_seen {
                found.leave_uncounted();
            }
            is_seen
        };
        for (block, from) in view.blocks_after(window.after()) {
            let len = block.len() - from;
            if self.is_anything() && found.pass(len) {
                continue;
            }
            let mut bits = Bits::range(from, block.len());
            for (finder, columns) in &self.texts {
                let mut hits = Bits::default();
                columns.iter().for_each(|column| block.column(*column).search(finder, &mut hits));
                bits.and(&hits);
            }
            if !self.sought.is_empty() {
                let mut hits = Bits::default();
                self.sought.iter().for_each(|name| block.column(USERNAME).search(name, &mut hits));
                bits.and(&hits);
            }
            // What is not on the page is only counted, if there is no more to ask about it.
            if bits.is_empty() || !asks_for_facts && found.pass(bits.len()) {
                if is_seen(&mut found) {
                    break;
                }
                continue;
            }
            for at in bits.iter().filter(|at| self.is_met(block, *at, protocol)) {
                found.see(|| name(block, at));
            }
            if is_seen(&mut found) {
                break;
            }
        }
        found
    }

    fn is_met(&self, block: &Block<Facts>, at: usize, protocol: Option<u8>) -> bool {
        let facts = block.facts()[at];
        if self.connected.is_some_and(|wanted| wanted != facts.is(CONNECTED)) {
            return false;
        }
        if self.asks_for_beginning() {
            // It is known to the second, and may have been at the end of that.
            let began_ms = u64::from(facts.began_secs) * 1000;
            let is_late_enough = self.began_from_ms.is_none_or(|wanted| began_ms + 999 >= wanted);
            if began_ms == 0 || !is_late_enough || self.began_to_ms.is_some_and(|wanted| began_ms > wanted) {
                return false;
            }
        }
        if !self.asks_for_connection() {
            return true;
        }
        let username = || block.column(USERNAME).bytes_of(at);
        facts.is(CONNECTED)
            && protocol.is_none_or(|wanted| wanted == facts.protocol)
            && self.clean_start.is_none_or(|wanted| wanted == facts.is(CLEAN_START))
            && self.version.is_none_or(|wanted| wanted == facts.version)
            && self.connected_from_ms.is_none_or(|from| facts.connected_at_ms >= from)
            && self.connected_to_ms.is_none_or(|to| facts.connected_at_ms <= to)
            && (self.usernames.is_empty() || self.usernames.contains(username()))
            && self.address.as_deref().is_none_or(|wanted| wanted.as_bytes() == block.column(ADDRESS).bytes_of(at))
    }
}

fn name(block: &Block<Facts>, at: usize) -> ClientId {
    ClientId::new(block.name(at), usize::MAX).expect("it was a client id")
}

/// A date, or milliseconds since 1970.
fn time(query: &Query, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.find(name) else { return Ok(None) };
    if let Ok(ms) = text.parse() {
        return Ok(Some(ms));
    }
    let since =
        humantime::parse_rfc3339_weak(text).ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    ms.map(Some).ok_or_else(|| ApiError::bad(format!("{name} is no time")))
}
