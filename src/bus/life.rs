//! How far a session has come, and since when: to the second, in four bytes each, for there are millions.

/// A session's beginning and end.
///
/// Its number is when it began, in seconds since 1970; the lowest and the highest say something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life(u32);

/// It has begun, in an earlier run of the gateway, and nobody knows when.
const LONG_AGO: u32 = 1;
const ENDED: u32 = u32::MAX;

impl Life {
    /// Began before the gateway did.
    pub const RESTORED: Self = Self(LONG_AGO);

    /// A connection had it before.
    pub fn has_begun(self) -> bool {
        self.0 != 0
    }

    /// Out of the registry, takes nothing any more.
    pub fn has_ended(self) -> bool {
        self.0 == ENDED
    }

    /// Begins now, unless it has. True if it had.
    pub fn begin(&mut self, unix_ms: u64) -> bool {
        let had_begun = self.has_begun();
        if !had_begun {
            self.0 = secs_of(unix_ms).max(LONG_AGO + 1);
        }
        had_begun
    }

    pub fn end(&mut self) {
        self.0 = ENDED;
    }

    /// When it began, in seconds since 1970, if that is known.
    pub fn began_secs(self) -> Option<u32> {
        (self.0 > LONG_AGO && self.0 != ENDED).then_some(self.0)
    }
}

/// The second of a time, until the year 2106.
pub(super) fn secs_of(unix_ms: u64) -> u32 {
    u32::try_from(unix_ms / 1000).unwrap_or(u32::MAX).min(ENDED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_once_and_ends() {
        let mut life = Life::default();
        assert!(!life.has_begun() && !life.has_ended() && life.began_secs().is_none());
        assert!(!life.begin(7_999));
        assert!(life.begin(9_000));
        assert_eq!(life.began_secs(), Some(7));
        life.end();
        assert!(life.has_begun() && life.has_ended() && life.began_secs().is_none());
        let mut life = Life::RESTORED;
        assert!(life.begin(9_000) && !life.has_ended());
        assert_eq!(life.began_secs(), None);
        let mut life = Life::default();
        // Whatever the clock says, one that has begun has neither ended nor begun long ago.
        assert!(!life.begin(0) && life.has_begun() && life.began_secs().is_some());
        let mut life = Life::default();
        assert!(!life.begin(u64::MAX) && !life.has_ended() && life.began_secs().is_some());
    }
}
