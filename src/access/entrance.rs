//! What counts for whoever wants to come in now. All of it is put in place together, and somebody who is being decided on keeps what it began with.

use std::{collections::HashSet, sync::Arc, time::Duration};

use thingway_connectors::Values as _;
use thingway_contract::Refusal;

use super::{
    attempt::{Attempt, Attributes},
    backoff::{Backoff, BackoffSettings},
    chain::Chain,
    expression::Expression,
    flapping::{Flapping, FlappingSettings},
    names::{MOUNT_ATTRIBUTE, Mount, Names},
    quota::{QuotaSettings, Quotas},
    rules::Who,
    scram::Scram,
};

/// Who may come in.
#[derive(Debug)]
pub struct Settings {
    /// Who is asked.
    pub chain: Chain,
    /// Users who prove their password by an exchange of messages; `None` for no such exchange.
    pub scram: Option<Arc<Scram>>,
    /// Listeners whose clients nobody is asked about.
    pub trusting_listeners: HashSet<Box<str>>,
    /// Who shows no name and no password is let in without anybody being asked.
    pub allow_anonymous: bool,
    /// With nobody to ask nobody is let in.
    pub refuse_without_chain: bool,
    /// Decisions that are being made at a time.
    pub pending_max: usize,
    /// How long one may take.
    pub timeout: Duration,
    /// Those with wrong credentials have to wait; `None` for never.
    pub backoff: Option<BackoffSettings>,
    /// Those who come again and again are kept out; `None` for never.
    pub flapping: Option<FlappingSettings>,
    /// Most bans.
    pub bans_max: usize,
    /// Attributes of clients, which are made in this order of what a client shows.
    pub attributes: Vec<(Box<str>, Expression)>,
    /// What happens to topics.
    pub names: Arc<Names>,
    /// What many clients may have together.
    pub quotas: QuotaSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chain: Chain::default(),
            scram: None,
            trusting_listeners: HashSet::new(),
            allow_anonymous: false,
            refuse_without_chain: false,
            pending_max: 10_000,
            timeout: Duration::from_secs(10),
            backoff: None,
            flapping: None,
            bans_max: 100_000,
            attributes: Vec::new(),
            names: Arc::default(),
            quotas: QuotaSettings::default(),
        }
    }
}

/// Settings, and what is remembered of clients by them.
#[derive(Debug)]
pub(super) struct Entrance {
    pub settings: Arc<Settings>,
    pub backoff: Option<Arc<Backoff>>,
    pub flapping: Option<Arc<Flapping>>,
    pub quotas: Arc<Quotas>,
}

impl Entrance {
    /// Nothing is remembered of anybody.
    pub fn new(settings: Settings) -> Self {
        Self {
            backoff: settings.backoff.map(|settings| Arc::new(Backoff::new(settings))),
            flapping: settings.flapping.map(|settings| Arc::new(Flapping::new(settings))),
            quotas: Arc::new(Quotas::new(settings.quotas.clone())),
            settings: Arc::new(settings),
        }
    }

    /// By other settings. What is remembered stays as far as its own settings do.
    pub fn changed(&self, settings: Settings) -> Self {
        let before = &self.settings;
        let made = |settings| Arc::new(Backoff::new(settings));
        let backoff =
            if before.backoff == settings.backoff { self.backoff.clone() } else { settings.backoff.map(made) };
        let made = |settings| Arc::new(Flapping::new(settings));
        let flapping =
            if before.flapping == settings.flapping { self.flapping.clone() } else { settings.flapping.map(made) };
        let quotas = match before.quotas == settings.quotas {
            true => self.quotas.clone(),
            false => Arc::new(self.quotas.changed(settings.quotas.clone())),
        };
        Self { settings: Arc::new(settings), backoff, flapping, quotas }
    }

    /// Authenticators have to be asked about those who come by this listener.
    pub fn asks_about(&self, listener: &str) -> bool {
        let settings = &self.settings;
        let nobody_to_ask = settings.chain.is_empty() && !settings.refuse_without_chain;
        !nobody_to_ask && !settings.trusting_listeners.contains(listener)
    }

    /// Makes attributes of what a client shows. What comes later may use what came before.
    pub fn find_attributes(&self, attempt: &mut Attempt) {
        for (name, expression) in &self.settings.attributes {
            let value = {
                let known = |name: &str| attempt.value(name);
                expression.value(&known).map(|value| Box::<str>::from(&*value))
            };
            if let Some(value) = value {
                let one: Attributes = [(name.clone(), value)].into_iter().collect();
                attempt.attributes = one.over(&attempt.attributes);
            }
        }
    }

    /// Where a client is mounted.
    pub fn mount(&self, who: &Who<'_>) -> Result<Option<Arc<Mount>>, Refusal> {
        let own = who.attributes.and_then(|attributes| attributes.find(MOUNT_ATTRIBUTE));
        let prefix = match (own, self.settings.names.mounts.get(who.listener)) {
            (Some(own), _) => own.to_owned(),
            (None, None) => return Ok(None),
            (None, Some(template)) => template.fill(who).ok_or_else(|| {
                tracing::debug!(client_id = who.client_id, listener = who.listener, "nothing to mount it by");
                Refusal::NotAuthorized
            })?,
        };
        if prefix.is_empty() {
            return Ok(None);
        }
        Mount::new(&prefix).map(|mount| Some(Arc::new(mount))).ok_or(Refusal::NotAuthorized)
    }
}
