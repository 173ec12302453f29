//! Which websites' pages may ask: those of `[api] cors_origins`, and no other.
//!
//! A browser sends a page's request with a key in a header only where the preflight allows it. Cookies are never
//! allowed: only the dashboard reads any, and this layer is not around it.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use common::config::Origin;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may keep to what a preflight allowed.
const KEPT: Duration = Duration::from_mins(10);

/// Answers preflights, and names the origin to browsers in all other answers; None where there is no origin.
pub(crate) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok());
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-api-key"),
        ])
        .expose_headers([header::RETRY_AFTER])
        .max_age(KEPT);
    Some(layer)
}
