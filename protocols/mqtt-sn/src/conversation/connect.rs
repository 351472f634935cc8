use thingway_contract::{
    ClientId, ClientIdError, Connect as ConnectRequest, Connected, Credentials, Instant, Message, Outbox, Parked,
    Password, Refusal, Request, Will, WillFate,
};

use super::{
    ATTACHED, Conversation, KEPT, Phase, TRANSIENT, UNTOLD, after,
    will::{will_on, with_payload},
};
use crate::{
    Config, MqttSnFault, Packet, ReturnCode,
    fault::refusal_code,
    packet::{Auth, Connack, Connect, Disconnect, PROTOCOL_ID, WillTopic},
    registry::Registry,
};

/// Milliseconds after which a CONNECT is new, if the client has sent something in between: one that restarts may be back within seconds, and counts
/// on the clean session that it asks for. The network rarely delivers a copy later than that.
const OVERTAKEN_MS: u64 = 1000;

/// What is known from CONNECT on until CONNACK.
#[derive(Debug)]
pub(super) struct Dialogue {
    pub(super) since: Instant,
    client_id: Option<ClientId>,
    clean_session: bool,
    will_flag: bool,
    keep_alive_secs: u16,
    credentials: Credentials,
    will: Option<Box<Will>>,
    /// What the client was doing with the session that it still has.
    pub(super) before: Phase,
}

/// The CONNECT that was answered last, to know copies of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastConnect {
    at: Instant,
    clean_session: bool,
    will_flag: bool,
    keep_alive_secs: u16,
    /// Nothing came since.
    pub(super) is_latest: bool,
}

impl LastConnect {
    /// While nothing else came, the client may be sending it again because it got no answer; nothing is lost by going on with what it has.
    pub(super) fn forget_at(&self, config: &Config) -> Instant {
        let late_ms = u64::from(config.late_copies_ms);
        let again_ms = u64::from(config.retry_interval_ms) * (u64::from(config.retry_max) + 1);
        after(self.at, if self.is_latest { again_ms.max(late_ms) } else { late_ms.min(OVERTAKEN_MS) })
    }

    fn is_like(&self, connect: &Connect<'_>) -> bool {
        self.clean_session == connect.clean_session
            && self.will_flag == connect.will
            && self.keep_alive_secs == connect.duration_secs
    }
}

