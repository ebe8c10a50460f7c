//! When a message is tried again. Pure: the present instant and the jitter are handed in.

use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;

/// Seconds before each attempt, counted from the end of the one before: the example schedule of Standard Webhooks 1.0.0,
/// which gives up after three days.
const DELAYS_SECONDS: [i64; 10] = [
    0,
    5,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
];

/// How often a message is tried.
pub const ATTEMPTS_MAX: u32 = DELAYS_SECONDS.len() as u32;

/// The share of a delay that jitter may add, so that what failed together does not return together.
const JITTER_SHARE: f64 = 0.1;

/// The longest wait that a receiver may ask for.
const RETRY_AFTER_MAX_SECONDS: i64 = 24 * HOUR;

/// When to try again after `attempts` failed attempts, the last of them at `now`; none when all are used up.
///
/// `jitter` lies between 0 and 1. A receiver that asked to wait `retry_after_seconds` is not tried before that, and
/// at the latest after a day.
pub fn next_attempt(
    attempts: u32,
    now: Timestamp,
    retry_after_seconds: Option<i64>,
    jitter: f64,
) -> Option<Timestamp> {
    let delay_seconds = *DELAYS_SECONDS.get(attempts as usize)?;
    let delay = delay_seconds * MICROS_PER_SECOND;
    let jittered = delay + (delay as f64 * JITTER_SHARE * jitter.clamp(0.0, 1.0)) as i64;
    let asked = retry_after_seconds.unwrap_or(0).clamp(0, RETRY_AFTER_MAX_SECONDS) * MICROS_PER_SECOND;
    Some(now.plus_micros(jittered.max(asked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attempts_follow_the_schedule_and_then_end() {
        // What must never change: ten attempts over 75.6 hours and 305 seconds, then none.
        let mut now = Timestamp(0);
        let mut instants = Vec::new();
        for failed in 1.. {
            match next_attempt(failed, now, None, 0.0) {
                Some(next) => now = next,
                None => break,
            }
            instants.push(now.0 / MICROS_PER_SECOND);
        }
        let expected = [5, 305, 2_105, 9_305, 27_305, 63_305, 113_705, 185_705, 272_105];
        assert_eq!(instants, expected);
        assert_eq!(next_attempt(ATTEMPTS_MAX, now, Some(60), 0.0), None);
    }

    #[test]
    fn jitter_adds_at_most_a_tenth() {
        let now = Timestamp(1_000);
        for (jitter, micros) in [
            (0.0, 5_000_000),
            (1.0, 5_500_000),
            (7.0, 5_500_000),
            (-1.0, 5_000_000),
        ] {
            assert_eq!(
                next_attempt(1, now, None, jitter),
                Some(now.plus_micros(micros)),
                "{jitter}"
            );
        }
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_wait_but_not_for_a_shorter_one() {
        let now = Timestamp(0);
        for (attempts, asked, seconds) in [(1, 60, 60), (2, 60, 300), (1, -5, 5), (1, 999_999_999, 86_400)] {
            let next = next_attempt(attempts, now, Some(asked), 0.0);
            assert_eq!(
                next,
                Some(Timestamp(seconds * MICROS_PER_SECOND)),
                "{attempts} {asked}"
            );
        }
    }
}
