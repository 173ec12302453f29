//! The one test over all providers and all their samples.

use std::{collections::BTreeSet, fs, path::PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    ALL, Malformed, Provider, Sample,
    postmark::Postmark,
    sample::reading::{event, events, parse},
    standard_webhooks::StandardWebhooks,
};
use crate::{
    envelope::Envelope,
    event::{Effect, Event, Kind, Origin},
    queue::Priority,
};

/// What the files hold that were cut out of the pages which the product began with, taken when they were cut.
const SEEDS: &[(&str, &str)] = &[
    (
        "notifiedby/unsubscribed.http",
        "323a94c2fc749a95d20ea6661537feeea3f2b0b7b20a5d380f22e5feb6ca09a8",
    ),
    (
        "sentinmail/opened.http",
        "980cd52cd02ccdd9a1f76ef1d8b614ddfffabb234b1f6625ee9bdda4ea87f07f",
    ),
    (
        "sentinmail-api/register.json",
        "b8e47f5303082bc6fdad9d3ae24c8319b8052d2febef1d92be9bb6745d1c1a3e",
    ),
    (
        "sentinmail-api/update.json",
        "c38847853968538130357bb512da4a87006a2002405d97d22c8b29556795192f",
    ),
    (
        "postmark/subscription-change.http",
        "1b00745277f10ac3d15a1168ac2de142f0ba278b2f5b0a0e7613807e730ddc6e",
    ),
    (
        "postmark/subscription-change-curl.http",
        "be686916b57394a04720249d57e78ef04f204480acbfdaa9216f196d8e01ddbb",
    ),
    (
        "brevo-document/email.json",
        "dffc46e76e453222e27873eef689ac25ffcb416368bd6702060ad488843cdc47",
    ),
    (
        "brevo-document/phone.json",
        "63155c02346a3afc2e15c8d910d3fee49ee0ae4675a99a3f72ee3c6c96eaf0da",
    ),
    (
        "brevo-document/both.json",
        "97cb3e38dbf447b95b2058bc11a5c085395fe24615bc2b02113c54873ffdb015",
    ),
    (
        "brevo-document/success.json",
        "2196647aec96436ff2b5c82171760ba1cb83804dfd6b2e49c64c9e673be9f1ef",
    ),
    (
        "brevo-document/error.json",
        "9043029faba534093451f325ce6114e682f78025295f9f85708a7f9218807c49",
    ),
    (
        "talkable/check-unsubscribe.http",
        "abe1ef3a6011d403b66c800f0536bf4184d1fca38af6e0380eb72178cc407f16",
    ),
    (
        "talkable/answer.json",
        "045940a0c9db8c37e82b849b83fe1e7554fa9f9ce6f6724b45b8be7b87114189",
    ),
];

/// The files of the folder that are no provider's own.
const SHARED: &[&str] = &[
    "adapter",
    "fields",
    "form",
    "format",
    "guide",
    "hostile",
    "json",
    "mailgun_signature",
    "mod",
    "path",
    "public_key",
    "sample",
    "samples",
    "scheme",
    "signature",
    "signed",
    "sns",
    "standard",
    "subscription",
    "words",
];

/// Every sample of the providers that tell of events.
pub(super) fn all() -> impl Iterator<Item = (&'static dyn Provider, Sample)> {
    ALL.iter()
        .filter(|provider| provider.asks_at().is_none())
        .flat_map(|provider| provider.samples().iter().map(|sample| (*provider, *sample)))
}

fn folder(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(below)
}

/// The names of the files of a folder that end in `ending`, without it.
fn files(below: &str, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(below))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries
        .filter_map(|name| name.strip_suffix(ending).map(str::to_owned))
        .collect()
}

/// Whether the body tells only of what may wait, and whether it tells of what must not.
fn weight(provider: &dyn Provider, envelope: &Envelope) -> (bool, bool) {
    let results = events(provider, envelope).unwrap_or_default();
    let low = |event: &Event| matches!(event.kind, Kind::Delivered | Kind::Opened | Kind::Clicked);
    let all_low = results.iter().all(|result| result.as_ref().is_ok_and(low));
    let heavy = |result: &Result<Event, Malformed>| {
        result
            .as_ref()
            .map_or(true, |event| event.effect != Effect::None)
    };
    (!results.is_empty() && all_low, results.iter().any(heavy))
}

