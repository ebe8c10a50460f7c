//! Tests of tokens against a provider on a port of its own, whose keys and presence the tests choose.

use std::sync::Mutex as StdMutex;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::test_support::ManualClock;

/// The clock of the tests begins here.
const NOW: i64 = 1_000_000;

struct Issuer {
    url: String,
    state: Arc<StdMutex<State>>,
    clock: Arc<ManualClock>,
    provider: Provider,
}

#[derive(Default)]
struct State {
    keys: Vec<Value>,
    away: bool,
    reads: u32,
}

struct SigningKey {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    fn new(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid, pair }
    }

    fn published(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": text(&point[1..33]), "y": text(&point[33..])})
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": "ES256", "kid": self.kid}), claims)
    }

    fn token_with(&self, head: &Value, claims: &Value) -> String {
        let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", text(head), text(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Issuer {
    async fn start(keys: &[&SigningKey]) -> Self {
        Self::start_with(keys, |_| {}).await
    }

    async fn start_with(keys: &[&SigningKey], change: impl FnOnce(&mut OidcSettings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(StdMutex::new(State {
            keys: keys.iter().map(|key| key.published()).collect(),
            ..State::default()
        }));
        tokio::spawn(serve(listener, url.clone(), Arc::clone(&state)));
        let clock = Arc::new(ManualClock::at(NOW));
        let mut settings = OidcSettings {
            issuer: url.clone(),
            client_id: "client".to_owned(),
            audience: None,
            algorithms: vec![TokenAlgorithm::Es256],
            groups_claim: default_groups_claim(),
            roles: [
                ("eng".to_owned(), Role::Developer),
                ("ops".to_owned(), Role::Admin),
            ]
            .into(),
            login: None,
        };
        change(&mut settings);
        let provider = Provider::new(settings, clock.clone()).unwrap();
        Self {
            url,
            state,
            clock,
            provider,
        }
    }

    /// The claims of an access token as Cognito makes them.
    fn claims(&self) -> Value {
        json!({"iss": self.url, "sub": "4711", "client_id": "client", "token_use": "access", "exp": NOW + 300,
            "iat": NOW, "cognito:groups": ["eng", "unknown"]})
    }

    fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[name] = value;
        claims
    }

    fn reads(&self) -> u32 {
        self.state.lock().unwrap().reads
    }
}

/// Answers each connection once: the address of the keys, or the keys.
async fn serve(listener: TcpListener, url: String, state: Arc<StdMutex<State>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let is_discovery = String::from_utf8_lossy(&request[..length]).starts_with("GET /.well-known/");
        let (status, body) = {
            let mut state = state.lock().unwrap();
            state.reads += u32::from(is_discovery);
            match (state.away, is_discovery) {
                (true, _) => ("503 Service Unavailable", Value::Null),
                (false, true) => (
                    "200 OK",
                    json!({"issuer": url, "jwks_uri": format!("{url}/keys")}),
                ),
                (false, false) => ("200 OK", json!({"keys": state.keys})),
            }
        };
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn an_access_token_of_our_client_is_a_person_with_the_role_of_their_groups() {
    // What must never change: an access token of Cognito carries no `aud`; `client_id` and `token_use` decide.
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]).await;
    let principal = issuer.provider.check(&key.token(&issuer.claims())).await.unwrap();
    assert_eq!(
        principal,
        Principal::person(Actor::person("oidc/4711"), Role::Developer)
    );
    let both = issuer.claims_with("cognito:groups", json!(["eng", "ops"]));
    let principal = issuer.provider.check(&key.token(&both)).await.unwrap();
    assert_eq!(principal.authority, Authority::Role(Role::Admin));
    // Somebody in no group that counts is known and may do nothing.
    for groups in [json!(["guests"]), json!([]), json!("ops"), Value::Null] {
        let claims = issuer.claims_with("cognito:groups", groups);
        let principal = issuer.provider.check(&key.token(&claims)).await.unwrap();
        assert_eq!(principal.authority, Authority::secret_key(&[]));
    }
}

