//! Taking over what is in an archive: what is in it replaces what has the same key, and what is not in it stays.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Value, json};
use thingway_contract::Instant;
use thingway_store::WallMs;
use tokio::sync::mpsc;

use super::{
    check::{Checked, Kept, for_each_message},
    tables::{Row, Table},
};
use crate::{
    access::{
        psk::KEYS_MAX as PRE_SHARED_KEYS_MAX,
        rules::{Holder, HolderKind},
    },
    api::{
        accounts::{self, ACCOUNTS_MAX, Role},
        authentication::USERS_MAX,
        authorization::HOLDERS_MAX,
        configs,
        error::ApiError,
        keys::KEYS_MAX,
        world::{World, unix_secs},
    },
    bus::Imported,
};

/// Messages that are taken over before it is waited until they are safe.
const MESSAGES_PER_TURN: usize = 500;

/// What became of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Taken over, those that replaced something among them.
    imported: usize,
    /// In the place of what had the same key.
    replaced: usize,
    /// Left out: over meanwhile, or there already.
    skipped: usize,
    /// There was no room for them, or they are switched off.
    refused: usize,
}

type Tallies = BTreeMap<Table, Tally>;

/// Takes over an archive that was checked, whose file is read once more for its messages. The caller sees to it that there is one change at a time.
///
/// # Errors
/// Why it cannot be taken over; nothing is changed then. When the store fails it says what is.
pub async fn take_over(world: &Arc<World>, mut checked: Checked, file: File) -> Result<Value, ApiError> {
    let mut tallies: Tallies = checked.tables.iter().map(|table| (*table, Tally::default())).collect();
    leave_out(&mut checked.rows, &mut tallies);
    check_limits(world, &checked.rows)?;
    let settings = std::mem::take(&mut checked.settings);
    let (applied, pending) = match settings.is_empty() {
        true => Default::default(),
        false => configs::make_in_turn(world, settings).await?,
    };
    let unfinished = |error: &dyn std::fmt::Display, what: &str| {
        ApiError::store(&format!("{error}; {what}: import the archive again when there is room"))
    };
    let rows = std::mem::take(&mut checked.rows);
    let has_accounts = rows.iter().any(|(_, _, row)| row.table() == Table::Accounts);
    let first = accounts::change_of_first(world).filter(|_| has_accounts);
    // What comes later of the same key counts.
    let rest = rows.iter().map(|(key, value, _)| (key.clone(), Some(value.clone())));
    let changes = first.into_iter().chain(rest).collect();
    world
        .keep(changes)
        .await
        .map_err(|error| unfinished(&error, "the archive's settings count, nothing else is changed"))?;
    apply(world, rows, &mut tallies);
    if checked.has_messages {
        let done = messages(world, file, &mut tallies).await;
        done.map_err(|why| unfinished(&why, "all but messages is taken over"))?;
    }
    let told: serde_json::Map<_, _> =
        tallies.iter().map(|(table, tally)| (table.name().to_owned(), json!(tally))).collect();
    Ok(json!({ "settings": { "applied": applied, "pending": pending }, "table_sets": told }))
}

/// Leaves out what is over, and accounts whose password everybody knows.
fn leave_out(rows: &mut Vec<(String, String, Row)>, tallies: &mut Tallies) {
    let now = unix_secs();
    rows.retain(|(_, _, row)| {
        let is_over = match row {
            Row::Ban(ban) => ban.until_unix_secs.is_some_and(|until| until <= now),
            Row::Account(_, account) => account.initial,
            _ => false,
        };
        if is_over {
            tallies.entry(row.table()).or_default().skipped += 1;
        }
        !is_over
    });
}

