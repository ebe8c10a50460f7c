//! An OpenID provider: its keys, and what the claims of its access tokens mean here.
//!
//! Keys come from the issuer of the settings alone. They are read again when a token names one that is not known, and every
//! ten minutes while tokens come, but at most once a minute; while the provider is away those that are known stay in force.

pub(super) mod code_flow;
mod documents;
mod user_info;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use code_flow::KnownEndpoints;
use documents::FetchError;
pub(super) use documents::is_safe;

use super::sign_on::SignOnSettings;
use super::token::{PublishedKey, TokenAlgorithm, TokenKey, Unchecked};
use crate::change::Actor;
use crate::clock::Clock;
use crate::error::ControlError;
use crate::permission::{Authority, Principal, Role};

/// Clocks may differ by so much.
const LEEWAY_SECONDS: i64 = 60;
/// Keys are read at most this often, whatever tokens name.
const REFRESH_MIN_MICROS: i64 = 60 * MICROS_PER_SECOND;
/// And again after this, so that a key that was taken back ends.
const REFRESH_DUE_MICROS: i64 = 600 * MICROS_PER_SECOND;
/// A caller with an unknown key hears so within a second, also while the provider does not answer.
const FETCH_TIMEOUT: Duration = Duration::from_millis(900);

/// Where people come from whom a provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// The issuer, as tokens name it. Its keys are found at `/.well-known/openid-configuration` below it.
    pub issuer: String,
    /// The client that tokens must have been given to.
    pub client_id: String,
    /// What tokens must be meant for; without it, as with Cognito, `client_id` and `token_use` decide.
    pub audience: Option<String>,
    /// The algorithms that tokens may be signed with.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<TokenAlgorithm>,
    /// The claim that holds a person's groups.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// The role of each group; the strongest counts, and without one there is nothing that a person may do.
    pub roles: HashMap<String, Role>,
    /// How people log in by their browsers; only tokens are taken when absent.
    pub login: Option<SignOnSettings>,
}

fn default_algorithms() -> Vec<TokenAlgorithm> {
    vec![TokenAlgorithm::Rs256]
}

fn default_groups_claim() -> String {
    "cognito:groups".to_owned()
}

/// A provider and its keys.
pub(super) struct Provider {
    settings: OidcSettings,
    clock: Arc<dyn Clock>,
    http: reqwest::Client,
    keys: ArcSwap<Keys>,
    last_attempt: Mutex<Option<Timestamp>>,
    endpoints: KnownEndpoints,
}

