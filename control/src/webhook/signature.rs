//! Signatures of Standard Webhooks 1.0.0: HMAC-SHA256 over the message's id, the attempt's time and the body.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::error::ControlError;

/// How a secret begins where people see it.
const PREFIX: &str = "whsec_";

/// The sizes of a secret in bytes that the standard allows.
const SIZES: std::ops::RangeInclusive<usize> = 24..=64;

/// The key that messages to a receiver are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    /// A fresh secret of 32 random bytes.
    pub fn generate() -> Self {
        // Three random UUIDs carry 366 random bits; hashed, each bit of the key depends on all of them.
        let mut hash = Sha256::new();
        for _ in 0..3 {
            hash.update(uuid::Uuid::new_v4().as_bytes());
        }
        Self(hash.finalize().to_vec())
    }

    /// Reads a secret of the form `whsec_…`, with or without the prefix.
    ///
    /// # Errors
    /// [`ControlError::InvalidSecret`].
    pub fn parse(text: &str) -> Result<Self, ControlError> {
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| ControlError::InvalidSecret)?;
        if !SIZES.contains(&bytes.len()) {
            return Err(ControlError::InvalidSecret);
        }
        Ok(Self(bytes))
    }

    /// The secret as `whsec_…`: to be shown once and never logged.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookSecret(…)")
    }
}

/// The value of `webhook-signature` for one attempt: a signature per secret, so that a receiver with either accepts.
pub fn sign(secrets: &[WebhookSecret], message: &str, timestamp_seconds: i64, body: &str) -> String {
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let mut mac = keyed(secret);
            mac.update(format!("{message}.{timestamp_seconds}.").as_bytes());
            mac.update(body.as_bytes());
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        })
        .collect();
    signatures.join(" ")
}

fn keyed(secret: &WebhookSecret) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret.bytes()).expect("HMAC takes keys of any size")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const EXPECTED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_published_vector_gives_the_published_signature() {
        // What must never change: receivers with any library of the standard accept our messages.
        let secret = WebhookSecret::parse(SECRET).unwrap();
        let signed = sign(
            std::slice::from_ref(&secret),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, EXPECTED);
        assert_eq!(WebhookSecret::parse(&secret.reveal()).unwrap(), secret);
    }

    #[test]
    fn while_a_secret_is_rotated_both_sign() {
        let secrets = [WebhookSecret::generate(), WebhookSecret::parse(SECRET).unwrap()];
        let signed = sign(
            &secrets,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        let signatures: Vec<&str> = signed.split(' ').collect();
        assert_eq!(signatures.len(), 2);
        assert_eq!(signatures[1], EXPECTED);
        assert_ne!(signatures[0], EXPECTED);
    }

    #[test]
    fn a_secret_is_long_enough_and_never_printed_by_accident() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64!"] {
            assert!(
                matches!(WebhookSecret::parse(text), Err(ControlError::InvalidSecret)),
                "{text}"
            );
        }
        let secret = WebhookSecret::generate();
        assert_ne!(secret, WebhookSecret::generate());
        assert!(!format!("{secret:?}").contains(&secret.reveal()[PREFIX.len()..]));
    }
}
