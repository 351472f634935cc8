//! What must hold between settings, and between settings and the world.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{
    ClientAuth, Config, Listener, ListenerKind,
    layers::{Layers, Value},
    own_rules,
    problem::{Cause, Origin, Problem},
    value::Bind,
};

/// Tells everything that does not hold.
pub fn validate(config: &Config, layers: &Layers, origin: &dyn Fn(&str) -> Origin, problems: &mut Vec<Problem>) {
    let mut checker = Checker { layers, origin, problems };
    checker.gateway(config);
    checker.access(config);
    checker.mqtt("mqtt", &config.mqtt);
    checker.mqttsn(&config.mqttsn);
    checker.coap(&config.coap);
    for (kind, name, listener) in config.listeners.iter() {
        checker.listener(kind, &format!("listeners.{kind}.{name}"), listener);
    }
    checker.collisions(config);
    checker.dashboard(config);
    checker.opentelemetry(config);
}

struct Checker<'a> {
    layers: &'a Layers,
    origin: &'a dyn Fn(&str) -> Origin,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn tell(&mut self, key: String, cause: Cause) {
        self.problems.push(Problem { origin: (self.origin)(&key), key, cause });
    }

    fn bad(&mut self, key: String, found: impl std::fmt::Debug, expected: &str) {
        self.tell(key, Cause::BadValue { found: format!("{found:?}"), expected: expected.into() });
    }

    fn gateway(&mut self, config: &Config) {
        let name = &config.gateway.name;
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fine) {
            self.bad("gateway.name".into(), name, "1 to 64 letters, digits, - _ . and @");
        }
        if config.gateway.data_dir.as_os_str().is_empty() {
            self.bad("gateway.data_dir".into(), &config.gateway.data_dir, "the path of a directory");
        }
        let periods = [
            ("sys_topics.interval", config.sys_topics.interval),
            ("sys_topics.heartbeat", config.sys_topics.heartbeat),
            ("alarms.check_interval", config.alarms.check_interval),
            ("overload.lag_max", config.overload.lag_max),
            ("overload.check_interval", config.overload.check_interval),
            ("retained.expiry", config.retained.expiry.or(super::Period::from_secs(1))),
        ];
        for (key, period) in periods {
            if period.is_zero() {
                self.bad(key.into(), period.to_string(), "a time longer than \"0s\"");
            }
        }
        if !is_log_filter(&config.log.level) {
            self.bad(
                "log.level".into(),
                &config.log.level,
                "\"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\", or a list such as \"info,thingway::net=debug\"",
            );
        }
    }

    fn access(&mut self, config: &Config) {
        let access = &config.access;
        for (key, period) in [
            ("timeout", access.timeout),
            ("backoff.first", access.backoff.first),
            ("backoff.longest", access.backoff.longest),
            ("flapping.window", access.flapping.window),
            ("flapping.ban", access.flapping.ban),
        ] {
            if period.is_zero() {
                self.bad(format!("access.{key}"), period.to_string(), "a time longer than \"0s\"");
            }
        }
        let of_http = access
            .http
            .iter()
            .flat_map(|(name, it)| [("timeout", it.timeout), ("rest", it.rest)].map(|pair| ("http", name, pair)));
        let of_jwt = access.jwt.iter().flat_map(|(name, it)| {
            [("jwks_timeout", it.jwks_timeout), ("jwks_refresh", it.jwks_refresh)].map(|pair| ("jwt", name, pair))
        });
        for (kind, name, (key, period)) in of_http.chain(of_jwt) {
            if period.is_zero() {
                self.bad(format!("access.{kind}.{name}.{key}"), period.to_string(), "a time longer than \"0s\"");
            }
        }
        let quota = &access.quota;
        let has_rate =
            quota.namespace_rate.messages.finite().is_some() || quota.namespace_rate.bytes.finite().is_some();
        for (key, is_set) in [
            ("connections_per_namespace", quota.connections_per_namespace.finite().is_some()),
            ("namespace_rate", has_rate),
        ] {
            if is_set && quota.namespace.is_empty() {
                let other = "access.quota.namespace".into();
                self.tell(format!("access.quota.{key}"), Cause::Needs { other, expected: "the name of an attribute" });
            }
        }
        if is_set(&access.users.file) {
            self.file("access.users.file".into(), &access.users.file);
        }
        if is_set(&access.psk_file) {
            self.file("access.psk_file".into(), &access.psk_file);
        }
        for file in &access.rule_files {
            self.file("access.rule_files".into(), &file.path);
        }
        if let Some(rule) = access.rules.iter().find(|rule| rule.qos.iter().any(|&qos| qos > 2)) {
            self.bad("access.rules".into(), &rule.qos, "qualities of service from 0 to 2");
        }
        let mut wrong = Vec::new();
        let mut files = Vec::new();
        access.check_databases(&mut |key, cause| wrong.push((key, cause)), &mut |key, path| {
            files.push((key, path.to_owned()));
        });
        wrong.into_iter().for_each(|(key, cause)| self.tell(key, cause));
        files.into_iter().for_each(|(key, path)| self.file(key, &path));
        self.names("access.authenticators", &access.authenticators, &access.authenticator_names());
        self.names("access.sources", &access.sources, &access.source_names());
        if access.has_rules() && access.named_rules().next().is_none() {
            self.bad("access.sources".into(), &access.sources, "\"rules\" among them, as there are some");
        }
        if access.named_rules().count() > 1 && access.named_rules().any(|name| name == own_rules::ALL) {
            self.bad("access.sources".into(), &access.sources, "\"rules\", or its parts by themselves");
        }
    }

    /// Each of these names is known, and there once.
    fn names(&mut self, key: &str, names: &[String], known: &[String]) {
        for (index, name) in names.iter().enumerate() {
            if !known.contains(name) {
                self.bad(key.into(), name, &format!("one of {}", known.join(", ")));
            } else if names[..index].contains(name) {
                self.bad(key.into(), name, "each of them once");
            }
        }
    }

    fn mqtt(&mut self, at: &str, mqtt: &super::Mqtt) {
        // What a listener inherits is told once, where it was written.
        let own = |key: &str| self.layers.value(&format!("{at}.{key}")).is_some();
        let (own_size, own_keep_alive) = (own("max_packet_size"), own("server_keep_alive"));
        let own_texts = [own("response_information"), own("server_reference")];
        // The largest packet that MQTT can express: five bytes of header and 268,435,455 (MQTT 5.0, section 1.5.5).
        if own_size && !(64..=268_435_460).contains(&mqtt.max_packet_size.get()) {
            self.bad(
                format!("{at}.max_packet_size"),
                mqtt.max_packet_size.to_string(),
                "from \"64B\" to \"268435460B\"",
            );
        }
        if own_keep_alive && mqtt.server_keep_alive.duration().as_secs() > 65_535 {
            self.bad(format!("{at}.server_keep_alive"), mqtt.server_keep_alive.to_string(), "at most \"65535s\"");
        }
        let texts =
            [("response_information", &mqtt.response_information), ("server_reference", &mqtt.server_reference)];
        for ((key, text), own) in texts.into_iter().zip(own_texts) {
            if own && (text.len() > 1024 || text.contains('\0')) {
                self.bad(format!("{at}.{key}"), text, "at most 1024 bytes without NUL");
            }
        }
    }

    fn mqttsn(&mut self, settings: &super::MqttSn) {
        for topic in &settings.predefined {
            if topic.id == 0 || topic.id == u16::MAX || topic.topic.is_empty() || topic.topic.contains(['+', '#', '\0'])
            {
                self.bad("mqttsn.predefined".into(), topic, "an id from 1 to 65534 and a topic name without wildcards");
            }
        }
        for (index, topic) in settings.predefined.iter().enumerate() {
            let same = |other: &&super::PredefinedTopic| {
                other.client == topic.client && (other.id == topic.id || other.topic == topic.topic)
            };
            if settings.predefined[..index].iter().any(|other| same(&other)) {
                self.bad("mqttsn.predefined".into(), topic, "each id and each topic once for a client");
            }
        }
        if !(128..=65_507).contains(&settings.datagram_size_max.get()) {
            let found = settings.datagram_size_max.to_string();
            self.bad("mqttsn.datagram_size_max".into(), found, "from \"128B\" to \"65507B\"");
        }
        for (key, period) in
            [("retry_interval", settings.retry_interval), ("qos_minus_one_idle", settings.qos_minus_one_idle)]
        {
            if period.is_zero() {
                self.bad(format!("mqttsn.{key}"), period.to_string(), "a time longer than \"0s\"");
            }
        }
    }

    fn coap(&mut self, settings: &super::Coap) {
        let block = settings.block_size.get();
        if !block.is_power_of_two() || !(16..=1024).contains(&block) {
            let found = settings.block_size.to_string();
            self.bad("coap.block_size".into(), found, "16, 32, 64, 128, 256, 512 or 1024 bytes");
        }
        for (key, period) in
            [("ack_timeout", settings.ack_timeout), ("idle", settings.idle), ("block_timeout", settings.block_timeout)]
        {
            if period.is_zero() {
                self.bad(format!("coap.{key}"), period.to_string(), "a time longer than \"0s\"");
            }
        }
        if settings.pubsub_path.contains(['/', '?', ' ']) || settings.pubsub_path == "ps" {
            self.bad("coap.pubsub_path".into(), &settings.pubsub_path, "one segment of a path, and not \"ps\"");
        }
    }

    fn listener(&mut self, kind: ListenerKind, at: &str, listener: &Listener) {
        for table in ["tcp", "tls", "websocket", "quic", "udp", "unix", "mqtt"] {
            let key = format!("{at}.{table}");
            let written = !kind.has_table(table) && self.is_written(&key);
            if written {
                let kinds: Vec<_> =
                    ListenerKind::ALL.iter().filter(|kind| kind.has_table(table)).map(|kind| kind.as_str()).collect();
                self.tell(key, Cause::Pointless { only_for: kinds.join(", ") });
            }
        }
        let bind = format!("{at}.bind");
        if self.layers.value(&bind).is_none() {
            let expected = if kind == ListenerKind::Unix { "a path" } else { "where to listen, such as \":1883\"" };
            return self.tell(bind, Cause::Missing { expected: expected.into() });
        }
        match (&listener.bind, kind) {
            (Bind::Path(_), ListenerKind::Unix) => {}
            (_, ListenerKind::Unix) => {
                self.bad(bind, listener.bind.to_string(), "a path such as \"/run/thingway.sock\"")
            }
            (Bind::Path(_), _) => self.bad(bind, listener.bind.to_string(), "a port, or an address with a port"),
            _ => {}
        }
        if !kind.speaks(listener.protocol) {
            let key = format!("{at}.protocol");
            match kind {
                ListenerKind::Udp if self.layers.value(&key).is_none() => {
                    self.tell(key, Cause::Missing { expected: "\"mqtt-sn\" or \"coap\"".into() });
                }
                ListenerKind::Udp => self.bad(key, listener.protocol.as_str(), "\"mqtt-sn\" or \"coap\""),
                _ => self.bad(key, listener.protocol.as_str(), "\"mqtt\""),
            }
        }
        for (key, texts, expected, good) in [
            (
                "groups",
                &listener.udp.groups,
                "multicast addresses such as \"224.0.1.187\"",
                is_group as fn(&str) -> bool,
            ),
            (
                "announce_to",
                &listener.udp.announce_to,
                "addresses with a port such as \"255.255.255.255:1884\"",
                |text| text.parse::<SocketAddr>().is_ok(),
            ),
        ] {
            if let Some(bad) = texts.iter().find(|text| !good(text)) {
                self.bad(format!("{at}.udp.{key}"), bad, expected);
            }
        }
        // Periods of zero would close every connection at once.
        for (key, period) in
            [("idle_timeout", listener.idle_timeout), ("handshake_timeout", listener.handshake_timeout)]
        {
            if period.is_zero() {
                self.bad(format!("{at}.{key}"), period.to_string(), "a time longer than \"0s\"");
            }
        }
        for (key, trusting) in
            [("proxy_protocol", listener.proxy_protocol), ("websocket.forwarded_for", listener.websocket.forwarded_for)]
        {
            if trusting && listener.trusted_proxies.is_empty() {
                let other = format!("{at}.trusted_proxies");
                self.tell(format!("{at}.{key}"), Cause::Needs { other, expected: "a list of at least one proxy" });
            }
        }
        if listener.proxy_protocol && matches!(kind, ListenerKind::Quic | ListenerKind::Udp | ListenerKind::Unix) {
            self.tell(format!("{at}.proxy_protocol"), Cause::Pointless { only_for: "tcp, tls, ws, wss".into() });
        }
        self.tls(at, kind, listener);
        if kind.is_websocket() {
            self.websocket(at, listener);
        }
        let mode = &listener.unix.mode;
        if !matches!(u32::from_str_radix(mode, 8), Ok(0..=0o777)) {
            self.bad(format!("{at}.unix.mode"), mode, "an octal number from \"0000\" to \"0777\"");
        }
        self.mqtt(&format!("{at}.mqtt"), &listener.mqtt);
    }

    /// Both or none; they are looked for when they are used.
    fn certificate_and_key(&mut self, at: &str, used: bool, certificate: &Path, key: &Path) {
        let (certificate_key, key_key) = (format!("{at}.certificate"), format!("{at}.key"));
        match (is_set(certificate), is_set(key)) {
            (true, false) => {
                let cause = Cause::Needs { other: key_key, expected: "its private key's file" };
                self.tell(certificate_key, cause);
            }
            (false, true) => {
                let cause = Cause::Needs { other: certificate_key, expected: "its certificate's file" };
                self.tell(key_key, cause);
            }
            (true, true) if used => {
                self.file(certificate_key, certificate);
                self.file(key_key, key);
            }
            _ => {}
        }
    }

    fn tls(&mut self, at: &str, kind: ListenerKind, listener: &Listener) {
        if !kind.is_encrypted() {
            return;
        }
        let tls = &listener.tls;
        let at = format!("{at}.tls");
        self.certificate_and_key(&at, listener.enable, &tls.certificate, &tls.key);
        for pair in &tls.additional {
            for path in [&pair.certificate, &pair.key] {
                if is_set(path) {
                    self.file(format!("{at}.additional"), path);
                } else {
                    self.bad(format!("{at}.additional"), path, "a certificate and a key for each");
                }
            }
        }
        let client_ca = format!("{at}.client_ca");
        if is_set(&tls.client_ca) && listener.enable {
            self.file(client_ca, &tls.client_ca);
        } else if tls.client_auth != ClientAuth::None && !is_set(&tls.client_ca) {
            let cause = Cause::Needs { other: client_ca, expected: "a file with the roots that clients may come from" };
            self.tell(format!("{at}.client_auth"), cause);
        }
        for (key, is_set) in [
            ("identity_as_username", tls.identity_as_username != super::TlsIdentity::None),
            ("identity_as_client_id", tls.identity_as_client_id != super::TlsIdentity::None),
            ("crl_files", !tls.crl_files.is_empty()),
        ] {
            if is_set && tls.client_auth == ClientAuth::None {
                let other = format!("{at}.client_auth");
                let cause = Cause::Needs { other, expected: "\"optional\" or \"required\"" };
                self.tell(format!("{at}.{key}"), cause);
            }
        }
        if listener.enable {
            for path in &tls.crl_files {
                self.file(format!("{at}.crl_files"), path);
            }
        }
        let spoken: Vec<_> = tls.versions.iter().map(|version| version.as_str()).collect();
        if spoken.is_empty() {
            self.bad(format!("{at}.versions"), &spoken, "\"1.2\", \"1.3\" or both");
        } else if kind == ListenerKind::Quic && !spoken.contains(&"1.3") {
            self.bad(format!("{at}.versions"), &spoken, "a list with \"1.3\", which is what QUIC speaks");
        }
    }

    fn websocket(&mut self, at: &str, listener: &Listener) {
        let websocket = &listener.websocket;
        let key = |name: &str| format!("{at}.websocket.{name}");
        if !websocket.path.starts_with('/') || websocket.path.contains(['?', '#', ' ']) {
            self.bad(key("path"), &websocket.path, "the path of a URL, beginning with \"/\", such as \"/mqtt\"");
        }
        for origin in &websocket.origins {
            let host = origin.split_once("://").map(|(_, host)| host);
            if !host.is_some_and(|host| !host.is_empty() && !host.contains('/')) {
                self.bad(key("origins"), origin, "scheme and host without a path, such as \"https://app.example\"");
            }
        }
        if websocket.max_frame_size.get() < 128 {
            self.bad(key("max_frame_size"), websocket.max_frame_size.to_string(), "at least \"128B\"");
        }
    }

    fn file(&mut self, key: String, path: &Path) {
        let result = File::open(path).and_then(|file| file.metadata());
        let kind = match result {
            Ok(metadata) if metadata.is_dir() => std::io::ErrorKind::IsADirectory,
            Ok(_) => return,
            Err(error) => error.kind(),
        };
        self.tell(key, Cause::NamedFileUnreadable { path: PathBuf::from(path), kind });
    }

    fn collisions(&mut self, config: &Config) {
        let enabled: Vec<_> = config.listeners.iter().filter(|(_, _, listener)| listener.enable).collect();
        for (index, (kind, name, listener)) in enabled.iter().enumerate() {
            let earlier = enabled[..index].iter().find(|(other_kind, _, other)| {
                // UDP and TCP have ports of their own.
                other_kind.is_udp() == kind.is_udp() && other.bind.collides(&listener.bind)
            });
            if let Some((other_kind, other_name, _)) = earlier {
                let other = format!("listeners.{other_kind}.{other_name}.bind");
                let other_origin = (self.origin)(&other);
                let cause = Cause::Collision { other, other_origin, bind: listener.bind.to_string() };
                self.tell(format!("listeners.{kind}.{name}.bind"), cause);
            }
        }
    }

    fn dashboard(&mut self, config: &Config) {
        let dashboard = &config.dashboard;
        if !dashboard.enable {
            return;
        }
        if is_set(&dashboard.first_password_file) {
            self.file("dashboard.first_password_file".into(), &dashboard.first_password_file);
        }
        self.dashboard_bind(config, "dashboard.bind", &dashboard.bind);
        let tls = &dashboard.tls;
        if !tls.enable {
            return;
        }
        self.dashboard_bind(config, "dashboard.tls.bind", &tls.bind);
        if tls.bind.collides(&dashboard.bind) {
            let other = "dashboard.bind".to_owned();
            let other_origin = (self.origin)(&other);
            let cause = Cause::Collision { other, other_origin, bind: tls.bind.to_string() };
            self.tell("dashboard.tls.bind".into(), cause);
        }
        self.certificate_and_key("dashboard.tls", true, &tls.certificate, &tls.key);
    }

    fn opentelemetry(&mut self, config: &Config) {
        let super::OpenTelemetry { exporter, metrics, traces } = &config.opentelemetry;
        for (key, period) in [
            ("exporter.timeout", exporter.timeout),
            ("metrics.interval", metrics.interval),
            ("traces.scheduled_delay", traces.scheduled_delay),
        ] {
            if period.is_zero() {
                self.bad(format!("opentelemetry.{key}"), period.to_string(), "a time longer than \"0s\"");
            }
        }
        let ratio = traces.filter.sample_ratio;
        if !(0.0..=1.0).contains(&ratio) {
            self.bad("opentelemetry.traces.filter.sample_ratio".into(), ratio, "a number from 0 to 1");
        }
        for (key, enabled) in [("metrics", metrics.enable), ("traces", traces.enable)] {
            if enabled && !cfg!(feature = "opentelemetry") {
                self.bad(
                    format!("opentelemetry.{key}.enable"),
                    true,
                    "false: this binary was built without the feature opentelemetry",
                );
            }
        }
        if metrics.enable && !config.dashboard.enable {
            let other = "dashboard.enable".to_owned();
            self.tell("opentelemetry.metrics.enable".into(), Cause::Needs { other, expected: "true" });
        }
        if (metrics.enable || traces.enable) && is_set(&exporter.ca_file) {
            self.file("opentelemetry.exporter.ca_file".into(), &exporter.ca_file);
        }
    }

    fn dashboard_bind(&mut self, config: &Config, key: &str, bind: &Bind) {
        if let Bind::Path(_) = bind {
            self.bad(key.into(), bind.to_string(), "an address or a port");
        }
        let mut others = config.listeners.iter().filter(|(kind, _, other)| other.enable && !kind.is_udp());
        if let Some((kind, name, _)) = others.find(|(_, _, other)| other.bind.collides(bind)) {
            let other = format!("listeners.{kind}.{name}.bind");
            let other_origin = (self.origin)(&other);
            self.tell(key.into(), Cause::Collision { other, other_origin, bind: bind.to_string() });
        }
    }

    /// True when an operator wrote something in this table: the defaults are there in any case.
    fn is_written(&self, table: &str) -> bool {
        match self.layers.value(table) {
            Some(Value::Dict(_, values)) => {
                values.keys().any(|name| (self.origin)(&format!("{table}.{name}")) != Origin::Default)
            }
            _ => false,
        }
    }
}

