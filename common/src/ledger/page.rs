//! Keyset paging: a page begins after the last row of the one before, however many rows have come since.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Serialize;

use super::{Error, Result, micros};

/// One page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Asks for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// The place in a list: the last row's time and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cursor {
    pub(super) at: i64,
    pub(super) id: String,
}

impl Cursor {
    /// Where a page begins: after the cursor, if there is one, and before `to`. One bound for a query, so that it begins
    /// there in its index however far down the list that is.
    pub(super) fn read(text: Option<&str>, to: Option<Timestamp>) -> Result<Self> {
        let newest = Self {
            at: to.map_or(i64::MAX, micros),
            id: String::new(),
        };
        let Some(text) = text else { return Ok(newest) };
        let decoded = URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let cursor = decoded.and_then(|text| {
            let (at, id) = text.split_once(' ')?;
            Some(Self {
                at: at.parse().ok()?,
                id: id.to_owned(),
            })
        });
        cursor.map(|cursor| cursor.min(newest)).ok_or(Error::Cursor)
    }

    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {}", self.at, self.id))
    }
}

impl<T> Page<T> {
    /// Makes a page of what was found when asking for one row more than `limit`.
    pub(super) fn of(mut found: Vec<(Cursor, T)>, limit: usize) -> Self {
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found
            .last()
            .filter(|_| more)
            .map(|(cursor, _)| cursor.write());
        Self {
            items: found.into_iter().map(|(_, item)| item).collect(),
            next_cursor,
        }
    }
}
