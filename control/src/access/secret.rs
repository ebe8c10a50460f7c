//! Random texts that cannot be guessed, their digests, and comparisons that tell nothing by their duration.

use aws_lc_rs::rand;
use sha2::{Digest, Sha256};

/// Letters and digits: a double click selects a secret whole, and nothing in it needs quoting.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The characters of a secret: 43 of 62 carry 256 bits.
pub(crate) const SECRET_CHARS: usize = 43;

/// The characters of a selector: 22 of 62 carry 130 bits.
pub(crate) const SELECTOR_CHARS: usize = 22;

/// A random text of letters and digits, each equally likely.
pub(crate) fn random_text(chars: usize) -> String {
    // Bytes from here on would make the first letters likelier than the last.
    const LIMIT: u8 = 248;
    let mut text = String::with_capacity(chars);
    let mut bytes = [0; 64];
    while text.len() < chars {
        rand::fill(&mut bytes).expect("the generator of the system ends the process rather than fail");
        let usable = bytes.iter().filter(|byte| **byte < LIMIT);
        let letters = usable.map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        text.extend(letters.take(chars - text.len()));
    }
    text
}

/// A number in letters and digits, as wide as asked for.
pub(crate) fn number_text(mut number: u32, chars: usize) -> String {
    let mut letters = vec![b'0'; chars];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    letters.into_iter().map(char::from).collect()
}

/// The digest that is kept instead of a secret. A secret of 256 random bits needs no slow hash: it cannot be guessed.
pub(crate) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whether two digests are the same, in a time that does not depend on where they differ.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_texts_have_their_length_and_use_every_letter() {
        let text = random_text(20_000);
        assert_eq!(text.len(), 20_000);
        for letter in ALPHABET {
            // 322 are expected; fewer than 200 of a fair draw is seven standard deviations off.
            let count = text.bytes().filter(|byte| byte == letter).count();
            assert!((200..450).contains(&count), "{} {count}", char::from(*letter));
        }
        assert_ne!(random_text(SECRET_CHARS), random_text(SECRET_CHARS));
    }

    #[test]
    fn the_largest_number_fits_into_six_letters() {
        assert_eq!(number_text(u32::MAX, 6), "4gfFC3");
        assert_eq!(number_text(61, 2), "0z");
    }

    #[test]
    fn only_equal_digests_are_the_same() {
        assert!(same(&digest("a"), &digest("a")));
        assert!(!same(&digest("a"), &digest("b")));
        assert!(!same(&digest("a"), &digest("a")[..31]));
    }
}
