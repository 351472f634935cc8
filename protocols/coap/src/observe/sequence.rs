use thingway_contract::Instant;

const MASK: u32 = 0xff_ffff;

/// The sequence number behind `last` (RFC 7641, section 4.4): 24 bits that always grow. They follow the clock in milliseconds where they can, so that an
/// observer who registers anew with a gateway that has forgotten it sees larger numbers too.
pub fn next_sequence(last: u32, now: Instant) -> u32 {
    let clock = now.as_millis() as u32 & MASK;
    if is_larger(last, clock) { clock } else { (last + 1) & MASK }
}

const fn is_larger(than: u32, this: u32) -> bool {
    let ahead = this.wrapping_sub(than) & MASK;
    ahead != 0 && ahead < 1 << 23
}

/// For observers: true when a notification with number `this` that came now is newer than the one with `that` (RFC 7641, section 3.4).
pub fn is_newer(that: u32, then: Instant, this: u32, now: Instant) -> bool {
    is_larger(that, this) || now.since(then).as_secs() > 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7641_section_4_4_numbers_always_grow() {
        let mut last = next_sequence(0, Instant::from_millis(5));
        assert_eq!(last, 5);
        // Many at a time, long silence, and the end of 24 bits.
        for now in [5, 5, 5, 6, 40_000, 0xff_fff0, 0xff_fff0, 0x100_0003, 0x180_0000, 0x300_0000, 0x300_0000] {
            let now = Instant::from_millis(now);
            let next = next_sequence(last, now);
            assert!(is_newer(last, now, next, now) && next <= MASK, "{last} then {next}");
            last = next;
        }
    }

    #[test]
    fn rfc7641_section_3_4_newer_is_larger_or_much_later() {
        let (then, soon, late) = (Instant::ZERO, Instant::ZERO.plus_secs(10), Instant::ZERO.plus_secs(129));
        assert!(is_newer(1, then, 2, soon) && !is_newer(2, then, 1, soon) && !is_newer(2, then, 2, soon));
        assert!(is_newer(MASK, then, 0, soon) && is_newer(2, then, 1, late));
    }
}
