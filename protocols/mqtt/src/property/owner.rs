use super::PropertyId;

/// The packet that a block of properties is part of, as far as it matters for what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Owner {
    Connect,
    Will,
    Connack,
    PublishByClient,
    PublishByServer,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    DisconnectByClient,
    DisconnectByServer,
    Auth,
}

impl Owner {
    /// Table 2-4, as a set of bits.
    pub(super) const fn allowed(self) -> u64 {
        use PropertyId as P;
        let own = match self {
            Self::Connect => {
                P::SessionExpiryInterval.bit()
                    | P::AuthenticationMethod.bit()
                    | P::AuthenticationData.bit()
                    | P::RequestProblemInformation.bit()
                    | P::RequestResponseInformation.bit()
                    | P::ReceiveMaximum.bit()
                    | P::TopicAliasMaximum.bit()
                    | P::MaximumPacketSize.bit()
            }
            Self::Will => Self::of_message() | P::WillDelayInterval.bit(),
            Self::Connack => {
                P::SessionExpiryInterval.bit()
                    | P::AssignedClientIdentifier.bit()
                    | P::ServerKeepAlive.bit()
                    | P::AuthenticationMethod.bit()
                    | P::AuthenticationData.bit()
                    | P::ResponseInformation.bit()
                    | P::ServerReference.bit()
                    | P::ReasonString.bit()
                    | P::ReceiveMaximum.bit()
                    | P::TopicAliasMaximum.bit()
                    | P::MaximumQos.bit()
                    | P::RetainAvailable.bit()
                    | P::MaximumPacketSize.bit()
                    | P::WildcardSubscriptionAvailable.bit()
                    | P::SubscriptionIdentifierAvailable.bit()
                    | P::SharedSubscriptionAvailable.bit()
            }
            // A client sends no subscription identifier [MQTT-3.3.4-6].
            Self::PublishByClient => Self::of_message() | P::TopicAlias.bit(),
            Self::PublishByServer => Self::of_message() | P::TopicAlias.bit() | P::SubscriptionIdentifier.bit(),
            Self::Acknowledgement => P::ReasonString.bit(),
            Self::Subscribe => P::SubscriptionIdentifier.bit(),
            Self::Unsubscribe => 0,
            Self::DisconnectByClient => P::SessionExpiryInterval.bit() | P::ReasonString.bit(),
            // The server sends no session expiry here [MQTT-3.14.2-2].
            Self::DisconnectByServer => P::ServerReference.bit() | P::ReasonString.bit(),
            Self::Auth => P::AuthenticationMethod.bit() | P::AuthenticationData.bit() | P::ReasonString.bit(),
        };
        own | P::UserProperty.bit()
    }

    const fn of_message() -> u64 {
        PropertyId::PayloadFormatIndicator.bit()
            | PropertyId::MessageExpiryInterval.bit()
            | PropertyId::ContentType.bit()
            | PropertyId::ResponseTopic.bit()
            | PropertyId::CorrelationData.bit()
    }

    pub(super) const fn may_repeat(self, id: PropertyId) -> bool {
        match id {
            PropertyId::UserProperty => true,
            PropertyId::SubscriptionIdentifier => matches!(self, Self::PublishByServer),
            _ => false,
        }
    }
}
