//! What the environment says.

use std::{
    env,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::server::{Autosave, Durability, Kind};

/// How a run goes.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kind: Kind,
    /// From which the schedule follows: `CRASH_SEED`, or else the time of day.
    pub seed: u64,
    /// `CRASH_ROUNDS`.
    pub rounds: u32,
    /// In how many rounds of a hundred the server is killed: `CRASH_KILL`.
    pub kill_percent: u32,
    /// After how many rounds everything is drained and checked: `CRASH_DRAIN`.
    pub drain_every: u32,
    /// Whether the first finding ends the run. Otherwise all are counted.
    pub strict: bool,
}

impl Settings {
    /// The defaults for this server with what the environment says instead.
    pub fn of(kind: Kind, rounds: u32, kill_percent: u32) -> Self {
        Self {
            strict: kind.is_thingway(),
            kind,
            seed: number("CRASH_SEED").unwrap_or_else(time_of_day),
            rounds: number("CRASH_ROUNDS").unwrap_or(rounds),
            kill_percent: number("CRASH_KILL").unwrap_or(kill_percent),
            drain_every: number("CRASH_DRAIN").unwrap_or(10),
        }
    }
}

/// `CRASH_SERVER`: true for Mosquitto.
pub fn is_mosquitto() -> bool {
    match env::var("CRASH_SERVER").as_deref() {
        Err(_) | Ok("thingway") => false,
        Ok("mosquitto") => true,
        Ok(other) => panic!("CRASH_SERVER is thingway or mosquitto, not {other}"),
    }
}

/// `CRASH_AUTOSAVE`: when Mosquitto saves.
pub fn autosave() -> Autosave {
    match env::var("CRASH_AUTOSAVE").as_deref() {
        Err(_) | Ok("changes") => Autosave::Changes,
        Ok("second") => Autosave::Second,
        Ok("default") => Autosave::Default,
        Ok(other) => panic!("CRASH_AUTOSAVE is changes, second or default, not {other}"),
    }
}

/// `CRASH_DURABILITY`: what the gateway's store waits for.
pub fn durability() -> Durability {
    match env::var("CRASH_DURABILITY").as_deref() {
        Err(_) | Ok("fsync") => Durability::Fsync,
        Ok("os") => Durability::Os,
        Ok(other) => panic!("CRASH_DURABILITY is fsync or os, not {other}"),
    }
}

fn number<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

fn time_of_day() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_micros() as u64 % 1_000_000_000
}
