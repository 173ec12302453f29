//! The body of an import as it arrives, which may be of any length.

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::{
    body::LIMIT,
    error::{Error, PATIENCE, Result},
};

/// What some programs put before a text to say that it is UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// White space before a file's first byte that is borne with.
const MOST_BLANK: usize = 64 << 10;

/// Pieces of a file, and the hash of what has come.
pub(super) struct Upload {
    pieces: BodyDataStream,
    hash: Sha256,
}

impl Upload {
    pub(super) fn new(body: Body) -> Self {
        Self {
            pieces: body.into_data_stream(),
            hash: Sha256::new(),
        }
    }

    /// The next piece. It is asked for when the one before has been dealt with, so a client sends no faster than that.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(piece) = self.pieces.next().await else {
            return Ok(None);
        };
        let piece = piece.map_err(|_| Error::Body("it broke off".to_owned()))?;
        self.hash.update(&piece);
        Ok(Some(piece))
    }

    /// Enough of the beginning to tell what it is, without a byte order mark.
    pub(super) async fn begin(&mut self) -> Result<Bytes> {
        let mut head = BytesMut::new();
        while head.len() <= MARK.len()
            || head.trim_ascii_start().is_empty() && head.len() < MOST_BLANK
        {
            match self.next().await? {
                Some(piece) => head.extend_from_slice(&piece),
                None => break,
            }
        }
        let head = head.freeze();
        Ok(match head.strip_prefix(MARK) {
            Some(rest) => head.slice_ref(rest),
            None => head,
        })
    }

    /// All of it, if it is not too large.
    pub(super) async fn whole(&mut self, head: Bytes) -> Result<Vec<u8>> {
        let mut whole = Vec::from(head);
        while whole.len() <= LIMIT {
            match self.next().await? {
                Some(piece) => whole.extend_from_slice(&piece),
                None => return Ok(whole),
            }
        }
        Err(Error::TooLarge { limit: LIMIT >> 10 })
    }

    /// Lets what is still to come go by, for a while: a client that cannot finish sending may never read its answer.
    pub(super) async fn let_go(&mut self) {
        let rest = async { while let Ok(Some(_)) = self.next().await {} };
        timeout(PATIENCE, rest).await.ok();
    }

    /// The hash of what has come, as `sha256sum` prints it.
    pub(super) fn sha256(&self) -> String {
        let digest = self.hash.clone().finalize();
        format!("{:x}", Bytes::copy_from_slice(&digest))
    }
}
