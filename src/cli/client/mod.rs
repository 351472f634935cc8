//! A small client, good enough to try every protocol and transport by hand.
//!
//! | module | what |
//! | --- | --- |
//! | `arguments`, `url` | what can be typed |
//! | `conversation` | what a client of any protocol can do, and what a message is |
//! | `publish`, `subscribe`, `print` | lines, repetitions, counts and times, whatever is spoken |
//! | `mqtt`, `transport`, `tls` | MQTT, over streams |
//! | `mqttsn`, `coap`, `udp` | MQTT-SN and CoAP, over UDP |

mod arguments;
mod coap;
mod conversation;
mod error;
mod mqtt;
mod mqttsn;
mod print;
mod publish;
mod subscribe;
#[cfg(test)]
mod testing;
mod tls;
mod transport;
mod udp;
mod url;

use std::{future::Future, process::ExitCode};

use self::subscribe::Ended;

pub use arguments::{MqttVersion, PublishArguments, SubscribeArguments, TlsArguments, qos};
pub use error::ClientError;
pub use transport::{Connector, Wire, endpoint};
pub use url::{Host, Target, Transport, Url};

/// Exit code of `sub` when its time is up, as that of `mosquitto_sub`.
const TIMED_OUT: u8 = 27;

/// `thingway pub`.
pub fn publish(arguments: &PublishArguments) -> ExitCode {
    run(async {
        let connect = &arguments.connect;
        match &connect.url.target {
            Target::Mqtt(transport) => {
                mqtt::check_publish(arguments)?;
                publish::publish(mqtt::Client::open(transport, connect).await?, arguments).await?;
            }
            Target::MqttSn(host) if arguments.qos.0.is_none() => {
                mqttsn::check_publish_unconnected(arguments)?;
                publish::publish(mqttsn::Unconnected::open(host).await?, arguments).await?;
            }
            Target::MqttSn(host) => {
                mqttsn::check_publish(arguments)?;
                publish::publish(mqttsn::Client::open(host, connect).await?, arguments).await?;
            }
            Target::Coap(host, path) => {
                coap::check_publish(arguments)?;
                publish::publish(coap::Client::open(host, path, connect).await?, arguments).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `thingway sub`.
pub fn subscribe(arguments: &SubscribeArguments) -> ExitCode {
    run(async {
        let connect = &arguments.connect;
        let ended = match &connect.url.target {
            Target::Mqtt(transport) => {
                mqtt::check_subscribe(arguments)?;
                subscribe::subscribe(mqtt::Client::open(transport, connect).await?, arguments).await?
            }
            Target::MqttSn(host) => {
                mqttsn::check_subscribe(arguments)?;
                subscribe::subscribe(mqttsn::Client::open(host, connect).await?, arguments).await?
            }
            Target::Coap(host, path) => {
                coap::check_subscribe(arguments)?;
                subscribe::subscribe(coap::Client::open(host, path, connect).await?, arguments).await?
            }
        };
        Ok(match ended {
            Ended::Enough => ExitCode::SUCCESS,
            Ended::TimedOut => ExitCode::from(TIMED_OUT),
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
