//! Logging in by browser through an OpenID provider: a real one, in a process of its own, and what may go wrong on the way.
//!
//! `tests/emulators/setup.sh` installs the provider. Where it has not run, a test says so and ends without having tested.

use std::sync::OnceLock;

use control::access::{AccessMode, AccessSettings, ClientSecret, OidcSettings, SignOnSettings};
use control::{AuditFilter, Role};
use fixtures::emulators::OidcProvider;
use query_api::RateSettings;
use reqwest::Url;
use serde_json::{Value, json};

use crate::browser::{BEGIN, Browser, CALLBACK, PUBLIC_URL, changed, cookie_line, parameter};
use crate::stores::on_both_stores;
use crate::support::{Answer, NOW, Server, problem};

on_both_stores! {
    a_person_comes_in_by_the_provider_and_gets_a_session_and_no_token,
    logging_out_ends_the_session,
    an_answer_without_the_state_of_this_browser_is_refused,
    an_identity_token_without_the_nonce_of_the_login_is_refused,
    a_code_that_was_made_for_another_verifier_buys_nothing,
    a_login_is_finished_once,
    an_answer_that_names_another_provider_is_refused,
    an_identity_token_that_is_not_what_it_should_be_is_refused,
    groups_make_the_role_and_without_one_nobody_comes_in,
    groups_that_stand_at_the_userinfo_endpoint_alone_make_the_role,
    a_session_from_before_the_login_is_none_after_it,
    a_login_ends_on_this_server_and_nowhere_else,
    what_the_provider_refuses_is_refused,
    logins_by_the_provider_are_as_few_as_others,
    the_page_to_log_in_offers_the_provider_where_there_is_one,
}

/// One provider for all tests: their browsers know nothing of each other.
fn provider() -> Option<&'static OidcProvider> {
    static PROVIDER: OnceLock<Option<OidcProvider>> = OnceLock::new();
    let redirect_uri = format!("{PUBLIC_URL}{CALLBACK}");
    PROVIDER
        .get_or_init(|| OidcProvider::start(NOW, &redirect_uri))
        .as_ref()
}

fn settings(issuer: &str, client_id: &str) -> AccessSettings {
    let login = SignOnSettings {
        client_secret: (client_id != "public")
            .then(|| ClientSecret::new(OidcProvider::CLIENT_SECRET).unwrap()),
        ..SignOnSettings::default()
    };
    let roles = [
        ("eng", Role::Developer),
        ("ops", Role::Admin),
        ("data", Role::Analyst),
    ];
    let settings = AccessSettings {
        mode: AccessMode::Required,
        public_url: Some(PUBLIC_URL.to_owned()),
        oidc: Some(OidcSettings {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            audience: None,
            algorithms: serde_json::from_value(json!(["RS256"])).unwrap(),
            groups_claim: "groups".to_owned(),
            roles: roles.map(|(group, role)| (group.to_owned(), role)).into(),
            login: Some(login),
        }),
        ..AccessSettings::default()
    };
    settings.check().unwrap();
    settings
}

/// Logins that no test of something else runs out of.
fn rates() -> RateSettings {
    RateSettings {
        logins_per_minute: 1_000,
        ..RateSettings::default()
    }
}

async fn server(client_id: &str) -> Option<Server> {
    let settings = settings(provider()?.issuer(), client_id);
    Some(Server::start_under(settings, rates()).await)
}

/// Asserts that a login is refused for a reason, lets nobody in, and left a record.
async fn refused(browser: &mut Browser<'_>, answer: &Answer, reason: &str) {
    problem(answer, 403, "login_refused");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(reason), "{detail}");
    assert_eq!(answer.header("set-cookie"), None);
    problem(&browser.session().await, 401, "unauthenticated");
    let page = browser
        .server
        .store
        .audit(&AuditFilter::default(), 1)
        .await
        .unwrap();
    let record = &page.items[0];
    assert_eq!(
        (record.action.as_str(), record.kind.as_str()),
        ("refuse_login", "session")
    );
    assert!(record.reason.as_deref().unwrap().contains(reason), "{record:?}");
    let origin = record.origin.as_deref().unwrap();
    assert!(origin.starts_with("address 127.0.0.1, request "), "{origin}");
}

