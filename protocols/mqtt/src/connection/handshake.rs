use bytes::Bytes;
use thingway_contract::{
    ClientId, ClientIdError, Connect as ConnectRequest, Connected, Credentials, Instant, Message, MessageHead, Outbox,
    Password, Properties, Refusal, Request, Topic, Will as WillRequest,
};

use super::{Connection, Phase};
use crate::{
    MqttFault, PacketError, PropertyBlock, PropertyId, PropertyWriter, Reason, Value, Version,
    codec::{Frame, varint},
    fault::{refusal_reason, return_code},
    inflight::Inflight,
    packet::{Auth, Connack, Connect, Packet, PacketType, Sender, Will},
};

/// What is known from CONNECT and needed until CONNACK.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The keep-alive interval that the client must be told.
    server_keep_alive_secs: Option<u16>,
    wants_response_information: bool,
}

/// Enhanced authentication (section 4.12).
#[derive(Debug)]
pub(super) struct Authentication {
    method: Box<str>,
    /// How far it is when it happens again on a connection that is up.
    pub(super) again: Reauthentication,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reauthentication {
    None,
    /// The gateway decides.
    Requested,
    /// The client's AUTH is due.
    Challenged,
}

/// Absent limits of the client: what a fixed header can announce at most, and what section 3.1.2.11.3 says.
const PACKET_BYTES_UNLIMITED: u32 = varint::MAX + 5;
const RECEIVE_MAXIMUM_UNLIMITED: u16 = u16::MAX;
/// User properties of CONNECT that go to the gateway; further ones are left out.
const USER_PROPERTIES_MAX: usize = 64;

impl Connection {
    pub(super) fn on_connect(&mut self, frame: Frame<'_>, out: &mut Outbox) -> Result<(), MqttFault> {
        let version = Connect::peek_version(frame.body)?;
        self.version = Some(version);
        self.downstream.version = version;
        self.downstream.packet_bytes_max = PACKET_BYTES_UNLIMITED;
        if version < self.config.version_min || version > self.config.version_max {
            return Err(MqttFault::VersionNotSupported(version));
        }
        frame.packet_type(version)?;
        let connect = Connect::decode(frame.body)?;
        let properties = connect.properties;
        if let Some(bytes) = properties.number(PropertyId::MaximumPacketSize) {
            self.downstream.packet_bytes_max = bytes.min(PACKET_BYTES_UNLIMITED);
        }
        self.downstream.problem_information = properties.flag(PropertyId::RequestProblemInformation).unwrap_or(true);
        let aliases = properties.short(PropertyId::TopicAliasMaximum).unwrap_or(0);
        self.downstream.aliases_max = aliases.min(self.config.topic_alias_out_max);
        let receive_maximum = properties.short(PropertyId::ReceiveMaximum).unwrap_or(RECEIVE_MAXIMUM_UNLIMITED);
        self.window = receive_maximum.min(self.config.inflight_max).max(1);

        let client_id = self.client_id(&connect)?;
        let will = connect.will.map(|will| self.will_request(&will)).transpose()?;
        let (keep_alive_secs, server_keep_alive_secs) = match self.config.server_keep_alive_secs {
            Some(secs) if version.has_properties() => (secs, Some(secs)),
            _ => (connect.keep_alive_secs, None),
        };
        self.keep_alive_secs = keep_alive_secs;
        self.session_expiry_secs = match version {
            Version::V5 => properties.number(PropertyId::SessionExpiryInterval).unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => self.config.session_expiry_v3_secs,
        };
        let wants_response_information = properties.flag(PropertyId::RequestResponseInformation) == Some(true);
        self.handshake = Some(Box::new(Handshake { server_keep_alive_secs, wants_response_information }));
        let method = properties.text(PropertyId::AuthenticationMethod).map(Box::<str>::from);
        self.authentication = method.clone().map(|method| {
            let again = Reauthentication::None;
            Box::new(Authentication { method, again })
        });
        let credentials = Credentials {
            username: connect.username.map(Box::from),
            password: connect.password.map(Password::copy_of),
            method,
            data: properties.bytes(PropertyId::AuthenticationData).map(Bytes::copy_from_slice),
            user_properties: user_properties(&properties),
        };
        self.phase = Phase::Connecting;
        out.request(Request::Connect(Box::new(ConnectRequest {
            client_id,
            clean_start: connect.clean_start,
            must_exist: false,
            resume_key: None,
            keep_will: false,
            session_expiry_secs: self.session_expiry_secs.min(self.config.session_expiry_max_secs),
            credentials,
            will,
            version: version.level(),
            keep_alive_secs,
            receive_maximum,
        })));
        Ok(())
    }

