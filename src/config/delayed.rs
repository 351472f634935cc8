use super::{
    schema::settings,
    value::{Period, Size},
};

settings! {
    /// Delayed publication: `$delayed/{seconds}/{topic}` publishes to `{topic}` after so many seconds.
    pub struct Delayed {
        /// Whether such topics have this meaning.
        enable: bool = true;
        /// Most messages that wait for their time. Beyond it, publications are refused with "quota exceeded".
        messages_max: u32 = 100_000;
        /// Most bytes of messages that wait for their time.
        bytes_max: Size = Size::mib(256);
        /// Longest delay that may be asked for.
        interval_max: Period = Period::from_secs(4_294_967);
    }
}