/// The providers whose samples' choices say that the recipient made them; of the others only the kind suggests so.
const SAYING: [&str; 6] = [
    "mailgun",
    "postmark",
    "sendgrid",
    "ses",
    "sparkpost",
    "twilio",
];

#[test]
fn who_opted_out_is_said_by_a_request_that_tells_of_nothing_else_or_has_a_field_for_it() {
    let mut saying = BTreeSet::new();
    for (provider, sample) in all() {
        let envelope = sample.envelope(Uuid::nil(), "shop", &[]);
        let told = events(provider, &envelope).unwrap_or_default();
        for event in told.into_iter().flatten() {
            if provider.says_recipient(&event) {
                assert_eq!(event.origin, Origin::Recipient, "{event:?}");
                saying.insert(provider.name());
            }
        }
    }
    assert_eq!(saying, BTreeSet::from(SAYING));
    let by = |origin: &str| {
        let body = format!(
            r#"{{"RecordType":"SubscriptionChange","ChangedAt":"2026-05-04T12:00:00Z","Recipient":"jane@example.com",
            "SuppressSending":true,"SuppressionReason":"ManualSuppression","Origin":"{origin}"}}"#
        );
        Postmark.says_recipient(&event(&Postmark, &body))
    };
    assert!(by("Recipient") && !by("Customer") && !by("Admin"));
    let stated = |data: Value| {
        let body =
            json!({ "type": "unsubscribed", "timestamp": "2026-05-04T12:00:00Z", "data": data });
        StandardWebhooks.says_recipient(&event(&StandardWebhooks, &body.to_string()))
    };
    assert!(stated(
        json!({ "email": "jane@example.com", "origin": "recipient" })
    ));
    assert!(!stated(json!({ "email": "jane@example.com" })));
}

#[test]
fn every_provider_file_is_in_the_list_and_the_list_is_in_order() {
    let listed: Vec<_> = ALL
        .iter()
        .map(|provider| provider.name().to_owned())
        .collect();
    assert!(listed.is_sorted());
    let shared = SHARED.iter().map(|name| (*name).to_owned()).collect();
    let present: BTreeSet<_> = &files("src/providers", ".rs") - &shared;
    assert_eq!(present.into_iter().collect::<Vec<_>>(), listed);
}

#[test]
fn every_sample_file_is_registered_and_has_its_snapshot() {
    for provider in ALL {
        let below = format!("samples/{}", provider.name());
        let registered: BTreeSet<_> = provider
            .samples()
            .iter()
            .map(|sample| sample.name.to_owned())
            .collect();
        assert_eq!(
            registered.len(),
            provider.samples().len(),
            "{below}: a sample is registered twice"
        );
        assert_eq!(files(&below, ".http"), registered, "{below}");
        // A question has no events.
        let told = provider.asks_at().is_none().then_some(registered);
        assert_eq!(files(&below, ".snap"), told.unwrap_or_default(), "{below}");
    }
}

// rows: NB-2, SM-12, SM-13, SM-14, SM-15, SM-16, SM-17, SM-18, SM-23, PM-21, PM-32, BR-15, TK-31
#[test]
fn the_payloads_of_the_pages_are_kept_byte_for_byte() {
    for (file, hash) in SEEDS {
        let text = fs::read_to_string(folder("samples").join(file)).unwrap();
        let body = if text.starts_with('#') {
            text.split_once("\n\n").unwrap().1
        } else {
            &text
        };
        let digest = Sha256::digest(body);
        let found = digest
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        assert_eq!(found, *hash, "{file}");
    }
}

