//! JSON web tokens: taken apart, their signature checked by a known key with an algorithm of the settings.
//!
//! What a token says about itself decides nothing but which of the known keys is tried: neither the algorithm nor an address
//! in its head is believed.

use aws_lc_rs::signature::{
    self, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// An algorithm that tokens may be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TokenAlgorithm {
    /// RSA with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
}

impl TokenAlgorithm {
    fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// A public key of an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKey {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256 { point: Vec<u8> },
}

/// A key as a provider publishes it. What it says beside is passed over.
#[derive(Debug, Deserialize)]
pub(super) struct PublishedKey {
    pub(super) kid: Option<String>,
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl PublishedKey {
    /// The key, when it is one that signatures can be checked by.
    pub(super) fn into_key(self) -> Option<(TokenAlgorithm, TokenKey)> {
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let (algorithm, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (bytes(&self.n)?, bytes(&self.e)?);
                (TokenAlgorithm::Rs256, TokenKey::Rsa { n, e })
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                let point = [&[4_u8][..], &x, &y].concat();
                (TokenAlgorithm::Es256, TokenKey::P256 { point })
            }
            _ => return None,
        };
        let fits = self.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str());
        fits.then_some((algorithm, key))
    }
}

/// A token whose signature has not been checked.
pub(super) struct Unchecked<'t> {
    pub(super) kid: String,
    algorithm: TokenAlgorithm,
    /// Whether the head says that it is an access token (RFC 9068).
    pub(super) is_typed_access: bool,
    signed: &'t str,
    signature: Vec<u8>,
    claims: Vec<u8>,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'t> Unchecked<'t> {
    /// Takes a token apart whose head names one of the algorithms.
    pub(super) fn parse(token: &'t str, allowed: &[TokenAlgorithm]) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let head: Head = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
        // A critical extension is one that may not be passed over, and none is known here.
        if head.crit.is_some() {
            return None;
        }
        let algorithm = allowed
            .iter()
            .copied()
            .find(|allowed| allowed.as_str() == head.alg)?;
        let typ = head.typ.unwrap_or_default().to_ascii_lowercase();
        Some(Self {
            kid: head.kid?,
            algorithm,
            is_typed_access: matches!(typ.as_str(), "at+jwt" | "application/at+jwt"),
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            claims: URL_SAFE_NO_PAD.decode(claims).ok()?,
        })
    }

    /// The claims, when the key signed them.
    pub(super) fn check(&self, (algorithm, key): &(TokenAlgorithm, TokenKey)) -> Option<Map<String, Value>> {
        if *algorithm != self.algorithm {
            return None;
        }
        let message = self.signed.as_bytes();
        let is_signed = match key {
            TokenKey::Rsa { n, e } => {
                let public = RsaPublicKeyComponents { n, e };
                public
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, &self.signature)
                    .is_ok()
            }
            TokenKey::P256 { point } => is_signed(
                &signature::ECDSA_P256_SHA256_FIXED,
                point,
                message,
                &self.signature,
            ),
        };
        is_signed
            .then(|| serde_json::from_slice(&self.claims).ok())
            .flatten()
    }
}

fn is_signed(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, key)
        .verify(message, signature)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 7515, appendix A.2: a token signed with RS256, and the key. Its head names no key, which ours must.
    const RFC_SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RFC_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const RFC_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

    #[test]
    fn the_example_of_the_standard_is_right_and_any_other_is_not() {
        let key: PublishedKey =
            serde_json::from_value(json!({"kty": "RSA", "n": RFC_MODULUS, "e": "AQAB", "kid": "1"})).unwrap();
        let key = key.into_key().unwrap();
        let signature = URL_SAFE_NO_PAD.decode(RFC_SIGNATURE).unwrap();
        let claims = RFC_SIGNED.split_once('.').unwrap().1;
        let mut token = Unchecked {
            kid: "1".to_owned(),
            algorithm: TokenAlgorithm::Rs256,
            is_typed_access: false,
            signed: RFC_SIGNED,
            signature,
            claims: URL_SAFE_NO_PAD.decode(claims).unwrap(),
        };
        assert_eq!(token.check(&key).unwrap()["iss"], "joe");
        token.signature[17] ^= 1;
        assert!(token.check(&key).is_none());
    }

    #[test]
    fn a_head_without_an_allowed_algorithm_is_refused() {
        // What must never change: the token does not choose how it is checked.
        let token = |head: Value| format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(head.to_string()));
        let allowed = [TokenAlgorithm::Rs256];
        let parsed = |head: Value| Unchecked::parse(&token(head), &allowed).is_some();
        assert!(parsed(
            json!({"alg": "RS256", "kid": "1", "jku": "https://evil.example"})
        ));
        for head in [
            json!({"alg": "none", "kid": "1"}),
            json!({"alg": "HS256", "kid": "1"}),
            json!({"alg": "ES256", "kid": "1"}),
            json!({"alg": "rs256", "kid": "1"}),
            json!({"alg": "RS256"}),
            json!({"alg": "RS256", "kid": "1", "crit": ["exp"]}),
            json!({"kid": "1"}),
        ] {
            assert!(!parsed(head.clone()), "{head}");
        }
        for text in ["", "a", "a.b", "..", "e30.e30.e30"] {
            assert!(Unchecked::parse(text, &allowed).is_none(), "{text}");
        }
    }

    #[test]
    fn keys_for_anything_else_are_passed_over() {
        let key = |value: Value| serde_json::from_value::<PublishedKey>(value).unwrap().into_key();
        assert!(key(json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc"})).is_none());
        assert!(key(json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RS512"})).is_none());
        assert!(key(json!({"kty": "oct", "k": "AQAB"})).is_none());
        assert!(key(json!({"kty": "EC", "crv": "P-384", "x": "AQAB", "y": "AQAB"})).is_none());
    }
}
