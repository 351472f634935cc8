//! The command line: what can be typed, and the commands that need no gateway.

mod bench;
mod check;
mod client;
mod explain;
mod store;
mod users;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, Loaded, Problems, Sources};

pub use bench::BenchCommand;
pub use check::check;
pub use client::{PublishArguments, SubscribeArguments};
pub use explain::{ExplainArguments, explain};
pub use store::StoreCommand;
pub use users::{BansCommand, PskCommand, RulesCommand, UsersCommand};

/// Thingway, a multi-protocol IoT gateway. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "thingway", version, about, disable_version_flag = true, args_conflicts_with_subcommands = false)]
pub struct Arguments {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where the configuration comes from.
#[derive(Args, Clone, Debug)]
pub struct ConfigurationArguments {
    /// Configuration file [default: ./thingway.toml or /etc/thingway/thingway.toml, where there is one]
    #[arg(long, short, global = true, value_name = "FILE", env = "THINGWAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Set a value, such as mqtt.max_qos=1; may be given several times
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub assignments: Vec<String>,
    /// Directory for what the gateway keeps: short for --set gateway.data_dir=DIR
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve, which is also done without a command
    Serve,
    /// Tell what is wrong with the configuration, or what it amounts to
    Check,
    /// Tell the value of a key, which layer set it, its default and its meaning; or why somebody may connect, publish or subscribe
    Explain(Box<ExplainArguments>),
    /// Print a configuration file with every key, its default and its meaning
    Config,
    /// Publish messages
    Pub(Box<PublishArguments>),
    /// Subscribe and print messages
    Sub(Box<SubscribeArguments>),
    /// Load a server, and measure
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Check the store of a stopped gateway, or export and import what it holds
    #[command(subcommand)]
    Store(StoreCommand),
    /// Manage the users that a stopped gateway keeps
    #[command(subcommand)]
    Users(UsersCommand),
    /// Manage the access rules that a stopped gateway keeps
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Manage the pre-shared keys that a stopped gateway keeps
    #[command(subcommand)]
    Psk(PskCommand),
    /// Manage the bans that a stopped gateway keeps
    #[command(subcommand)]
    Bans(BansCommand),
    /// Print the version
    Version,
}

impl ConfigurationArguments {
    /// Reads and checks the configuration.
    pub fn load(&self) -> Result<Loaded, Problems> {
        Config::load(&self.sources())
    }

    /// Where it is read from.
    pub fn sources(&self) -> Sources {
        let mut assignments = self.assignments.clone();
        if let Some(directory) = &self.data_dir {
            assignments.push(format!("gateway.data_dir={}", directory.display()));
        }
        Sources::of_process(self.config.clone(), assignments)
    }
}

/// Does what a command says. `None`: the caller shall serve.
pub fn run(arguments: &Arguments) -> Option<ExitCode> {
    let configuration = &arguments.configuration;
    Some(match arguments.command.as_ref()? {
        Command::Serve => return None,
        Command::Check => check(configuration),
        Command::Explain(arguments) => explain(configuration, arguments),
        Command::Config => print(&config::document()),
        Command::Pub(arguments) => client::publish(arguments),
        Command::Sub(arguments) => client::subscribe(arguments),
        Command::Bench(command) => bench::run(command),
        Command::Store(command) => store::run(configuration, command),
        Command::Users(command) => users::run(configuration, command),
        Command::Rules(command) => users::run_rules(configuration, command),
        Command::Psk(command) => users::run_psk(configuration, command),
        Command::Bans(command) => users::run_bans(configuration, command),
        Command::Version => print(&format!("thingway {}\n", env!("CARGO_PKG_VERSION"))),
    })
}

/// Writes to standard output. A reader that went away is no failure worth a panic.
fn print(text: &str) -> ExitCode {
    use std::io::Write;

    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells on standard error what is wrong with the configuration.
pub fn report(problems: &Problems) -> ExitCode {
    for problem in &problems.0 {
        eprintln!("error: {problem}");
    }
    let count = problems.0.len();
    eprintln!("{count} {} in the configuration", if count == 1 { "error" } else { "errors" });
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn clients_are_understood() {
        let line = "thingway sub -t a/# -t b -q 2 -i me -u name -P word -V 3.1.1 -C 5 -W 2s --will-topic w --will-qos 1 --url unix:/x";
        let Some(Command::Sub(arguments)) = Arguments::parse_from(line.split(' ')).command else { panic!("not sub") };
        assert_eq!((arguments.topics.len(), arguments.count), (2, Some(5)));
        let line = "thingway pub -t a -l -q 1 -r --repeat 3 --user-property a=b=c --url quic://[::1]:5 --insecure";
        let Some(Command::Pub(arguments)) = Arguments::parse_from(line.split(' ')).command else { panic!("not pub") };
        assert_eq!(arguments.user_property, [("a".to_owned(), "b=c".to_owned())]);
        for line in
            ["thingway pub -t a -m x -l", "thingway sub", "thingway sub -t a -q 3", "thingway pub -t a --will-qos 1"]
        {
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
