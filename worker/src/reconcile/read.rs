//! The first half: whom the platform lists, read into the ledger page by page.

use std::time::Duration;

use common::{
    delivery::{Answer, Outcome},
    ledger::Listed,
};

use super::{Left, Session};
use crate::{attempt::guarded, targets::Page};

/// How often in a row a page is asked for before the list is given up.
const TRIES: u32 = 8;

/// A platform that asks for a longer pause has had its day's requests: the list is given up until the next time.
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

/// Entries that are noted together.
const TOGETHER: usize = 1000;

/// A list of more pages goes round in a circle.
const MOST_PAGES: usize = 1_000_000;

impl Session<'_> {
    /// Reads the list to its end, or says why that could not be done.
    pub(super) async fn read(&mut self) -> Result<Result<(), String>, Left> {
        let mut after = None;
        for _ in 0..MOST_PAGES {
            let page = match self.page(after.as_deref()).await? {
                Ok(page) => page,
                Err(why) => return Ok(Err(why)),
            };
            self.tally.listed += page.entries.len() as u64;
            self.tally.unread += page.unread;
            let listed = page.entries.into_iter().map(|entry| Listed {
                contact: entry.contact,
                since: entry.since,
                lane: entry.why.lane,
                reason: entry.why.words,
            });
            let listed: Vec<_> = listed.collect();
            // Nobody else writes to SQLite while some are noted.
            for some in listed.chunks(TOGETHER) {
                self.holding(|| self.app.ledger.note_listed(self.held, &self.tally, some))
                    .await?;
            }
            match page.next {
                None => return Ok(Ok(())),
                Some(next) if after.as_ref() == Some(&next) => break,
                next => after = next,
            }
        }
        Ok(Err("its pages have no end".to_owned()))
    }

    /// One page, asked for at the target's rate, and again while the platform says that it will answer.
    async fn page(&self, after: Option<&str>) -> Result<Result<Page, String>, Left> {
        let mut tries = 0;
        loop {
            if let Some(rate) = &self.outlet.rate {
                self.beating(rate.until_ready()).await?;
            }
            let page = guarded(self.outlet, self.book.page(&self.tally.list, after));
            let asked = self.beating(page).await?;
            let answer = match asked {
                Ok(Ok(page)) => return Ok(Ok(page)),
                Ok(Err(answer)) => answer,
                Err(why) => Answer::retry(why),
            };
            let (asked_for, why) = match (answer.outcome, answer.status) {
                // A credential that is refused is for a person to mend.
                (Outcome::Retry { why, .. }, Some(401 | 403)) | (Outcome::Dead { why }, _) => {
                    return Ok(Err(why));
                }
                (Outcome::Retry { after, why }, _) => (after, why),
                (Outcome::Done | Outcome::Withheld, _) => (None, "it was not read".to_owned()),
            };
            // A second, two, four and so on.
            let pause = Duration::from_secs(1 << tries).max(asked_for.unwrap_or_default());
            tries += 1;
            if tries == TRIES {
                return Ok(Err(why));
            }
            if pause > LONGEST_PAUSE {
                return Ok(Err(format!(
                    "{why}, and asks to be left alone for {pause:?}"
                )));
            }
            self.beating(tokio::time::sleep(pause)).await?;
        }
    }
}
