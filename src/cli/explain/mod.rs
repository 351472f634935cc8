//! `thingway explain`: why a setting has its value, and why somebody may connect, publish or subscribe.

mod access;
mod key;

use std::{net::IpAddr, process::ExitCode};

use clap::Args;

use super::{ConfigurationArguments, print, report};

/// What to explain.
#[derive(Args, Debug)]
pub struct ExplainArguments {
    /// A key such as mqtt.max_qos, or a table such as listeners.tcp.default; or connect, publish or subscribe, to be told what a gateway with this
    /// configuration would say, and which rule of which source says it (exit status 0 yes, 1 no)
    pub key: String,
    /// The topic to publish or the filter to subscribe to
    pub topic: Option<String>,
    /// Whose: the client id
    #[arg(long, default_value = "")]
    pub client_id: String,
    /// Whose: the user name
    #[arg(long)]
    pub username: Option<String>,
    /// The common name in the client's certificate, which counts as the user name
    #[arg(long)]
    pub certificate: Option<String>,
    /// From where
    #[arg(long)]
    pub address: Option<IpAddr>,
    /// By which listener
    #[arg(long, default_value = "tcp.default")]
    pub listener: String,
    /// In which protocol
    #[arg(long, default_value = "mqtt")]
    pub protocol: String,
    /// With what quality of service
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// With the retain flag
    #[arg(long)]
    pub retain: bool,
    /// The first line on standard input is the password
    #[arg(long)]
    pub password_stdin: bool,
}

/// Explains it.
pub fn explain(configuration: &ConfigurationArguments, arguments: &ExplainArguments) -> ExitCode {
    let told = match (arguments.key.as_str(), &arguments.topic) {
        ("connect", None) => access::decide(configuration, arguments, None),
        ("publish" | "subscribe", Some(topic)) => access::decide(configuration, arguments, Some(topic)),
        ("publish" | "subscribe", None) => Err("name a topic".to_owned()),
        (_, Some(_)) => Err("only publish and subscribe have a topic".to_owned()),
        (key, None) => return key::explain(configuration, key),
    };
    match told {
        Ok((yes, text)) => {
            let printed = print(&text);
            if yes { printed } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}