#[derive(Default)]
struct Keys {
    read_at: Option<Timestamp>,
    by_id: HashMap<String, (TokenAlgorithm, TokenKey)>,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl Provider {
    pub(super) fn new(settings: OidcSettings, clock: Arc<dyn Clock>) -> Result<Self, ControlError> {
        let http = documents::client().map_err(|source| ControlError::HttpClient { source })?;
        Ok(Self {
            settings,
            clock,
            http,
            keys: ArcSwap::default(),
            last_attempt: Mutex::new(None),
            endpoints: KnownEndpoints::default(),
        })
    }

    /// Who the bearer of an access token is, when everything about it is right.
    pub(super) async fn check(&self, token: &str) -> Option<Principal> {
        let (claims, is_typed_access) = self.signed_claims(token, FETCH_TIMEOUT).await?;
        self.principal(&claims, is_typed_access, self.clock.now())
    }

    /// What a token says, when the provider signed it, and whether its head says that it is an access token. An unknown key
    /// is looked for, which takes twice `timeout` at most.
    async fn signed_claims(&self, token: &str, timeout: Duration) -> Option<(Map<String, Value>, bool)> {
        let unchecked = Unchecked::parse(token, &self.settings.algorithms)?;
        let now = self.clock.now();
        let is_known = self.keys.load().by_id.contains_key(&unchecked.kid);
        let read_at = self.keys.load().read_at;
        if !is_known || read_at.is_none_or(|read_at| now.0 - read_at.0 >= REFRESH_DUE_MICROS) {
            self.refresh(now, timeout).await;
        }
        let keys = self.keys.load();
        let claims = unchecked.check(keys.by_id.get(&unchecked.kid)?)?;
        Some((claims, unchecked.is_typed_access))
    }

    fn principal(
        &self,
        claims: &Map<String, Value>,
        is_typed_access: bool,
        now: Timestamp,
    ) -> Option<Principal> {
        let settings = &self.settings;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        // Identity tokens are for the client that asked for them, never for us.
        let is_access = text("token_use") == Some("access") || text("token_use").is_none() && is_typed_access;
        let is_ours = match &settings.audience {
            Some(audience) => names(claims.get("aud"), audience),
            None => text("client_id") == Some(&settings.client_id),
        };
        if text("iss") != Some(&settings.issuer) || !is_in_time(claims, now) || !is_access || !is_ours {
            return None;
        }
        let actor = actor(claims)?;
        let authority = match self.role(claims.get(&settings.groups_claim)) {
            Some(role) => Authority::Role(role),
            None => Authority::secret_key(&[]),
        };
        Some(Principal {
            actor,
            authority,
            environment: None,
        })
    }

    /// The strongest role of somebody's groups.
    fn role(&self, groups: Option<&Value>) -> Option<Role> {
        let groups = groups.and_then(Value::as_array).into_iter().flatten();
        let roles = groups.filter_map(|group| self.settings.roles.get(group.as_str()?));
        roles.max().copied()
    }

    async fn refresh(&self, now: Timestamp, timeout: Duration) {
        // A login may wait longer for the provider, and nobody else waits longer because of it.
        let Ok(mut last_attempt) = tokio::time::timeout(timeout, self.last_attempt.lock()).await else {
            return;
        };
        if last_attempt.is_some_and(|last| now.0 - last.0 < REFRESH_MIN_MICROS) {
            return;
        }
        *last_attempt = Some(now);
        match self.fetch(timeout).await {
            Ok(by_id) => self.keys.store(Arc::new(Keys {
                read_at: Some(now),
                by_id,
            })),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    "the keys of the identity provider cannot be read; those that are known stay in force"
                );
            }
        }
    }

    async fn fetch(
        &self,
        timeout: Duration,
    ) -> Result<HashMap<String, (TokenAlgorithm, TokenKey)>, FetchError> {
        let discovery = documents::discover(&self.http, &self.settings.issuer, timeout).await?;
        let published = documents::read(&self.http, &discovery.jwks_uri, timeout).await?;
        let published: Published = serde_json::from_slice(&published)?;
        let mut by_id = HashMap::new();
        let mut twice = Vec::new();
        for key in published.keys {
            let Ok(mut key) = serde_json::from_value::<PublishedKey>(key) else {
                continue;
            };
            let Some(kid) = key.kid.take() else { continue };
            if let Some(key) = key.into_key()
                && by_id.insert(kid.clone(), key).is_some()
            {
                twice.push(kid);
            }
        }
        // Which of two keys of one name is meant cannot be told.
        for kid in twice {
            by_id.remove(&kid);
        }
        Ok(by_id)
    }
}

/// Whether a token is in force, give or take what clocks may differ by.
fn is_in_time(claims: &Map<String, Value>, now: Timestamp) -> bool {
    let seconds = |name: &str| claims.get(name).map(Value::as_f64);
    let now = now.0 as f64 / MICROS_PER_SECOND as f64;
    let leeway = LEEWAY_SECONDS as f64;
    let is_past =
        |time: Option<Option<f64>>| time.is_none_or(|time| time.is_some_and(|time| time - leeway <= now));
    seconds("exp").flatten().is_some_and(|end| now < end + leeway)
        && is_past(seconds("nbf"))
        && is_past(seconds("iat"))
}

/// Whom a token is about.
fn actor(claims: &Map<String, Value>) -> Option<Actor> {
    let subject = claims.get("sub").and_then(Value::as_str)?;
    let fits = !subject.is_empty() && subject.len() <= 256 && !subject.chars().any(char::is_control);
    fits.then(|| Actor::vouched_for(subject))
}

/// Whether `aud` is, or holds, an audience.
fn names(aud: Option<&Value>, audience: &str) -> bool {
    match aud {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
