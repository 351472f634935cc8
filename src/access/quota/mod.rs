//! What many clients may have together: connections of a user, and what the clients of a namespace, or of a listener, may send. Places are counted when clients
//! come and go; rates are atomics, so that nobody waits for anybody on the way of messages.

mod bucket;
mod places;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use thingway_contract::{Instant, Refusal};

use super::guard::Identity;

pub use self::{
    bucket::{SharedBucket, SharedRate},
    places::{Place, Places},
};

/// Quotas. What is `None` has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaSettings {
    /// Client ids that are connected at a time under one user name.
    pub connections_per_user_max: Option<u32>,
    /// The attribute whose value is a client's namespace; clients without it are in none.
    pub namespace: Option<Box<str>>,
    /// Client ids that are connected at a time in one namespace.
    pub connections_per_namespace_max: Option<u32>,
    /// What the clients of one namespace may send.
    pub rates_per_namespace: RateSettings,
    /// Namespaces whose rates are remembered. Beyond, one without clients is forgotten, and if there is none the client is refused.
    pub namespaces_max: usize,
}

/// What some clients together may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSettings {
    /// Publications.
    pub messages: Option<SharedRate>,
    /// Bytes.
    pub bytes: Option<SharedRate>,
}

/// What some clients together may send now.
#[derive(Debug, Default)]
pub struct Rates {
    messages: Option<SharedBucket>,
    bytes: Option<SharedBucket>,
}

impl Rates {
    /// Full ones; `None` without a rate.
    pub fn new(settings: &RateSettings) -> Option<Arc<Self>> {
        let rates =
            Self { messages: settings.messages.map(SharedBucket::new), bytes: settings.bytes.map(SharedBucket::new) };
        (rates.messages.is_some() || rates.bytes.is_some()).then(|| Arc::new(rates))
    }

    /// A publication came in any case: how long its sender has to rest.
    pub fn charge_message(&self, now: Instant) -> Duration {
        self.messages.as_ref().map_or(Duration::ZERO, |bucket| bucket.charge(1, now))
    }

    /// Bytes came in any case: how long their sender has to rest.
    pub fn charge_bytes(&self, count: usize, now: Instant) -> Duration {
        self.bytes.as_ref().map_or(Duration::ZERO, |bucket| bucket.charge(count as u64, now))
    }

    /// Whether a publication may come; then it is charged.
    pub fn take_message(&self, now: Instant) -> bool {
        self.messages.as_ref().is_none_or(|bucket| bucket.take(1, now))
    }

    /// Whether bytes may come; then they are charged.
    pub fn take_bytes(&self, count: usize, now: Instant) -> bool {
        self.bytes.as_ref().is_none_or(|bucket| bucket.take(count as u64, now))
    }

    fn is_full(&self, now: Instant) -> bool {
        [&self.messages, &self.bytes].into_iter().flatten().all(|bucket| bucket.is_full(now))
    }
}

/// Who has what.
#[derive(Debug)]
pub struct Quotas {
    settings: QuotaSettings,
    users: Option<Arc<Places>>,
    namespaces: Option<Arc<Places>>,
    rates: Arc<Mutex<HashMap<Box<str>, Arc<Rates>>>>,
    /// Tells clients without a client id apart.
    unnamed: Arc<AtomicU64>,
}

/// What a connection holds of the quotas, until it is dropped.
#[derive(Debug)]
pub struct Held {
    _places: [Option<Place>; 2],
    rates: Option<Arc<Rates>>,
}

impl Held {
    /// What its namespace may send.
    pub fn rates(&self) -> Option<&Arc<Rates>> {
        self.rates.as_ref()
    }
}

impl Quotas {
    /// Nobody has anything yet.
    pub fn new(settings: QuotaSettings) -> Self {
        let places = |most: Option<u32>| most.map(|most| Arc::new(Places::new(most)));
        Self {
            users: places(settings.connections_per_user_max),
            namespaces: places(settings.connections_per_namespace_max.filter(|_| settings.namespace.is_some())),
            settings,
            rates: Arc::default(),
            unnamed: Arc::default(),
        }
    }

    /// By other settings. Connections that are there go on to count where they are counted before and after; rates begin anew if they are others.
    pub fn changed(&self, settings: QuotaSettings) -> Self {
        let same_namespace = self.settings.namespace == settings.namespace;
        let same_rates = same_namespace && self.settings.rates_per_namespace == settings.rates_per_namespace;
        let new = Self::new(settings);
        let go_on = |present: &Option<Arc<Places>>, new: Option<Arc<Places>>| match (present, new) {
            (Some(present), Some(new)) => {
                present.set_most(new.most());
                Some(present.clone())
            }
            (_, new) => new,
        };
        Self {
            users: go_on(&self.users, new.users),
            namespaces: if same_namespace { go_on(&self.namespaces, new.namespaces) } else { new.namespaces },
            settings: new.settings,
            rates: if same_rates { self.rates.clone() } else { new.rates },
            unnamed: self.unnamed.clone(),
        }
    }

