//! Logging in by browser through the identity provider: one half begins it and sends the browser away, the other half takes
//! it back with the provider's answer and opens a session, the same as a password opens.
//!
//! A login that was begun can be finished once, within ten minutes, by the browser that began it. Every login and every
//! refusal leaves an audit record. Tokens stay here: the browser gets the cookie of a session and nothing else.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::Access;
use super::provider::Provider;
use super::provider::code_flow::{Fault, Identity, Returned, state_of};
use super::refusals::Refusal;
use super::secret::{self, SECRET_CHARS};
use crate::change::{Actor, Change};
use crate::error::ControlError;
use crate::permission::Role;
use crate::store::SessionFacts;

/// Where the provider sends browsers back to, below the address of the server.
pub const CALLBACK_PATH: &str = "/api/v1/auth/oidc/callback";

/// The longest path that a login returns to.
const RETURN_TO_MAX_BYTES: usize = 1_024;

/// How people log in by their browsers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignOnSettings {
    /// The file that the client's secret stands in, for clients that have one; read when the program starts.
    pub client_secret_file: Option<PathBuf>,
    /// The client's secret, out of that file or the environment; never out of the settings themselves.
    #[serde(skip)]
    pub client_secret: Option<ClientSecret>,
    /// What is asked for: `openid`, and whatever puts a person's groups into their identity token.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
}

impl Default for SignOnSettings {
    fn default() -> Self {
        Self {
            client_secret_file: None,
            client_secret: None,
            scopes: default_scopes(),
        }
    }
}

fn default_scopes() -> Vec<String> {
    vec!["openid".to_owned()]
}

/// The secret of a client. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(Box<str>);

impl ClientSecret {
    /// The secret in a text, without the line's end that editors leave behind it; none when nothing stands there.
    pub fn new(text: &str) -> Option<Self> {
        let secret = text.trim_end_matches(['\r', '\n']);
        (!secret.trim().is_empty()).then(|| Self(secret.into()))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientSecret(…)")
    }
}

/// Why a login by the identity provider is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedSignOn {
    /// The browser has no secret, or one of no login that can still be finished.
    #[error(
        "this browser began no login, took longer than ten minutes, or has finished it before; begin again"
    )]
    NotBegun,
    /// The answer belongs to another login than the browser's.
    #[error("the answer of the identity provider belongs to another login; begin again")]
    OtherLogin,
    /// Another provider gave the answer.
    #[error("the answer does not come from the identity provider that the login was begun with")]
    OtherProvider,
    /// The provider did not let the person in.
    #[error("the identity provider did not let you in")]
    ByProvider,
    /// The answer holds no code.
    #[error("the answer of the identity provider holds no code")]
    CodeMissing,
    /// The provider does not take its code back.
    #[error("the identity provider does not take the code of this login")]
    CodeRefused,
    /// The identity token is not one that was made for this login.
    #[error("the identity token is not one that was made for this login")]
    TokenInvalid,
    /// What the provider says of the person is about another one.
    #[error("what the identity provider says of your groups is about somebody else")]
    OtherPerson,
    /// The person is known and has no role.
    #[error(
        "none of your groups at the identity provider has a role here; whoever manages it can say which do"
    )]
    NoRole,
}

/// A login that was begun.
#[derive(Debug)]
pub struct BegunSignOn {
    /// Where the browser is to go.
    pub redirect: String,
    /// What the browser is to keep until it comes back: for a cookie alone.
    pub secret: String,
}

/// What a browser brings back from the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignOnAnswer {
    /// The word that the login was begun with.
    pub state: Option<String>,
    /// What an identity token can be had for.
    pub code: Option<String>,
    /// Who says so (RFC 9207).
    pub issuer: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// Somebody who has just logged in by the provider.
#[derive(Debug)]
pub struct SignedOn {
    /// The secret of the session: for the cookie alone.
    pub session: String,
    /// Where the browser wanted to go: a path of this server.
    pub return_to: String,
}

/// Somebody whom the provider vouches for, on their way.
struct Arrived {
    identity: Identity,
    return_to: String,
}

impl Access {
    /// Whether people can log in by the identity provider.
    pub fn offers_sign_on(&self) -> bool {
        self.sign_on().is_ok()
    }

    /// Begins a login that shall end at a path of this server.
    ///
    /// # Errors
    /// [`ControlError::NoSignOn`], [`ControlError::InvalidReturn`], [`ControlError::ProviderAway`].
    pub async fn begin_sign_on(&self, return_to: Option<&str>) -> Result<BegunSignOn, ControlError> {
        let (provider, base) = self.sign_on()?;
        let return_to = own_path(return_to.unwrap_or("/")).ok_or(ControlError::InvalidReturn)?;
        let secret = secret::random_text(SECRET_CHARS);
        let redirect = provider.authorization_url(&secret, &callback(base)).await;
        let redirect = redirect.map_err(failed)?;
        self.store
            .begin_sign_on(&secret, &return_to, self.clock.now())
            .await?;
        Ok(BegunSignOn { redirect, secret })
    }

