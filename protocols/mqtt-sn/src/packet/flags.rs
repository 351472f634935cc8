use thingway_contract::Qos;

/// The flags byte (section 5.3.4): DUP 0x80, QoS 0x60, Retain 0x10, Will 0x08, CleanSession 0x04, TopicIdType 0x03.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// Sent again.
    pub const DUP: u8 = 0x80;
    /// Retain the message.
    pub const RETAIN: u8 = 0x10;
    /// The client has a will.
    pub const WILL: u8 = 0x08;
    /// Discard an earlier session.
    pub const CLEAN_SESSION: u8 = 0x04;
    /// Topic id type: a registered id, or a topic name.
    pub const TOPIC_NORMAL: u8 = 0b00;
    /// Topic id type: an id that both sides know beforehand.
    pub const TOPIC_PREDEFINED: u8 = 0b01;
    /// Topic id type: a topic name of two bytes.
    pub const TOPIC_SHORT: u8 = 0b10;

    /// True when this bit is set.
    pub const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// With this bit set or not.
    #[must_use]
    pub const fn with(self, bit: u8, set: bool) -> Self {
        if set { Self(self.0 | bit) } else { self }
    }

    /// The quality of service; `None` for -1.
    pub const fn qos(self) -> Option<Qos> {
        Qos::from_u8(self.0 >> 5 & 0b11)
    }

    /// With this quality of service; `None` for -1.
    #[must_use]
    pub const fn with_qos(self, qos: Option<Qos>) -> Self {
        let number = match qos {
            Some(qos) => qos as u8,
            None => 0b11,
        };
        Self(self.0 & !0x60 | number << 5)
    }

    /// The topic id type.
    pub const fn topic_type(self) -> u8 {
        self.0 & 0b11
    }
}
