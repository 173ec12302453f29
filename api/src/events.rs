//! What happened: the event log, and for one event the request that brought it and what became of it.

use std::{collections::HashMap, sync::Arc};

use axum::{Json, extract::State};
use common::{
    contact::Channel,
    delivery::Attempt,
    event::Event,
    ledger::{DeliveryFilter, DeliveryRow, EventFilter, Page},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    contacts::{Moment, What},
    deliveries::Told,
    error::{Error, Result, asked},
    evidence::Evidence,
    query::{Contacts, Id, Paging, Query},
};

/// The most deliveries that are shown with their event; `GET /api/v1/deliveries?event=` has them all.
const MAX_DELIVERIES: usize = 500;

/// An event as answers show it: every field is there, null where the event has none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct Shown {
    #[serde(flatten)]
    pub(crate) event: Event,
    #[serde(flatten)]
    #[schema(value_type = Nobody)]
    nobody: Option<Nobody>,
}

/// Whom an event is about: as the ledger compares it, and as it was received. It stands in for the contact of an event
/// about nobody.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Whom)]
pub(crate) struct Nobody {
    channel: Option<Channel>,
    contact: Option<String>,
    contact_raw: Option<String>,
}

/// One event with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventDetail)]
pub(crate) struct Detail {
    #[serde(flatten)]
    pub(crate) event: Shown,
    #[serde(flatten)]
    evidence: Evidence,
    deliveries: Vec<Told>,
}

impl From<Event> for Shown {
    fn from(event: Event) -> Self {
        let nobody = event.contact.is_none().then(Nobody::default);
        Self { event, nobody }
    }
}

impl Shown {
    /// Its place in the story of its contact.
    pub(crate) fn moment(&self) -> Moment {
        let Event {
            kind,
            source,
            scope,
            ..
        } = &self.event;
        let echo = match self.event.echo_of {
            Some(of) => format!(", which only reports back that it was told of the event {of}"),
            None => String::new(),
        };
        let summary = format!("{kind} in {scope} by {source}{echo}");
        Moment::new(self.event.occurred_at, What::Event, &self.event.id, summary)
    }
}

/// `GET /api/v1/events`: newest first by receipt, which `from` and `to` speak of, too.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "list_events", tag = "Events",
    params(EventFilter, Contacts, Paging), responses((status = 200, body = Page<Shown>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut query: Query,
) -> Result<Json<Page<Shown>>> {
    let source = query.text("source")?;
    let kind = query.named("kind")?;
    let contact = query.either_contact()?;
    let span = query.span()?;
    let paging = query.paging()?;
    query.finish()?;
    let filter = EventFilter {
        source,
        kind,
        contact,
        from: span.from,
        to: span.to,
    };
    let page = asked(
        app.ledger
            .events(&filter, paging.limit, paging.cursor.as_deref()),
    )
    .await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(Shown::from).collect(),
        next_cursor: page.next_cursor,
    }))
}

/// `GET /api/v1/events/{id}`
#[utoipa::path(
    get, path = "/api/v1/events/{id}", operation_id = "show_event", tag = "Events",
    responses((status = 200, body = Detail))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    query: Query,
) -> Result<Json<Detail>> {
    query.finish()?;
    let event = asked(app.ledger.event(id))
        .await?
        .ok_or(Error::NotFound { what: "event", id })?;
    let evidence = Evidence::of(&app, event.envelope_id).await?;
    Ok(Json(Detail {
        event: event.into(),
        evidence,
        deliveries: deliveries(&app, id).await?,
    }))
}

async fn deliveries(app: &App, event: Uuid) -> Result<Vec<Told>> {
    let filter = DeliveryFilter {
        event: Some(event),
        ..DeliveryFilter::default()
    };
    let page = asked(app.ledger.deliveries(&filter, MAX_DELIVERIES, None)).await?;
    let mut attempts: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
    for (delivery, attempt) in asked(app.ledger.attempts_of_event(event)).await? {
        attempts.entry(delivery).or_default().push(attempt);
    }
    let told = |delivery: DeliveryRow| Told {
        attempts: attempts.remove(&delivery.id).unwrap_or_default(),
        delivery,
    };
    Ok(page.items.into_iter().map(told).collect())
}
