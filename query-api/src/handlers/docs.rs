//! The documentation: for machines, for people, and a front page that says where to begin.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::state::ApiState;
use crate::{guards, openapi, pages};

/// Pages may load their one style sheet from here and nothing else, and run nothing.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// Pages with a form also run their one script, which talks to this server alone.
const FORM_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

static DOCUMENT: LazyLock<serde_json::Value> = LazyLock::new(openapi::document);
static DOCUMENT_TEXT: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec_pretty(&*DOCUMENT).unwrap_or_default().into());
static DOCS_PAGE: LazyLock<Bytes> = LazyLock::new(|| pages::docs(&DOCUMENT).into());
static HOME_PAGE: LazyLock<Bytes> = LazyLock::new(|| pages::home().into());

fn page(html: &Bytes) -> Response {
    page_under(PAGE_POLICY, html.clone())
}

fn page_under(policy: HeaderValue, html: Bytes) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, policy),
        (guards::PERMISSIONS_POLICY, guards::NO_FEATURES),
        (header::CACHE_CONTROL, REVALIDATE),
    ];
    (headers, html).into_response()
}

/// This document
///
/// OpenAPI 3.1.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operation", operation_id = "openapi",
    responses((status = 200, content_type = "application/json", body = Object, description = "The document.")))]
pub async fn openapi() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, REVALIDATE),
    ];
    (headers, DOCUMENT_TEXT.clone()).into_response()
}

/// This document as a page to read
///
/// Without scripts and without anything from elsewhere.
#[utoipa::path(get, path = "/docs", tag = "operation", operation_id = "docs",
    responses((status = 200, content_type = "text/html", body = String, description = "The page.")))]
pub async fn docs() -> Response {
    page(&DOCS_PAGE)
}

/// The front page
#[utoipa::path(get, path = "/", tag = "operation", operation_id = "home",
    responses((status = 200, content_type = "text/html", body = String, description = "The page.")))]
pub async fn home() -> Response {
    page(&HOME_PAGE)
}

/// The page of one-time links
///
/// The link itself stands behind the `#`, which browsers keep to themselves.
#[utoipa::path(get, path = "/setup", tag = "operation", operation_id = "setup",
    responses((status = 200, content_type = "text/html", body = String, description = "The page.")))]
pub async fn setup() -> Response {
    page_under(FORM_POLICY, pages::setup().into())
}

/// The page to log in
#[utoipa::path(get, path = "/login", tag = "operation", operation_id = "login_page",
    responses((status = 200, content_type = "text/html", body = String, description = "The page.")))]
pub async fn login(State(state): State<Arc<ApiState>>) -> Response {
    page_under(FORM_POLICY, pages::login(state.access.offers_sign_on()).into())
}

/// The script of the two pages with forms
#[utoipa::path(get, path = "/access.js", tag = "operation", operation_id = "access_script",
    responses((status = 200, content_type = "text/javascript", body = String, description = "The script.")))]
pub async fn access_script() -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/javascript; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, REVALIDATE),
    ];
    (headers, pages::ACCESS_SCRIPT).into_response()
}

/// The style of all pages
#[utoipa::path(get, path = "/style.css", tag = "operation", operation_id = "style",
    responses((status = 200, content_type = "text/css", body = String, description = "The style sheet.")))]
pub async fn style() -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/css; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, REVALIDATE),
    ];
    (headers, pages::STYLE).into_response()
}
