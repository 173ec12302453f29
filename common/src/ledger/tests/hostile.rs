//! Texts that mean ill, in every field that takes a text: each is read back as it was written, is found by itself and by
//! nothing else, and changes nothing beside.

use ::hostile::{LARGE, VALUES, text, withstands};
use serde_json::json;

use super::*;
use crate::{contact::Channel, endpoint::Wanted};

/// An unsubscribe whose every text is `text`, in an envelope of the same kind.
fn dressed(text: &str, identity: &str) -> (Envelope, Event) {
    let envelope = Envelope {
        source: text.to_owned(),
        content_type: Some(text.to_owned()),
        headers: vec![(text.to_owned(), text.to_owned())],
        body: Bytes::copy_from_slice(text.as_bytes()),
        ..envelope()
    };
    let mut draft = Draft::new(Kind::Unsubscribed, text, Identity::Own(identity.to_owned()));
    draft.contact = Some(named(text));
    draft.scope = Some(text.to_owned());
    draft.reason = Some(text.to_owned());
    draft.message_id = Some(text.to_owned());
    draft.campaign_id = Some(text.to_owned());
    draft.metadata = object(text);
    let event = draft.into_event(&envelope, text, Undetermined::Suppress);
    (envelope, event)
}

/// A contact called so, which no reader of contacts has seen.
fn named(text: &str) -> Contact {
    Contact {
        channel: Channel::Email,
        address: format!("{text}@example.com"),
        raw: text.to_owned(),
    }
}

/// An object whose every key and value is `text`.
fn object(text: &str) -> serde_json::Map<String, serde_json::Value> {
    let deep = json!({ text: [text, { text: text }] });
    [(text.to_owned(), deep)].into_iter().collect()
}

/// What the route stage makes of it: with a delivery and something that could not be read.
fn told<'a>(envelope: &'a Envelope, event: &'a Event, text: &'a str) -> Entry<'a> {
    Entry {
        envelope,
        provider: text,
        events: vec![(event, vec![(text.to_owned(), State::Pending)])],
        duplicates: vec![],
        echoes: vec![],
        unreadable: vec![Unreadable {
            element: Some(1),
            reason: text.to_owned(),
        }],
    }
}

