//! Reads a body: bounded in size, counted while it streams, in time, and as long as all bodies together leave room.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::{Hand, refusal::Refusal};

/// What is set aside for a body before any of it has come, however long it says it is.
const FIRST_RESERVE: usize = 16 * 1024;

/// The whole body, of at most `limit` bytes, which has to be there within `patience`.
/// Its memory is taken from `hand`.
pub(crate) async fn read(
    body: Body,
    limit: usize,
    patience: Duration,
    hand: &mut Hand,
) -> Result<Bytes, Refusal> {
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if told > limit {
        return Err(Refusal::TooLarge);
    }
    timeout(patience, collect(body, told, limit, hand))
        .await
        .unwrap_or(Err(Refusal::TooSlow))
}

async fn collect(
    mut body: Body,
    told: usize,
    limit: usize,
    hand: &mut Hand,
) -> Result<Bytes, Refusal> {
    // Copied together: a frame kept as it is would hold on to the connection's whole read buffer, and a body of
    // one-byte chunks to many times its size.
    let mut whole = Vec::new();
    grow(&mut whole, told.min(FIRST_RESERVE), hand)?;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BrokenOff)?.into_data() else {
            continue;
        };
        if data.len() > limit - whole.len() {
            return Err(Refusal::TooLarge);
        }
        let needed = whole.len() + data.len();
        if needed > whole.capacity() {
            let size = needed.max(2 * whole.capacity()).min(limit);
            grow(&mut whole, size, hand)?;
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// Makes the buffer as large as that. The room is taken first: what is not there is not allocated.
fn grow(whole: &mut Vec<u8>, size: usize, hand: &mut Hand) -> Result<(), Refusal> {
    hand.hold(size).ok_or(Refusal::Busy)?;
    whole.reserve_exact(size - whole.len());
    Ok(())
}