    /// Section 3.1.3.1: an empty identifier asks for an assigned one, before 5.0 only together with "clean session"
    /// [MQTT-3.1.3-7] and in 3.1 never.
    fn client_id(&self, connect: &Connect<'_>) -> Result<Option<ClientId>, MqttFault> {
        if connect.client_id.is_empty() {
            let allowed = match connect.version {
                Version::V31 => false,
                Version::V311 => connect.clean_start,
                Version::V5 => true,
            };
            return if allowed && self.config.allow_empty_client_id {
                Ok(None)
            } else {
                Err(MqttFault::ClientId(ClientIdError::Empty))
            };
        }
        ClientId::new(connect.client_id, self.config.client_id_bytes_max).map(Some).map_err(MqttFault::ClientId)
    }

    fn will_request(&self, will: &Will<'_>) -> Result<Box<WillRequest>, MqttFault> {
        if will.qos > self.config.qos_max {
            return Err(MqttFault::QosNotSupported);
        }
        if will.retain && !self.config.retain_available {
            return Err(MqttFault::RetainNotSupported);
        }
        let topic = Topic::parse(will.topic, self.config.topic_limits).map_err(MqttFault::TopicBeyondLimits)?;
        let says_utf8 = will.properties.flag(PropertyId::PayloadFormatIndicator) == Some(true);
        if self.config.payload_format_checked && says_utf8 && std::str::from_utf8(will.payload).is_err() {
            return Err(MqttFault::PayloadFormat);
        }
        let mut kept = Vec::new();
        for (id, _, encoded) in will.properties.iter_encoded() {
            if !matches!(id, PropertyId::WillDelayInterval | PropertyId::MessageExpiryInterval) {
                kept.extend_from_slice(encoded);
            }
        }
        let head = MessageHead { qos: will.qos, retain: will.retain, ..MessageHead::default() };
        Ok(Box::new(WillRequest {
            message: Message::new(head, topic, Properties::trusted(&kept), will.payload),
            delay_secs: will.properties.number(PropertyId::WillDelayInterval).unwrap_or(0),
            expiry_secs: will.properties.number(PropertyId::MessageExpiryInterval),
        }))
    }

    pub(super) fn connected(&mut self, connected: Connected, now: Instant, out: &mut Outbox) -> Result<(), MqttFault> {
        let Some(handshake) = self.handshake.take().filter(|_| self.phase == Phase::Connecting) else {
            return Err(MqttFault::BadReply);
        };
        let properties = self.connack_properties(&handshake, &connected).map_err(|_| MqttFault::BadReply)?;
        let connack = Connack {
            session_present: connected.session_present,
            code: Reason::Success.code(),
            properties: properties.as_block(),
        };
        self.send(&Packet::Connack(connack), out)?;
        self.phase = Phase::Connected;
        self.last_seen = now;
        self.publisher = connected.publisher;
        self.kept = connected.kept;
        if let Some(parked) = connected.parked.filter(|_| connected.session_present) {
            self.restore(*parked, now, out);
        }
        Ok(())
    }

    fn connack_properties(
        &self,
        handshake: &Handshake,
        connected: &Connected,
    ) -> Result<PropertyWriter, crate::EncodeError> {
        let mut properties = PropertyWriter::new();
        if self.version != Some(Version::V5) {
            return Ok(properties);
        }
        let config = &self.config;
        let mut push = |id, value: Value<'_>| properties.push(id, value).map(|_| ());
        if connected.session_expiry_secs != self.session_expiry_secs {
            push(PropertyId::SessionExpiryInterval, Value::Four(connected.session_expiry_secs))?;
        }
        let receive_maximum = config.receive_maximum.max(1);
        if receive_maximum != u16::MAX {
            push(PropertyId::ReceiveMaximum, Value::Two(receive_maximum))?;
        }
        if config.qos_max < thingway_contract::Qos::ExactlyOnce {
            push(PropertyId::MaximumQos, Value::Byte(config.qos_max as u8))?;
        }
        if config.packet_bytes_max < PACKET_BYTES_UNLIMITED {
            push(PropertyId::MaximumPacketSize, Value::Four(config.packet_bytes_max.max(1)))?;
        }
        if let Some(client_id) = &connected.assigned_client_id {
            push(PropertyId::AssignedClientIdentifier, Value::Text(client_id))?;
        }
        if config.topic_alias_in_max != 0 {
            push(PropertyId::TopicAliasMaximum, Value::Two(config.topic_alias_in_max))?;
        }
        for (id, available) in [
            (PropertyId::RetainAvailable, config.retain_available),
            (PropertyId::WildcardSubscriptionAvailable, config.wildcard_available),
            (PropertyId::SubscriptionIdentifierAvailable, config.subscription_ids_available),
            (PropertyId::SharedSubscriptionAvailable, config.shared_available),
        ] {
            if !available {
                push(id, Value::Byte(0))?;
            }
        }
        if let Some(secs) = handshake.server_keep_alive_secs {
            push(PropertyId::ServerKeepAlive, Value::Two(secs))?;
        }
        let information = connected.response_information.as_deref().or(config.response_information.as_deref());
        if let Some(information) = information.filter(|_| handshake.wants_response_information) {
            push(PropertyId::ResponseInformation, Value::Text(information))?;
        }
        if let Some(authentication) = &self.authentication {
            push(PropertyId::AuthenticationMethod, Value::Text(&authentication.method))?;
            if let Some(data) = &connected.authentication_data {
                push(PropertyId::AuthenticationData, Value::Bytes(data))?;
            }
        }
        Ok(properties)
    }

