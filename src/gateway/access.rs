//! Who may come in: put together at the start, and again when the operator asks for it.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    access::{
        Access, Ban, BanKind, Policy, Settings,
        psk::KeyMap,
        rules::RuleDatabase,
        users::{UserDatabase, Users},
    },
    access_config::{self, AccessError, BuiltIn, Kept, Made, Making},
    bus::Bus,
    config::{Config, ListenerKind, Security},
};

/// The access layer, and what of it can be changed.
#[derive(Debug)]
pub(super) struct Door {
    pub access: Arc<Access>,
    built_in: BuiltIn,
    secret: Box<[u8]>,
    /// The bans of the store, by kind and value.
    kept_bans: HashSet<(BanKind, Box<str>)>,
    /// Held by whoever changes something.
    present: Mutex<Present>,
}

/// What is in effect.
#[derive(Debug)]
struct Present {
    /// Listeners are as they were when they were started last, and what is no listener's and no matter of access as it was at the gateway's start.
    config: Config,
    made: Made,
    /// Bans of the configuration.
    bans: Vec<Ban>,
}

/// What a configuration comes to. Nothing of it counts yet.
struct Prepared {
    settings: Settings,
    policy: Policy,
    made: Made,
    bans: Vec<Ban>,
    keys: KeyMap,
    users: Users,
}

impl Prepared {
    fn new(
        config: &Config,
        built_in: &BuiltIn,
        secret: &[u8],
        before: &Made,
        rules: &Arc<RuleDatabase>,
    ) -> Result<Self, AccessError> {
        let mut making = Making::after(before);
        let policy = access_config::policy_with(config, rules, &mut making)?;
        let chain = access_config::chain_with(config, built_in, &mut making)?;
        let mut settings = access_config::settings(config, chain)?;
        settings.scram = access_config::scram(config, built_in, secret);
        let bans = access_config::bans(config)?;
        let keys = access_config::file_keys(config)?;
        let users =
            if access_config::asks_users(config) { access_config::file_users(config)? } else { Users::default() };
        Ok(Self { settings, policy, made: making.done(), bans, keys, users })
    }
}

impl Door {
    /// As the configuration and the store have it.
    pub fn new(config: &Config, settings: &[(String, String)], secret: &[u8]) -> Result<Self, AccessError> {
        let mut kept = Kept::default();
        for (name, value) in settings {
            kept.add(name, value)?;
        }
        let built_in = BuiltIn::new(config)?;
        let rules = Arc::new(std::mem::take(&mut kept.rules));
        let prepared = Prepared::new(config, &built_in, secret, &Made::default(), &rules)?;
        let Prepared { settings, policy, made, bans, keys, users } = prepared;
        built_in.change_hashers(config)?;
        tell(config, policy.rules_len(), policy.is_open());
        let access = Access::new(settings, policy, Some(Handle::current()));
        access.keep_rules(rules);
        access.keys().set_stored(std::mem::take(&mut kept.keys));
        access.keys().set_file(keys);
        let kept_bans = kept.bans.iter().map(|ban| (ban.kind, ban.value.clone())).collect();
        for ban in kept.bans.into_iter().chain(bans.iter().cloned()) {
            add_ban(&access, ban);
        }
        built_in.users.set_stored(kept.users);
        built_in.change_users(config, users);
        if access_config::asks_users(config) {
            let (stored, file) = built_in.users.len();
            tracing::info!("users: {stored} in the store, {file} in a file");
        }
        let present = Mutex::new(Present { config: config.clone(), made, bans });
        Ok(Self { access: Arc::new(access), built_in, secret: secret.into(), kept_bans, present })
    }

    /// The built-in user database.
    pub fn users(&self) -> Arc<UserDatabase> {
        self.built_in.users.clone()
    }

    /// All of access, as this configuration has it: for whoever connects from now on, and rules and bans for those who are connected, too. When something is
    /// wrong with it all stays as it was.
    ///
    /// Connections of those who are banned now are ended.
    pub fn reload(&self, config: &Config, bus: &Bus) -> Result<(), AccessError> {
        access_config::check_mounts(config)?;
        let mut present = self.present.lock();
        // What else it has does not count yet.
        let config = Config { access: config.access.clone(), ..present.config.clone() };
        // The store's rules are in the access layer's hands: they stay what they are now.
        let prepared = Prepared::new(&config, &self.built_in, &self.secret, &present.made, &Arc::default())?;
        let Prepared { settings, policy, made, bans, keys, users } = prepared;
        self.built_in.change_hashers(&config)?;
        self.built_in.change_users(&config, users);
        self.access.keys().set_file(keys);
        self.access.set_policy(policy);
        self.access.set_settings(settings);
        let policy = self.access.policy();
        let rules = policy.rules_len();
        if config.access.authenticators != present.config.access.authenticators
            || config.access.allow_anonymous != present.config.access.allow_anonymous
        {
            tell(&config, rules, policy.is_open());
        }
        for ban in &present.bans {
            let key = (ban.kind, ban.value.clone());
            let still = bans.iter().any(|ban| (ban.kind, &ban.value) == (key.0, &key.1));
            if !still && !self.kept_bans.contains(&key) {
                self.access.unban(key.0, &key.1);
            }
        }
        for ban in bans.iter().cloned() {
            add_ban(&self.access, ban);
        }
        *present = Present { config, made, bans };
        drop(present);
        let ended = self.access.end_banned(bus);
        tracing::info!("access was read again: {rules} rules; connections of those who are banned: {ended} ended");
        Ok(())
    }

    /// A listener, as `tcp.default`, is about to be started with what this configuration says of it: where its clients are mounted, and whether anybody is asked
    /// about them.
    pub fn takes_listener(&self, kind: ListenerKind, name: &str, config: &Config) -> Result<(), AccessError> {
        let mut present = self.present.lock();
        let Some(listener) = config.listeners.of(kind).get(name) else { return Ok(()) };
        let mut changed = present.config.clone();
        changed.listeners.of_mut(kind).insert(name.to_owned(), listener.clone());
        let before = self.access.settings();
        let mut settings = access_config::settings(&changed, before.chain.clone())?;
        settings.scram.clone_from(&before.scram);
        self.access.set_settings(settings);
        present.config = changed;
        Ok(())
    }
}

fn add_ban(access: &Access, ban: Ban) {
    let told = ban.to_string();
    match access.ban(ban) {
        Ok(true) => {}
        Ok(false) => tracing::warn!("{told} is not banned: there are access.bans_max already"),
        Err(error) => tracing::warn!("{told} is not banned: {error}"),
    }
}

/// Says plainly what holds.
fn tell(config: &Config, rules: usize, open: bool) {
    let hardened = config.gateway.security == Security::Hardened;
    match (&*config.access.authenticators, hardened) {
        ([], false) if open => {
            tracing::warn!("no authenticator is configured: everyone may connect, publish and subscribe")
        }
        ([], false) => {
            tracing::warn!("no authenticator is configured: everyone may connect, under any name; {rules} rules")
        }
        ([], true) => {
            tracing::warn!("gateway.security is \"hardened\" and no authenticator is configured: nobody may connect")
        }
        (names, _) => {
            let names = names.join(", ");
            let anonymous = if config.access.allow_anonymous { "; who shows nothing may connect, too" } else { "" };
            match open {
                true => tracing::info!(
                    "authenticators: {names}{anonymous}; no rules: clients may publish and subscribe to everything"
                ),
                false => tracing::info!("authenticators: {names}{anonymous}; {rules} rules"),
            }
        }
    }
}
