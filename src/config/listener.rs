use std::{collections::BTreeMap, path::PathBuf};

use super::{
    mqtt::ListenerMqtt,
    schema::{settings, words},
    value::{Bind, ByteRate, OrInfinity, Period, Rate, Size},
};
use crate::network::Network;

words! {
    /// What carries the bytes of a listener's connections.
    pub enum ListenerKind {
        /// TCP.
        Tcp = "tcp",
        /// TLS over TCP.
        Tls = "tls",
        /// WebSocket.
        Ws = "ws",
        /// WebSocket over TLS.
        Wss = "wss",
        /// QUIC.
        Quic = "quic",
        /// Datagrams over UDP.
        Udp = "udp",
        /// Unix domain socket.
        Unix = "unix",
    }
}

words! {
    /// The protocol that a listener's peers speak.
    pub enum ListenerProtocol {
        /// MQTT 3.1, 3.1.1 and 5.0.
        Mqtt = "mqtt",
        /// MQTT-SN 1.2; over UDP.
        MqttSn = "mqtt-sn",
        /// CoAP; over UDP.
        Coap = "coap",
    }
}

words! {
    /// Whether clients show a certificate of their own.
    pub enum ClientAuth {
        /// They are not asked.
        None = "none",
        /// They are asked; one that is shown must be good.
        Optional = "optional",
        /// Without a good one they are turned away.
        Required = "required",
    }
}

words! {
    /// What of a client's certificate becomes its name.
    pub enum TlsIdentity {
        /// Nothing.
        None = "none",
        /// The common name of its subject.
        Cn = "cn",
        /// Its whole subject.
        Dn = "dn",
        /// Its first alternative name (DNS, URI, e-mail or address).
        San = "san",
    }
}

words! {
    /// What becomes of clients whose certificates' revocation list has run out.
    pub enum CrlExpired {
        /// They are turned away.
        Refuse = "refuse",
        /// The old list holds.
        Accept = "accept",
    }
}

words! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// TLS 1.2.
        V1_2 = "1.2",
        /// TLS 1.3.
        V1_3 = "1.3",
    }
}

settings! {
    /// Where the gateway listens. Each kind has any number of listeners, named by their operators; one named `default` is there from the start, unless it says otherwise.
    pub struct Listeners {
        /// MQTT over TCP.
        tcp: BTreeMap<String, Listener> = one(Bind::Any(1883), true);
        /// MQTT over TLS.
        tls: BTreeMap<String, Listener> = one(Bind::Any(8883), true);
        /// MQTT over WebSocket.
        ws: BTreeMap<String, Listener> = one(Bind::Any(8083), true);
        /// MQTT over WebSocket over TLS.
        wss: BTreeMap<String, Listener> = one(Bind::Any(8084), true);
        /// MQTT over QUIC.
        quic: BTreeMap<String, Listener> = one(Bind::Any(14567), true);
        /// MQTT-SN and CoAP over UDP: two listeners, `mqttsn` and `coap`, are there from the start.
        udp: BTreeMap<String, Listener> = udp();
        /// MQTT over a Unix domain socket.
        unix: BTreeMap<String, Listener> = one(Bind::Path("/run/thingway/mqtt.sock".into()), false);
    }
}

settings! {
    /// One listener.
    pub struct Listener {
        /// Whether it listens.
        enable: bool = true;
        /// Where it listens: ":1883" is every address, IPv4 and IPv6; "0.0.0.0:1883" every IPv4 and "[::]:1883" every IPv6 address; or one address, or a path
        /// for a Unix socket. A listener that is named anew must say it.
        bind: Bind = Bind::Any(0);
        /// What its peers speak: "mqtt"; over udp "mqtt-sn" or "coap", which a listener that is named anew must say.
        protocol: ListenerProtocol = ListenerProtocol::Mqtt;
        /// Most connections at a time. Further ones are closed at once.
        max_connections: OrInfinity<u32> = OrInfinity::Infinity;
        /// New connections that are accepted in a span of time; further ones wait in the backlog.
        connection_rate: OrInfinity<Rate> = OrInfinity::Finite(Rate::per_second(10_000));
        /// New connections that may come at once before the rate counts.
        connection_burst: u32 = 20_000, within 1..=10_000_000;
        /// TLS, QUIC, WebSocket and proxy handshakes that may be going on at a time; further connections wait.
        handshake_concurrency: u32 = 1000, within 1..=1_000_000;
        /// How long such a handshake may take.
        handshake_timeout: Period = Period::from_secs(10);
        /// How long a peer may take from then on to its CONNECT.
        idle_timeout: Period = Period::from_secs(15);
        /// Connections that the system holds ready to be accepted.
        backlog: u32 = 1024, within 1..=1_000_000;
        /// Whether connections from trusted proxies begin with the header of the PROXY protocol, version 1 or 2. Those that do not are closed; others than
        /// trusted proxies connect as without this.
        proxy_protocol: bool = false;
        /// Proxies whose word on the peer's address is taken, in the PROXY protocol or in X-Forwarded-For: addresses or ranges.
        trusted_proxies: Vec<Network> = Vec::new();
        /// TCP details; not for quic and unix.
        tcp: Tcp = Tcp::default();
        /// Certificates; only for tls, wss and quic.
        tls: Tls = Tls::default();
        /// WebSocket details; only for ws and wss.
        websocket: WebSocket = WebSocket::default();
        /// QUIC details; only for quic.
        quic: Quic = Quic::default();
        /// UDP details; only for udp.
        udp: Udp = Udp::default();
        /// Unix socket details; only for unix.
        unix: Unix = Unix::default();
        /// What is put in front of all topics of its clients, and taken away again on what they get: "tenants/${client_attrs.tenant}/". Placeholders are those of
        /// rules; a client for which one has no value, or one with "/", "+" or "#" in it, is refused. An attribute `mountpoint` of the client counts before this.
        mountpoint: String = String::new();
        /// Whether authenticators are asked about its clients. Otherwise all may connect, under whatever name they give: for networks that are trusted.
        authenticate: bool = true;
        /// What one client may send. One that sends faster is read from more slowly, and nothing is lost; over udp, publications beyond it are refused and
        /// datagrams dropped.
        client_rate: ClientRate = ClientRate::default();
        /// What all its clients together may send, in the same way.
        total_rate: ClientRate = ClientRate::default();
        /// Instead of the values in the section `mqtt`, for this listener only. Not for udp.
        mqtt: ListenerMqtt = ListenerMqtt::default();
    }
}