    fn restore(&mut self, parked: thingway_contract::Parked, now: Instant, out: &mut Outbox) {
        if !parked.inbound.is_empty() {
            self.inbound.get_or_insert_default().restore(&parked.inbound);
        }
        // With nothing under way every identifier is free, so that the numbering may begin anew.
        if !parked.outbound.is_empty() {
            let inflight = Inflight::restore(
                self.window,
                self.config.inflight_max,
                parked.next_packet_id,
                self.kept,
                parked.outbound,
            );
            self.inflight = Some(Box::new(inflight));
            self.resume(now, out);
        }
    }

    pub(super) fn refused(&mut self, refusal: &Refusal, out: &mut Outbox) -> Result<(), MqttFault> {
        let reference = match refusal {
            Refusal::UseAnotherServer(server) | Refusal::ServerMoved(server) => Some(&**server),
            _ => None,
        };
        self.end(refusal_reason(refusal), None, reference, out);
        Ok(())
    }

    pub(super) fn on_auth(&mut self, body: &[u8], out: &mut Outbox) -> Result<(), MqttFault> {
        let auth = Auth::decode(Sender::Client, body)?;
        let Some(authentication) = &mut self.authentication else {
            return Err(MqttFault::Unexpected(PacketType::Auth));
        };
        let due = match self.phase {
            Phase::Challenged => Reason::ContinueAuthentication,
            _ if authentication.again == Reauthentication::Challenged => Reason::ContinueAuthentication,
            _ => Reason::Reauthenticate,
        };
        if auth.reason != due {
            return Err(MqttFault::Unexpected(PacketType::Auth));
        }
        let method = auth.method().ok_or(PacketError::NoAuthenticationMethod)?;
        if method != &*authentication.method {
            return Err(MqttFault::AuthenticationMethodChanged);
        }
        match self.phase {
            Phase::Challenged => self.phase = Phase::Connecting,
            _ => authentication.again = Reauthentication::Requested,
        }
        let data = auth.data().map(Bytes::copy_from_slice);
        out.request(Request::Authenticate { method: Box::from(method), data });
        Ok(())
    }

    pub(super) fn challenge(&mut self, data: Option<Bytes>, out: &mut Outbox) -> Result<(), MqttFault> {
        self.send_auth(Reason::ContinueAuthentication, data, out)?;
        match (self.phase, &mut self.authentication) {
            (Phase::Connecting, _) => self.phase = Phase::Challenged,
            (_, Some(authentication)) => authentication.again = Reauthentication::Challenged,
            (_, None) => {}
        }
        Ok(())
    }

    pub(super) fn reauthenticated(&mut self, data: Option<Bytes>, out: &mut Outbox) -> Result<(), MqttFault> {
        if self.phase != Phase::Connected {
            return Err(MqttFault::BadReply);
        }
        self.send_auth(Reason::Success, data, out)?;
        if let Some(authentication) = &mut self.authentication {
            authentication.again = Reauthentication::None;
        }
        Ok(())
    }

    fn send_auth(&self, reason: Reason, data: Option<Bytes>, out: &mut Outbox) -> Result<(), MqttFault> {
        let authentication = self.authentication.as_ref().ok_or(MqttFault::BadReply)?;
        let awaited = self.phase == Phase::Connecting || authentication.again == Reauthentication::Requested;
        if !awaited {
            return Err(MqttFault::BadReply);
        }
        let mut properties = PropertyWriter::new();
        let mut push = |id, value: Value<'_>| properties.push(id, value).map(|_| ()).map_err(|_| MqttFault::BadReply);
        push(PropertyId::AuthenticationMethod, Value::Text(&authentication.method))?;
        if let Some(data) = &data {
            push(PropertyId::AuthenticationData, Value::Bytes(data))?;
        }
        self.send(&Packet::Auth(Auth { reason, properties: properties.as_block() }), out)
    }

    /// CONNACK with a refusal in the client's version, if there is one in it.
    pub(super) fn send_refusal(
        &self,
        version: Version,
        reason: Reason,
        properties: &PropertyWriter,
        out: &mut Outbox,
    ) -> Result<(), MqttFault> {
        let code = match version {
            Version::V5 => Some(reason.code()),
            _ => return_code(reason).map(|code| code as u8),
        };
        let Some(code) = code else {
            return Ok(());
        };
        let connack = Connack { session_present: false, code, properties: properties.as_block() };
        self.send(&Packet::Connack(connack), out)
    }
}

/// What the client says of itself (section 3.1.2.11.8).
fn user_properties(properties: &PropertyBlock<'_>) -> Box<[(Box<str>, Box<str>)]> {
    properties.user_properties().take(USER_PROPERTIES_MAX).map(|(name, value)| (name.into(), value.into())).collect()
}
