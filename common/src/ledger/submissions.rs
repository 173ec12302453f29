//! Form submissions, and what was agreed to in them.
//!
//! A consent is granted by its submission and revoked by an event; it is never deleted. Revoking happens in the same
//! transaction that records the event ([`Ledger::record`]), whoever records it first.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::{Any, Row, Transaction, any::AnyRow};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Error, Ledger, Result, micros, parsed, rows, timestamp};
use crate::{
    contact::{Channel, Contact},
    event::{Effect, Event, Kind},
    request,
};

/// A form that somebody filled in.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Submission {
    pub id: Uuid,
    pub form: Option<String>,
    /// Normalised.
    pub email: Option<String>,
    pub phone: Option<String>,
    /// As they were given.
    pub email_raw: Option<String>,
    pub phone_raw: Option<String>,
    pub submitted_at: Timestamp,
    pub received_at: Timestamp,
    pub metadata: Map<String, Value>,
    /// What holds now, by purpose: granted and not revoked.
    pub consents: BTreeMap<String, bool>,
    pub consent_records: Vec<Consent>,
}

/// What was agreed to, or not, for one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Consent {
    pub purpose: String,
    pub granted: bool,
    pub revoked_at: Option<Timestamp>,
    /// The event that revoked it.
    pub revoked_by: Option<Uuid>,
}

const COLUMNS: &str = "submissions.id AS id, form, email, phone, email_raw, phone_raw, submitted_at, received_at, metadata";

impl Submission {
    /// A submission with the state of its consents worked out.
    pub fn new(
        id: Uuid,
        contacts: (Option<&Contact>, Option<&Contact>),
        (submitted_at, received_at): (Timestamp, Timestamp),
        consent_records: Vec<Consent>,
    ) -> Self {
        let (email, phone) = contacts;
        Self {
            id,
            form: None,
            email: email.map(|email| email.address.clone()),
            phone: phone.map(|phone| phone.address.clone()),
            email_raw: email.map(|email| email.raw.clone()),
            phone_raw: phone.map(|phone| phone.raw.clone()),
            submitted_at,
            received_at,
            metadata: Map::new(),
            consents: holding(&consent_records),
            consent_records,
        }
    }

    /// Whom it is about.
    pub fn contacts(&self) -> Vec<Contact> {
        let contact = |channel, address: &Option<String>, raw: &Option<String>| {
            let address = address.clone()?;
            let raw = raw.clone().unwrap_or_else(|| address.clone());
            Some(Contact {
                channel,
                address,
                raw,
            })
        };
        let email = contact(Channel::Email, &self.email, &self.email_raw);
        let phone = contact(Channel::Sms, &self.phone, &self.phone_raw);
        email.into_iter().chain(phone).collect()
    }
}

fn holding(records: &[Consent]) -> BTreeMap<String, bool> {
    records
        .iter()
        .map(|consent| {
            let holds = consent.granted && consent.revoked_at.is_none();
            (consent.purpose.clone(), holds)
        })
        .collect()
}

