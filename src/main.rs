//! The program: command line, configuration, logging, gateway, signal, drain.

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use thingway::{
    cli::{self, Arguments},
    config::{Loaded, Log, LogFormat, RunTime},
    gateway::Gateway,
    logging::{self, Format},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(exit) = cli::run(&arguments) {
        return exit;
    }
    let loaded = match arguments.configuration.load() {
        Ok(loaded) => loaded,
        Err(problems) => return cli::report(&problems),
    };
    if let Err(error) = init_log(&loaded.config.log) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    // For what is no data path: start-up, signals, files, later the API and back ends. Connections have runtimes of their own.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve(loaded, &arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(loaded: Loaded, arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let config = &loaded.config;
    info!("thingway {}, node {}", env!("CARGO_PKG_VERSION"), config.gateway.name);
    match &loaded.file {
        Some(path) => info!("configuration from {}", path.display()),
        None => info!("no configuration file: built-in defaults, environment and command line"),
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (mut back_up, mut reload) = (signal(SignalKind::user_defined1())?, signal(SignalKind::hangup())?);
    let drain_timeout = config.gateway.drain_timeout.duration();
    let run_time = RunTime::new(loaded.clone(), arguments.configuration.sources());
    let gateway = Gateway::start_with(run_time).await.map_err(|error| match error.key() {
        // Some say the key themselves.
        Some(key) if error.to_string().contains(&*key) => format!("{}: {error}", loaded.origin(&key)),
        Some(key) => format!("{}: {key}: {error}", loaded.origin(&key)),
        None => error.to_string(),
    })?;
    for listener in gateway.listeners() {
        info!("listening: {listener}");
    }
    if let Some(address) = gateway.api_address() {
        info!("listening: API over HTTP on {address} (dashboard)");
    }
    if let Some(address) = gateway.api_tls_address() {
        info!("listening: API over HTTPS on {address} (dashboard.tls)");
    }
    let signal = loop {
        tokio::select! {
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            _ = back_up.recv() => gateway.back_up(),
            _ = reload.recv() => {
                // What is wrong is told, and then all stays as it was.
                if let Err(error) = gateway.reload() {
                    error!("access stays as it was: {error}");
                }
            }
        }
    };
    info!("{signal}: draining for at most {drain_timeout:?}");
    gateway.drain(drain_timeout).await;
    info!("stopped");
    Ok(())
}

fn init_log(log: &Log) -> Result<(), logging::LoggingError> {
    let format = match log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let file = Some(log.file.as_path()).filter(|path| !path.as_os_str().is_empty());
    logging::init(&log.level, format, file)
}