fn check_limits(world: &World, rows: &[(String, String, Row)]) -> Result<(), ApiError> {
    let full = |most: usize, what: &str| {
        ApiError::new(
            axum::http::StatusCode::BAD_REQUEST,
            "EXCEED_LIMIT",
            format!("there would be more than {most} {what}"),
        )
    };
    let rules = world.access.stored_rules();
    let (mut users, mut clients, mut holders, mut keys) = (0, 0, 0, 0);
    let (mut accounts, mut api_keys) = (0, 0);
    let mut topics = Vec::new();
    for (_, _, row) in rows {
        match row {
            Row::User(name, _) => {
                let is_known = world.users.stored(name).is_some();
                users += usize::from(!is_known);
            }
            Row::Rules(holder, _) => {
                let is_known = rules.as_ref().is_some_and(|rules| rules.held(holder).is_some());
                match holder {
                    Holder::ClientId(_) => clients += usize::from(!is_known),
                    Holder::Username(_) => holders += usize::from(!is_known),
                    Holder::All => {}
                }
            }
            Row::PreSharedKey(identity, _) => keys += usize::from(!world.access.keys().is_stored(identity)),
            Row::Account(name, _) => accounts += usize::from(world.accounts.find(name).is_none()),
            Row::ApiKey(name, _) => api_keys += usize::from(world.keys.find(name).is_none()),
            Row::Topic(topic, _) => topics.push(topic.as_str()),
            Row::Ban(_) | Row::Slow(_) => {}
        }
    }
    let held = |kind| rules.as_ref().map_or(0, |rules| rules.holders(kind).len());
    for (there, new, most, what) in [
        (world.users.len().0, users, USERS_MAX, "users"),
        (held(HolderKind::ClientId), clients, HOLDERS_MAX, "client ids with rules"),
        (held(HolderKind::Username), holders, HOLDERS_MAX, "user names with rules"),
        (world.access.keys().len().1, keys, PRE_SHARED_KEYS_MAX, "pre-shared keys"),
        (world.accounts.len(), accounts, ACCOUNTS_MAX, "accounts"),
        (world.keys.len(), api_keys, KEYS_MAX, "keys of the API"),
    ] {
        if new > 0 && there + new > most {
            return Err(full(most, what));
        }
    }
    world.observe.topics.has_room_for(&topics).map_err(ApiError::bad)?;
    match has_administrator(world, rows) {
        true => Ok(()),
        false => Err(ApiError::bad("there would be no administrator: the archive makes the last one a viewer")),
    }
}

/// Whether there is an administrator when these are taken over.
fn has_administrator(world: &World, rows: &[(String, String, Row)]) -> bool {
    let accounts = rows.iter().filter_map(|(_, _, row)| match row {
        Row::Account(name, account) => Some((name.as_str(), account.role)),
        _ => None,
    });
    let new: BTreeMap<_, _> = accounts.collect();
    let stays = |name: &String, role: Role| *new.get(name.as_str()).unwrap_or(&role) == Role::Administrator;
    new.values().any(|role| *role == Role::Administrator)
        || world.accounts.all().iter().any(|(name, account)| stays(name, account.role))
}

/// Lets rows count that are kept.
fn apply(world: &World, rows: Vec<(String, String, Row)>, tallies: &mut Tallies) {
    let (mut users, mut rules, mut keys, mut topics) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let known_rules = world.access.stored_rules();
    let known_bans: HashSet<_> = world.access.bans().into_iter().map(|ban| (ban.kind, ban.value)).collect();
    let mut has_bans = false;
    for (_, _, row) in rows {
        let tally = tallies.entry(row.table()).or_default();
        tally.imported += 1;
        let is_known = match row {
            Row::User(name, user) => {
                let is_known = world.users.stored(&name).is_some();
                users.push((name, Some(user)));
                is_known
            }
            Row::Rules(holder, held) => {
                let is_known = known_rules.as_ref().is_some_and(|rules| rules.held(&holder).is_some());
                rules.push((holder, Some(held)));
                is_known
            }
            Row::Ban(ban) => {
                let key = (ban.kind, ban.value.clone());
                has_bans = true;
                if !matches!(world.access.ban(ban), Ok(true)) {
                    tally.imported -= 1;
                    tally.refused += 1;
                }
                known_bans.contains(&key)
            }
            Row::PreSharedKey(identity, key) => {
                let is_known = world.access.keys().is_stored(&identity);
                keys.push((identity, Some(key)));
                is_known
            }
            Row::Account(name, account) => {
                let known = world.accounts.find(&name);
                // Whoever is logged in with what is no more logs in anew.
                if known.as_ref() != Some(&account) {
                    world.tokens.end_all_of(&name);
                }
                world.accounts.set(&name, Some(account));
                known.is_some()
            }
            Row::ApiKey(name, key) => {
                let is_known = world.keys.find(&name).is_some();
                world.keys.set(&name, Some(key));
                is_known
            }
            Row::Topic(topic, counted) => {
                let is_known = world.observe.topics.counts_topic(&topic);
                topics.push((topic, counted));
                is_known
            }
            Row::Slow(settings) => {
                world.observe.slow.set(settings, world.bus.watch());
                true
            }
        };
        tally.replaced += usize::from(is_known);
    }
    world.users.change_stored(users);
    if !rules.is_empty() {
        world.access.set_stored_rules(rules);
    }
    if !keys.is_empty() {
        world.access.keys().change_stored(keys);
    }
    if !topics.is_empty() {
        world.observe.topics.set(topics, world.bus.watch());
    }
    if has_bans {
        world.access.end_banned(&world.bus);
    }
}

