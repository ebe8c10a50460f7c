//! The settings of who comes in, and what about them the types cannot say.

use serde::Deserialize;
use url::Url;

use super::provider::{OidcSettings, is_safe};

/// Whether somebody has to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// Only once an account or a key has been made, or an identity provider is set.
    Auto,
    /// Nobody, ever: whoever reaches the port of this machine is its administrator.
    Local,
    /// Everybody, from the start.
    Required,
}

/// How people and machines come in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSettings {
    /// Whether somebody has to log in.
    pub mode: AccessMode,
    /// The address under which browsers reach the server, when it is another than it listens on: `https://…`.
    pub public_url: Option<String>,
    /// The environment that this server serves; keys that are bound to another are refused.
    pub environment: String,
    /// The networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ProxyNetwork>,
    /// The identity provider whose access tokens are taken; none when absent.
    pub oidc: Option<OidcSettings>,
}

impl Default for AccessSettings {
    fn default() -> Self {
        Self {
            mode: AccessMode::Auto,
            public_url: None,
            environment: "production".to_owned(),
            trusted_proxies: Vec::new(),
            oidc: None,
        }
    }
}

/// A network of proxies, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProxyNetwork(pub ipnet::IpNet);

impl TryFrom<String> for ProxyNetwork {
    type Error = ipnet::AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// Why people cannot come in as the settings say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAccessSettings {
    /// The issuer is reached over connections on which anybody can answer.
    #[error("issuer under [auth.oidc] is {0}; it is an address with https://")]
    Issuer(String),
    /// No token could be right.
    #[error("algorithms under [auth.oidc] is empty; name RS256 or ES256")]
    NoAlgorithm,
    /// It is not known where browsers come back to.
    #[error(
        "[auth.oidc.login] needs public_url under [auth]: the address that the provider sends browsers back to"
    )]
    NoPublicUrl,
    /// Browsers would come back to what is no address of this server, or over connections that others read.
    #[error("public_url under [auth] is {0}; [auth.oidc.login] needs https:// and a host, without a path")]
    PublicUrl(String),
    /// Without this scope no identity token is given.
    #[error(
        "scopes under [auth.oidc.login] lacks openid, without which providers do not say who somebody is"
    )]
    NoOpenid,
    /// Nobody logs in where nobody has to.
    #[error("[auth.oidc.login] is of no use with mode = \"local\", where nobody ever logs in")]
    NobodyLogsIn,
}

impl AccessSettings {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`InvalidAccessSettings`], one sentence about the first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidAccessSettings> {
        use InvalidAccessSettings as Invalid;
        let Some(oidc) = &self.oidc else { return Ok(()) };
        if !is_safe(&oidc.issuer) {
            return Err(Invalid::Issuer(oidc.issuer.clone()));
        }
        if oidc.algorithms.is_empty() {
            return Err(Invalid::NoAlgorithm);
        }
        let Some(login) = &oidc.login else { return Ok(()) };
        if self.mode == AccessMode::Local {
            return Err(Invalid::NobodyLogsIn);
        }
        let public_url = self.public_url.as_ref().ok_or(Invalid::NoPublicUrl)?;
        if !is_safe(public_url) || !is_bare(public_url) {
            return Err(Invalid::PublicUrl(public_url.clone()));
        }
        if !login.scopes.iter().any(|scope| scope == "openid") {
            return Err(Invalid::NoOpenid);
        }
        Ok(())
    }
}

/// Whether an address is a scheme, a host and perhaps a port, and nothing else.
fn is_bare(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        let has_more = url.query().is_some() || url.fragment().is_some();
        let has_user = !url.username().is_empty() || url.password().is_some();
        url.path() == "/" && !has_more && !has_user
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::sign_on_settings as settings;

    #[test]
    fn settings_that_would_let_nobody_in_are_told_in_one_sentence() {
        // What must never change: codes and tokens go over no connection that others read.
        settings().check().unwrap();
        AccessSettings::default().check().unwrap();
        let check = |change: &dyn Fn(&mut AccessSettings, &mut OidcSettings)| {
            let mut settings = settings();
            let mut oidc = settings.oidc.take().unwrap();
            change(&mut settings, &mut oidc);
            settings.oidc = Some(oidc);
            settings.check().unwrap_err()
        };
        let public_url = |text: &str| {
            let text = text.to_owned();
            check(&move |settings, _| settings.public_url = Some(text.clone()))
        };
        for text in [
            "http://experiments.example",
            "https://experiments.example/base",
            "https://anna@experiments.example",
            "https://experiments.example?a=b",
            "experiments.example",
        ] {
            assert_eq!(
                public_url(text),
                InvalidAccessSettings::PublicUrl(text.to_owned())
            );
        }
        let issuer = "http://idp.example".to_owned();
        assert_eq!(
            check(&|_, oidc| oidc.issuer = "http://idp.example".to_owned()),
            InvalidAccessSettings::Issuer(issuer)
        );
        let no_algorithm = check(&|_, oidc| oidc.algorithms.clear());
        assert_eq!(no_algorithm, InvalidAccessSettings::NoAlgorithm);
        let no_url = check(&|settings, _| settings.public_url = None);
        assert_eq!(no_url, InvalidAccessSettings::NoPublicUrl);
        let local = check(&|settings, _| settings.mode = AccessMode::Local);
        assert_eq!(local, InvalidAccessSettings::NobodyLogsIn);
        let scopes = check(&|_, oidc| oidc.login.as_mut().unwrap().scopes = vec!["email".to_owned()]);
        assert_eq!(scopes, InvalidAccessSettings::NoOpenid);
    }
}
