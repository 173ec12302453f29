//! Postmark: the suppressions of its message streams.
//!
//! <https://postmarkapp.com/developer/api/suppressions-api>. A list is a stream's id, which is what a `postmark` source's
//! events have as their scope. Postmark lets nobody take back a spam complaint; to suppress one that complained there
//! already is answered the same way, and is then as it should be.
//!
//! A stream's suppressions are read by its dump
//! (<https://postmarkapp.com/developer/api/suppressions-api#suppression-dump>), bounces and complaints among them. It has no
//! pages but takes the first day and the last one, so it is read in windows of days: half as long as one that held more than
//! is read at once or that could not be read in time, and twice as long as one that held little. A single day above 16 MiB
//! cannot be read.
//!
//! No limit on requests is documented but that there is one: <https://postmarkapp.com/developer/api/overview>.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use common::{clock, delivery::Answer, event::Lane, outbound::Reply, settings::Section};
use jiff::{
    ToSpan,
    civil::{Date, date},
    tz::TimeZone,
};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Ask, Guide, Kind, Setup, Target,
    platform::{
        self, Api, Call, Credential, Lists, Page, Platform, Scopes, Why, read, refused, too_large,
    },
};

pub(super) const KIND: Kind = Kind {
    name: "postmark",
    rate: None,
    guide: Guide::platform(
        "Postmark",
        &[
            Ask::token("a Server API token"),
            Ask::list(
                "the id of the message stream for every scope, such as broadcast or outbound",
            ),
        ],
        &["Your server > API Tokens shows the Server API token."],
    ),
    build,
};

/// The most addresses in one request.
const BATCH: usize = 50;

/// Before Postmark had anybody to suppress.
const FIRST: Date = date(2009, 1, 1);

/// The days of the first window.
const MONTH: i32 = 30;

/// A longer one could hold nearly the whole list, which may take longer than a request may.
const LONGEST: i32 = 180;

/// A window with fewer entries is followed by one of twice the length.
const FEW: usize = 1000;

struct Postmark(Api);

