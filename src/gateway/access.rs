//! Who may come in: put together at the start, and again when the operator asks for it.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    access::{Access, Ban, BanKind, users::UserDatabase},
    access_config::{self, AccessError, Kept},
    bus::Bus,
    config::{Config, Security},
};

/// The access layer, and what of it can be changed.
#[derive(Debug)]
pub(super) struct Door {
    pub access: Arc<Access>,
    database: Option<Arc<UserDatabase>>,
    /// The bans of the store, by kind and value.
    kept_bans: HashSet<(BanKind, Box<str>)>,
    /// Those of the configuration.
    configured_bans: Mutex<Vec<Ban>>,
}

impl Door {
    /// As the configuration and the store have it.
    pub fn new(config: &Config, settings: &[(String, String)], secret: &[u8]) -> Result<Self, AccessError> {
        let mut kept = Kept::default();
        for (name, value) in settings {
            kept.add(name, value)?;
        }
        let (chain, database) = access_config::chain(config)?;
        let names: Vec<_> = chain.names().collect();
        let policy = access_config::policy(config, &Arc::new(std::mem::take(&mut kept.rules)))?;
        tell(config, &names, policy.rules_len(), policy.is_open());
        let mut entrance = access_config::settings(config, chain)?;
        entrance.scram = access_config::scram(config, database.as_ref(), secret);
        let access = Access::new(entrance, policy, Some(Handle::current()));
        access.keys().set_stored(std::mem::take(&mut kept.keys));
        access.keys().set_file(access_config::file_keys(config)?);
        let configured_bans = access_config::bans(config)?;
        let kept_bans = kept.bans.iter().map(|ban| (ban.kind, ban.value.clone())).collect();
        for ban in kept.bans.into_iter().chain(configured_bans.iter().cloned()) {
            add_ban(&access, ban);
        }
        if let Some(database) = &database {
            database.set_stored(kept.users);
            database.set_file(access_config::file_users(config)?);
            let (stored, file) = database.len();
            tracing::info!("users: {stored} in the store, {file} in a file");
        }
        Ok(Self { access: Arc::new(access), database, kept_bans, configured_bans: Mutex::new(configured_bans) })
    }

    /// The built-in user database, if somebody is asked who needs it.
    pub fn users(&self) -> Option<Arc<UserDatabase>> {
        self.database.clone()
    }

    /// Rules, bans and the users of the file, as this configuration has them. When something is wrong with them all stays as it was.
    ///
    /// Connections of those who are banned now are ended.
    pub fn reload(&self, config: &Config, bus: &Bus) -> Result<(), AccessError> {
        // The store's rules are in the access layer's hands: they stay what they are now.
        let (policy, bans) = (access_config::policy(config, &Arc::default())?, access_config::bans(config)?);
        let keys = access_config::file_keys(config)?;
        if let Some(database) = &self.database {
            database.set_file(access_config::file_users(config)?);
        }
        self.access.keys().set_file(keys);
        self.access.set_policy(policy);
        let rules = self.access.policy().rules_len();
        let before = std::mem::replace(&mut *self.configured_bans.lock(), bans.clone());
        for ban in before {
            let key = (ban.kind, ban.value);
            let still = bans.iter().any(|ban| (ban.kind, &ban.value) == (key.0, &key.1));
            if !still && !self.kept_bans.contains(&key) {
                self.access.unban(key.0, &key.1);
            }
        }
        for ban in bans {
            add_ban(&self.access, ban);
        }
        let ended = self.access.end_banned(bus);
        tracing::info!("access was read again: {rules} rules; connections of those who are banned: {ended} ended");
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
fn tell(config: &Config, authenticators: &[&str], rules: usize, open: bool) {
    let hardened = config.gateway.security == Security::Hardened;
    match (authenticators, hardened) {
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
