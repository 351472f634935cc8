use super::{
    schema::settings,
    value::{OrInfinity, Period, Size},
};

settings! {
    /// Retained messages: the last message of a topic, kept for those who subscribe later.
    pub struct Retained {
        /// Whether they are kept at all. If not, publications that ask for it are refused, as without `mqtt.retain_available`.
        enable: bool = true;
        /// Most of them. When it is reached, messages on further topics are delivered but not kept.
        messages_max: OrInfinity<u64> = OrInfinity::Finite(1_000_000);
        /// Largest payload that is kept; larger ones are delivered only.
        payload_max: Size = Size::mib(1);
        /// Most bytes that all of them may take; beyond it, further ones are delivered only.
        bytes_max: Size = Size::mib(512);
        /// How long one is kept when its publisher gave it no expiry. Those of `$SYS` stay.
        expiry: OrInfinity<Period> = OrInfinity::Infinity;
    }
}