settings! {
    /// TCP details.
    pub struct Tcp {
        /// Send small packets at once instead of collecting them.
        nodelay: bool = true;
        /// Silence after which the system asks whether the peer is still there; `0s` for never.
        keepalive_idle: Period = Period::from_secs(300);
        /// Time between two such questions, at least a second.
        keepalive_interval: Period = Period::from_secs(30);
        /// Questions without an answer after which the peer is taken for gone.
        keepalive_probes: u8 = 4, within 1..=100;
    }
}

settings! {
    /// Certificates of a listener.
    pub struct Tls {
        /// PEM file with the listener's certificate and those between it and its root. Without one, the gateway makes a self-signed certificate in its data directory.
        certificate: PathBuf = PathBuf::new();
        /// PEM file with the certificate's private key.
        key: PathBuf = PathBuf::new();
        /// Further certificates, chosen by the name that the client asks for (SNI).
        additional: Vec<CertificatePair> = Vec::new();
        /// Whether clients show a certificate: "none", "optional" or "required".
        client_auth: ClientAuth = ClientAuth::None;
        /// PEM file with the roots that clients' certificates must come from.
        client_ca: PathBuf = PathBuf::new();
        /// What of a client's certificate becomes its user name: "none", "cn" (common name), "dn" (subject) or "san" (first alternative name).
        identity_as_username: TlsIdentity = TlsIdentity::None;
        /// What of a client's certificate becomes its client id, whatever it gives itself. One whose certificate has no such name is refused.
        identity_as_client_id: TlsIdentity = TlsIdentity::None;
        /// Files with revocation lists (CRL), PEM or DER: clients whose certificates they name are refused. They are looked at as often as the certificates.
        crl_files: Vec<PathBuf> = Vec::new();
        /// What becomes of clients whose certificates' list has run out: "refuse" turns them away, "accept" goes by the old list until there is a new one.
        crl_expired: CrlExpired = CrlExpired::Refuse;
        /// Versions that are spoken: "1.2", "1.3" or both. QUIC is always 1.3.
        versions: Vec<TlsVersion> = vec![TlsVersion::V1_2, TlsVersion::V1_3];
        /// How often the files are looked at; `0s` for never. Changed ones are used for new connections; bad ones are reported and the old ones kept.
        reload_interval: Period = Period::from_secs(10);
    }
}

settings! {
    /// A certificate for some names.
    pub struct CertificatePair {
        /// PEM file with the certificate and those between it and its root.
        certificate: PathBuf = PathBuf::new();
        /// PEM file with its private key.
        key: PathBuf = PathBuf::new();
    }
}

settings! {
    /// WebSocket details.
    pub struct WebSocket {
        /// Path of the URL.
        path: String = "/mqtt".into();
        /// Turn clients away that do not offer a sub-protocol "mqtt", "mqttv3.1" or "mqttv3.1.1". The standard demands that they do.
        subprotocol_required: bool = true;
        /// Origins that browsers may come from, such as "https://app.example"; an empty list allows all. Who sends no Origin is no browser and is let in.
        origins: Vec<String> = Vec::new();
        /// Largest WebSocket frame that is accepted.
        max_frame_size: Size = Size::mib(1);
        /// Take the peer's address from X-Forwarded-For when a trusted proxy sent it.
        forwarded_for: bool = false;
    }
}

settings! {
    /// QUIC details.
    pub struct Quic {
        /// Streams that a client may have open at a time. The first carries CONNECT.
        streams_max: u16 = 64, within 1..=65_535;
        /// Silence after which a connection is taken for dead.
        idle_timeout: Period = Period::from_secs(600);
        /// Time between the gateway's signs of life; `0s` for none.
        keep_alive_interval: Period = Period::from_secs(240);
    }
}