impl Ledger {
    /// Enters a submission. False if there is one with its id already, which then stays as it is.
    ///
    /// A consent for which the api's own register says that it was revoked since is entered as revoked: the submission
    /// was late, and in whichever order the two come the result is the same.
    pub async fn submit(&self, submission: &Submission) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let text = "
            INSERT INTO submissions (id, form, email, phone, email_raw, phone_raw, submitted_at, received_at, metadata)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";
        let query = self.query(text).bind(submission.id.to_string());
        let query = query
            .bind(submission.form.clone())
            .bind(submission.email.clone())
            .bind(submission.phone.clone())
            .bind(submission.email_raw.clone())
            .bind(submission.phone_raw.clone())
            .bind(micros(submission.submitted_at))
            .bind(micros(submission.received_at))
            .bind(Value::Object(submission.metadata.clone()).to_string());
        let entered = query.execute(&mut *transaction).await?;
        if entered.rows_affected() == 0 {
            return Ok(false);
        }
        let values: Vec<_> = submission
            .consent_records
            .iter()
            .map(|consent| {
                json!({ "submission": submission.id, "purpose": consent.purpose, "granted": i64::from(consent.granted),
                    "email": submission.email, "phone": submission.phone, "at": micros(submission.submitted_at) })
            })
            .collect();
        // The last revocation of each, if there is one later than the submission.
        let revoked = |column: &str| {
            format!(
                "(SELECT {column} FROM registers WHERE source = 'api' AND lane = 'consent' AND suppressed = 1
                    AND ((channel = 'email' AND contact = rows.value->>'email') OR (channel = 'sms' AND contact = rows.value->>'phone'))
                    AND scope = rows.value->>'purpose' AND CAST(rows.value->>'granted' AS BIGINT) = 1
                    AND occurred_at >= CAST(rows.value->>'at' AS BIGINT)
                ORDER BY occurred_at, event_id LIMIT 1)"
            )
        };
        let text = format!(
            "INSERT INTO consents (submission_id, purpose, granted, revoked_at, revoked_by)
            SELECT rows.value->>'submission', rows.value->>'purpose', CAST(rows.value->>'granted' AS BIGINT), {}, {}
            FROM {{rows}}",
            revoked("occurred_at"),
            revoked("event_id")
        );
        self.put(&mut transaction, &text, &values).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// One submission.
    pub async fn submission(&self, id: Uuid) -> Result<Option<Submission>> {
        let text = format!("SELECT {COLUMNS} FROM submissions WHERE id = $1");
        let found = self.query(&text).bind(id.to_string());
        let found = found.fetch_all(&self.pool).await?;
        Ok(self.with_consents(&found).await?.pop())
    }

    /// The submissions of any of these contacts, oldest first.
    pub async fn submissions(&self, contacts: &[Contact]) -> Result<Vec<Submission>> {
        let of = |channel| {
            let address = contacts
                .iter()
                .filter(move |contact| contact.channel == channel);
            address
                .map(|contact| json!({ "contact": contact.address }))
                .collect::<Vec<_>>()
        };
        let mut found = vec![];
        for (column, contacts) in [("email", of(Channel::Email)), ("phone", of(Channel::Sms))] {
            if contacts.is_empty() {
                continue;
            }
            let text = format!(
                "SELECT {COLUMNS} FROM {{rows}} JOIN submissions ON submissions.{column} = rows.value->>'contact'"
            );
            let query = self.query(&text).bind(rows(&contacts));
            found.extend(query.fetch_all(&self.pool).await?);
        }
        let mut submissions = self.with_consents(&found).await?;
        submissions.sort_by_key(|submission| (submission.submitted_at, submission.id));
        submissions.dedup_by_key(|submission| submission.id);
        Ok(submissions)
    }

    async fn with_consents(&self, found: &[AnyRow]) -> Result<Vec<Submission>> {
        let mut submissions = found.iter().map(submission).collect::<Result<Vec<_>>>()?;
        if submissions.is_empty() {
            return Ok(submissions);
        }
        let ids: Vec<_> = submissions
            .iter()
            .map(|submission| json!({ "id": submission.id }))
            .collect();
        let text = "
            SELECT submission_id, purpose, granted, revoked_at, revoked_by
            FROM {rows} JOIN consents ON submission_id = rows.value->>'id' ORDER BY purpose";
        let query = self.query(text).bind(rows(&ids));
        let mut consents: BTreeMap<Uuid, Vec<Consent>> = BTreeMap::new();
        for row in query.fetch_all(&self.pool).await? {
            let submission = parsed(&row.try_get::<String, _>(0)?)?;
            consents.entry(submission).or_default().push(consent(&row)?);
        }
        for submission in &mut submissions {
            submission.consent_records = consents.get(&submission.id).cloned().unwrap_or_default();
            submission.consents = holding(&submission.consent_records);
        }
        Ok(submissions)
    }

    /// Revokes the consents that these events speak of: what an opt-out of the source `api` says of a purpose holds for
    /// every submission of the contact up to then. Run again it finds nothing left to revoke.
    pub(super) async fn revoke_consents<'a>(
        &self,
        transaction: &mut Transaction<'_, Any>,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<()> {
        let revoking = events.filter(|event| {
            event.source == request::SOURCE
                && event.kind == Kind::Unsubscribed
                && event.effect == Effect::Suppress
        });
        let values: Vec<_> = revoking
            .filter_map(|event| {
                let contact = event.contact.as_ref()?;
                Some(json!({ "channel": contact.channel, "contact": contact.address, "purpose": event.scope,
                    "at": micros(event.occurred_at), "event": event.id }))
            })
            .collect();
        for (column, channel) in [("email", Channel::Email), ("phone", Channel::Sms)] {
            let text = format!(
                "UPDATE consents SET revoked_at = CAST(rows.value->>'at' AS BIGINT), revoked_by = rows.value->>'event'
                FROM {{rows}}, submissions
                WHERE rows.value->>'channel' = '{channel}' AND submissions.{column} = rows.value->>'contact'
                    AND submissions.submitted_at <= CAST(rows.value->>'at' AS BIGINT)
                    AND consents.submission_id = submissions.id AND consents.purpose = rows.value->>'purpose'
                    AND consents.granted = 1 AND consents.revoked_at IS NULL"
            );
            self.put(transaction, &text, &values).await?;
        }
        Ok(())
    }
}

fn submission(row: &AnyRow) -> Result<Submission> {
    let metadata: String = row.try_get("metadata")?;
    Ok(Submission {
        id: parsed(&row.try_get::<String, _>("id")?)?,
        form: row.try_get("form")?,
        email: row.try_get("email")?,
        phone: row.try_get("phone")?,
        email_raw: row.try_get("email_raw")?,
        phone_raw: row.try_get("phone_raw")?,
        submitted_at: timestamp(row.try_get("submitted_at")?)?,
        received_at: timestamp(row.try_get("received_at")?)?,
        metadata: serde_json::from_str(&metadata)
            .map_err(|error| Error::Corrupt(error.to_string()))?,
        consents: BTreeMap::new(),
        consent_records: vec![],
    })
}

fn consent(row: &AnyRow) -> Result<Consent> {
    let revoked_by: Option<String> = row.try_get("revoked_by")?;
    let revoked_at: Option<i64> = row.try_get("revoked_at")?;
    Ok(Consent {
        purpose: row.try_get("purpose")?,
        granted: row.try_get::<i64, _>("granted")? == 1,
        revoked_at: revoked_at.map(timestamp).transpose()?,
        revoked_by: revoked_by.as_deref().map(parsed).transpose()?,
    })
}
