use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

/// Protocols that can be told apart. Those of any further one are counted in no line of their own.
const PROTOCOLS_MAX: usize = 16;

/// Sessions that have a connection, by what it speaks.
#[derive(Debug, Default)]
pub(super) struct Presence([(OnceLock<&'static str>, AtomicUsize); PROTOCOLS_MAX]);

impl Presence {
    pub fn enter(&self, protocol: &'static str) {
        if let Some(count) = self.of(protocol) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn leave(&self, protocol: &'static str) {
        if let Some(count) = self.of(protocol) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// All that were ever there, in the order in which they came.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.0.iter().map_while(|(name, count)| Some((*name.get()?, count.load(Ordering::Relaxed))))
    }

    fn of(&self, protocol: &'static str) -> Option<&AtomicUsize> {
        self.0.iter().find(|(name, _)| *name.get_or_init(|| protocol) == protocol).map(|(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_is_counted_for_itself() {
        let presence = Presence::default();
        presence.enter("mqtt");
        presence.enter("coap");
        presence.enter("mqtt");
        presence.leave("coap");
        assert_eq!(presence.all().collect::<Vec<_>>(), [("mqtt", 2), ("coap", 0)]);
    }
}
