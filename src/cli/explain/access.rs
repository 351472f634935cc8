use std::{fmt::Write, ops::ControlFlow, sync::Arc};

use thingway_contract::{Certificate, ClientId, Instant, Qos, TopicFilter, TopicLimits, Transport};
use thingway_store::for_each_setting;

use super::{ConfigurationArguments, ExplainArguments};
use crate::{
    access::{Access, Attempt, Verdict, Wanted},
    access_config::{self, Kept},
    cli::{store, users::read_password},
    config::Config,
};

/// Yes or no, and what to print.
type Told = Result<(bool, String), String>;

/// What a gateway with this configuration would know, and what could not be looked at.
fn access(config: &Config, runtime: &tokio::runtime::Runtime) -> Result<(Access, String), String> {
    let (mut kept, mut notes) = (Kept::default(), String::new());
    match store::open_to_look(config) {
        Ok(Some(mut backend)) => {
            let mut wrong = None;
            let told = for_each_setting(&mut backend, "", |name, value| {
                if let Err(error) = kept.add(name, value) {
                    wrong = Some(error.to_string());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            told.map_err(|error| error.to_string())?;
            wrong.map_or(Ok(()), Err)?;
        }
        Ok(None) => {}
        Err(failure) => {
            let _ = writeln!(notes, "note: users, rules and bans of the store are left out: {failure}");
        }
    }
    let error = |error: access_config::AccessError| error.to_string();
    let (chain, built_in) = access_config::chain(config).map_err(error)?;
    built_in.users.set_stored(kept.users);
    if access_config::asks_users(config) {
        built_in.change_users(config, access_config::file_users(config).map_err(error)?);
    }
    let policy = access_config::policy(config, &Arc::new(kept.rules)).map_err(error)?;
    let settings = access_config::settings(config, chain).map_err(error)?;
    let access = Access::new(settings, policy, Some(runtime.handle().clone()));
    for ban in access_config::bans(config).map_err(error)?.into_iter().chain(kept.bans) {
        access.ban(ban).map_err(|error| error.to_string())?;
    }
    Ok((access, notes))
}

fn attempt(arguments: &ExplainArguments) -> Result<Attempt, String> {
    let password = match arguments.password_stdin {
        true => Some(read_password().map_err(|failure| failure.to_string())?),
        false => None,
    };
    Ok(Attempt {
        client_id: ClientId::new(&arguments.client_id, usize::MAX).ok(),
        username: arguments.certificate.as_deref().or(arguments.username.as_deref()).map(Into::into),
        password,
        certificate: arguments.certificate.as_deref().map(|name| Arc::new(Certificate::of_common_name(name.into()))),
        remote: arguments.address.map(|address| (address, 0).into()),
        listener: arguments.listener.as_str().into(),
        protocol: match arguments.protocol.as_str() {
            "mqtt" => "mqtt",
            "mqtt-sn" => "mqtt-sn",
            "coap" => "coap",
            other => return Err(format!("{other:?}: expected mqtt, mqtt-sn or coap")),
        },
        ..Attempt::default()
    })
}

/// What is wanted: `connect`, or `publish` or `subscribe` with a topic.
fn wanted(arguments: &ExplainArguments, topic: Option<&str>) -> Result<Wanted, String> {
    let qos = Qos::from_u8(arguments.qos).unwrap_or_default();
    Ok(match (arguments.key.as_str(), topic) {
        (_, None) => Wanted::Connect,
        ("publish", Some(topic)) => Wanted::Publish { topic: topic.into(), qos, retain: arguments.retain },
        (_, Some(topic)) => {
            let limits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };
            let filter = TopicFilter::parse(topic, limits);
            Wanted::Subscribe { filter: filter.map_err(|error| format!("{topic:?} is no filter: {error:?}"))?, qos }
        }
    })
}

/// `thingway explain connect`, `publish` and `subscribe`
pub fn decide(configuration: &ConfigurationArguments, arguments: &ExplainArguments, topic: Option<&str>) -> Told {
    let loaded = configuration.load().map_err(|problems| problems.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    // Some that may be asked begin to fetch what they need as soon as they are made.
    let entered = runtime.enter();
    let (access, notes) = access(&loaded.config, &runtime)?;
    drop(entered);
    let transport = if arguments.protocol == "mqtt" { Transport::Tcp } else { Transport::Udp };
    let wanted = wanted(arguments, topic)?;
    let attempt = attempt(arguments)?;
    let explained = runtime.block_on(access.explain(attempt, transport, &wanted, Instant::ZERO));
    let word = match (explained.allowed, &wanted) {
        (true, _) => "allowed",
        (false, Wanted::Connect) => "refused",
        (false, _) => "denied",
    };
    let mut text = format!("{notes}{word}: {}\n", explained.decided_by);
    for step in &explained.steps {
        let says = match step.says {
            Verdict::Allow => "allows it",
            Verdict::Deny => "denies it",
            Verdict::Ignore => "says nothing of it",
            Verdict::Changes => "",
        };
        let detail = step.detail.as_deref().unwrap_or_default();
        let between = if says.is_empty() || detail.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "  {:<24} {says}{between}{detail}", step.source);
    }
    Ok((explained.allowed, text))
}
