/// A version of MQTT that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// 3.1, whose protocol name is `MQIsdp`.
    V31 = 3,
    /// 3.1.1.
    V311 = 4,
    /// 5.0.
    V5 = 5,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// The protocol level in CONNECT (MQTT 5.0, section 3.1.2.2).
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// The protocol name in CONNECT (MQTT 5.0, section 3.1.2.1).
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// True when packets carry properties and reason codes.
    pub const fn has_properties(self) -> bool {
        matches!(self, Self::V5)
    }
}