impl Conversation {
    pub(super) fn on_connect(
        &mut self,
        connect: Connect<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MqttSnFault> {
        if matches!(self.phase, Phase::Connecting | Phase::Roaming | Phase::Introducing | Phase::Closed(_)) {
            return Ok(());
        }
        let client_id = self.checked_client_id(connect.client_id)?;
        if self.is_continued_by(&connect) {
            self.wake(&connect, now, out);
            return Ok(());
        }
        let before = match self.phase {
            phase @ (Phase::Active | Phase::Asleep | Phase::Awake | Phase::Anonymous) => phase,
            _ => self.rare.as_ref().and_then(|rare| rare.dialogue.as_ref()).map_or(Phase::Idle, |old| old.before),
        };
        self.rare().dialogue = Some(Box::new(Dialogue {
            since: now,
            client_id,
            clean_session: connect.clean_session,
            will_flag: connect.will,
            keep_alive_secs: connect.duration_secs,
            credentials: Credentials::default(),
            will: None,
            before,
        }));
        if self.config.auth_required {
            self.phase = Phase::AwaitingAuth;
        } else {
            self.go_on(out);
        }
        Ok(())
    }

    fn checked_client_id(&self, text: &str) -> Result<Option<ClientId>, MqttSnFault> {
        match ClientId::new(text, self.config.client_id_bytes_max) {
            Ok(client_id) => Ok(Some(client_id)),
            Err(ClientIdError::Empty) if self.config.assign_client_ids => Ok(None),
            Err(error) => Err(MqttSnFault::ClientId(error)),
        }
    }

    /// True for a CONNECT by which a sleeping client only says that it is active again (section 6.14, figure 4), and for a copy of the one that was
    /// answered last, which must not wipe what the client has done since.
    fn is_continued_by(&self, connect: &Connect<'_>) -> bool {
        if self.client_id.as_deref() != Some(connect.client_id) {
            return false;
        }
        let last = self.rare.as_ref().and_then(|rare| rare.last_connect);
        match self.phase {
            Phase::Asleep | Phase::Awake => true,
            Phase::Active => last.is_some_and(|last| last.is_like(connect)),
            _ => false,
        }
    }

    /// Goes on with the session as it is. Flags that set up a session have no meaning here, but a client that asks for a clean one may have forgotten
    /// its topic ids.
    fn wake(&mut self, connect: &Connect<'_>, now: Instant, out: &mut Outbox) {
        if let Some(registry) = self.registry.as_mut().filter(|_| connect.clean_session) {
            registry.set_all_unknown();
        }
        let slept = self.phase != Phase::Active;
        self.phase = Phase::Active;
        self.set_sleep(0);
        self.keep_alive_secs = connect.duration_secs;
        self.last_seen = now;
        self.send_connack(ReturnCode::Accepted, out);
        if slept {
            self.note_connect(connect.clean_session, connect.will, connect.duration_secs, now);
            self.resume_outbound(now, out);
        } else if let Some(last) = self.rare.as_mut().and_then(|rare| rare.last_connect.as_mut())
            && last.is_latest
        {
            last.at = now;
        }
    }

    fn note_connect(&mut self, clean_session: bool, will_flag: bool, keep_alive_secs: u16, now: Instant) {
        let last = LastConnect { at: now, clean_session, will_flag, keep_alive_secs, is_latest: true };
        self.rare().last_connect = Some(last);
    }

    /// After CONNECT, or AUTH: asks for the will, or for the session.
    fn go_on(&mut self, out: &mut Outbox) {
        let Some(dialogue) = self.rare.as_ref().and_then(|rare| rare.dialogue.as_ref()) else { return };
        if dialogue.will_flag {
            self.phase = Phase::AwaitingWillTopic;
            self.send(&Packet::WillTopicReq, out);
        } else {
            self.ask(out);
        }
    }

    pub(super) fn on_auth(&mut self, auth: Auth<'_>, out: &mut Outbox) -> Result<(), MqttSnFault> {
        let is_due = match self.phase {
            Phase::AwaitingAuth => true,
            Phase::AwaitingWillTopic | Phase::AwaitingWillMsg => false,
            Phase::Active if !self.config.auth_required => {
                self.send_connack(ReturnCode::NotSupported, out);
                return Ok(());
            }
            _ => return Err(MqttSnFault::Unexpected(crate::PacketType::Auth)),
        };
        let Some(plain) = auth.plain() else {
            self.abandon_dialogue();
            return Err(MqttSnFault::Authentication);
        };
        let Some(dialogue) = self.rare.as_mut().and_then(|rare| rare.dialogue.as_mut()) else { return Ok(()) };
        dialogue.credentials.username = Some(plain.username.into());
        dialogue.credentials.password = Some(Password::copy_of(plain.password));
        if is_due {
            self.go_on(out);
        }
        Ok(())
    }

    pub(super) fn on_will_topic(&mut self, will: Option<WillTopic<'_>>, out: &mut Outbox) -> Result<(), MqttSnFault> {
        if self.phase == Phase::Active && self.repeats_connack(out) {
            return Ok(());
        }
        if !matches!(self.phase, Phase::AwaitingWillTopic | Phase::AwaitingWillMsg) {
            return Err(MqttSnFault::Unexpected(crate::PacketType::WillTopic));
        }
        let will = match will.map(|will| will_on(&will, &[], self.config.topic_limits)).transpose() {
            Ok(will) => will,
            Err(error) => {
                self.abandon_dialogue();
                self.send_connack(ReturnCode::NotSupported, out);
                return Err(MqttSnFault::WillTopic(error));
            }
        };
        let Some(dialogue) = self.rare.as_mut().and_then(|rare| rare.dialogue.as_mut()) else { return Ok(()) };
        let has_will = will.is_some();
        dialogue.will = will;
        if has_will {
            self.phase = Phase::AwaitingWillMsg;
            self.send(&Packet::WillMsgReq, out);
        } else {
            self.ask(out);
        }
        Ok(())
    }

    pub(super) fn on_will_msg(&mut self, payload: &[u8], out: &mut Outbox) -> Result<(), MqttSnFault> {
        if self.phase == Phase::Active && self.repeats_connack(out) {
            return Ok(());
        }
        if self.phase != Phase::AwaitingWillMsg {
            return Err(MqttSnFault::Unexpected(crate::PacketType::WillMsg));
        }
        if payload.len() > self.config.will_bytes_max {
            self.abandon_dialogue();
            self.send_connack(ReturnCode::NotSupported, out);
            return Err(MqttSnFault::WillTooLong);
        }
        if let Some(will) = self.rare().dialogue.as_mut().and_then(|dialogue| dialogue.will.as_mut()) {
            **will = with_payload(will, payload);
        }
        self.ask(out);
        Ok(())
    }

    /// A client that sends the last message of its setup again got no CONNACK.
    fn repeats_connack(&self, out: &mut Outbox) -> bool {
        let repeats = self.rare.as_ref().and_then(|rare| rare.last_connect).is_some_and(|last| last.will_flag);
        if repeats {
            self.send_connack(ReturnCode::Accepted, out);
        }
        repeats
    }

    fn ask(&mut self, out: &mut Outbox) {
        let expiry_secs = self.config.session_expiry_secs;
        let Some(dialogue) = self.rare.as_mut().and_then(|rare| rare.dialogue.as_mut()) else { return };
        let transient = dialogue.clean_session || dialogue.client_id.is_none();
        let request = ConnectRequest {
            client_id: dialogue.client_id.clone(),
            clean_start: dialogue.clean_session,
            must_exist: false,
            resume_key: None,
            // Section 6.3: without "clean session" the will stays as well, unless the client is asked for another.
            keep_will: !dialogue.clean_session && !dialogue.will_flag,
            session_expiry_secs: if transient { 0 } else { expiry_secs },
            credentials: std::mem::take(&mut dialogue.credentials),
            will: dialogue.will.clone(),
            version: PROTOCOL_ID,
            keep_alive_secs: dialogue.keep_alive_secs,
            receive_maximum: 1,
        };
        self.phase = Phase::Connecting;
        out.request(Request::Connect(Box::new(request)));
    }

    /// Section 6.14 with the client at another address: it shows that it knows its identifier, and nothing else.
    pub(super) fn on_ping_from_elsewhere(
        &mut self,
        client_id: &str,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MqttSnFault> {
        let client_id = ClientId::new(client_id, self.config.client_id_bytes_max);
        let Some(client_id) = client_id.ok().filter(|_| self.config.roaming && !self.config.auth_required) else {
            return Err(MqttSnFault::NoSession(crate::PacketType::Pingreq));
        };
        self.phase = Phase::Roaming;
        self.rare().dialogue = Some(Box::new(Dialogue {
            since: now,
            client_id: Some(client_id.clone()),
            clean_session: false,
            will_flag: false,
            keep_alive_secs: 0,
            credentials: Credentials::default(),
            will: None,
            before: Phase::Idle,
        }));
        out.request(Request::Connect(Box::new(ConnectRequest {
            client_id: Some(client_id),
            clean_start: false,
            must_exist: true,
            resume_key: None,
            keep_will: true,
            session_expiry_secs: self.config.session_expiry_secs,
            credentials: Credentials::default(),
            will: None,
            version: PROTOCOL_ID,
            keep_alive_secs: 0,
            receive_maximum: 1,
        })));
        Ok(())
    }

    /// Section 6.8: a publication from nobody in particular needs a session that may publish.
    pub(super) fn introduce(&mut self, message: Message, now: Instant, out: &mut Outbox) {
        self.phase = Phase::Introducing;
        self.last_seen = now;
        self.rare().pending = Some(message);
        let username = Some(self.config.qos_minus_one_username.clone());
        out.request(Request::Connect(Box::new(ConnectRequest {
            client_id: None,
            clean_start: true,
            must_exist: false,
            resume_key: None,
            keep_will: false,
            session_expiry_secs: 0,
            credentials: Credentials { username, ..Credentials::default() },
            will: None,
            version: PROTOCOL_ID,
            keep_alive_secs: 0,
            receive_maximum: 1,
        })));
    }

    pub(super) fn connected(&mut self, connected: Connected, now: Instant, out: &mut Outbox) {
        let phase = self.phase;
        if !matches!(phase, Phase::Connecting | Phase::Roaming | Phase::Introducing) {
            return;
        }
        self.publisher = connected.publisher;
        self.last_seen = now;
        self.marks = ATTACHED;
        self.set(KEPT, connected.kept);
        self.client_id = connected.assigned_client_id.filter(|_| phase != Phase::Introducing);
        if phase == Phase::Introducing {
            self.phase = Phase::Anonymous;
            if let Some(message) = self.rare.as_mut().and_then(|rare| rare.pending.take()) {
                self.publish_stamped(&message, now, out);
            }
            return;
        }
        let Some(dialogue) = self.rare.as_mut().and_then(|rare| rare.dialogue.take()) else { return };
        if dialogue.client_id.is_some() {
            self.client_id = dialogue.client_id;
        }
        self.keep_alive_secs = dialogue.keep_alive_secs;
        let mut parked = connected.parked.filter(|_| connected.session_present).map(|parked| *parked);
        let kept = parked.as_mut().and_then(|parked| parked.will.take()).filter(|_| !dialogue.will_flag);
        if let Some(will) = dialogue.will.or(kept) {
            self.rare().will = Some(will);
        }
        if phase == Phase::Roaming {
            self.roamed(parked.unwrap_or_default(), now, out);
            return;
        }
        self.set(TRANSIENT, dialogue.clean_session || self.client_id.is_none());
        self.phase = Phase::Active;
        // What was left may say that it sleeps.
        self.sleep_secs = parked.as_ref().map_or(0, |parked| parked.sleep_secs);
        self.set_sleep(0);
        self.note_connect(dialogue.clean_session, dialogue.will_flag, dialogue.keep_alive_secs, now);
        self.send_connack(ReturnCode::Accepted, out);
        if let Some(parked) = parked {
            self.restore(parked);
            self.resume_outbound(now, out);
        }
    }

    fn roamed(&mut self, parked: Parked, now: Instant, out: &mut Outbox) {
        self.set(TRANSIENT, parked.transient);
        self.sleep_secs = parked.sleep_secs;
        self.restore(parked);
        if self.sleep_secs == 0 {
            // It was not asleep, so its keep-alive is not known here: it shall connect anew, and finds everything as it was.
            self.send(&Packet::Disconnect(Disconnect::default()), out);
            self.phase = Phase::Closed(WillFate::Keep);
            out.close();
            return;
        }
        self.phase = Phase::Awake;
        self.resume_outbound(now, out);
    }

    fn restore(&mut self, parked: Parked) {
        self.next_id = parked.next_packet_id.max(1);
        if !parked.topic_ids.is_empty() {
            let left_len = parked.topic_ids.len();
            let registry = Registry::restore(parked.topic_ids, self.config.topic_ids_max);
            if registry.len() != left_len {
                self.set(UNTOLD, true);
            }
            self.registry = Some(Box::new(registry));
        }
        if !parked.outbound.is_empty() || !parked.inbound.is_empty() {
            let flow = self.flow();
            flow.outbound.restore(parked.outbound);
            flow.inbound.restore(&parked.inbound);
        }
    }

    pub(super) fn refused(&mut self, refusal: &Refusal, out: &mut Outbox) {
        match self.phase {
            Phase::Connecting => self.send_connack(refusal_code(refusal), out),
            Phase::Roaming => self.send(&Packet::Disconnect(Disconnect::default()), out),
            Phase::Introducing => {}
            _ => return,
        }
        self.phase = Phase::Idle;
        self.marks = 0;
        if let Some(rare) = &mut self.rare {
            rare.dialogue = None;
            rare.pending = None;
        }
    }

    pub(super) fn send_connack(&self, code: ReturnCode, out: &mut Outbox) {
        self.send(&Packet::Connack(Connack { code }), out);
    }

    /// True while a client that has a session is asked for what another needs.
    pub(super) fn has_session_before(&self) -> bool {
        let in_dialogue = matches!(self.phase, Phase::AwaitingAuth | Phase::AwaitingWillTopic | Phase::AwaitingWillMsg);
        let dialogue = self.rare.as_ref().and_then(|rare| rare.dialogue.as_ref()).filter(|_| in_dialogue);
        dialogue.is_some_and(|dialogue| matches!(dialogue.before, Phase::Active | Phase::Asleep | Phase::Awake))
    }

    /// Back to the session that the client still has, or to nothing.
    pub(super) fn abandon_dialogue(&mut self) {
        let dialogue = self.rare.as_mut().and_then(|rare| rare.dialogue.take());
        self.phase = Phase::Idle;
        if let Some(dialogue) = dialogue {
            self.phase = dialogue.before;
            self.last_seen = self.last_seen.max(dialogue.since);
        }
    }

    pub(super) fn dialogue_expired(&mut self) -> Result<(), MqttSnFault> {
        self.abandon_dialogue();
        if self.has(ATTACHED) { Ok(()) } else { Err(MqttSnFault::ConnectTimeout) }
    }
}
