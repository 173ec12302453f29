//! What pages are drawn with: one stylesheet, one script, one icon, all of them ours and in the binary. Their addresses
//! hold their hashes, so a browser keeps them for a year and still never uses an old one.

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Error;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
const ICON: &str = include_str!("icon.svg");

/// Where the assets are.
#[derive(Debug, Serialize)]
pub(super) struct Assets {
    style: String,
    script: String,
    icon: String,
}

impl Assets {
    pub(super) fn new() -> Self {
        Self {
            style: format!("/assets/{}.css", digest(STYLE)),
            script: format!("/assets/{}.js", digest(SCRIPT)),
            icon: format!("/assets/{}.svg", digest(ICON)),
        }
    }
}

/// `GET /assets/{name}`
pub(super) async fn show(Path(name): Path<String>) -> Result<Response, Error> {
    let known = [
        ("css", "text/css; charset=utf-8", STYLE),
        ("js", "text/javascript; charset=utf-8", SCRIPT),
        ("svg", "image/svg+xml", ICON),
    ];
    let found = known
        .into_iter()
        .find(|(ending, _, text)| name == format!("{}.{ending}", digest(text)));
    let (_, kind, text) = found.ok_or(Error::NoSuchPath)?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, text).into_response())
}

fn digest(text: &str) -> String {
    let digest = Bytes::copy_from_slice(&Sha256::digest(text)[..8]);
    format!("{digest:x}")
}
