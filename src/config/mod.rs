//! The gateway's settings: one file per section, read from layers of which each beats the one before: built-in defaults, a file, what was
//! changed at run time, the environment, the command line.

mod access;
mod access_databases;
mod access_http;
mod access_jwt;
mod alarms;
mod check;
mod coap;
mod dashboard;
mod delayed;
mod document;
mod explain;
mod file;
mod gateway;
mod in_effect;
mod layers;
mod listener;
mod load;
mod log;
mod mqtt;
mod mqttsn;
mod opentelemetry;
mod overload;
mod problem;
mod queue;
mod retained;
mod run_time;
mod schema;
mod shared;
mod store;
mod sys_topics;
mod validate;
mod value;

pub use access::{
    ACL_CONF, Access, AccessAttribute, AccessBackoff, AccessBan, AccessFlapping, AccessQuota, AccessRule, AccessUsers,
    AutoSubscribe, DenyAction, RuleAction, RuleFile, RuleFormat, RulePermission, RuleRetain, TopicRewrite, UsersBy,
    own_rules,
};
pub use access_databases::{
    AccessLdap, AccessMongodb, AccessRedis, AccessSql, DatabaseDown, DatabaseLimits, DatabaseTls, LdapMethod, address,
};
pub use access_http::{AccessHttp, HttpBody, HttpMethod, WhenDown};
pub use access_jwt::{AccessJwt, JwtFrom};
pub use alarms::Alarms;
pub use coap::{Amplification, Coap, CoapQos, NotifyType};
pub use dashboard::{Dashboard, DashboardTls};
pub use delayed::Delayed;
pub use document::document;
pub use explain::{explain, similar_key};
pub use gateway::{Gateway, Security};
pub use in_effect::is_below;
pub use listener::{
    CertificatePair, ClientAuth, ClientRate, CrlExpired, Listener, ListenerKind, ListenerProtocol, Listeners, Quic,
    Tcp, Tls, TlsIdentity, TlsVersion, Udp, Unix, WebSocket,
};
pub use load::{Loaded, Sources, USUAL_FILES};
pub use log::{Log, LogFormat};
pub use mqtt::{ListenerMqtt, Mqtt};
pub use mqttsn::{MqttSn, PredefinedTopic};
pub use opentelemetry::{
    OpenTelemetry, OpenTelemetryExporter, OpenTelemetryFilter, OpenTelemetryMetrics, OpenTelemetryTraces,
};
pub use overload::Overload;
pub use problem::{Cause, Origin, Problem, Problems};
pub use queue::{DropOrder, Queue};
pub use retained::Retained;
pub use run_time::{ChangeError, RUN_TIME_FILE, RunTime, Told, changes_of};
pub use schema::{Key, Shape};
pub use shared::{Shared, Strategy};
pub use store::{Store, StoreDurability};
pub use sys_topics::{SysEvents, SysTopics};
pub use value::{BadValue, Bind, ByteRate, OrInfinity, Period, Rate, SecretText, Size, Texts};

use schema::settings;

settings! {
    /// All settings. `Config::default()` is what the gateway does without any configuration.
    pub struct Config {
        /// The process as a whole.
        gateway: Gateway = Gateway::default();
        /// Where the gateway listens.
        listeners: Listeners = Listeners::default();
        /// The management interface: the API below /api/v5, and metrics.
        dashboard: Dashboard = Dashboard::default();
        /// Who may connect, and what they may do.
        access: Access = Access::default();
        /// What MQTT clients may do.
        mqtt: Mqtt = Mqtt::default();
        /// What MQTT-SN clients may do.
        mqttsn: MqttSn = MqttSn::default();
        /// What CoAP clients may do.
        coap: Coap = Coap::default();
        /// Messages that wait for a client.
        queue: Queue = Queue::default();
        /// What outlives a connection, and the gateway.
        store: Store = Store::default();
        /// Retained messages.
        retained: Retained = Retained::default();
        /// Delayed publication.
        delayed: Delayed = Delayed::default();
        /// Shared subscriptions.
        shared: Shared = Shared::default();
        /// What the gateway publishes about itself.
        sys_topics: SysTopics = SysTopics::default();
        /// What the gateway does when it has too much to do.
        overload: Overload = Overload::default();
        /// What raises an alarm.
        alarms: Alarms = Alarms::default();
        /// Metrics and traces that are pushed to a collector of OpenTelemetry, by OTLP over HTTP (protocol buffers).
        opentelemetry: OpenTelemetry = OpenTelemetry::default();
        /// What is written to the log.
        log: Log = Log::default();
    }
}