#[test]
fn every_sample_is_read_as_its_snapshot_says() {
    for (provider, sample) in all() {
        assert!(
            sample.received_at().is_some() && sample.content_type().is_some(),
            "{}",
            sample.name
        );
        let envelope = sample.envelope(Uuid::nil(), "shop", provider.headers());
        let results = events(provider, &envelope).unwrap().into_iter();
        let results: Vec<_> = results
            .map(|result| {
                result.map_or_else(|why| json!({ "malformed": why.0 }), |event| json!(event))
            })
            .collect();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(folder("samples").join(provider.name()));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_json_snapshot!(sample.name, results));
    }
}

// rows: PM-30
#[test]
fn no_refusal_makes_a_provider_drop_what_it_should_send_again() {
    let refusals = |name: &str| super::find(name).unwrap().refusals();
    for provider in ALL {
        let retried = if provider.name() == "brevo" { 429 } else { 503 };
        assert_eq!(
            provider.refusals().unavailable,
            retried,
            "{}",
            provider.name()
        );
        assert_eq!(provider.refusals().unauthorized, 401);
    }
    assert_eq!(refusals("postmark").disabled, 403);
}

#[test]
fn what_changes_a_register_is_urgent_and_what_only_counts_is_bulk() {
    for (provider, sample) in all() {
        let (low, heavy) = weight(provider, &sample.envelope(Uuid::nil(), "shop", &[]));
        let priority = provider.priority(sample.body().as_bytes());
        assert!(
            !low || priority == Priority::Bulk,
            "{} {}",
            provider.name(),
            sample.name
        );
        assert!(
            !heavy || priority == Priority::Urgent,
            "{} {}",
            provider.name(),
            sample.name
        );
    }
}

#[test]
fn other_white_space_and_another_order_of_keys_make_the_same_events() {
    for (provider, sample) in all() {
        let ids = |body: &str| {
            let results = parse(provider, body).unwrap();
            results
                .into_iter()
                .map(|result| result.map(|event| (event.id, event.fingerprint())))
                .collect::<Vec<_>>()
        };
        let others = match serde_json::from_str::<Value>(sample.body()) {
            Ok(body) => vec![
                serde_json::to_string_pretty(&body).unwrap(),
                reversed(&body),
            ],
            // Of a form the fields in another order; one in parts has none that is worth the trouble.
            Err(_) if sample.body().starts_with("--") => continue,
            Err(_) => vec![format!("{}\n", reversed_form(sample.body()))],
        };
        let first = ids(sample.body());
        for other in others {
            assert_eq!(ids(&other), first, "{}", sample.name);
        }
    }
}

fn reversed_form(form: &str) -> String {
    form.split('&').rev().collect::<Vec<_>>().join("&")
}

/// The value as JSON with the keys of each object in descending order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entries = entries
                .iter()
                .rev()
                .map(|(key, value)| format!("{}: {}", json!(key), reversed(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(" ,\n"))
        }
        Value::Array(elements) => format!(
            "[{}]",
            elements
                .iter()
                .map(reversed)
                .collect::<Vec<_>>()
                .join(" , ")
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Fields that could mislead a look at the bytes.
fn misleading() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "opened",
        "Open",
        "delivered",
        "Delivery",
        "unsubscribed",
        "\"type\":\"opened\"",
        "\\",
        "\0",
    ]);
    let key = prop::sample::select(vec!["type", "event", "RecordType", "msg_status", "x"]);
    (word.clone(), key, word, "\\PC{0,12}")
        .prop_map(|(a, key, b, any)| json!({ key: a, "list": [b, { key: b }], "any": any }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_metadata_makes_an_opt_out_wait_nor_an_open_hurry(extra in misleading(), index in any::<prop::sample::Index>()) {
        let samples: Vec<_> = all().filter(|(_, sample)| sample.body().starts_with(['{', '['])).collect();
        let (provider, sample) = samples[index.index(samples.len())];
        let mut body: Value = serde_json::from_str(sample.body()).unwrap();
        let elements = if let Value::Array(elements) = &mut body { elements.iter_mut().collect() } else { vec![&mut body] };
        for element in elements {
            element["0 extra"] = extra.clone();
            element["zz extra"] = extra.clone();
        }
        let body = body.to_string();
        prop_assert_eq!(provider.priority(body.as_bytes()), provider.priority(sample.body().as_bytes()), "{}", body);
    }
}
