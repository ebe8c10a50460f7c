//! Numbers and ids out of checked text, exactly.

/// The powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// The largest whole number below which a double holds each one exactly.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// The double nearest to a JSON number; infinite when it is out of range.
#[inline]
pub(crate) fn parse_number(text: &[u8]) -> f64 {
    short_decimal(text).unwrap_or_else(|| long_number(text))
}

/// A number of few digits without an exponent: one division of two exact doubles is rounded once, hence correctly
/// (W. D. Clinger, "How to Read Floating Point Numbers Accurately", 1990).
#[inline]
fn short_decimal(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // Up to 19 digits cannot overflow the sum below.
    if digits.len() > 19 {
        return None;
    }
    let mut whole = 0_u64;
    let mut fraction_digits = 0;
    let mut after_point = 0;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                whole = whole * 10 + u64::from(byte - b'0');
                fraction_digits += after_point;
            }
            b'.' => after_point = 1,
            _ => return None,
        }
    }
    if whole > EXACT_INTEGER_MAX {
        return None;
    }
    let magnitude = whole as f64 / EXACT_POWERS.get(fraction_digits)?;
    Some(if negative { -magnitude } else { magnitude })
}

#[cold]
fn long_number(text: &[u8]) -> f64 {
    // The grammar of JSON numbers is a part of what the standard parser takes.
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(f64::NAN)
}

/// 128 bits that stand for an event id: see [`crate::EventRecord::id_key`].
#[inline]
pub fn id_key(event_id: &[u8]) -> u128 {
    canonical_uuid(event_id).unwrap_or_else(|| xxhash_rust::xxh3::xxh3_128(event_id))
}

/// 64 bits that stand for a user id: see [`crate::EventRecord::user_hash`].
#[inline]
pub fn user_hash(user_id: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(user_id)
}

/// The bits of a UUID in its canonical lowercase form.
#[inline]
fn canonical_uuid(text: &[u8]) -> Option<u128> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    let eight = |first: usize, second: usize| {
        let mut digits = [0; 8];
        digits[..4].copy_from_slice(&text[first..first + 4]);
        digits[4..].copy_from_slice(&text[second..second + 4]);
        eight_hex_digits(digits)
    };
    let (first, second) = (eight(0, 4)?, eight(9, 14)?);
    let (third, fourth) = (eight(19, 24)?, eight(28, 32)?);
    let high = u64::from(first) << 32 | u64::from(second);
    let low = u64::from(third) << 32 | u64::from(fourth);
    Some(u128::from(high) << 64 | u128::from(low))
}

/// The value of eight lowercase hexadecimal digits, all at once.
#[inline]
fn eight_hex_digits(digits: [u8; 8]) -> Option<u32> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let text = u64::from_le_bytes(digits);
    // Letters have bit 6 set, and their low four bits count from one.
    let nibbles = (text & (EACH * 0x0F)).wrapping_add(9 * (text >> 6 & EACH));
    // Written out again, the digits must be the same: so nothing else than 0-9 and a-f passes.
    let letters = nibbles.wrapping_add(EACH * 6) >> 4 & EACH;
    let written = nibbles.wrapping_add(EACH * 0x30).wrapping_add(letters * 39);
    if nibbles & (EACH * 0xF0) != 0 || written != text {
        return None;
    }
    let mut packed = nibbles.swap_bytes();
    packed = (packed | packed >> 4) & 0x00FF_00FF_00FF_00FF;
    packed = (packed | packed >> 8) & 0x0000_FFFF_0000_FFFF;
    Some((packed | packed >> 16) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_uuid_is_its_own_key_and_nothing_else_is() {
        // What must never change: equal ids have equal keys, and the key of a UUID is the UUID.
        let text = "9118bb16-000f-49c8-8a35-8ca00d75985d";
        assert_eq!(id_key(text.as_bytes()), 0x9118_bb16_000f_49c8_8a35_8ca0_0d75_985d);
        for other in [
            text.to_uppercase(),
            text.replace('-', "_"),
            format!("{text}0"),
            text.replace('9', "g"),
        ] {
            assert_eq!(canonical_uuid(other.as_bytes()), None, "{other}");
        }
        for byte in 0..=255_u8 {
            let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            for place in 0..8 {
                let mut digits = *b"00000000";
                digits[place] = byte;
                assert_eq!(eight_hex_digits(digits).is_some(), is_digit, "{byte} at {place}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_uuid_survives(bits: u128) {
            let hex = format!("{bits:032x}");
            let text = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
            proptest::prop_assert_eq!(canonical_uuid(text.as_bytes()), Some(bits));
        }

        #[test]
        fn numbers_are_rounded_as_the_standard_parser_does(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?") {
            // What must never change: the short way gives the same bits as the long one.
            let expected: f64 = text.parse().unwrap();
            proptest::prop_assert_eq!(parse_number(text.as_bytes()).to_bits(), expected.to_bits());
        }

        #[test]
        fn short_decimals_are_rounded_as_the_standard_parser_does(text in "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,8})?") {
            let expected: f64 = text.parse().unwrap();
            proptest::prop_assert_eq!(parse_number(text.as_bytes()).to_bits(), expected.to_bits());
        }
    }
}
