use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use thingway_store::{SETTING_NAME_BYTES_MAX, change_settings, for_each_setting};

use crate::{
    access::rules::{
        Holder, RULE_PREFIX, WrittenAction, WrittenPermission, WrittenRetain, WrittenRule, compile_rules, row_of_rules,
        written_rules,
    },
    cli::{
        ConfigurationArguments, print,
        store::{Failure, finish, open_to_change},
    },
    config::Config,
};

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Add a rule behind those that are there
    Add {
        /// Whose
        #[command(flatten)]
        holder: HolderArguments,
        /// What it says
        permission: Permission,
        /// Of what
        action: Action,
        /// A filter with placeholders such as devices/${clientid}/#; one that begins with "eq " is taken literally
        topic: String,
        /// Only this quality of service; may be given several times
        #[arg(long, value_name = "QOS")]
        qos: Vec<u8>,
        /// Of publications, only those with or without the retain flag
        #[arg(long, value_name = "BOOL")]
        retain: Option<bool>,
        /// Only from this range of addresses
        #[arg(long, value_name = "NETWORK")]
        address: Option<String>,
    },
    /// Remove a rule, or all rules of somebody
    Remove {
        /// Whose
        #[command(flatten)]
        holder: HolderArguments,
        /// Its number, as list tells it [default: all of them]
        number: Option<usize>,
    },
    /// Tell which rules there are, in the order in which they are asked for each
    List,
    /// Take over rules as EMQX's REST API has them: a list of objects with "rules" and "username", "clientid" or neither; all or, if anything is wrong, none
    Import {
        /// The file
        file: PathBuf,
        /// Whoever has rules already gets what the file has
        #[arg(long)]
        replace: bool,
    },
    /// Write all rules in the same form
    Export {
        /// Where to [default: standard output]
        file: Option<PathBuf>,
    },
}

/// Whose rules.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct HolderArguments {
    /// Of those with this user name
    #[arg(long)]
    username: Option<String>,
    /// Of the client with this client id
    #[arg(long)]
    client_id: Option<String>,
    /// Of everybody
    #[arg(long)]
    all: bool,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Permission {
    /// Yes
    Allow,
    /// No
    Deny,
}

/// Of what it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Publishing
    Publish,
    /// Subscribing
    Subscribe,
    /// Both
    All,
}

/// Rules of one holder, as EMQX's REST API has them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clientid: Option<String>,
    rules: Vec<WrittenRule>,
}

type All = BTreeMap<Holder, Vec<WrittenRule>>;

/// Does it with the store of the configuration.
pub fn run_rules(configuration: &ConfigurationArguments, command: &RulesCommand) -> ExitCode {
    finish(configuration, |config| match command {
        RulesCommand::Add { holder, permission, action, topic, qos, retain, address } => {
            let rule = WrittenRule {
                permission: match permission {
                    Permission::Allow => WrittenPermission::Allow,
                    Permission::Deny => WrittenPermission::Deny,
                },
                action: match action {
                    Action::Publish => WrittenAction::Publish,
                    Action::Subscribe => WrittenAction::Subscribe,
                    Action::All => WrittenAction::All,
                },
                topic: topic.clone(),
                qos: (!qos.is_empty()).then(|| qos.clone()),
                retain: retain.map(WrittenRetain::Flag),
                ipaddr: address.clone(),
                clientid_re: None,
                username_re: None,
                listener_re: None,
            };
            add(config, holder.holder()?, rule)
        }
        RulesCommand::Remove { holder, number } => remove(config, &holder.holder()?, *number),
        RulesCommand::List => list(config),
        RulesCommand::Import { file, replace } => import(config, file, *replace),
        RulesCommand::Export { file } => export(config, file.as_deref()),
    })
}

impl HolderArguments {
    fn holder(&self) -> Result<Holder, Failure> {
        let holder = match (&self.username, &self.client_id) {
            (Some(name), _) => Holder::Username(name.as_str().into()),
            (None, Some(id)) => Holder::ClientId(id.as_str().into()),
            (None, None) => Holder::All,
        };
        checked(holder)
    }
}

fn checked(holder: Holder) -> Result<Holder, Failure> {
    let key = holder.key();
    if Holder::of_key(&key).is_none() || key.len() > SETTING_NAME_BYTES_MAX || key.contains('\0') {
        return Err(Failure::Other(format!("a name has at least one byte, and at most {SETTING_NAME_BYTES_MAX}")));
    }
    Ok(holder)
}

fn named(holder: &Holder) -> String {
    match holder {
        Holder::ClientId(id) => format!("client id {id:?}"),
        Holder::Username(name) => format!("user {name:?}"),
        Holder::All => "all".into(),
    }
}

