//! The provider's half of a login by browser: where people are sent, what their code is worth, and what the identity token
//! that it buys says (OpenID Connect Core 1.0, the authorization code flow with PKCE).
//!
//! Everything that binds the two halves of a login to one browser comes out of one secret, which that browser keeps: the
//! state, the nonce and the verifier are digests of it, so that nothing in the store or in an address gives them away.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;
use reqwest::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;
use url::form_urlencoded;

use super::documents::{self, Discovery, FetchError};
use super::{Provider, actor, is_in_time, names};
use crate::access::secret;
use crate::access::sign_on::{ClientSecret, RefusedSignOn};
use crate::change::Actor;
use crate::permission::Role;

/// How long a person waits for one answer of the provider; a program with a token waits less.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// What the provider says about itself is read again after this.
const DUE_MICROS: i64 = 600 * MICROS_PER_SECOND;
/// And at most this often while it does not answer: people try again at once.
const RETRY_MICROS: i64 = 5 * MICROS_PER_SECOND;
/// The longest code that is passed on: providers' are below 2 KiB, also those that are tokens themselves.
const CODE_MAX_BYTES: usize = 4 * 1024;

/// What is known of where the provider takes logins.
#[derive(Default)]
pub(super) struct KnownEndpoints {
    known: ArcSwapOption<(Timestamp, Discovery)>,
    last_attempt: Mutex<Option<Timestamp>>,
}

/// Why a login by the provider came to nothing.
#[derive(Debug, Clone, Copy)]
pub(in crate::access) enum Fault {
    /// The provider does not answer, or not as providers do; the same may work later.
    Away,
    /// It is refused.
    Refused(RefusedSignOn),
}

/// Somebody whom the provider vouches for.
#[derive(Debug)]
pub(in crate::access) struct Identity {
    pub(in crate::access) actor: Actor,
    /// Absent when no group of theirs has one.
    pub(in crate::access) role: Option<Role>,
}

/// What a provider's answer to a browser holds.
#[derive(Debug, Clone, Copy)]
pub(in crate::access) struct Returned<'a> {
    pub(in crate::access) code: Option<&'a str>,
    pub(in crate::access) issuer: Option<&'a str>,
    pub(in crate::access) error: Option<&'a str>,
}

#[derive(Deserialize)]
struct Bought {
    id_token: Option<String>,
    access_token: Option<String>,
}

#[derive(Default, Deserialize)]
struct Unbought {
    #[serde(default)]
    error: String,
}

/// The word by which the provider's answer finds its way back to a login, out of the secret of the browser.
pub(in crate::access) fn state_of(secret: &str) -> String {
    derived("state", secret)
}

/// A text that tells nothing of the secret and nothing of the other texts made from it.
fn derived(purpose: &str, secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(secret::digest(&format!("{purpose}:{secret}")))
}

impl Provider {
    /// Where a browser is sent to log in.
    pub(in crate::access) async fn authorization_url(
        &self,
        secret: &str,
        redirect_uri: &str,
    ) -> Result<String, Fault> {
        let discovery = self.endpoints().await.ok_or(Fault::Away)?;
        let endpoint = discovery.1.authorization_endpoint.as_deref();
        let mut url = Url::parse(safe(endpoint)?).map_err(|_| Fault::Away)?;
        let scopes = self.settings.login.as_ref().map(|login| login.scopes.join(" "));
        let challenge = URL_SAFE_NO_PAD.encode(secret::digest(&derived("verifier", secret)));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", &scopes.unwrap_or_default())
            .append_pair("state", &state_of(secret))
            .append_pair("nonce", &derived("nonce", secret))
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Who came back, when everything about the answer is right. The state was held against the secret before.
    pub(in crate::access) async fn identify(
        &self,
        returned: Returned<'_>,
        secret: &str,
        redirect_uri: &str,
    ) -> Result<Identity, Fault> {
        let discovery = self.endpoints().await.ok_or(Fault::Away)?;
        let discovery = &discovery.1;
        // First who says it: another provider's error is no more to be believed than its code (RFC 9207).
        let is_named = discovery.authorization_response_iss_parameter_supported;
        match returned.issuer {
            Some(issuer) if issuer == self.settings.issuer => {}
            None if !is_named => {}
            _ => return Err(Fault::Refused(RefusedSignOn::OtherProvider)),
        }
        if let Some(error) = returned.error {
            tracing::info!(error = %error_word(error), "the identity provider refused a login");
            return Err(Fault::Refused(RefusedSignOn::ByProvider));
        }
        let code = returned
            .code
            .filter(|code| !code.is_empty() && code.len() <= CODE_MAX_BYTES);
        let code = code.ok_or(Fault::Refused(RefusedSignOn::CodeMissing))?;
        let verifier = derived("verifier", secret);
        let parts = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", &verifier),
        ];
        let bought = self.buy(discovery, &parts).await?;
        let invalid = Fault::Refused(RefusedSignOn::TokenInvalid);
        let token = bought.id_token.ok_or(invalid)?;
        let claims = self.signed_claims(&token, PATIENCE).await;
        let claims = claims.filter(|(claims, is_typed_access)| {
            !is_typed_access && self.is_for_us(claims, &derived("nonce", secret)) && actor(claims).is_some()
        });
        let (mut claims, _) = claims.ok_or(invalid)?;
        let access_token = bought.access_token.as_deref();
        self.add_groups(&mut claims, discovery, access_token).await?;
        self.identity(&claims).ok_or(invalid)
    }

