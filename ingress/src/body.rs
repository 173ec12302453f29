//! Reads a body: bounded in size, counted while it streams, and in time.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::refusal::Refusal;

/// What is set aside for a body before any of it has come, however long it says it is.
const FIRST_RESERVE: usize = 16 * 1024;

/// The whole body, of at most `limit` bytes, which has to be there within `patience`.
pub(crate) async fn read(body: Body, limit: usize, patience: Duration) -> Result<Bytes, Refusal> {
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if told > limit {
        return Err(Refusal::TooLarge);
    }
    timeout(patience, collect(body, told, limit))
        .await
        .unwrap_or(Err(Refusal::TooSlow))
}

async fn collect(mut body: Body, told: usize, limit: usize) -> Result<Bytes, Refusal> {
    // Copied together: a frame kept as it is would hold on to the connection's whole read buffer, and a body of
    // one-byte chunks to many times its size.
    let mut whole = BytesMut::with_capacity(told.min(FIRST_RESERVE));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BrokenOff)?.into_data() else {
            continue;
        };
        if data.len() > limit - whole.len() {
            return Err(Refusal::TooLarge);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
