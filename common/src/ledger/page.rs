//! Keyset paging: a page begins after the last row of the one before, however many rows have come since.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Serialize;
use sqlx::any::AnyRow;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Error, Result, micros};

/// One page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
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
                // As it was written: whatever else somebody made up is no place in a list.
                id: id.parse::<Uuid>().ok()?.to_string(),
            })
        });
        cursor.map(|cursor| cursor.min(newest)).ok_or(Error::Cursor)
    }

    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {}", self.at, self.id))
    }
}

impl<T> Page<T> {
    /// Makes a page of the rows that were found when asking for one more than `limit`. `at` says by which time and id an
    /// item has its place in the list.
    pub(super) fn of(
        found: &[AnyRow],
        limit: usize,
        read: impl Fn(&AnyRow) -> Result<T>,
        at: impl Fn(&T) -> (Timestamp, Uuid),
    ) -> Result<Self> {
        let shown = found.iter().take(limit);
        let items = shown.map(read).collect::<Result<Vec<_>>>()?;
        let last = items.last().filter(|_| found.len() > limit).map(at);
        let next_cursor = last.map(|(at, id)| {
            let (at, id) = (micros(at), id.to_string());
            Cursor { at, id }.write()
        });
        Ok(Self { items, next_cursor })
    }
}