async fn a_person_comes_in_by_the_provider_and_gets_a_session_and_no_token() {
    // What must never change: what the browser keeps is the cookie of a session of ours; tokens stay with the server.
    for client_id in ["web", "public"] {
        let Some(server) = server(client_id).await else {
            return;
        };
        let mut browser = Browser::new(&server);
        let url = browser.begin().await;
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", client_id),
            ("scope", "openid"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(parameter(&url, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(
            parameter(&url, "redirect_uri"),
            Some(format!("{PUBLIC_URL}{CALLBACK}"))
        );
        let back = browser.visit(url, "anna@eng").await;
        let entered = browser.come_back(&back).await;
        assert_eq!((entered.status, entered.header("location")), (303, Some("/docs")));
        let cookies: Vec<_> = entered.headers("set-cookie").collect();
        assert_eq!(cookies.len(), 2, "{cookies:?}");
        let (name, rest) = cookies[0].split_once('=').unwrap();
        let (secret, rules) = rest.split_once(';').unwrap();
        assert_eq!((name, secret.len()), ("__Host-sid", 43));
        assert_eq!(rules, " Secure; HttpOnly; SameSite=Lax; Path=/");
        assert!(cookies[1].starts_with("__Host-sign-on=;"), "{}", cookies[1]);
        assert_eq!(browser.ours.keys().collect::<Vec<_>>(), ["__Host-sid"]);
        let session = browser.session().await;
        let expected = (json!("person:oidc/anna"), json!("developer"));
        let session = session.json();
        assert_eq!((session["actor"].clone(), session["role"].clone()), expected);
        let logout = Url::parse(session["provider_logout"].as_str().unwrap()).unwrap();
        assert_eq!(logout.path(), "/session/end");
        assert_eq!(
            parameter(&logout, "post_logout_redirect_uri"),
            Some(format!("{PUBLIC_URL}/login"))
        );
        let page = server.store.audit(&AuditFilter::default(), 5).await.unwrap();
        assert_eq!(page.items.len(), 1);
        let record = &page.items[0];
        assert_eq!(
            (
                record.actor.as_str(),
                record.action.as_str(),
                record.kind.as_str()
            ),
            ("person:oidc/anna", "login", "session")
        );
        assert_eq!(record.after, Some(json!({"role": "developer"})));
        assert!(record.origin.as_deref().unwrap().starts_with("address 127.0.0.1"));
        server.stop().await;
    }
}

async fn logging_out_ends_the_session() {
    let Some(server) = server("web").await else { return };
    let mut browser = Browser::new(&server);
    assert_eq!(browser.log_in("anna@eng").await.status, 303);
    let request = server
        .request("POST", "/api/v1/auth/logout")
        .header("cookie", cookie_line(&browser.ours));
    let host = format!("http://{}", server.address);
    let out = server.send(request.header("origin", host)).await;
    assert_eq!(out.status, 204, "{}", out.text);
    problem(&browser.session().await, 401, "unauthenticated");
    server.stop().await;
}

async fn an_answer_without_the_state_of_this_browser_is_refused() {
    // What must never change: nobody can finish their own login in somebody else's browser.
    let Some(server) = server("web").await else { return };
    let mut attacker = Browser::new(&server);
    let url = attacker.begin().await;
    let back = attacker.visit(url, "eve@ops").await;
    // Into a browser that began nothing, and into one that began a login of its own.
    let mut victim = Browser::new(&server);
    let answer = victim.come_back(&back).await;
    refused(&mut victim, &answer, "began no login").await;
    let own = victim.begin().await;
    let answer = victim.come_back(&back).await;
    refused(&mut victim, &answer, "belongs to another login").await;
    let own_back = victim.visit(own, "anna@eng").await;
    for state in [None, Some(""), Some("x")] {
        let answer = victim.come_back(&changed(&own_back, "state", state)).await;
        refused(&mut victim, &answer, "belongs to another login").await;
    }
    // A foreign code under the own state was bought with another verifier.
    let code = parameter(&back, "code");
    let answer = victim
        .come_back(&changed(&own_back, "code", code.as_deref()))
        .await;
    refused(&mut victim, &answer, "does not take the code").await;
    // Nothing said twice is chosen from.
    let twice = format!("{CALLBACK}?{}&state=x", own_back.query().unwrap());
    problem(&victim.ask(&twice).await, 400, "invalid_query");
    // None of this was in the way of the login that was begun first.
    assert_eq!(attacker.come_back(&back).await.status, 303);
    server.stop().await;
}

async fn an_identity_token_without_the_nonce_of_the_login_is_refused() {
    // What must never change: a token that was made for another login opens nothing.
    let Some(server) = server("web").await else { return };
    for nonce in [None, Some("another")] {
        let mut browser = Browser::new(&server);
        let url = browser.begin().await;
        let back = browser.visit(changed(&url, "nonce", nonce), "anna@eng").await;
        let answer = browser.come_back(&back).await;
        refused(&mut browser, &answer, "identity token").await;
    }
    server.stop().await;
}

async fn a_code_that_was_made_for_another_verifier_buys_nothing() {
    // What must never change: a code that was read on its way is worth nothing without the browser's secret.
    let Some(server) = server("public").await else {
        return;
    };
    let mut browser = Browser::new(&server);
    let url = browser.begin().await;
    let challenge = Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    let back = browser
        .visit(changed(&url, "code_challenge", challenge), "anna@eng")
        .await;
    let answer = browser.come_back(&back).await;
    refused(&mut browser, &answer, "does not take the code").await;
    server.stop().await;
}

async fn a_login_is_finished_once() {
    // What must never change: neither a state nor a code is of use a second time.
    let Some(server) = server("web").await else { return };
    let mut browser = Browser::new(&server);
    let url = browser.begin().await;
    let cookies = browser.ours.clone();
    let back = browser.visit(url, "anna@eng").await;
    assert_eq!(browser.come_back(&back).await.status, 303);
    let mut again = Browser::new(&server);
    again.ours.clone_from(&cookies);
    let answer = again.come_back(&back).await;
    refused(&mut again, &answer, "has finished it before").await;
    // The code under a login that is new.
    let mut other = Browser::new(&server);
    let url = other.begin().await;
    let state = parameter(&url, "state");
    let answer = other.come_back(&changed(&back, "state", state.as_deref())).await;
    refused(&mut other, &answer, "does not take the code").await;
    // A login that came to nothing is used up as well.
    let answer = other.come_back(&changed(&back, "state", state.as_deref())).await;
    refused(&mut other, &answer, "has finished it before").await;
    server.stop().await;
}

async fn an_answer_that_names_another_provider_is_refused() {
    // What must never change: where the provider names itself, an answer that does not was mixed up with another's.
    let Some(server) = server("web").await else { return };
    for issuer in [None, Some(""), Some("https://other.example")] {
        let mut browser = Browser::new(&server);
        let url = browser.begin().await;
        let back = browser.visit(url, "anna@eng").await;
        let answer = browser.come_back(&changed(&back, "iss", issuer)).await;
        refused(&mut browser, &answer, "does not come from the identity provider").await;
    }
    server.stop().await;
}

async fn an_identity_token_that_is_not_what_it_should_be_is_refused() {
    // What must never change: the settings choose the algorithm, the provider's keys sign, and the token is ours and in force.
    let Some(server) = server("faultless").await else {
        return;
    };
    assert_eq!(Browser::new(&server).log_in("anna@ops").await.status, 303);
    server.stop().await;
    for client_id in [
        "hs256",
        "unsigned",
        "unsigned-by-rs256",
        "other-key",
        "access-token",
        "other-issuer",
        "other-audience",
        "more-audiences",
        "other-party",
        "ended",
        "not-begun",
        "no-subject",
    ] {
        let server = crate::sign_on::server(client_id).await.unwrap();
        let mut browser = Browser::new(&server);
        let answer = browser.log_in("anna@ops").await;
        refused(&mut browser, &answer, "identity token").await;
        server.stop().await;
    }
}

async fn groups_make_the_role_and_without_one_nobody_comes_in() {
    let Some(server) = server("web").await else { return };
    for (who, role) in [
        ("dora@data", "analyst"),
        ("emil@data,eng,unknown", "developer"),
        ("olga@eng,ops,data", "admin"),
        // As it is now at the provider, not as it was at the last login.
        ("olga@data", "analyst"),
    ] {
        let mut browser = Browser::new(&server);
        assert_eq!(browser.log_in(who).await.status, 303, "{who}");
        assert_eq!(browser.session().await.json()["role"], role, "{who}");
    }
    for who in ["gus@guests", "nina"] {
        let mut browser = Browser::new(&server);
        let answer = browser.log_in(who).await;
        refused(&mut browser, &answer, "none of your groups").await;
        let page = server.store.audit(&AuditFilter::default(), 1).await.unwrap();
        let name = who.split('@').next().unwrap();
        assert_eq!(page.items[0].actor.as_str(), format!("person:oidc/{name}"));
    }
    // What a role may not do, a session of the provider may not do.
    let mut browser = Browser::new(&server);
    assert_eq!(browser.log_in("dora@data").await.status, 303);
    let request = server
        .request("POST", "/api/v1/feature-flags")
        .header("cookie", cookie_line(&browser.ours))
        .header("origin", format!("http://{}", server.address));
    let body: Value = crate::access::flag("x");
    problem(&server.send(request.json(&body)).await, 403, "forbidden");
    server.stop().await;
}

async fn groups_that_stand_at_the_userinfo_endpoint_alone_make_the_role() {
    // What must never change: the endpoint adds groups to the person whom the token names, and never another person.
    let Some(server) = server("groups-elsewhere").await else {
        return;
    };
    for (who, role) in [("dora@data", "analyst"), ("olga@eng,ops", "admin")] {
        let mut browser = Browser::new(&server);
        assert_eq!(browser.log_in(who).await.status, 303, "{who}");
        let session = browser.session().await.json();
        let name = who.split('@').next().unwrap();
        assert_eq!(session["actor"], format!("person:oidc/{name}"));
        assert_eq!(session["role"], role, "{who}");
    }
    let mut browser = Browser::new(&server);
    let answer = browser.log_in("gus@guests").await;
    refused(&mut browser, &answer, "none of your groups").await;
    server.stop().await;
    for (client_id, reason) in [
        ("groups-nowhere", "none of your groups"),
        ("elsewhere-another", "about somebody else"),
        ("elsewhere-nobody", "about somebody else"),
    ] {
        let server = crate::sign_on::server(client_id).await.unwrap();
        let mut browser = Browser::new(&server);
        let answer = browser.log_in("anna@ops").await;
        refused(&mut browser, &answer, reason).await;
        server.stop().await;
    }
    for client_id in ["elsewhere-large", "elsewhere-no-json", "elsewhere-failing"] {
        let server = crate::sign_on::server(client_id).await.unwrap();
        let mut browser = Browser::new(&server);
        let answer = browser.log_in("anna@ops").await;
        problem(&answer, 503, "unavailable");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("set-cookie"), None);
        problem(&browser.session().await, 401, "unauthenticated");
        server.stop().await;
    }
}

async fn a_session_from_before_the_login_is_none_after_it() {
    // What must never change: whoever planted a session has none once somebody logged in over it.
    let Some(server) = server("web").await else { return };
    let mut browser = Browser::new(&server);
    assert_eq!(browser.log_in("eve@ops").await.status, 303);
    let planted = browser.ours["__Host-sid"].clone();
    let mut victim = Browser::new(&server);
    victim.ours.insert("__Host-sid".to_owned(), planted.clone());
    assert_eq!(victim.log_in("anna@eng").await.status, 303);
    assert_ne!(victim.ours["__Host-sid"], planted);
    assert_eq!(victim.session().await.json()["actor"], "person:oidc/anna");
    problem(&browser.session().await, 401, "unauthenticated");
    server.stop().await;
}

async fn a_login_ends_on_this_server_and_nowhere_else() {
    // What must never change: a link to our login never ends on another site.
    let Some(server) = server("web").await else { return };
    let mut browser = Browser::new(&server);
    for place in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "docs",
        "",
    ] {
        let answer = browser.ask(&format!("{BEGIN}?return_to={place}")).await;
        problem(&answer, 400, "invalid_query");
    }
    let begun = browser.ask(BEGIN).await;
    let url = Url::parse(begun.header("location").unwrap()).unwrap();
    let back = browser.visit(url, "anna@eng").await;
    assert_eq!(browser.come_back(&back).await.header("location"), Some("/"));
    server.stop().await;
}

async fn what_the_provider_refuses_is_refused() {
    let Some(server) = server("web").await else { return };
    let mut browser = Browser::new(&server);
    let url = browser.begin().await;
    let back = browser.visit(url, "").await;
    assert_eq!(parameter(&back, "error").as_deref(), Some("access_denied"));
    let answer = browser.come_back(&back).await;
    refused(&mut browser, &answer, "did not let you in").await;
    server.stop().await;
}

async fn logins_by_the_provider_are_as_few_as_others() {
    let Some(provider) = provider() else { return };
    let settings = settings(provider.issuer(), "web");
    let server = Server::start_under(settings, RateSettings::default()).await;
    let mut browser = Browser::new(&server);
    for _ in 0..5 {
        browser.begin().await;
        assert_eq!(browser.ask(CALLBACK).await.status, 403);
    }
    for path in [BEGIN, CALLBACK] {
        problem(&browser.ask(path).await, 429, "rate_limited");
    }
    server.stop().await;
}

async fn the_page_to_log_in_offers_the_provider_where_there_is_one() {
    let without = Server::start().await;
    assert!(!without.get("/login").await.text.contains(BEGIN));
    for path in [BEGIN, CALLBACK] {
        problem(&without.get(path).await, 404, "not_found");
    }
    without.stop().await;
    // The page needs no provider that answers; a login does.
    let server = Server::start_under(settings("http://127.0.0.1:9", "web"), rates()).await;
    assert!(server.get("/login").await.text.contains(BEGIN));
    let away = server.get(BEGIN).await;
    problem(&away, 503, "unavailable");
    assert_eq!(away.header("retry-after"), Some("6"));
    assert_eq!(away.header("set-cookie"), None);
    server.stop().await;
}