/// Takes over retained and delayed messages, some at a time.
async fn messages(world: &Arc<World>, file: File, tallies: &mut Tallies) -> Result<(), String> {
    let (sender, mut receiver) = mpsc::channel::<Vec<Kept>>(1);
    let reading = tokio::task::spawn_blocking(move || {
        let mut some = Vec::new();
        let gone = |_| "nobody takes them".to_owned();
        let read = for_each_message(file, |kept| {
            some.push(kept);
            match some.len() >= MESSAGES_PER_TURN {
                true => sender.blocking_send(std::mem::take(&mut some)).map_err(gone),
                false => Ok(()),
            }
        });
        read.map_err(|error| error.to_string())?;
        sender.blocking_send(some).map_err(gone)
    });
    let mut waiting = waiting(world);
    while let Some(some) = receiver.recv().await {
        let mut tickets = Vec::new();
        for kept in some {
            let (table, outcome, ticket) = take(world, kept, &mut waiting);
            let tally = tallies.entry(table).or_default();
            match outcome {
                Outcome::Taken { replaced } => {
                    tally.imported += 1;
                    tally.replaced += usize::from(replaced);
                }
                Outcome::Skipped => tally.skipped += 1,
                Outcome::Refused => tally.refused += 1,
            }
            tickets.extend(ticket.map(|ticket| (table, ticket)));
        }
        for (table, ticket) in tickets {
            if !world.is_kept(ticket).await {
                let tally = tallies.entry(table).or_default();
                tally.imported -= 1;
                tally.refused += 1;
            }
        }
    }
    reading.await.unwrap_or_else(|error| Err(error.to_string()))
}

enum Outcome {
    Taken { replaced: bool },
    Skipped,
    Refused,
}

/// When, on which topic and with what messages wait.
type Waiting = HashSet<(WallMs, Box<str>, Box<[u8]>)>;

fn waiting(world: &World) -> Waiting {
    let epoch = world.bus.epoch();
    let all = world.bus.delayed_messages().into_iter();
    all.map(|(due, _, message)| (epoch.wall(due), message.topic().into(), message.payload().into())).collect()
}

fn take(world: &World, kept: Kept, waiting: &mut Waiting) -> (Table, Outcome, Option<crate::store::Ticket>) {
    let outcome = |imported, replaced| match imported {
        Imported::Taken => Outcome::Taken { replaced },
        Imported::Over => Outcome::Skipped,
        Imported::Refused => Outcome::Refused,
    };
    let with_ticket = |work: &dyn Fn(&mut crate::bus::Lane, Instant) -> Imported| {
        world.with_lane(|lane, now| {
            let _ = lane.take_ticket();
            let imported = work(lane, now);
            (imported, lane.take_ticket())
        })
    };
    match kept {
        Kept::Retained(message) => {
            let replaced = world.bus.retained().get(message.topic(), world.now()).is_some();
            let (imported, ticket) = with_ticket(&|lane, now| world.bus.import_retained(&message, now, lane));
            (Table::Retained, outcome(imported, replaced), ticket)
        }
        Kept::Delayed(due, message) => {
            // It has no name that would be the same elsewhere: the same archive twice is not to publish it twice.
            if !waiting.insert((due, message.topic().into(), message.payload().into())) {
                return (Table::Delayed, Outcome::Skipped, None);
            }
            let (imported, ticket) = with_ticket(&|lane, now| world.bus.import_delayed(due, &message, now, lane));
            (Table::Delayed, outcome(imported, false), ticket)
        }
    }
}
