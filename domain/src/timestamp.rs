//! An instant in microseconds since the Unix epoch, UTC, and its RFC 3339 text.
//!
//! The parser takes exactly what the event contract allows and allocates nothing: it runs once per event.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Microseconds in a second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;
/// Microseconds in a day.
pub const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// 0001-01-01T00:00:00Z.
const EARLIEST_MICROS: i64 = -719_162 * MICROS_PER_DAY;
/// 9999-12-31T23:59:59.999999Z.
const LATEST_MICROS: i64 = 2_932_897 * MICROS_PER_DAY - 1;

/// An instant: microseconds since 1970-01-01T00:00:00Z. Years 0001 to 9999.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// The text is not an RFC 3339 instant with a zone offset in the years 0001 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time such as 2026-01-31T12:00:00.000Z")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// The instant that an RFC 3339 text names; fractions beyond microseconds are cut off.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] when the text is anything else, including a time without an offset.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        parse_bytes(text.as_bytes()).ok_or(InvalidTimestamp)
    }

    /// Days since 1970-01-01 of the UTC calendar day that holds the instant.
    pub fn day(self) -> i32 {
        // Within years 0001..9999 the day number fits easily.
        i32::try_from(self.0.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX)
    }

    /// The start of the window of `seconds` that holds the instant. Windows start at the Unix epoch.
    pub fn window_start(self, seconds: i32) -> Self {
        let size = i64::from(seconds.max(1)) * MICROS_PER_SECOND;
        Self(self.0.div_euclid(size) * size)
    }

    /// The instant `micros` later, held within the range of `i64`.
    pub fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

fn two(bytes: &[u8], at: usize) -> Option<i64> {
    let tens = bytes.get(at)?.wrapping_sub(b'0');
    let ones = bytes.get(at + 1)?.wrapping_sub(b'0');
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

fn parse_bytes(bytes: &[u8]) -> Option<Timestamp> {
    if bytes.len() < 20 || bytes[4] != b'-' || bytes[7] != b'-' || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    if !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let year = two(bytes, 0)? * 100 + two(bytes, 2)?;
    let (month, day) = (two(bytes, 5)?, two(bytes, 8)?);
    let (hour, minute, second) = (two(bytes, 11)?, two(bytes, 14)?, two(bytes, 17)?);
    // A leap second is the last microsecond that the calendar of Unix time has for it.
    let leap = second == 60;
    if year == 0 || month == 0 || month > 12 || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_micros, rest) = parse_fraction(&bytes[19..])?;
    let offset_seconds = parse_offset(rest)?;
    let days = days_from_civil(year, month, day);
    let seconds =
        days * 86_400 + hour * 3_600 + minute * 60 + if leap { 59 } else { second } - offset_seconds;
    let micros = if leap {
        MICROS_PER_SECOND - 1
    } else {
        fraction_micros
    };
    let instant = seconds * MICROS_PER_SECOND + micros;
    // An offset may lead out of the years that dates, and with them tables, have four digits for.
    (EARLIEST_MICROS..=LATEST_MICROS)
        .contains(&instant)
        .then_some(Timestamp(instant))
}

fn parse_fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    if bytes.first() != Some(&b'.') {
        return Some((0, bytes));
    }
    let digits = bytes[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Nine digits are nanoseconds; more than that is not a time that any clock wrote.
    if digits == 0 || digits > 9 {
        return None;
    }
    let mut micros = 0;
    for place in 0..6 {
        let digit = if place < digits {
            i64::from(bytes[1 + place] - b'0')
        } else {
            0
        };
        micros = micros * 10 + digit;
    }
    Some((micros, &bytes[1 + digits..]))
}

fn parse_offset(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(bytes, 1)?, two(bytes, 4)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3_600 + minutes * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (Howard Hinnant, `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day number, the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with as many of 0, 3 or 6 fraction digits as the instant needs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(MICROS_PER_DAY));
        let in_day = self.0.rem_euclid(MICROS_PER_DAY);
        let (seconds, micros) = (in_day / MICROS_PER_SECOND, in_day % MICROS_PER_SECOND);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        match micros {
            0 => {}
            whole if whole % 1_000 == 0 => write!(formatter, ".{:03}", whole / 1_000)?,
            _ => write!(formatter, ".{micros:06}")?,
        }
        formatter.write_str("Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Writes an instant as its number of microseconds, for stored forms that are read by programs only and may hold
/// instants outside the years that have a text.
pub mod as_micros {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Timestamp;

    /// Writes the number.
    ///
    /// # Errors
    /// What the serializer reports.
    pub fn serialize<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(instant.0)
    }

    /// Reads the number.
    ///
    /// # Errors
    /// What the deserializer reports.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_the_instants_that_jiff_reads() {
        // What must never change: the hand-written parser agrees with an independent one.
        for text in [
            "2025-01-01T00:00:00.023Z",
            "1969-12-31T23:59:59.999999Z",
            "2024-02-29T12:00:00+05:30",
            "0001-01-01T00:00:00Z",
            "9999-12-30T12:00:00.123456Z",
            "2000-02-29t00:00:00.5z",
        ] {
            let expected = text
                .to_uppercase()
                .parse::<jiff::Timestamp>()
                .unwrap()
                .as_microsecond();
            assert_eq!(Timestamp::parse(text).unwrap().0, expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2025-01-01",
            "2025-01-01T00:00:00",
            "20x5-01-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00:00.Z",
            "2025-01-01T00:00:00ZZ",
            "2025-01-01T00:00:00+0530",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2025-01-01T00:00:00.1234567890Z",
        ] {
            assert_eq!(Timestamp::parse(text), Err(InvalidTimestamp), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_instant_survives_its_text(micros in -62_135_596_800_000_000_i64..253_402_300_799_999_999) {
            // What must never change: text and instant are two forms of one thing.
            let instant = Timestamp(micros);
            proptest::prop_assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant));
        }
    }

    #[test]
    fn windows_and_days_hold_their_instants_before_the_epoch_too() {
        assert_eq!(Timestamp(-1).day(), -1);
        assert_eq!(Timestamp(-1).window_start(60), Timestamp(-60 * MICROS_PER_SECOND));
        assert_eq!(
            Timestamp(61 * MICROS_PER_SECOND).window_start(60),
            Timestamp(60 * MICROS_PER_SECOND)
        );
    }
}
