use std::fmt;

/// The message type of a forwarder's header (section 5.5).
pub const FORWARDED: u8 = 0xfe;

macro_rules! packet_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Message types (table 3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PacketType {
            $($(#[$doc])* $name = $number,)*
        }

        impl PacketType {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The type with this number.
            pub const fn of(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The specification's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

packet_types! {
    /// A gateway announces itself to all.
    Advertise = 0x00, "ADVERTISE";
    /// A client looks for a gateway.
    SearchGw = 0x01, "SEARCHGW";
    /// Where a gateway is.
    GwInfo = 0x02, "GWINFO";
    /// Credentials; reserved in 1.2.
    Auth = 0x03, "AUTH";
    /// A client asks for a session.
    Connect = 0x04, "CONNECT";
    /// The answer to CONNECT.
    Connack = 0x05, "CONNACK";
    /// The gateway asks for the will's topic.
    WillTopicReq = 0x06, "WILLTOPICREQ";
    /// The will's topic.
    WillTopic = 0x07, "WILLTOPIC";
    /// The gateway asks for the will's message.
    WillMsgReq = 0x08, "WILLMSGREQ";
    /// The will's message.
    WillMsg = 0x09, "WILLMSG";
    /// A topic name for a topic id.
    Register = 0x0a, "REGISTER";
    /// The answer to REGISTER.
    Regack = 0x0b, "REGACK";
    /// A message.
    Publish = 0x0c, "PUBLISH";
    /// The answer to PUBLISH.
    Puback = 0x0d, "PUBACK";
    /// QoS 2: complete.
    Pubcomp = 0x0e, "PUBCOMP";
    /// QoS 2: received.
    Pubrec = 0x0f, "PUBREC";
    /// QoS 2: released.
    Pubrel = 0x10, "PUBREL";
    /// A client asks for a subscription.
    Subscribe = 0x12, "SUBSCRIBE";
    /// The answer to SUBSCRIBE.
    Suback = 0x13, "SUBACK";
    /// A client ends a subscription.
    Unsubscribe = 0x14, "UNSUBSCRIBE";
    /// The answer to UNSUBSCRIBE.
    Unsuback = 0x15, "UNSUBACK";
    /// Is anybody there.
    Pingreq = 0x16, "PINGREQ";
    /// The answer to PINGREQ.
    Pingresp = 0x17, "PINGRESP";
    /// Goodbye, or good night.
    Disconnect = 0x18, "DISCONNECT";
    /// Another topic for the will.
    WillTopicUpd = 0x1a, "WILLTOPICUPD";
    /// The answer to WILLTOPICUPD.
    WillTopicResp = 0x1b, "WILLTOPICRESP";
    /// Another message for the will.
    WillMsgUpd = 0x1c, "WILLMSGUPD";
    /// The answer to WILLMSGUPD.
    WillMsgResp = 0x1d, "WILLMSGRESP";
}

impl PacketType {
    /// Names of what is counted: the types by their numbers, and behind them forwarder headers and what is no known message.
    pub const NAMES: [&'static str; 32] = {
        let mut names = ["reserved"; 32];
        let mut index = 0;
        while index < Self::ALL.len() {
            names[Self::ALL[index] as usize] = Self::ALL[index].name();
            index += 1;
        }
        names[Self::COUNTED_FORWARDED as usize] = "FORWARDED";
        names[Self::COUNTED_UNKNOWN as usize] = "unknown";
        names
    };

    /// What forwarder headers are counted as.
    pub const COUNTED_FORWARDED: u8 = 30;

    /// What datagrams are counted as that are no known message.
    pub const COUNTED_UNKNOWN: u8 = 31;
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree() {
        for number in 0..=u8::MAX {
            if let Some(kind) = PacketType::of(number) {
                assert_eq!(kind as u8, number);
                assert_eq!(PacketType::NAMES[usize::from(number)], kind.name());
            }
        }
        assert_eq!(PacketType::ALL.len(), 28);
        assert_eq!(PacketType::NAMES[0x11], "reserved");
        assert_eq!((PacketType::of(0x11), PacketType::of(0x19), PacketType::of(0x1e)), (None, None, None));
    }
}
