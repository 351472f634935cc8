use super::{schema::settings, value::Period};

settings! {
    /// What the gateway publishes about itself under `$SYS`.
    pub struct SysTopics {
        /// Whether it does.
        enable: bool = true;
        /// Time between two publications of statistics and metrics.
        interval: Period = Period::from_secs(60);
        /// Time between two publications of uptime and date.
        heartbeat: Period = Period::from_secs(30);
        /// Whether to publish the tree of EMQX: `$SYS/brokers/{name}/...`.
        emqx_tree: bool = true;
        /// Whether to publish the tree of Mosquitto: `$SYS/broker/...`.
        mosquitto_tree: bool = true;
        /// Which events are published under `$SYS/brokers/{name}/clients/{client id}/...`.
        events: SysEvents = SysEvents::default();
    }
}

settings! {
    /// Events about clients that are published under `$SYS`.
    pub struct SysEvents {
        /// A client came.
        client_connected: bool = true;
        /// A client went.
        client_disconnected: bool = true;
        /// A client subscribed.
        client_subscribed: bool = false;
        /// A client unsubscribed.
        client_unsubscribed: bool = false;
    }
}
