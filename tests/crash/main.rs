//! Crash tests: the real process is killed at random points of seeded schedules and started again, and nothing that it acknowledged may be missing.
//!
//! docs/durability.md says what is checked and how to run it.
#![allow(clippy::disallowed_methods, reason = "a process that was started can only be polled")]

#[path = "../common/mod.rs"]
mod common;

mod devices;
mod figures;
mod full;
mod history;
mod mqttsn;
mod publisher;
mod random;
mod run;
mod server;
mod session;
mod settings;
mod subscriber;
mod visitors;
mod world;

use self::{
    figures::Fault,
    run::run,
    server::{Autosave, Durability, Kind},
    settings::Settings,
};

/// Runs and tells what came of it.
async fn play(settings: &Settings) -> run::Outcome {
    let Settings { seed, rounds, kill_percent, drain_every, .. } = settings;
    println!(
        "crash: {}, CRASH_SEED={seed} CRASH_ROUNDS={rounds} CRASH_KILL={kill_percent} CRASH_DRAIN={drain_every}",
        settings.kind.name()
    );
    let began = std::time::Instant::now();
    let outcome = run(settings).await;
    println!(
        "crash: {}, seed {seed}: {}, {:.1} s",
        settings.kind.name(),
        outcome.figures,
        began.elapsed().as_secs_f64()
    );
    for story in &outcome.stories {
        println!("first {story}");
    }
    outcome
}

fn expect_clean(settings: &Settings, outcome: &run::Outcome) {
    assert_eq!(
        outcome.figures.total(),
        0,
        "CRASH_SEED={} CRASH_ROUNDS={} cargo test --test crash\n{}",
        settings.seed,
        settings.rounds,
        outcome.stories.join("\n")
    );
}

/// The proof: nothing acknowledged is lost by SIGKILL. `CRASH_SERVER=mosquitto` counts instead what Mosquitto loses.
#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    if settings::is_mosquitto() {
        let kind = Kind::mosquitto(settings::autosave()).expect("Mosquitto is installed");
        play(&Settings::of(kind, 200, 90)).await;
        return;
    }
    let kind = Kind::thingway(settings::durability());
    if kind == Kind::Thingway(Durability::NoStore) {
        println!("skipped: nothing_acknowledged_is_lost needs a gateway with a store");
        return;
    }
    let settings = Settings::of(kind, 200, 90);
    let outcome = play(&settings).await;
    expect_clean(&settings, &outcome);
}

/// The same schedules without kills: what is found here is a fault of the gateway that has nothing to do with its store, or of this test.
#[tokio::test]
async fn without_kills_nothing_is_amiss() {
    let mut settings = Settings::of(Kind::thingway(settings::durability()), 30, 0);
    settings.kill_percent = 0;
    let outcome = play(&settings).await;
    expect_clean(&settings, &outcome);
}

/// What is lost is found: a gateway that keeps all in memory loses it.
#[tokio::test]
async fn losses_are_found() {
    expect_losses(Kind::thingway(Durability::Memory)).await;
}

/// The same of Mosquitto as it saves by default, which is every half hour.
#[tokio::test]
async fn losses_of_mosquitto_are_found() {
    match Kind::mosquitto(Autosave::Default) {
        Some(kind) => expect_losses(kind).await,
        None => println!("skipped: losses_of_mosquitto_are_found needs mosquitto"),
    }
}

async fn expect_losses(kind: Kind) {
    let settings =
        Settings { rounds: 10, kill_percent: 100, drain_every: 10, strict: false, ..Settings::of(kind, 10, 100) };
    let outcome = play(&settings).await;
    for fault in [Fault::Lost, Fault::ForgottenSession, Fault::StaleRetained] {
        assert!(outcome.figures.count(fault) > 0, "{} are not seen: {}", fault.name(), outcome.figures);
    }
}