settings! {
    /// UDP details.
    pub struct Udp {
        /// Conversations on each core whose peers have not shown that they are there, for a sender may have lied about its address. A new one beyond this ends
        /// the oldest of them; established ones are never ended for new ones.
        unproven_max: u32 = 10_000, within 1..=10_000_000;
        /// Datagrams from one source (an IPv4 address, or the 64-bit network of an IPv6 address); further ones are dropped.
        source_rate: OrInfinity<Rate> = OrInfinity::Infinity;
        /// Datagrams from one source that may come at once before the rate counts.
        source_burst: u32 = 1000, within 1..=10_000_000;
        /// Bytes that the system holds until they are read, as far as it allows.
        receive_buffer: Size = Size::mib(4);
        /// Multicast groups that are joined, such as "224.0.1.187", so that peers find the gateway by them.
        groups: Vec<String> = Vec::new();
        /// Broadcast and multicast addresses with a port to which the gateway announces itself, such as "255.255.255.255:1884", where the protocol has
        /// announcements.
        announce_to: Vec<String> = Vec::new();
    }
}

settings! {
    /// Unix socket details.
    pub struct Unix {
        /// Permissions of the socket's file, octal.
        mode: String = "0660".into();
    }
}

settings! {
    /// What one client may send.
    pub struct ClientRate {
        /// Publications.
        messages: OrInfinity<Rate> = OrInfinity::Infinity;
        /// Publications that may come at once before the rate counts; 0 for what the rate allows in one second, at least one.
        messages_burst: u32 = 0;
        /// Bytes of all packets.
        bytes: OrInfinity<ByteRate> = OrInfinity::Infinity;
        /// Bytes that may come at once before the rate counts; 0 for what the rate allows in one second.
        bytes_burst: Size = Size::bytes(0);
    }
}

impl Listeners {
    /// All listeners, enabled or not, in the order of [`ListenerKind::ALL`] and by name.
    pub fn iter(&self) -> impl Iterator<Item = (ListenerKind, &str, &Listener)> {
        ListenerKind::ALL
            .iter()
            .flat_map(|kind| self.of(*kind).iter().map(|(name, listener)| (*kind, name.as_str(), listener)))
    }

    /// The listeners of one kind.
    pub fn of(&self, kind: ListenerKind) -> &BTreeMap<String, Listener> {
        match kind {
            ListenerKind::Tcp => &self.tcp,
            ListenerKind::Tls => &self.tls,
            ListenerKind::Ws => &self.ws,
            ListenerKind::Wss => &self.wss,
            ListenerKind::Quic => &self.quic,
            ListenerKind::Udp => &self.udp,
            ListenerKind::Unix => &self.unix,
        }
    }

    /// The listeners of one kind, to be changed.
    pub fn of_mut(&mut self, kind: ListenerKind) -> &mut BTreeMap<String, Listener> {
        match kind {
            ListenerKind::Tcp => &mut self.tcp,
            ListenerKind::Tls => &mut self.tls,
            ListenerKind::Ws => &mut self.ws,
            ListenerKind::Wss => &mut self.wss,
            ListenerKind::Quic => &mut self.quic,
            ListenerKind::Udp => &mut self.udp,
            ListenerKind::Unix => &mut self.unix,
        }
    }

    /// No listeners at all: a start for tests and for programs that embed the gateway.
    pub fn none() -> Self {
        let none = BTreeMap::new;
        Self { tcp: none(), tls: none(), ws: none(), wss: none(), quic: none(), udp: none(), unix: none() }
    }
}

impl ListenerKind {
    /// True when TLS protects its connections.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Quic)
    }

    /// True when WebSocket frames carry its bytes.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// True when it is bound to a UDP port.
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::Quic | Self::Udp)
    }

    /// True when such a listener can speak a protocol.
    pub const fn speaks(self, protocol: ListenerProtocol) -> bool {
        matches!(self, Self::Udp) == matches!(protocol, ListenerProtocol::MqttSn | ListenerProtocol::Coap)
    }

    /// True when it is bound to a TCP port.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::Ws | Self::Wss)
    }

    /// Whether a table of a listener means something for this kind.
    pub(super) fn has_table(self, table: &str) -> bool {
        match table {
            "tcp" => self.is_tcp(),
            "tls" => self.is_encrypted(),
            "websocket" => self.is_websocket(),
            "quic" => self == Self::Quic,
            "udp" => self == Self::Udp,
            "unix" => self == Self::Unix,
            "mqtt" => self != Self::Udp,
            _ => true,
        }
    }
}

fn one(bind: Bind, enable: bool) -> BTreeMap<String, Listener> {
    BTreeMap::from([("default".into(), Listener { enable, bind, ..Listener::default() })])
}

fn udp() -> BTreeMap<String, Listener> {
    let listener = |port, protocol| Listener { bind: Bind::Any(port), protocol, ..Listener::default() };
    BTreeMap::from([
        ("coap".into(), listener(5683, ListenerProtocol::Coap)),
        ("mqttsn".into(), listener(1884, ListenerProtocol::MqttSn)),
    ])
}