fn build(section: &mut Section, setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let url = "https://api.postmarkapp.com";
    let api = Api::read(section, setup, Some(url), |token| {
        Credential::Header("x-postmark-server-token", "", token)
    });
    let scopes = Scopes::read(section, |_| Ok(()));
    Some(platform::target(Postmark(api?), scopes?, setup))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    suppressions: Vec<One>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    email_address: String,
    status: String,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dump {
    suppressions: Vec<Suppressed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suppressed {
    email_address: String,
    suppression_reason: Option<String>,
    origin: Option<String>,
    created_at: Option<String>,
}

#[async_trait]
impl Platform for Postmark {
    fn most(&self) -> usize {
        BATCH
    }

    /// <https://postmarkapp.com/developer/api/server-api>
    async fn look(&self, deadline: Instant) -> Result<Reply, Answer> {
        self.0.ask(Method::GET, &["server"], deadline).await
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let mut path = vec!["message-streams", call.list, "suppressions"];
        if !call.suppress {
            path.push("delete");
        }
        let addresses: Vec<Value> = call
            .addresses()
            .iter()
            .map(|address| json!({"EmailAddress": address}))
            .collect();
        let body = json!({"Suppressions": addresses});
        let reply = self.0.send(Method::POST, &path, &body, call.deadline);
        let (reply, results): (_, Results) = read(reply.await?)?;
        let of = |address: &&str| {
            let mut results = results.suppressions.iter();
            let one = results.find(|one| one.email_address.eq_ignore_ascii_case(address));
            match one {
                Some(one) if one.status != "Failed" => call.done(&reply),
                Some(one) => failed(call, one, &reply),
                None => Answer::retry("answered without a word about one of the addresses"),
            }
        };
        Ok(call.addresses().iter().map(of).collect())
    }

    fn reads(&self) -> Option<&dyn Lists> {
        Some(self)
    }
}

/// Some days, and how many are asked for at a time from then on.
#[derive(Clone, Copy)]
struct Window {
    from: Date,
    to: Date,
    days: i32,
}

impl Window {
    /// So many days from a day on, but none after the last.
    fn new(from: Date, days: i32, last: Date) -> Self {
        let days = days.clamp(1, LONGEST);
        let to = from.checked_add((days - 1).days()).unwrap_or(last);
        let to = to.min(last);
        Self { from, to, days }
    }

    /// `FROM/DAYS`, as it is written below.
    fn read(text: &str, last: Date) -> Option<Self> {
        let (from, days) = text.split_once('/')?;
        let from = from.parse().ok()?;
        Some(Self::new(from, days.parse().ok()?, last))
    }

    /// A page with nothing on it, which the half of this window follows; of a single day what came of it stands.
    fn smaller(self, answer: Answer) -> Result<Page, Answer> {
        let days = (self.to - self.from).get_days() + 1;
        if days <= 1 {
            return Err(answer);
        }
        Ok(Page {
            next: Some(format!("{}/{}", self.from, days / 2)),
            ..Page::default()
        })
    }

    /// What follows it, when so many were in it.
    fn after(self, entries: usize, last: Date) -> Option<String> {
        let grown = if entries < FEW { 2 } else { 1 };
        let from = self.to.tomorrow().ok().filter(|from| *from <= last)?;
        Some(format!("{from}/{}", self.days * grown))
    }
}

#[async_trait]
impl Lists for Postmark {
    async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        deadline: Instant,
    ) -> Result<Page, Answer> {
        // Wherever Postmark's days begin, there is none later.
        let today = clock::now().to_zoned(TimeZone::UTC).date();
        let end = today.tomorrow().unwrap_or(today);
        let window = after.and_then(|after| Window::read(after, end));
        let window = window.unwrap_or_else(|| Window::new(FIRST, MONTH, end));
        let path = ["message-streams", list, "suppressions", "dump"];
        let request = self.0.request(Method::GET, &path).query(&[
            ("fromdate", window.from.to_string()),
            ("todate", window.to.to_string()),
        ]);
        let suppressions = match self.0.page(request, deadline).await {
            Ok(Some(Dump { suppressions })) => suppressions,
            Ok(None) => return window.smaller(too_large()),
            // It was not answered in time, or not to the end.
            Err(answer) if answer.status.is_none() => return window.smaller(answer),
            Err(answer) => return Err(answer),
        };
        let mut page = Page {
            next: window.after(suppressions.len(), end),
            ..Page::default()
        };
        for one in suppressions {
            page.email(&one.email_address, one.created_at.as_deref(), why(&one));
        }
        Ok(page)
    }
}

/// What Postmark calls a manual suppression is the recipient's own will where it says so.
fn why(one: &Suppressed) -> Why {
    let (reason, origin) = (one.suppression_reason.as_deref(), one.origin.as_deref());
    let lane = match (reason, origin) {
        (Some("SpamComplaint"), _) => Lane::Complaint,
        (Some("HardBounce"), _) => Lane::Deliverability,
        (_, Some("Customer" | "Admin")) => Lane::Manual,
        _ => Lane::Consent,
    };
    let words = match (reason, origin) {
        (Some(reason), Some(origin)) => Some(format!("{reason} ({origin})")),
        (reason, origin) => reason.or(origin).map(str::to_owned),
    };
    Why { lane, words }
}

fn failed(call: &Call<'_>, one: &One, reply: &Reply) -> Answer {
    let message = one.message.as_deref().unwrap_or_default();
    let authority = message.contains("required authority");
    match (authority, call.suppress) {
        (true, true) => call.done(reply),
        (true, false) => refused(
            reply,
            "Postmark does not let this suppression be taken back, as of a spam complaint",
        ),
        _ if message.contains("invalid email address") => {
            refused(reply, "Postmark takes this for no email address")
        }
        _ => Answer::retry("Postmark could not do it, and does not say why"),
    }
}
