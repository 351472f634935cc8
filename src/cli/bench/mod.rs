//! A load generator for users, and the relay that brokers are compared with.
//!
//! | module | what |
//! | --- | --- |
//! | `arguments`, `sources`, `topic` | what can be typed |
//! | `prepare`, `plan` | what is asked for, checked; who does what on which thread |
//! | `worker` | one thread of clients that publish, subscribe or rest |
//! | `storm`, `streams` | connections that come and go; connections over TLS, WebSocket, QUIC |
//! | `dialect`, `stamp` | what is spoken, and what payloads tell |
//! | `run`, `shared`, `clock` | the phases of a run |
//! | `process`, `report`, `progress` | what is measured beside it, and told |
//! | `relay` | the relay |
//! | `poller`, `socket` | epoll and sockets |

mod arguments;
mod clock;
mod dialect;
mod plan;
mod poller;
mod prepare;
mod process;
mod progress;
mod relay;
mod report;
mod run;
mod shared;
mod socket;
mod sources;
mod stamp;
mod storm;
mod streams;
mod topic;
mod worker;

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
};

pub use self::arguments::BenchCommand;
use self::{arguments::RelayArguments, relay::Relay};
use super::{client::ClientError, print};

/// `thingway bench`.
pub fn run(command: &BenchCommand) -> ExitCode {
    let (prepared, is_json) = match command {
        BenchCommand::Conn(arguments) => (prepare::conn(arguments), arguments.common.json),
        BenchCommand::Pub(arguments) => (prepare::publish(arguments), arguments.common.json),
        BenchCommand::Sub(arguments) => (prepare::subscribe(arguments), arguments.common.json),
        BenchCommand::Pairs(arguments) => (prepare::pairs(arguments), arguments.common.json),
        BenchCommand::Relay(arguments) => return finish(relay(arguments).map(|()| ExitCode::SUCCESS)),
    };
    finish(prepared.and_then(prepare::Prepared::run).map(|report| {
        let told = print(&if is_json { report.to_json() } else { report.to_text() });
        if report.has_failures() { ExitCode::FAILURE } else { told }
    }))
}

fn relay(arguments: &RelayArguments) -> Result<(), ClientError> {
    let relay = Relay::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port)))?;
    raise_descriptor_limit();
    if let Some(address) = relay.address()? {
        print(&format!("{address}\n"));
    }
    Ok(relay.run(arguments.lifetime.duration())?)
}

fn finish(result: Result<ExitCode, ClientError>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// As many descriptors as the system allows, and how many these are.
fn raise_descriptor_limit() -> u64 {
    let raised = rlimit::increase_nofile_limit(rlimit::INFINITY);
    raised.or_else(|_| rlimit::Resource::NOFILE.get().map(|(soft, _)| soft)).unwrap_or_default()
}