#[tokio::test]
async fn a_token_that_is_not_for_us_now_is_refused() {
    // What must never change: each of these would let in somebody whom the provider did not send to us.
    let key = SigningKey::new("1");
    let stranger = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]).await;
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("client_id", json!("another")),
        ("client_id", Value::Null),
        ("token_use", json!("id")),
        ("token_use", Value::Null),
        ("exp", json!(NOW - 60)),
        ("exp", Value::Null),
        ("exp", json!("never")),
        ("nbf", json!(NOW + 61)),
        ("iat", json!(NOW + 61)),
        ("sub", json!("")),
        ("sub", Value::Null),
    ] {
        let token = key.token(&issuer.claims_with(name, value.clone()));
        assert!(issuer.provider.check(&token).await.is_none(), "{name} {value}");
    }
    assert!(
        issuer
            .provider
            .check(&stranger.token(&issuer.claims()))
            .await
            .is_none(),
        "another key of the name"
    );
    for head in [
        json!({"alg": "none", "kid": "1"}),
        json!({"alg": "HS256", "kid": "1"}),
        json!({"alg": "RS256", "kid": "1"}),
        json!({"alg": "ES256", "kid": "2", "jku": issuer.url}),
        json!({"alg": "ES256", "jwk": stranger.published()}),
    ] {
        assert!(
            issuer
                .provider
                .check(&key.token_with(&head, &issuer.claims()))
                .await
                .is_none(),
            "{head}"
        );
    }
    // Clocks may differ by a minute.
    for (name, value) in [("exp", NOW - 59), ("nbf", NOW + 60), ("iat", NOW + 60)] {
        let token = key.token(&issuer.claims_with(name, json!(value)));
        assert!(issuer.provider.check(&token).await.is_some(), "{name} {value}");
    }
}

#[tokio::test]
async fn an_audience_is_asked_for_where_one_is_set() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start_with(&[&key], |settings| settings.audience = Some("api".to_owned())).await;
    for (aud, expected) in [
        (json!("api"), true),
        (json!(["x", "api"]), true),
        (json!("client"), false),
        (Value::Null, false),
    ] {
        let token = key.token(&issuer.claims_with("aud", aud.clone()));
        assert_eq!(issuer.provider.check(&token).await.is_some(), expected, "{aud}");
    }
    // Providers without `token_use` say in the head that it is an access token; identity tokens do not.
    let mut claims = issuer.claims_with("aud", json!("api"));
    claims["token_use"] = Value::Null;
    let typed = json!({"alg": "ES256", "kid": "1", "typ": "at+jwt"});
    assert!(
        issuer
            .provider
            .check(&key.token_with(&typed, &claims))
            .await
            .is_some()
    );
    assert!(issuer.provider.check(&key.token(&claims)).await.is_none());
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_one_taken_back_ends() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let issuer = Issuer::start(&[&old]).await;
    let (old_token, new_token) = (
        old.token(&issuer.claims_with("exp", json!(NOW + 9_000))),
        new.token(&issuer.claims_with("exp", json!(NOW + 9_000))),
    );
    assert!(issuer.provider.check(&old_token).await.is_some());
    issuer.state.lock().unwrap().keys = vec![old.published(), new.published()];
    issuer.clock.advance(60);
    assert!(issuer.provider.check(&new_token).await.is_some());
    issuer.state.lock().unwrap().keys = vec![new.published()];
    issuer.clock.advance(600);
    assert!(issuer.provider.check(&old_token).await.is_none());
    assert!(issuer.provider.check(&new_token).await.is_some());
}

#[tokio::test]
async fn a_provider_that_is_away_is_asked_once_a_minute_and_known_keys_go_on() {
    // What must never change: a provider that fails locks nobody out, and we do not add to its troubles.
    let (key, unknown) = (SigningKey::new("1"), SigningKey::new("2"));
    let issuer = Issuer::start(&[&key]).await;
    let lasting = issuer.claims_with("exp", json!(NOW + 90_000));
    assert!(issuer.provider.check(&key.token(&lasting)).await.is_some());
    issuer.state.lock().unwrap().away = true;
    let before = issuer.reads();
    issuer.clock.advance(3_600);
    for _ in 0..20 {
        assert!(issuer.provider.check(&key.token(&lasting)).await.is_some());
        assert!(issuer.provider.check(&unknown.token(&lasting)).await.is_none());
    }
    assert_eq!(issuer.reads() - before, 1);
    issuer.clock.advance(60);
    assert!(issuer.provider.check(&key.token(&lasting)).await.is_some());
    assert_eq!(issuer.reads() - before, 2);
}

#[tokio::test]
async fn a_name_that_two_keys_have_opens_nothing() {
    let (one, other) = (SigningKey::new("1"), SigningKey::new("1"));
    let issuer = Issuer::start(&[&one, &other]).await;
    for key in [&one, &other] {
        assert!(
            issuer
                .provider
                .check(&key.token(&issuer.claims()))
                .await
                .is_none()
        );
    }
}

#[test]
fn keys_are_read_over_https_or_from_this_machine() {
    for url in [
        "https://idp.example/keys",
        "http://127.0.0.1:1/keys",
        "http://localhost/keys",
    ] {
        assert!(is_safe(url), "{url}");
    }
    for url in [
        "http://idp.example/keys",
        "http://localhost.evil.example/",
        "file:///etc/passwd",
        "keys",
    ] {
        assert!(!is_safe(url), "{url}");
    }
}
