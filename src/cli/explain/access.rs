use std::{fmt::Write, ops::ControlFlow, sync::Arc};

use thingway_contract::{Certificate, ClientId, Qos, TopicFilter, TopicLimits};
use thingway_store::for_each_setting;

use super::{ConfigurationArguments, ExplainArguments};
use crate::{
    access::{
        Attempt, Ban, Begun, Grant, Identity, Policy, Reason, decide_now, find_ban, is_system,
        rules::{Action, Permission},
        target,
        users::User,
    },
    access_config::{self, Kept},
    cli::{store, users::read_password},
    config::{Config, UsersBy},
};

/// Yes or no, and what to print.
type Told = Result<(bool, String), String>;

/// Everything that a gateway with this configuration would know.
struct World {
    config: Config,
    kept: Kept,
    file: crate::access::users::Users,
    policy: Policy,
    bans: Vec<Ban>,
    notes: String,
}

impl World {
    fn new(configuration: &ConfigurationArguments) -> Result<Self, String> {
        let loaded = configuration.load().map_err(|problems| problems.to_string())?;
        let config = loaded.config;
        let (mut kept, mut notes) = (Kept::default(), String::new());
        match store::open_to_look(&config) {
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
                let _ = writeln!(notes, "note: users and bans of the store are left out: {failure}");
            }
        }
        let error = |error: access_config::AccessError| error.to_string();
        let bans = access_config::bans(&config).map_err(error)?;
        Ok(Self {
            bans: bans.into_iter().chain(std::mem::take(&mut kept.bans)).collect(),
            file: access_config::file_users(&config).map_err(error)?,
            policy: access_config::policy(&config, &Arc::new(std::mem::take(&mut kept.rules))).map_err(error)?,
            config,
            kept,
            notes,
        })
    }

    fn user(&self, arguments: &ExplainArguments) -> Option<&Arc<User>> {
        let name = match self.config.access.users.by {
            UsersBy::Username => arguments.username.as_deref()?,
            UsersBy::ClientId => &arguments.client_id,
        };
        self.file.get(name).or_else(|| self.kept.users.get(name))
    }
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

/// `thingway explain connect`
pub fn connect(configuration: &ConfigurationArguments, arguments: &ExplainArguments) -> Told {
    let mut world = World::new(configuration)?;
    let mut attempt = attempt(arguments)?;
    access_config::add_attributes(&world.config, &mut attempt).map_err(|error| error.to_string())?;
    let attempt = Arc::new(attempt);
    let notes = std::mem::take(&mut world.notes);
    let (yes, why) = who_says(world, &attempt)?;
    let word = if yes { "allowed" } else { "refused" };
    Ok((yes, format!("{notes}{word}: {why}\n")))
}

fn who_says(world: World, attempt: &Arc<Attempt>) -> Result<(bool, String), String> {
    if let Some(ban) = find_ban(&world.bans, attempt) {
        let why = if ban.reason.is_empty() { String::new() } else { format!(", {}", ban.reason) };
        return Ok((false, format!("{ban} is banned{why}")));
    }
    let (chain, database) = access_config::chain(&world.config).map_err(|error| error.to_string())?;
    if let Some(database) = database {
        database.set_stored(world.kept.users);
        database.set_file(world.file);
    }
    let names = chain.names().collect::<Vec<_>>().join(", ");
    let settings = access_config::settings(&world.config, chain).map_err(|error| error.to_string())?;
    if settings.trusting_listeners.contains(&*attempt.listener) {
        let key = format!("listeners.{}.authenticate", attempt.listener);
        return Ok((true, format!("nobody is asked about who comes by this listener ({key} = false)")));
    }
    if settings.chain.is_empty() {
        return Ok(match settings.refuse_without_chain {
            true => (false, "no authenticator is configured (gateway.security = \"hardened\")".into()),
            false => (true, "no authenticator is configured".into()),
        });
    }
    if attempt.is_anonymous() && settings.allow_anonymous {
        return Ok((true, "it shows no user name and no password (access.allow_anonymous = true)".into()));
    }
    let runtime = runtime()?;
    let decision = match settings.chain.begin(attempt) {
        Begun::Made(decision) => decision,
        Begun::Later(later) => runtime.block_on(later),
    };
    Ok(match (decision.by, decision.outcome) {
        (Some(by), Ok(grant)) => {
            let mut why = format!("by {by}");
            if grant.superuser {
                why += ", as a superuser";
            }
            (true, why)
        }
        (Some(by), Err(refusal)) => (false, format!("by {by}: {refusal:?}")),
        (None, _) => (false, format!("none of {names} knows who that is")),
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

fn told(reason: Reason<'_>) -> String {
    match reason {
        Reason::Superuser => "it is a superuser, whom no rule binds".into(),
        Reason::Own(rule) => format!("by a rule that came with the credentials, {}", rule.place),
        Reason::Rule(rule) => format!("by {}", rule.place),
        Reason::Authority(name) => format!("by {name}"),
        Reason::NoMatch => "there are rules, and none is about it (access.no_match)".into(),
        Reason::NoRules => "there are no rules".into(),
    }
}

/// `thingway explain publish` and `subscribe`
pub fn decide(
    configuration: &ConfigurationArguments,
    arguments: &ExplainArguments,
    topic: &str,
    publishes: bool,
) -> Told {
    let world = World::new(configuration)?;
    let mut attempt = attempt(arguments)?;
    access_config::add_attributes(&world.config, &mut attempt).map_err(|error| error.to_string())?;
    let qos = Qos::from_u8(arguments.qos).unwrap_or_default();
    let filter;
    let (action, topic) = if publishes {
        if is_system(topic) {
            return Ok((false, format!("{}denied: $SYS is the gateway's own\n", world.notes)));
        }
        (Action::Publish { qos, retain: arguments.retain }, target(topic))
    } else {
        let limits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };
        filter = TopicFilter::parse(topic, limits).map_err(|error| format!("{topic:?} is no filter: {error:?}"))?;
        (Action::Subscribe { qos }, filter.filter())
    };
    let grant = world.user(arguments).map(|user| Grant {
        superuser: user.superuser,
        attributes: user.attributes.clone(),
        ..Grant::default()
    });
    let grant = grant.unwrap_or_default();
    let attributes = grant.attributes.over(&attempt.attributes);
    let identity = Identity::new(&attempt, Grant { attributes, ..grant });
    let runtime = runtime()?;
    let timeout = world.config.access.timeout.duration();
    let (policy, identity) = (Arc::new(world.policy), Arc::new(identity));
    let client_id = &arguments.client_id;
    let decided = decide_now(&policy, &identity, client_id, action, topic, timeout, |permission, reason| {
        (permission == Permission::Allow, told(reason))
    });
    let (yes, why) = runtime.block_on(decided);
    let word = if yes { "allowed" } else { "denied" };
    Ok((yes, format!("{}{word}: {why}\n", world.notes)))
}