/// How many rows each table has, by its name.
async fn tables(ledger: &Ledger) -> Vec<(String, i64)> {
    let catalogue = match ledger.dialect {
        Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
        Dialect::Postgres => {
            "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        }
    };
    let names: Vec<String> = sqlx::query_scalar(catalogue)
        .fetch_all(&ledger.pool)
        .await
        .unwrap();
    let mut counted = vec![];
    for name in names {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {name}"));
        let rows = sqlx::query_scalar(count).fetch_one(&ledger.pool).await;
        counted.push((name, rows.unwrap()));
    }
    counted
}

/// Asserts that an event and what came with it are read back as they were written, and are found by each of their texts.
async fn is_kept(ledger: &Ledger, envelope: &Envelope, event: &Event, text: &str) {
    let kept = ledger.event(event.id).await.unwrap();
    assert_eq!(kept.as_ref(), Some(event));
    let stored = ledger.envelope(envelope.id).await.unwrap().unwrap();
    assert_eq!(
        (&stored.envelope, stored.provider.as_str()),
        (envelope, text)
    );
    let only = |found: Vec<Uuid>, id: Uuid| assert_eq!(found, [id], "{text:?}");

    let by_source = EventFilter {
        source: Some(text.to_owned()),
        ..EventFilter::default()
    };
    let by_contact = EventFilter {
        contact: event.contact.clone(),
        ..EventFilter::default()
    };
    for filter in [by_source, by_contact] {
        let found = ledger.events(&filter, 10, None).await.unwrap().items;
        only(found.iter().map(|event| event.id).collect(), event.id);
    }
    let by_target = DeliveryFilter {
        target: Some(text.to_owned()),
        ..DeliveryFilter::default()
    };
    let found = ledger.deliveries(&by_target, 10, None).await.unwrap().items;
    only(found.iter().map(|row| row.event_id).collect(), event.id);
    assert_eq!(found[0].target, text);
    let by_source = HeldFilter {
        source: Some(text.to_owned()),
        ..HeldFilter::default()
    };
    let found = ledger
        .quarantined(&by_source, 10, None)
        .await
        .unwrap()
        .items;
    only(
        found.iter().map(|held| held.envelope_id).collect(),
        envelope.id,
    );
    assert_eq!(
        (found[0].reason.as_str(), found[0].source.as_str()),
        (text, text)
    );
    suppresses(ledger, event, text).await;
}

/// Asserts that it suppresses its contact, in its scope, and that the suppression is found by each of its texts.
async fn suppresses(ledger: &Ledger, event: &Event, text: &str) {
    let contact = event.contact.as_ref().unwrap();
    let found = ledger.check(contact, Some(text)).await.unwrap();
    assert_eq!(found.len(), 1, "{text:?}");
    let contacts = [contact.clone(), named("nobody")];
    let all = ledger.check_all(&contacts, Some(text)).await.unwrap();
    assert_eq!(all, [true, false]);
    let texts = (
        &found[0].scope,
        &found[0].source,
        found[0].reason.as_ref(),
        &found[0].contact,
    );
    let expected = text.to_owned();
    assert_eq!(
        texts,
        (&expected, &expected, Some(&expected), &contact.address)
    );
    let by = |set: fn(&mut SuppressionFilter, String)| {
        let mut filter = SuppressionFilter::default();
        set(&mut filter, text.to_owned());
        filter
    };
    for filter in [
        by(|filter, text| filter.scope = Some(text)),
        by(|filter, text| filter.source = Some(text)),
        by(|filter, text| filter.reason = Some(text)),
    ] {
        let listed = ledger.suppressions(&filter, 10, None).await.unwrap().items;
        assert_eq!(listed, found, "{filter:?}");
        let exported = ledger.every_suppression(&filter, 10, None).await.unwrap();
        assert_eq!(exported, found, "{filter:?}");
    }
}

/// Writes the same text by hand: an act, a submission, an endpoint.
async fn by_hand(ledger: &Ledger, text: &str) {
    let contact = named(&format!("hand {text}"));
    let act = Act {
        actor: text.to_owned(),
        action: "test",
        subject: Some(text.to_owned()),
        details: object(text),
        contact: Some(contact.clone()),
        personal: object(text),
    };
    ledger.audit(std::slice::from_ref(&act)).await.unwrap();
    let filter = TrailFilter {
        actor: Some(text.to_owned()),
        subject: Some(text.to_owned()),
        contact: Some(contact.clone()),
        ..TrailFilter::default()
    };
    let [found] = &ledger.trail(&filter, 10, i64::MAX).await.unwrap()[..] else {
        panic!("{text:?} is not found by itself alone");
    };
    assert_eq!(
        (&found.details, found.personal.as_ref()),
        (&json!(object(text)), Some(&json!(object(text))))
    );

    let consent = Consent {
        purpose: format!("events.{text}"),
        granted: true,
        revoked_at: None,
        revoked_by: None,
    };
    let (id, now) = (Uuid::now_v7(), clock::now());
    let mut submission = Submission::new(id, (Some(&contact), None), (now, now), vec![consent]);
    submission.form = Some(text.to_owned());
    submission.metadata = object(text);
    assert!(ledger.submit(&submission).await.unwrap());
    assert_eq!(
        ledger.submission(id).await.unwrap().as_ref(),
        Some(&submission)
    );
    let found = ledger.submissions(&[contact]).await.unwrap();
    assert_eq!(found, [submission]);

    let wanted = Wanted {
        description: Some(text.to_owned()),
        ..endpoints::wanted("https://example.com/'{rows}", &["*"])
    };
    let secret = text.to_owned().into();
    let made = ledger
        .create_endpoint(Uuid::now_v7(), &wanted, &secret, &act)
        .await
        .unwrap();
    assert_eq!(made.description.as_deref(), Some(text));
    assert_eq!(ledger.endpoint(made.id).await.unwrap(), Some(made));
}

#[tokio::test]
async fn every_text_is_read_back_as_it_was_and_is_found_by_itself_alone() {
    for Fresh { ledger, .. } in &fresh().await {
        let (bystander, _) = one_delivery(ledger).await;
        let before = tables(ledger).await;
        let mut written = vec![];
        for (number, text) in VALUES.iter().enumerate() {
            let (envelope, event) = dressed(text, &format!("{number} {text}"));
            ledger
                .record(&[told(&envelope, &event, text)])
                .await
                .unwrap();
            written.push((envelope, event, *text));
            by_hand(ledger, text).await;
        }
        // Not before all of them are there: each is found by itself alone.
        for (envelope, event, text) in &written {
            is_kept(ledger, envelope, event, text).await;
        }
        let more = i64::try_from(VALUES.len()).unwrap();
        for ((name, rows), (before, rows_before)) in tables(ledger).await.iter().zip(&before) {
            let expected = match name.as_str() {
                "attempts" | "keys" | "sessions" | "repeats" | "replays" | "pepper" | "tokens"
                | "breakers" | "disabled_targets" | "target_tests" | "schema_version"
                | "endpoints_version" | "reconciliations" | "reconciled_lists" | "listed"
                | "differences" => 0,
                // One by hand, one with the endpoint.
                "audit" => 2 * more,
                _ => more,
            };
            assert_eq!((name, *rows), (before, rows_before + expected));
        }
        assert_eq!(ledger.event(bystander.id).await.unwrap(), Some(bystander));
        assert_eq!(ledger.verify_audit().await.unwrap().broken, None);
    }
}

#[test]
fn no_text_of_chance_is_changed_on_its_way_into_the_ledger_and_out() {
    let found = std::cell::RefCell::new(vec![]);
    withstands("ledger texts", file!(), &text(VALUES), |text| {
        // As providers read them, and no longer than an index takes.
        let text: String = text.chars().filter(|c| *c != '\0').take(200).collect();
        found.borrow_mut().push(text);
    });
    let texts = found.into_inner();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for Fresh { ledger, .. } in &fresh().await {
            for texts in texts.chunks(50) {
                are_kept(ledger, texts).await;
            }
        }
    });
}