    /// Where a browser may end its session at the provider too, when that is known and offered.
    pub(in crate::access) fn end_session_url(&self, return_to: &str) -> Option<String> {
        let known = self.endpoints.known.load_full()?;
        let mut url = Url::parse(safe(known.1.end_session_endpoint.as_deref()).ok()?).ok()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", return_to);
        Some(url.into())
    }

    /// Buys tokens with a code.
    async fn buy(&self, discovery: &Discovery, parts: &[(&str, &str)]) -> Result<Bought, Fault> {
        let request = self.purchase(discovery, parts)?;
        let answer = async {
            let response = request.send().await?;
            Ok::<_, FetchError>((response.status(), documents::body(response).await?))
        };
        let (status, body) = answer.await.map_err(|error| away(&error))?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| away(&error)),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let said: Unbought = serde_json::from_slice(&body).unwrap_or_default();
                // Whoever runs the server has to know when it is the client that is not taken.
                tracing::warn!(status = status.as_u16(), error = %error_word(&said.error),
                    "the identity provider does not take the code of a login");
                Err(Fault::Refused(RefusedSignOn::CodeRefused))
            }
            status => {
                tracing::warn!(
                    status = status.as_u16(),
                    "the identity provider does not answer as providers do"
                );
                Err(Fault::Away)
            }
        }
    }

    /// The request that buys a token: the client says who it is in a header or, where it has no secret, in the form.
    fn purchase(
        &self,
        discovery: &Discovery,
        parts: &[(&str, &str)],
    ) -> Result<reqwest::RequestBuilder, Fault> {
        let endpoint = safe(discovery.token_endpoint.as_deref())?;
        let mut request = self.http.post(endpoint).timeout(PATIENCE);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parts);
        let client_id = &self.settings.client_id;
        let login = self.settings.login.as_ref();
        match login.and_then(|login| login.client_secret.as_ref()) {
            Some(secret) if takes_basic(discovery) => {
                request = request.header(header::AUTHORIZATION, basic(client_id, secret));
            }
            secret => {
                form.append_pair("client_id", client_id);
                if let Some(secret) = secret {
                    form.append_pair("client_secret", secret.reveal());
                }
            }
        }
        Ok(request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(form.finish()))
    }

    /// Whether a token is an identity token that was made for this login, here and now (OpenID Connect Core 1.0, 3.1.3.7).
    fn is_for_us(&self, claims: &Map<String, Value>, nonce: &str) -> bool {
        let settings = &self.settings;
        let client_id = settings.client_id.as_str();
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let party = claims.get("azp").map(Value::as_str);
        let has_one_audience = match claims.get("aud") {
            Some(Value::Array(many)) => many.len() == 1,
            _ => true,
        };
        let is_party = match party {
            Some(party) => party == Some(client_id),
            // A token for several has to say which of them asked for it.
            None => has_one_audience,
        };
        text("iss") == Some(&settings.issuer)
            && names(claims.get("aud"), client_id)
            && is_party
            && claims.contains_key("iat")
            && is_in_time(claims, self.clock.now())
            // Cognito says what a token is for; others say it by the type of access tokens alone.
            && claims.get("token_use").is_none_or(|word| word == "id")
            && text("nonce").is_some_and(|found| secret::same(found.as_bytes(), nonce.as_bytes()))
    }

    fn identity(&self, claims: &Map<String, Value>) -> Option<Identity> {
        Some(Identity {
            actor: actor(claims)?,
            role: self.role(claims.get(&self.settings.groups_claim)),
        })
    }

    /// What the provider says about itself: what is known, read again when that is due.
    async fn endpoints(&self) -> Option<Arc<(Timestamp, Discovery)>> {
        let now = self.clock.now();
        let known = self.endpoints.known.load_full();
        if known.as_ref().is_some_and(|known| now.0 - known.0.0 < DUE_MICROS) {
            return known;
        }
        let mut last_attempt = self.endpoints.last_attempt.lock().await;
        if last_attempt.is_none_or(|last| now.0 - last.0 >= RETRY_MICROS) {
            *last_attempt = Some(now);
            match documents::discover(&self.http, &self.settings.issuer, PATIENCE).await {
                Ok(read) => self.endpoints.known.store(Some(Arc::new((now, read)))),
                Err(error) => drop(away(&error)),
            }
        }
        self.endpoints.known.load_full()
    }
}