    /// Takes what a connection needs; `None` when it needs nothing.
    ///
    /// # Errors
    /// When there is no more.
    pub fn take(&self, identity: &Identity, client_id: &str, now: Instant) -> Result<Option<Box<Held>>, Refusal> {
        let namespace = self.settings.namespace.as_deref().and_then(|name| identity.grant.attributes.find(name));
        let user = self.users.as_ref().zip(identity.username());
        if user.is_none() && namespace.is_none() {
            return Ok(None);
        }
        let unnamed;
        let client_id = if client_id.is_empty() {
            // No client id has NUL in it.
            unnamed = format!("\0{}", self.unnamed.fetch_add(1, Ordering::Relaxed));
            &unnamed
        } else {
            client_id
        };
        let place = |places: &Arc<Places>, name: &str| places.take(name, client_id).ok_or(Refusal::QuotaExceeded);
        let of_user = user.map(|(places, name)| place(places, name)).transpose()?;
        let of_namespace = self.namespaces.as_ref().zip(namespace);
        let of_namespace = of_namespace.map(|(places, name)| place(places, name)).transpose()?;
        let rates = namespace.map_or(Ok(None), |namespace| self.rates(namespace, now))?;
        if of_user.is_none() && of_namespace.is_none() && rates.is_none() {
            return Ok(None);
        }
        Ok(Some(Box::new(Held { _places: [of_user, of_namespace], rates })))
    }

    fn rates(&self, namespace: &str, now: Instant) -> Result<Option<Arc<Rates>>, Refusal> {
        let settings = &self.settings.rates_per_namespace;
        if *settings == RateSettings::default() {
            return Ok(None);
        }
        let mut all = self.rates.lock();
        if let Some(rates) = all.get(namespace) {
            return Ok(Some(rates.clone()));
        }
        if all.len() >= self.settings.namespaces_max {
            // Who has sent nothing for long is the same as who was never here.
            all.retain(|_, rates| Arc::strong_count(rates) > 1 || !rates.is_full(now));
            if all.len() >= self.settings.namespaces_max {
                return Err(Refusal::QuotaExceeded);
            }
        }
        let rates = Rates::new(settings);
        if let Some(rates) = &rates {
            all.insert(namespace.into(), rates.clone());
        }
        Ok(rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Attempt, Grant};

    fn identity(username: Option<&str>, tenant: Option<&str>) -> Identity {
        let attempt = Attempt { username: username.map(Into::into), ..Attempt::default() };
        let attributes = tenant.map(|tenant| ("tenant", tenant)).into_iter().collect();
        Identity::new(&attempt, Grant { attributes, ..Grant::default() })
    }

    fn quotas() -> Quotas {
        Quotas::new(QuotaSettings {
            connections_per_user_max: Some(2),
            namespace: Some("tenant".into()),
            connections_per_namespace_max: Some(3),
            rates_per_namespace: RateSettings {
                messages: Some(SharedRate { count: 1, per: Duration::from_secs(1), burst: 2 }),
                bytes: None,
            },
            namespaces_max: 2,
        })
    }

    #[test]
    fn places_of_users_and_namespaces() {
        let (quotas, now) = (quotas(), Instant::ZERO);
        let (bob, eve) = (identity(Some("bob"), Some("a")), identity(Some("eve"), Some("a")));
        let one = quotas.take(&bob, "1", now).expect("a place").expect("held");
        let _again = quotas.take(&bob, "1", now).expect("the same client comes again").expect("held");
        let two = quotas.take(&bob, "", now).expect("a place").expect("held");
        assert_eq!(quotas.take(&bob, "3", now).err(), Some(Refusal::QuotaExceeded), "two of bob's");
        let _eve = quotas.take(&eve, "4", now).expect("a place").expect("held");
        assert_eq!(quotas.take(&eve, "5", now).err(), Some(Refusal::QuotaExceeded), "three of the namespace");
        drop(two);
        let _three = quotas.take(&bob, "3", now).expect("one has left").expect("held");
        drop(one);
        assert_eq!(quotas.take(&bob, "6", now).err(), Some(Refusal::QuotaExceeded), "it is still there once");
        assert!(quotas.take(&identity(None, None), "7", now).expect("none is needed").is_none());
    }

    #[test]
    fn rates_belong_to_a_namespace_and_are_remembered() {
        let (quotas, now) = (quotas(), Instant::from_millis(1000));
        let take = |tenant: &str, id: &str, now| quotas.take(&identity(None, Some(tenant)), id, now);
        let (a, b) = (take("a", "1", now).expect("a").expect("held"), take("b", "2", now).expect("b").expect("held"));
        let rates = |held: &Held| held.rates().expect("a rate").clone();
        assert!((0..2).all(|_| rates(&a).take_message(now)) && !rates(&a).take_message(now));
        assert!(rates(&b).take_message(now), "another has its own");
        assert_eq!(take("c", "3", now).err(), Some(Refusal::QuotaExceeded), "two namespaces are remembered");
        drop(a);
        let same = take("a", "1", now).expect("a").expect("held");
        assert!(!rates(&same).take_message(now), "who comes back goes on where it was");
        drop(same);
        let later = Instant::from_millis(60_000);
        let c = take("c", "3", later).expect("one is quiet").expect("held");
        assert!(rates(&c).take_message(later));
    }
}