/// Records an envelope for each text, all at once, and asserts that each is read back as it was written.
async fn are_kept(ledger: &Ledger, texts: &[String]) {
    let dress = |text: &String| dressed(text, &format!("{} {text}", Uuid::now_v7()));
    let dressed: Vec<_> = texts.iter().map(dress).collect();
    let entries = dressed.iter().zip(texts);
    let entries: Vec<_> = entries
        .map(|((envelope, event), text)| told(envelope, event, text))
        .collect();
    ledger.record(&entries).await.unwrap();
    for (envelope, event) in &dressed {
        assert_eq!(ledger.event(event.id).await.unwrap().as_ref(), Some(event));
        let stored = ledger.envelope(envelope.id).await.unwrap().unwrap();
        assert_eq!(&stored.envelope, envelope);
    }
}

#[tokio::test]
async fn a_text_of_a_megabyte_is_kept_whole_or_refused_with_all_that_came_with_it() {
    for Fresh { ledger, .. } in &fresh().await {
        // In a field that is in an index it is too long for PostgreSQL; then nothing that came with it is there.
        for (number, in_index) in [true, false, false].into_iter().enumerate() {
            let before = tables(ledger).await;
            let (envelope, mut event) = dressed("short", &number.to_string());
            match number {
                0 => event.scope.clone_from(&LARGE),
                1 => event.reason = Some(LARGE.clone()),
                _ => event.metadata = [("large".to_owned(), json!(*LARGE))].into_iter().collect(),
            }
            match ledger.record(&[told(&envelope, &event, "short")]).await {
                Err(Error::Refused(_)) if in_index => assert_eq!(tables(ledger).await, before),
                recorded => {
                    assert_eq!(recorded.unwrap(), [Recorded::Owned]);
                    assert_eq!(ledger.event(event.id).await.unwrap(), Some(event));
                }
            }
        }
    }
}

#[tokio::test]
async fn an_address_that_begins_like_what_stands_for_an_erased_one_is_not_taken_for_that() {
    for Fresh { ledger, .. } in &fresh().await {
        let text = "erased:0123";
        let (envelope, event) = dressed(text, "1");
        ledger
            .record(&[told(&envelope, &event, text)])
            .await
            .unwrap();
        let (repeat, _) = dressed(text, "1");
        let entry = Entry {
            events: vec![],
            duplicates: vec![event.id],
            ..told(&repeat, &event, text)
        };
        ledger.record(&[entry]).await.unwrap();
        let stored = ledger.envelope(repeat.id).await.unwrap().unwrap();
        assert!(!stored.erased, "its body would not be kept");
        assert_eq!(stored.envelope, repeat);
    }
}
