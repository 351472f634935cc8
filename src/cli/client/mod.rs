//! A small MQTT client, good enough to try every transport by hand.

mod arguments;
mod connection;
mod publish;
mod subscribe;
mod tls;
mod transport;
mod url;

use std::{future::Future, process::ExitCode};

pub use arguments::{PublishArguments, SubscribeArguments};
pub use connection::ClientError;

/// Exit code of `sub` when its time is up, as that of `mosquitto_sub`.
const TIMED_OUT: u8 = 27;

/// `thingway pub`.
pub fn publish(arguments: &PublishArguments) -> ExitCode {
    run(async {
        publish::publish(arguments).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// `thingway sub`.
pub fn subscribe(arguments: &SubscribeArguments) -> ExitCode {
    run(async {
        Ok(match subscribe::subscribe(arguments).await? {
            subscribe::Ended::Enough => ExitCode::SUCCESS,
            subscribe::Ended::TimedOut => ExitCode::from(TIMED_OUT),
        })
    })
}

fn run(work: impl Future<Output = Result<ExitCode, ClientError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(ClientError::from).and_then(|runtime| runtime.block_on(work)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
