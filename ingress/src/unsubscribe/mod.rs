//! `/u/{token}`: where a recipient unsubscribes by the link of a mail (RFC 8058), or chooses from what on a page.
//!
//! A link is opened by its key alone, so this works while the ledger is away, and what is asked goes the way of every
//! webhook: it is answered 200 once it is stored. Only a POST that says so unsubscribes: scanners of mail fetch links. A
//! link that was forged, is of a key that is gone or has expired is answered as one that never was.
//!
//! A token opens nothing but an opt-out, but that it does: it is in no log, no metric, no page and no envelope.

mod page;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderName, Method, StatusCode, header, request::Parts},
    response::Response,
    routing::{any, get},
};
use common::{
    clock,
    config::{Links, Rate, Source},
    event::derived_id,
    link::Link,
    one_click::{self, Choice, Press},
    pace::Paces,
    queue::Priority,
};
use tracing::debug;
use uuid::Uuid;

use crate::{App, Door, body, refusal::Refusal};
use page::Pages;

/// No form of a mail program or of the page is nearly as large.
const LARGEST: usize = 16 * 1024;

/// How often one link is taken. A person needs one or two, and after a re-subscription the same again.
const RATE: Rate = Rate {
    calls: 5,
    per: Duration::from_mins(5),
};

/// The links of which it is known how often they were taken: some 20 MiB.
const MOST: usize = 100_000;

/// What the path needs to answer.
struct Desk {
    app: Arc<App>,
    links: Arc<Links>,
    door: Door,
    pages: Pages,
    paces: Paces,
}

/// The paths of links, and of what their pages are drawn with.
pub(crate) fn router(app: Arc<App>, links: Arc<Links>) -> Router {
    let desk = Desk {
        app,
        door: Door::new(Source::one_click()),
        pages: Pages::new(&links),
        paces: Paces::new(MOST),
        links,
    };
    Router::new()
        .route(page::STYLE_PATH, get(page::style))
        .route("/u/{token}", any(link))
        .route("/u/{token}/", any(link))
        .with_state(Arc::new(desk))
}

async fn link(
    State(desk): State<Arc<Desk>>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let opened = token.ok().and_then(|Path(token)| {
        let link = desk.links.open(&token, clock::now())?;
        // Not the token itself: it is kept nowhere.
        Some((derived_id("link", &token, []), link))
    });
    match (request.method().clone(), opened) {
        (Method::GET | Method::HEAD, Some((_, link))) => desk.pages.ask(StatusCode::OK, &link),
        (Method::POST, Some((id, link))) => match desk.take(id, &link, request).await {
            Ok(()) => desk.pages.done(),
            Err(refusal) => desk.refuse(refusal, Some(&link)),
        },
        (Method::GET | Method::HEAD | Method::POST, None) => {
            desk.refuse(Refusal::UnknownLink, None)
        }
        _ => Refusal::Method.answer(Some(&desk.door)),
    }
}

impl Desk {
    /// Stores what is asked; Ok means that it is safe.
    async fn take(&self, id: Uuid, link: &Link, request: Request) -> Result<(), Refusal> {
        let mut hand = self.app.take_hand().ok_or(Refusal::Busy)?;
        let (head, body) = request.into_parts();
        let (limit, patience) = (LARGEST.min(self.app.max_body), self.app.read_timeout);
        let body = body::read(body, limit, patience, &mut hand).await?;
        let content_type = text(&head, &header::CONTENT_TYPE);
        let press = Press::read(&body, content_type.as_deref()).ok_or(Refusal::NotAsked)?;
        self.check(&press)?;
        let kept = self.paces.keep(id, RATE, Instant::now());
        kept.map_err(Refusal::TooOften)?;

        let agent = text(&head, &header::USER_AGENT);
        let envelope = one_click::envelope(link, clock::now(), content_type, agent, body);
        let envelope_id = envelope.id;
        let published = self
            .app
            .gatherer
            .publish(Priority::Urgent, envelope, hand)
            .await;
        if published.is_err() {
            // Whoever comes again for an opt-out that was not stored is not held up.
            self.paces.forgive(id);
            return Err(Refusal::NotStored);
        }
        self.door.accepted.increment(1);
        debug!(source = one_click::SOURCE, envelope.id = %envelope_id, "opt-out accepted");
        Ok(())
    }

    /// Whether it asks for what there is to choose from.
    fn check(&self, press: &Press) -> Result<(), Refusal> {
        let Press::Page(choices) = press else {
            return Ok(());
        };
        if choices.is_empty() {
            return Err(Refusal::NothingChosen);
        }
        let known: BTreeSet<_> = self.links.scopes.iter().map(|scope| &scope.name).collect();
        let is_known = |choice: &Choice| match choice {
            Choice::Everything | Choice::Link => true,
            Choice::Scope(scope) => known.contains(scope),
        };
        if choices.iter().all(is_known) {
            Ok(())
        } else {
            Err(Refusal::NotAsked)
        }
    }

    /// Says why not, on a page. What can be asked again, is asked there.
    fn refuse(&self, refusal: Refusal, link: Option<&Link>) -> Response {
        refusal.note(Some(&self.door));
        let refusals = self.door.source.provider.refusals();
        let status = refusal.status(refusals);
        let mut response = match link {
            Some(link) if matches!(refusal, Refusal::NothingChosen) => self.pages.ask(status, link),
            Some(_) => self.pages.later(status),
            None => self.pages.unknown(status),
        };
        if let Some(pause) = refusal.pause(refusals) {
            let seconds = pause.as_secs().max(1);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        refusal.add_headers(&mut response, Some(&self.door));
        response
    }
}

fn text(head: &Parts, name: &HeaderName) -> Option<String> {
    let value = head.headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
