//! What a provider says of a person apart from their identity token (OpenID Connect Core 1.0, 5.3): asked for their groups
//! at a login, when the token carries none.

use reqwest::{StatusCode, header};
use serde_json::{Map, Value};

use super::code_flow::{Fault, PATIENCE, away};
use super::documents::{self, Discovery, FetchError};
use super::{Provider, actor};
use crate::access::sign_on::RefusedSignOn;

/// The longest access token that is sent on: those of providers that put a person's groups into them are the longest.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

impl Provider {
    /// Puts the groups beside the claims of an identity token that carries none, when the provider says elsewhere which
    /// they are. Without such a place, or a token for it, the claims stay as they are.
    ///
    /// # Errors
    /// [`Fault::Away`] when the provider does not answer as it should, [`Fault::Refused`] when the answer is about
    /// somebody else.
    pub(super) async fn add_groups(
        &self,
        claims: &mut Map<String, Value>,
        discovery: &Discovery,
        access_token: Option<&str>,
    ) -> Result<(), Fault> {
        let name = &self.settings.groups_claim;
        let (Some(endpoint), Some(token)) = (discovery.userinfo_endpoint.as_deref(), access_token) else {
            return Ok(());
        };
        if claims.contains_key(name) {
            return Ok(());
        }
        let mut said = self.user_info(endpoint, token).await?;
        // The token was not signed for this login, so who it is about has to be what was signed (5.3.2).
        if actor(&said).is_none() || said.get("sub") != claims.get("sub") {
            return Err(Fault::Refused(RefusedSignOn::OtherPerson));
        }
        if let Some(groups) = said.remove(name) {
            claims.insert(name.clone(), groups);
        }
        Ok(())
    }

    async fn user_info(&self, endpoint: &str, token: &str) -> Result<Map<String, Value>, Fault> {
        let endpoint = documents::checked(endpoint).map_err(|error| away(&error))?;
        let text = format!("Bearer {token}");
        let bearer = header::HeaderValue::from_str(&text).ok();
        let Some(mut bearer) = bearer.filter(|_| token.len() <= TOKEN_MAX_BYTES) else {
            tracing::warn!("the identity provider gave an access token that cannot be sent");
            return Err(Fault::Away);
        };
        bearer.set_sensitive(true);
        let request = self
            .http
            .get(endpoint)
            .timeout(PATIENCE)
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, bearer);
        let answer = async {
            let response = request.send().await?;
            Ok::<_, FetchError>((response.status(), documents::body(response).await?))
        };
        let (status, body) = answer.await.map_err(|error| away(&error))?;
        if status != StatusCode::OK {
            tracing::warn!(
                status = status.as_u16(),
                "the identity provider does not say what groups somebody is in"
            );
            return Err(Fault::Away);
        }
        // A provider that signs these answers sends no JSON; such a client is set up for what is not read here.
        serde_json::from_slice(&body).map_err(|error| away(&error))
    }
}