    /// Finishes a login: opens a session for whoever the provider vouches for. `secret` is what the browser kept, `origin`
    /// from where it comes, for the audit record.
    ///
    /// # Errors
    /// [`ControlError::SignOnRefused`] whenever anything about it is wrong; [`ControlError::ProviderAway`]; then the login has
    /// to begin anew.
    pub async fn finish_sign_on(
        &self,
        secret: Option<&str>,
        answer: &SignOnAnswer,
        origin: Option<String>,
    ) -> Result<SignedOn, ControlError> {
        let (provider, base) = self.sign_on()?;
        let arrived = self.arrive(provider, &callback(base), secret, answer).await;
        let (reason, actor) = match arrived {
            Ok(Arrived { identity, return_to }) => match identity.role {
                Some(role) => {
                    let change = Change {
                        origin,
                        ..Change::new(identity.actor.clone(), self.clock.now())
                    };
                    let session = self.open_for(identity.actor, role, &change).await?;
                    return Ok(SignedOn { session, return_to });
                }
                None => (RefusedSignOn::NoRole, identity.actor),
            },
            Err(ControlError::SignOnRefused { reason }) => (reason, Actor::nobody()),
            Err(other) => return Err(other),
        };
        tracing::info!(%reason, "a login by the identity provider is refused");
        let refusal = Refusal {
            named: actor.to_string(),
            actor,
            reason: reason.to_string(),
            origin,
        };
        self.record_refusal(refusal).await?;
        Err(ControlError::SignOnRefused { reason })
    }

    /// Where somebody whom the provider vouched for can end their session there as well, when it offers that.
    pub fn provider_logout(&self) -> Option<String> {
        let (provider, base) = self.sign_on().ok()?;
        provider.end_session_url(&format!("{base}/login"))
    }

    async fn arrive(
        &self,
        provider: &Provider,
        redirect_uri: &str,
        secret: Option<&str>,
        answer: &SignOnAnswer,
    ) -> Result<Arrived, ControlError> {
        let secret = secret.ok_or_else(|| refused(RefusedSignOn::NotBegun))?;
        let expected = secret::digest(&state_of(secret));
        let state = answer.state.as_deref().unwrap_or("");
        if !secret::same(&secret::digest(state), &expected) {
            return Err(refused(RefusedSignOn::OtherLogin));
        }
        // From here on the login is used up, whatever comes of it.
        let return_to = self.store.take_sign_on(secret, self.clock.now()).await?;
        let return_to = return_to.ok_or_else(|| refused(RefusedSignOn::NotBegun))?;
        let returned = Returned {
            code: answer.code.as_deref(),
            issuer: answer.issuer.as_deref(),
            error: answer.error.as_deref(),
        };
        let identity = provider.identify(returned, secret, redirect_uri).await;
        let identity = identity.map_err(failed)?;
        Ok(Arrived { identity, return_to })
    }

    async fn open_for(&self, actor: Actor, role: Role, change: &Change) -> Result<String, ControlError> {
        let facts = SessionFacts {
            account: None,
            actor,
            role: Some(role),
        };
        self.store.open_session(&facts, change).await
    }

    /// The provider that browsers are sent to, and the address under which they come back.
    fn sign_on(&self) -> Result<(&Provider, &str), ControlError> {
        let settings = &self.settings;
        let is_set = settings.oidc.as_ref().is_some_and(|oidc| oidc.login.is_some());
        let provider = self.provider.as_ref().filter(|_| is_set);
        let base = settings
            .public_url
            .as_deref()
            .map(|url| url.trim_end_matches('/'));
        provider.zip(base).ok_or(ControlError::NoSignOn)
    }
}

fn callback(base: &str) -> String {
    format!("{base}{CALLBACK_PATH}")
}

fn refused(reason: RefusedSignOn) -> ControlError {
    ControlError::SignOnRefused { reason }
}

fn failed(fault: Fault) -> ControlError {
    match fault {
        Fault::Away => ControlError::ProviderAway,
        Fault::Refused(reason) => refused(reason),
    }
}

/// A path of this server as a browser would read it; none when it would lead anywhere else.
fn own_path(text: &str) -> Option<String> {
    // Browsers read `\` as `/` and pass over tabs and ends of lines, so that `/\evil.example` would leave.
    let is_plain =
        text.starts_with('/') && !text.contains(|letter: char| letter == '\\' || letter.is_control());
    if text.len() > RETURN_TO_MAX_BYTES || !is_plain {
        return None;
    }
    // A name that is nobody's: whatever has another host after reading leaves this server.
    let here = url::Url::parse("http://here.invalid/").ok()?;
    let url = here.join(text).ok()?;
    // What has to do with logging in would begin again what has just ended.
    if url.origin() != here.origin() || url.path().starts_with("/api/v1/auth/") {
        return None;
    }
    let path = &url[url::Position::BeforePath..];
    // A path may begin with two slashes once its dots are taken out.
    (!path.starts_with("//")).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_returns_to_this_server_and_nowhere_else() {
        // What must never change: a link to our login page cannot end on another site.
        for (text, expected) in [
            ("/", "/"),
            ("/docs", "/docs"),
            ("/api/v1/experiments?limit=5#x", "/api/v1/experiments?limit=5#x"),
            ("/a/../b", "/b"),
            ("/?next=https://other.example", "/?next=https://other.example"),
            ("/ü", "/%C3%BC"),
        ] {
            assert_eq!(own_path(text).as_deref(), Some(expected), "{text}");
        }
        let long = format!("/{}", "a".repeat(RETURN_TO_MAX_BYTES));
        for text in [
            "",
            "docs",
            "https://evil.example/",
            "//evil.example/",
            "///evil.example/",
            "/\\evil.example/",
            "\\\\evil.example/",
            "/\t/evil.example/",
            "/\n/evil.example/",
            "/.//evil.example/",
            "/a/..//evil.example/",
            "javascript:alert(1)",
            "@evil.example",
            "/api/v1/auth/oidc/login",
            "/x/../api/v1/auth/oidc/login",
            &long,
        ] {
            assert_eq!(own_path(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_loses_its_line_end_and_never_shows_itself() {
        let secret = ClientSecret::new("s3cret \r\n").unwrap();
        assert_eq!(secret.reveal(), "s3cret ");
        assert!(!format!("{secret:?}").contains("s3cret"));
        assert_eq!(ClientSecret::new(""), None);
        assert_eq!(ClientSecret::new(" \n"), None);
    }
}