fn is_group(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok_and(|address| address.is_multicast())
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// Stricter than the parser of tracing-subscriber, which takes any word for the name of a module.
fn is_log_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    text.split(',').map(|part| part.trim().split_once('=').map_or(("", part), |(module, level)| (module, level))).all(
        |(module, level)| {
            LEVELS.contains(&level.trim())
                && module.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys and causes of what is wrong.
    fn causes(text: &str) -> Vec<(String, Cause)> {
        let problems = Config::from_toml(text).expect_err("is wrong").0;
        problems.into_iter().map(|problem| (problem.key, problem.cause)).collect()
    }

    #[test]
    fn two_listeners_on_one_address() {
        let text = "[listeners.tcp.other]\nbind = \"127.0.0.1:1883\"\n[listeners.ws.third]\nbind = 7\n[listeners.tcp.forth]\nbind = 7\nenable = false\n";
        let problems = Config::from_toml(text).expect_err("is wrong").to_string();
        assert_eq!(
            problems,
            "configuration:2: listeners.tcp.other.bind: 127.0.0.1:1883 is taken by listeners.tcp.default.bind (built-in default), \
             expected an address that no other listener has"
        );
        assert!(Config::from_toml("[listeners.quic.default]\nbind = 1883\n").is_ok(), "UDP has ports of its own");
        assert!(Config::from_toml("[listeners.tcp.default]\nbind = 0\n[listeners.ws.default]\nbind = 0\n").is_ok());
    }

    #[test]
    fn a_new_listener_says_where() {
        let causes = causes("[listeners.tcp.other]\nenable = true\n");
        assert_eq!(causes[0].0, "listeners.tcp.other.bind");
        assert!(matches!(causes[0].1, Cause::Missing { .. }));
    }

    #[test]
    fn tables_of_another_kind() {
        let causes = causes("[listeners.tcp.default.websocket]\npath = \"/x\"\n[listeners.unix.default]\nbind = 5\n");
        assert_eq!(causes[0].0, "listeners.tcp.default.websocket");
        assert_eq!(causes[0].1, Cause::Pointless { only_for: "ws, wss".into() });
        assert_eq!(causes[1].0, "listeners.unix.default.bind");
    }

    #[test]
    fn certificates() {
        let text = "[listeners.tls.default.tls]\ncertificate = \"/nonexistent/c.pem\"\nkey = \"/\"\nclient_auth = \"required\"\nversions = []\n\
                    [listeners.wss.default.tls]\ncertificate = \"x\"\nidentity_as_username = \"cn\"\n";
        let keys: Vec<_> = causes(text).into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "listeners.tls.default.tls.certificate",
                "listeners.tls.default.tls.key",
                "listeners.tls.default.tls.client_auth",
                "listeners.tls.default.tls.versions",
                "listeners.wss.default.tls.certificate",
                "listeners.wss.default.tls.identity_as_username",
            ]
        );
    }

    #[test]
    fn proxies_must_be_named() {
        let text = "[listeners.ws.default]\nproxy_protocol = true\nwebsocket.forwarded_for = true\n";
        assert_eq!(causes(text).len(), 2);
        assert!(Config::from_toml(&format!("{text}trusted_proxies = [\"10.0.0.0/8\"]\n")).is_ok());
    }

    #[test]
    fn values_that_would_stop_everything() {
        for text in [
            "mqtt.max_packet_size = 1",
            "listeners.tcp.default.mqtt.max_packet_size = \"1GiB\"",
            "mqtt.server_keep_alive = \"20h\"",
            "listeners.tcp.default.idle_timeout = \"0s\"",
            "listeners.ws.default.websocket.path = \"mqtt\"",
            "listeners.ws.default.websocket.origins = [\"app.example\"]",
            "listeners.unix.default.unix.mode = \"0999\"",
            "log.level = \"verbose\"",
            "log.level = \"info,thingway=loud\"",
            "sys_topics.interval = \"0s\"",
            "gateway.data_dir = \"\"",
            "retained.expiry = \"0s\"",
            "listeners.quic.default.tls.versions = [\"1.2\"]",
            "listeners.tcp.default.mqtt.subscriptions_max = 1",
            "listeners.tcp.default.protocol = \"coap\"",
            "listeners.udp.coap.protocol = \"mqtt\"",
            "listeners.udp.other.bind = 7",
            "listeners.udp.coap.mqtt.max_qos = 1",
            "listeners.udp.coap.udp.groups = [\"10.0.0.1\"]",
            "listeners.udp.mqttsn.udp.announce_to = [\"255.255.255.255\"]",
            "listeners.udp.mqttsn.bind = 14567",
            "mqttsn.predefined = [{ id = 0, topic = \"a\" }]",
            "mqttsn.predefined = [{ id = 1, topic = \"a/+\" }]",
            "mqttsn.predefined = [{ id = 1, topic = \"a\" }, { id = 1, topic = \"b\" }]",
            "mqttsn.datagram_size_max = \"1B\"",
            "mqttsn.retry_interval = \"0s\"",
            "coap.block_size = \"1000B\"",
            "coap.ack_timeout = \"0s\"",
            "coap.pubsub_path = \"ps\"",
            "access.timeout = \"0s\"",
            "access.http.a.timeout = \"0s\"",
            "access.jwt.a.jwks_refresh = \"0s\"",
            "access.http.a.headers = { a = 7 }",
            "access.authenticators = [\"http.a\"]",
            "access.users.file = \"/nonexistent/users\"",
            "access.rule_files = [{ path = \"/nonexistent/acl.conf\" }]",
            "access.rules = [{ permission = \"allow\", qos = [3] }]",
            "access.authenticators = [\"users\", \"users\"]",
        ] {
            assert_eq!(causes(text).len(), 1, "{text}");
        }
        assert!(Config::from_toml("log.level = \"info, thingway::net=debug\"").is_ok());
    }
}
