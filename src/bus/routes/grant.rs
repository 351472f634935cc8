use std::sync::Arc;

use thingway_contract::{Qos, RetainHandling, SubscriptionOptions};

use crate::bus::shared::SharedGroup;

const ID_BITS: u32 = 28;
const ID_MASK: u32 = (1 << ID_BITS) - 1;

/// The options that matter while routing, in 32 bits: identifier 28, quality of service 2, retain as published 1, no local 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bus) struct PackedOptions(u32);

impl PackedOptions {
    /// An identifier beyond the 28 bits of a variable byte integer cannot come from a peer; its excess is cut.
    pub(in crate::bus) fn new(options: SubscriptionOptions) -> Self {
        debug_assert!(options.id <= ID_MASK, "a subscription identifier has 28 bits");
        Self(
            options.id & ID_MASK
                | (options.qos as u32) << ID_BITS
                | u32::from(options.retain_as_published) << 30
                | u32::from(options.no_local) << 31,
        )
    }

    pub(in crate::bus) fn id(self) -> u32 {
        self.0 & ID_MASK
    }

    pub(in crate::bus) fn qos(self) -> Qos {
        Qos::from_u8((self.0 >> ID_BITS & 0b11) as u8).unwrap_or_default()
    }

    pub(in crate::bus) fn retain_as_published(self) -> bool {
        self.0 >> 30 & 1 == 1
    }

    pub(in crate::bus) fn no_local(self) -> bool {
        self.0 >> 31 == 1
    }

    pub(in crate::bus) fn unpack(self) -> SubscriptionOptions {
        SubscriptionOptions {
            qos: self.qos(),
            no_local: self.no_local(),
            retain_as_published: self.retain_as_published(),
            retain_handling: RetainHandling::default(),
            id: self.id(),
        }
    }

    pub(in crate::bus) fn grant(self) -> Grant<'static> {
        Grant {
            qos: self.qos(),
            retain_as_published: self.retain_as_published(),
            subscription_id: self.id(),
            further_subscription_ids: &[],
        }
    }
}

/// How a session is to receive a message, over all its subscriptions that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The highest quality of service of the matching subscriptions [MQTT-3.3.4-2].
    pub qos: Qos,
    /// True when one of them keeps the publisher's retain flag.
    pub retain_as_published: bool,
    /// The first subscription identifier, 0 for none.
    pub subscription_id: u32,
    /// The identifiers of the other matching subscriptions [MQTT-3.3.4-4].
    pub further_subscription_ids: &'a [u32],
}

/// Whom a message goes to.
#[derive(Debug)]
pub enum Target<'a, S> {
    /// A session, named once whatever number of its filters match.
    Direct {
        /// The subscriber.
        session: &'a Arc<S>,
        /// How it is to receive the message.
        grant: Grant<'a>,
    },
    /// One member of a shared subscription; which, the caller decides.
    Shared {
        /// The group on one filter.
        group: &'a Arc<SharedGroup<S>>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_packing() {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for bits in 0..4 {
                for id in [0, 1, 268_435_455] {
                    let options = SubscriptionOptions {
                        qos,
                        no_local: bits & 1 == 1,
                        retain_as_published: bits & 2 == 2,
                        id,
                        ..SubscriptionOptions::default()
                    };
                    assert_eq!(PackedOptions::new(options).unpack(), options);
                }
            }
        }
    }
}
