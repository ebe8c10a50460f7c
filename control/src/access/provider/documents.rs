//! What a provider answers: its description of itself, its keys, its tokens. All of it within a time and a size, and only
//! over connections on which nobody in between can change it.

use std::time::Duration;

use serde::Deserialize;

/// The largest answer of a provider: a dozen keys take ten kilobytes.
const ANSWER_MAX_BYTES: usize = 256 * 1024;

/// Why an answer could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the provider does not answer")]
    Http(#[from] reqwest::Error),
    #[error("the provider's answer is larger than {ANSWER_MAX_BYTES} bytes")]
    TooLarge,
    #[error("the provider's answer does not read")]
    Json(#[from] serde_json::Error),
    #[error("the provider says that it is {0}")]
    OtherIssuer(String),
    #[error("the provider is at {0}, which is neither HTTPS nor this machine")]
    Insecure(String),
}

/// What a provider says about itself. What it says beside is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Discovery {
    issuer: String,
    pub(super) jwks_uri: String,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) token_endpoint: Option<String>,
    pub(super) userinfo_endpoint: Option<String>,
    pub(super) end_session_endpoint: Option<String>,
    /// Whether its answers to browsers name it (RFC 9207).
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
    /// How clients say who they are; `client_secret_basic` when it does not say.
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// The client through which providers are asked: it follows nobody anywhere.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Reads what the issuer says about itself.
pub(super) async fn discover(
    http: &reqwest::Client,
    issuer: &str,
    timeout: Duration,
) -> Result<Discovery, FetchError> {
    let base = issuer.trim_end_matches('/');
    let text = read(http, &format!("{base}/.well-known/openid-configuration"), timeout).await?;
    let discovery: Discovery = serde_json::from_slice(&text)?;
    // Whoever can answer for another issuer could send people and codes there.
    if discovery.issuer != issuer {
        return Err(FetchError::OtherIssuer(discovery.issuer));
    }
    Ok(discovery)
}

/// Reads a document of the provider.
pub(super) async fn read(
    http: &reqwest::Client,
    url: &str,
    timeout: Duration,
) -> Result<Vec<u8>, FetchError> {
    let request = http.get(checked(url)?).timeout(timeout);
    body(request.send().await?.error_for_status()?).await
}

/// Reads the body of an answer, up to what providers have to say.
pub(super) async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > ANSWER_MAX_BYTES {
            return Err(FetchError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// An address, when nobody in between can change what stands there.
pub(super) fn checked(url: &str) -> Result<&str, FetchError> {
    match is_safe(url) {
        true => Ok(url),
        false => Err(FetchError::Insecure(url.to_owned())),
    }
}

/// Whether nobody in between can change what stands at an address.
pub(in crate::access) fn is_safe(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| {
        let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        url.scheme() == "https" || url.scheme() == "http" && is_local
    })
}