/// An endpoint, when the provider has it where nobody in between can listen.
fn safe(endpoint: Option<&str>) -> Result<&str, Fault> {
    let Some(endpoint) = endpoint else {
        tracing::warn!("the identity provider does not say where it takes logins");
        return Err(Fault::Away);
    };
    documents::checked(endpoint).map_err(|error| away(&error))
}

pub(super) fn away(error: &(dyn std::error::Error + 'static)) -> Fault {
    tracing::warn!(error, "the identity provider cannot be asked");
    Fault::Away
}

/// Whether the client says who it is in a header, which is what providers have to take unless they say otherwise.
fn takes_basic(discovery: &Discovery) -> bool {
    let methods = discovery.token_endpoint_auth_methods_supported.as_ref();
    methods.is_none_or(|methods| {
        let takes = |method: &str| methods.iter().any(|taken| taken == method);
        takes("client_secret_basic") || !takes("client_secret_post")
    })
}

/// The header by which a client says who it is: both parts are encoded as in forms first (RFC 6749, 2.3.1).
fn basic(client_id: &str, secret: &ClientSecret) -> header::HeaderValue {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(secret.reveal()));
    let text = format!("Basic {}", STANDARD.encode(pair));
    let mut value = header::HeaderValue::from_str(&text).expect("base64 holds nothing that a header cannot");
    value.set_sensitive(true);
    value
}

/// A word of a provider for the log, cut to what such words are made of.
fn error_word(error: &str) -> String {
    let fits = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    error.chars().filter(fits).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_through_addresses_gives_nothing_else_away() {
        // What must never change: state, nonce and verifier are told apart, and none of them is the secret or its digest.
        let secret = "s".repeat(43);
        let mut texts = vec![secret.clone(), URL_SAFE_NO_PAD.encode(secret::digest(&secret))];
        texts.extend(["state", "nonce", "verifier"].map(|purpose| derived(purpose, &secret)));
        assert!(texts.iter().all(|text| text.len() == 43));
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 5);
        assert_ne!(state_of(&secret), state_of(&"t".repeat(43)));
    }

    #[test]
    fn a_client_says_who_it_is_as_the_provider_takes_it() {
        let takes = |methods: Value| {
            let mut discovery = serde_json::json!({"issuer": "i", "jwks_uri": "j"});
            discovery["token_endpoint_auth_methods_supported"] = methods;
            takes_basic(&serde_json::from_value(discovery).unwrap())
        };
        assert!(takes(Value::Null));
        assert!(takes(serde_json::json!([
            "client_secret_post",
            "client_secret_basic"
        ])));
        assert!(!takes(serde_json::json!(["client_secret_post", "none"])));
        // RFC 6749, 2.3.1: what stands in the pair is encoded before the pair is.
        let header = basic("a:b", &ClientSecret::new("c d%").unwrap());
        assert_eq!(header, format!("Basic {}", STANDARD.encode("a%3Ab:c+d%25")));
    }

    #[test]
    fn a_word_of_a_provider_is_a_word_in_the_log() {
        assert_eq!(error_word("invalid_grant"), "invalid_grant");
        assert_eq!(error_word("a\nb c"), "abc");
        assert_eq!(error_word(&"x".repeat(100)).len(), 64);
    }
}
