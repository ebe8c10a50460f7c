//! A browser as far as logins need one: cookies, and going where it is sent.

use std::collections::BTreeMap;

use reqwest::Url;

use crate::support::{Answer, Server};

/// The address under which browsers know the server: only they ever use it.
pub const PUBLIC_URL: &str = "https://experiments.example.com";
/// Where a login begins.
pub const BEGIN: &str = "/api/v1/auth/oidc/login";
/// Where it ends.
pub const CALLBACK: &str = "/api/v1/auth/oidc/callback";
/// The most steps that the provider takes between a login's begin and its end.
const STEPS_MAX: usize = 6;

/// A browser: it keeps the cookies of both sides apart and goes where it is sent, a step at a time.
pub struct Browser<'s> {
    /// The server that it uses.
    pub server: &'s Server,
    /// The cookies of our server, by name.
    pub ours: BTreeMap<String, String>,
    theirs: BTreeMap<String, String>,
}

impl<'s> Browser<'s> {
    /// A browser without cookies.
    pub fn new(server: &'s Server) -> Self {
        Self {
            server,
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
        }
    }

    /// Asks our server for an address of it, whatever its host is called there.
    pub async fn ask(&mut self, path: &str) -> Answer {
        let request = self
            .server
            .request("GET", path)
            .header("cookie", cookie_line(&self.ours));
        let answer = self.server.send(request).await;
        keep(&mut self.ours, answer.headers("set-cookie"));
        answer
    }

    /// Begins a login, and gives where our server sends it.
    pub async fn begin(&mut self) -> Url {
        let begun = self.ask(&format!("{BEGIN}?return_to=/docs")).await;
        assert_eq!(begun.status, 303, "{}", begun.text);
        Url::parse(begun.header("location").unwrap()).unwrap()
    }

    /// Logs in at the provider under a name with groups, and gives where the provider sends the browser back to.
    pub async fn visit(&mut self, mut url: Url, who: &str) -> Url {
        url.query_pairs_mut().append_pair("login_hint", who);
        let client = reqwest::Client::builder().no_proxy();
        let client = client
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        for _ in 0..STEPS_MAX {
            let request = client
                .get(url.clone())
                .header("cookie", cookie_line(&self.theirs));
            let answer = request.send().await.unwrap();
            let cookies = answer.headers().get_all("set-cookie").iter();
            keep(&mut self.theirs, cookies.map(|value| value.to_str().unwrap()));
            let Some(place) = answer.headers().get("location") else {
                panic!("{url}: {}: {}", answer.status(), answer.text().await.unwrap());
            };
            url = url.join(place.to_str().unwrap()).unwrap();
            if url.as_str().starts_with(PUBLIC_URL) {
                return url;
            }
        }
        panic!("the provider sends the browser on and on, now to {url}");
    }

    /// Comes back from the provider.
    pub async fn come_back(&mut self, url: &Url) -> Answer {
        self.ask(&format!("{}?{}", url.path(), url.query().unwrap_or("")))
            .await
    }

    /// A whole login.
    pub async fn log_in(&mut self, who: &str) -> Answer {
        let url = self.begin().await;
        let back = self.visit(url, who).await;
        self.come_back(&back).await
    }

    /// Who the server takes it for.
    pub async fn session(&mut self) -> Answer {
        self.ask("/api/v1/auth/session").await
    }
}

/// Cookies as a browser sends them.
pub fn cookie_line(cookies: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("; ")
}

fn keep<'a>(cookies: &mut BTreeMap<String, String>, set: impl Iterator<Item = &'a str>) {
    for cookie in set {
        let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
        if value.is_empty() {
            cookies.remove(name);
        } else {
            cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// An address with another value of a parameter, or without it.
pub fn changed(url: &Url, name: &str, value: Option<&str>) -> Url {
    let pairs: Vec<_> = url
        .query_pairs()
        .into_owned()
        .filter(|(found, _)| found != name)
        .collect();
    let mut url = url.clone();
    url.query_pairs_mut().clear().extend_pairs(pairs);
    if let Some(value) = value {
        url.query_pairs_mut().append_pair(name, value);
    }
    url
}

/// A parameter of an address.
pub fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs.find_map(|(found, value)| (found == name).then(|| value.into_owned()))
}