fn all(config: &Config) -> Result<All, Failure> {
    let mut rows = Vec::new();
    let told = for_each_setting(&mut open_to_change(config)?, RULE_PREFIX, |key, row| {
        rows.push((key.to_owned(), row.to_owned()));
        ControlFlow::Continue(())
    });
    told.map_err(|error| Failure::Store(config.store_folder(), error))?;
    let one = |(key, row): (String, String)| {
        let wrong = |why: String| Failure::Other(format!("{key:?} cannot be read: {why}"));
        let holder = Holder::of_key(&key).ok_or_else(|| wrong("it names nobody".into()))?;
        Ok((holder, written_rules(&row).map_err(|error| wrong(error.to_string()))?))
    };
    rows.into_iter().map(one).collect()
}

fn save<'a>(
    config: &Config,
    changed: impl IntoIterator<Item = (&'a Holder, &'a Vec<WrittenRule>)>,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (holder, rules) in changed {
        compile_rules(holder, rules).map_err(|error| Failure::Other(format!("{}: {error}", named(holder))))?;
        rows.push((holder.key(), (!rules.is_empty()).then(|| row_of_rules(rules))));
    }
    let mut backend = open_to_change(config)?;
    change_settings(&mut backend, rows).map_err(|error| Failure::Store(config.store_folder(), error))
}

fn add(config: &Config, holder: Holder, rule: WrittenRule) -> Result<ExitCode, Failure> {
    let mut rules = all(config)?.remove(&holder).unwrap_or_default();
    rules.push(rule);
    save(config, [(&holder, &rules)])?;
    Ok(print(&format!("{} has {} rules\n", named(&holder), rules.len())))
}

fn remove(config: &Config, holder: &Holder, number: Option<usize>) -> Result<ExitCode, Failure> {
    let missing = || Failure::Other(format!("{} has no such rule", named(holder)));
    let mut rules = all(config)?.remove(holder).ok_or_else(missing)?;
    match number {
        None => rules.clear(),
        Some(number) if (1..=rules.len()).contains(&number) => drop(rules.remove(number - 1)),
        Some(_) => return Err(missing()),
    }
    save(config, [(holder, &rules)])?;
    Ok(print(&format!("{} has {} rules\n", named(holder), rules.len())))
}

fn list(config: &Config) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    for (holder, rules) in all(config)? {
        for (number, rule) in (1..).zip(&rules) {
            let written = serde_json::to_string(rule).map_err(|error| Failure::Other(error.to_string()))?;
            text += &format!("{} {number}  {written}\n", named(&holder));
        }
    }
    Ok(print(&text))
}

fn import(config: &Config, file: &Path, replace: bool) -> Result<ExitCode, Failure> {
    let wrong = |why: String| Failure::File(format!("{}: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let listed: Vec<Listed> = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let there = all(config)?;
    let mut taken = All::new();
    for Listed { username, clientid, rules } in listed {
        let holder = match (username, clientid) {
            (Some(name), None) => Holder::Username(name.into()),
            (None, Some(id)) => Holder::ClientId(id.into()),
            (None, None) => Holder::All,
            (Some(_), Some(_)) => return Err(wrong("a user name and a client id at once".into())),
        };
        let holder = checked(holder)?;
        if there.contains_key(&holder) && !replace {
            return Err(Failure::Other(format!("{} has rules already: see --replace", named(&holder))));
        }
        if taken.contains_key(&holder) {
            return Err(wrong(format!("{} is there twice", named(&holder))));
        }
        taken.insert(holder, rules);
    }
    save(config, &taken)?;
    Ok(print(&format!("{} rules\n", taken.values().map(Vec::len).sum::<usize>())))
}

fn export(config: &Config, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let one = |(holder, rules): (Holder, Vec<WrittenRule>)| match holder {
        Holder::Username(name) => Listed { username: Some(name.into()), clientid: None, rules },
        Holder::ClientId(id) => Listed { username: None, clientid: Some(id.into()), rules },
        Holder::All => Listed { username: None, clientid: None, rules },
    };
    let listed: Vec<_> = all(config)?.into_iter().map(one).collect();
    let text = serde_json::to_string_pretty(&listed).map_err(|error| Failure::Other(error.to_string()))?;
    let Some(file) = file else { return Ok(print(&format!("{text}\n"))) };
    fs::write(file, text).map_err(|error| Failure::File(format!("{}: {error}", file.display())))?;
    Ok(print(&format!("{} rules\n", listed.iter().map(|listed| listed.rules.len()).sum::<usize>())))
}
