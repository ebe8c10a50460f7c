//! Passwords: argon2id, with the memory and passes that OWASP asks for.

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand;

use crate::error::ControlError;

/// Memory of one hash in KiB, passes and lanes: the second choice of the OWASP cheat sheet, which asks the most of
/// memory that lets two logins run at once on a small machine.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The lengths of a password in characters: long enough that guessing through the lock-out is hopeless, and short enough
/// to hash.
const CHARS: std::ops::RangeInclusive<usize> = 12..=128;

/// Hashes a new password. Takes some tens of milliseconds and 19 MiB.
///
/// # Errors
/// [`ControlError::InvalidPassword`] when it is too short or too long.
pub(crate) fn hash(password: &str) -> Result<String, ControlError> {
    if !CHARS.contains(&password.chars().count()) {
        let (min, max) = (*CHARS.start(), *CHARS.end());
        return Err(ControlError::InvalidPassword { min, max });
    }
    let mut salt = [0; 16];
    rand::fill(&mut salt).expect("the generator of the system ends the process rather than fail");
    let hash = hasher().hash_password_with_salt(password.as_bytes(), &salt);
    Ok(hash
        .expect("the parameters are within argon2's bounds")
        .to_string())
}

/// Whether `password` is the one of `hash`. With no hash the same work is done, so that the time tells nothing.
pub(crate) fn verify(password: &str, hash: Option<&str>) -> bool {
    // Of a password that nobody has: its digest was drawn at random.
    const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSByYW5kb20gc2FsdA$\
                           RYl9vHXkTZ1X2c6sCNn1uXo5jzqV2nKkvW0m3c7b1mE";
    let known = PasswordHash::new(hash.unwrap_or(NOBODYS));
    let matches = known.is_ok_and(|known| hasher().verify_password(password.as_bytes(), &known).is_ok());
    matches && hash.is_some()
}

fn hasher() -> Argon2<'static> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_as_argon2id_with_a_salt_of_its_own() {
        // What must never change: hashes that are stored keep their meaning.
        let password = "correct horse battery";
        let (one, other) = (hash(password).unwrap(), hash(password).unwrap());
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, other);
        assert!(verify(password, Some(&one)) && verify(password, Some(&other)));
        assert!(!verify("correct horse batterz", Some(&one)));
        assert!(!verify(password, None));
        assert!(!verify(password, Some("not a hash")));
    }

    #[test]
    fn a_password_has_a_length() {
        for short_or_long in ["elevenchars", &"a".repeat(129)] {
            let refused = hash(short_or_long);
            assert!(matches!(refused, Err(ControlError::InvalidPassword { .. })));
        }
        assert!(hash(&"ü".repeat(12)).is_ok());
    }
}
