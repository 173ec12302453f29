//! Everything that is known of one contact: what it asked for, what was done about it, and when.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use common::{
    contact::{Channel, Contact},
    delivery::Attempt,
    ledger::{Audited, EventFilter, Standing, Submission, Suppression},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    deliveries::Told,
    error::{Error, Result, asked},
    events::Shown,
    query::Query,
};

/// The most events that are told, the newest; with as many records of the trail.
const MOST: i64 = 500;

/// The whole story of a contact.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactStory)]
pub(crate) struct Story {
    contact: String,
    channel: Channel,
    /// By the strictest answer.
    unsubscribed: bool,
    suppressions: Vec<Suppression>,
    pub(crate) submissions: Vec<Submission>,
    pub(crate) events: Vec<Shown>,
    pub(crate) deliveries: Vec<Told>,
    pub(crate) audit: Vec<Audited>,
    /// All of it in order of time.
    timeline: Vec<Moment>,
    /// There is more than is told here: the lists of events and the trail have all of it.
    truncated: bool,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub(crate) struct Moment {
    at: Timestamp,
    what: What,
    /// Of the event, the delivery or the submission; the number of an audit record.
    id: String,
    summary: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MomentKind)]
pub(crate) enum What {
    Event,
    Submission,
    Revocation,
    Audit,
    Attempt,
    Delivery,
}

/// `GET /api/v1/contacts/{contact}`: an email address or a phone number. One that nobody knows has an empty story.
#[utoipa::path(
    get, path = "/api/v1/contacts/{contact}", operation_id = "show_contact", tag = "Contacts",
    params(("contact" = String, Path, description = "An email address or a phone number.")),
    responses((status = 200, body = Story))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    path: std::result::Result<Path<String>, PathRejection>,
    query: Query,
) -> Result<Json<Story>> {
    query.finish()?;
    let Path(text) = path.map_err(|_| Error::parameter("contact", "is not UTF-8"))?;
    let name = "contact";
    let contact = Contact::parse(&text).map_err(|why| Error::Contact { name, why })?;
    story(&app, contact).await.map(Json)
}

/// What is known of a contact.
pub(crate) async fn story(app: &App, contact: Contact) -> Result<Story> {
    let one = std::slice::from_ref(&contact);
    let suppressions = asked(app.ledger.registers(one)).await?;
    let submissions = asked(app.ledger.submissions(one)).await?;
    let filter = EventFilter {
        contact: Some(contact.clone()),
        ..EventFilter::default()
    };
    let limit = usize::try_from(MOST).unwrap_or(usize::MAX);
    let page = asked(app.ledger.events(&filter, limit, None)).await?;
    let (deliveries, attempts) = asked(app.ledger.told_of(&contact, MOST)).await?;
    let mut made: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
    for (delivery, attempt) in attempts {
        made.entry(delivery).or_default().push(attempt);
    }
    let told = deliveries.into_iter().map(|delivery| Told {
        attempts: made.remove(&delivery.id).unwrap_or_default(),
        delivery,
    });
    let audit = asked(app.ledger.audited(&contact, MOST)).await?;
    let mut story = Story {
        unsubscribed: suppressions
            .iter()
            .any(|suppression| suppression.state == Standing::Active),
        truncated: page.next_cursor.is_some() || audit.len() == limit,
        contact: contact.address,
        channel: contact.channel,
        suppressions,
        submissions,
        events: page.items.into_iter().rev().map(Shown::from).collect(),
        deliveries: told.collect(),
        audit,
        timeline: vec![],
    };
    story.timeline = story.in_order_of_time();
    Ok(story)
}

impl Story {
    fn in_order_of_time(&self) -> Vec<Moment> {
        let mut timeline: Vec<_> = self.events.iter().map(Shown::moment).collect();
        timeline.extend(self.submissions.iter().flat_map(submission));
        timeline.extend(self.deliveries.iter().flat_map(delivery));
        timeline.extend(self.audit.iter().map(|record| {
            let summary = format!("{} asked for {}", record.actor, record.action);
            Moment::new(record.at, What::Audit, &record.seq, summary)
        }));
        timeline.sort();
        timeline
    }
}

impl Moment {
    pub(crate) fn new(at: Timestamp, what: What, id: &dyn ToString, summary: String) -> Self {
        let id = id.to_string();
        Self {
            at,
            what,
            id,
            summary,
        }
    }
}

fn submission(submission: &Submission) -> Vec<Moment> {
    let form = submission.form.as_deref().unwrap_or("a form");
    let summary = format!("filled in {form}");
    let filled = Moment::new(
        submission.submitted_at,
        What::Submission,
        &submission.id,
        summary,
    );
    let revoked = submission.consent_records.iter().filter_map(|consent| {
        let summary = format!("consent to {} revoked", consent.purpose);
        let at = consent.revoked_at?;
        Some(Moment::new(at, What::Revocation, &submission.id, summary))
    });
    std::iter::once(filled).chain(revoked).collect()
}

fn delivery(told: &Told) -> Vec<Moment> {
    let delivery = &told.delivery;
    let attempts = told.attempts.iter().map(|attempt| {
        let summary = format!(
            "{}: attempt {}, {}",
            delivery.target, attempt.number, attempt.outcome
        );
        Moment::new(attempt.started_at, What::Attempt, &delivery.id, summary)
    });
    let delivered = delivery.delivered_at.map(|at| {
        let summary = format!("{} was told", delivery.target);
        Moment::new(at, What::Delivery, &delivery.id, summary)
    });
    attempts.chain(delivered).collect()
}
