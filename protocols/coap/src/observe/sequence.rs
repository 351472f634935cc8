use thingway_contract::Instant;

const MASK: u32 = 0xff_ffff;

/// Steps of the sequence in a millisecond. A number is taken to be older than one that is 2^23 behind it, for 128 s: at this pace that is 524 s
/// away, of which RFC 7641, section 4.4, asks for 256.
const STEPS_PER_MS: u64 = 16;

/// Most that a number left by another conversation is ahead of the clock: 262 s. More is a number of long ago.
const AHEAD_MAX: u32 = 1 << 22;

/// The sequence number behind `last` (RFC 7641, section 4.4), of which observers are told [`wire_sequence`]. It always grows, and follows the
/// clock, which says `unix_ms` milliseconds since 1970: an observer gets larger numbers also from a gateway that does not know the last one, as
/// after it was killed. That holds as long as the machine's clock is not put back, and no more than 16 notifications a millisecond are sent for
/// long.
pub fn next_sequence(last: u64, unix_ms: u64) -> u64 {
    last.saturating_add(1).max(unix_ms.saturating_mul(STEPS_PER_MS))
}

/// What observers are told of a sequence number: the lower 24 bits.
pub const fn wire_sequence(sequence: u64) -> u32 {
    sequence as u32 & MASK
}

/// The sequence number of which a conversation has left the lower 32 bits, or one as good: what was left long ago counts no more.
pub fn resumed_sequence(left: u32, unix_ms: u64) -> u64 {
    let clock = unix_ms.saturating_mul(STEPS_PER_MS);
    let ahead = left.wrapping_sub(clock as u32);
    clock.saturating_add(if ahead < AHEAD_MAX { ahead.into() } else { 0 })
}

/// For observers: true when a notification with number `this` that came now is newer than the one with `that` (RFC 7641, section 3.4).
pub fn is_newer(that: u32, then: Instant, this: u32, now: Instant) -> bool {
    let ahead = this.wrapping_sub(that) & MASK;
    (ahead != 0 && ahead < 1 << 23) || now.since(then).as_secs() > 128
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn rfc7641_section_4_4_numbers_always_grow() {
        let mut last = next_sequence(0, 5);
        let mut then = 5;
        // Many at a time, short and long silence, and the end of 24 and of 32 bits.
        for ms in
            [5, 5, 5, 6, 40_000, 500_000, 700_000, 0x10_0000, 0x10_0001, DAY_MS, 3 * DAY_MS, 4 * DAY_MS, 99 * DAY_MS]
        {
            let next = next_sequence(last, ms);
            let (before, now) = (Instant::from_millis(then), Instant::from_millis(ms));
            assert!(is_newer(wire_sequence(last), before, wire_sequence(next), now), "{last} then {next}");
            (last, then) = (next, ms);
        }
    }

    #[test]
    fn rfc7641_section_3_4_newer_is_larger_or_much_later() {
        let (then, soon, late) = (Instant::ZERO, Instant::ZERO.plus_secs(10), Instant::ZERO.plus_secs(129));
        assert!(is_newer(1, then, 2, soon) && !is_newer(2, then, 1, soon) && !is_newer(2, then, 2, soon));
        assert!(is_newer(MASK, then, 0, soon) && is_newer(2, then, 1, late));
    }

    #[test]
    fn numbers_grow_through_the_end_of_a_gateway() {
        for unix_ms in [1000, DAY_MS, 3 * DAY_MS + 407, 20_000 * DAY_MS] {
            // A burst ahead of the clock.
            let mut last = next_sequence(0, unix_ms);
            for _ in 0..100_000 {
                last = next_sequence(last, unix_ms);
            }
            // Left as it is, it goes on at once.
            assert_eq!(resumed_sequence(last as u32, unix_ms + 1), last);
            let wire = wire_sequence(last);
            for pause_ms in [10_000, 100_000, 300_000, 3_600_000, 5 * DAY_MS] {
                // Known by an earlier number, when what was sent since is not: the clock has gone on.
                for left in [last as u32, (unix_ms * STEPS_PER_MS) as u32, 0] {
                    let next = next_sequence(resumed_sequence(left, unix_ms + pause_ms), unix_ms + pause_ms);
                    let (then, now) = (Instant::from_millis(unix_ms), Instant::from_millis(unix_ms + pause_ms));
                    assert!(is_newer(wire, then, wire_sequence(next), now), "{pause_ms} ms later: {last} then {next}");
                }
            }
        }
    }
}
