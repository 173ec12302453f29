//! The event log.

use super::*;

const WEEK: &[Kind] = &[
    Kind::Unsubscribed,
    Kind::Complained,
    Kind::Bounced,
    Kind::Delivered,
    Kind::Opened,
    Kind::Clicked,
    Kind::Other,
];

const FIELDS: [&str; 21] = [
    "id",
    "envelope_id",
    "source",
    "provider",
    "kind",
    "bounce_class",
    "channel",
    "contact",
    "contact_raw",
    "scope",
    "occurred_at",
    "received_at",
    "time_assumed",
    "reason",
    "origin",
    "effect",
    "provider_event",
    "provider_event_id",
    "message_id",
    "campaign_id",
    "metadata",
];

#[tokio::test]
async fn an_event_has_every_field_and_null_where_it_has_no_value() {
    on_each(async |door| {
        door.record(fact(Kind::Unsubscribed), &[]).await;
        door.record(
            Fact {
                contact: None,
                ..fact(Kind::Other)
            },
            &[],
        )
        .await;
        let items = door.items("/api/v1/events").await;
        for item in &items {
            let names: BTreeSet<_> = item
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(names, BTreeSet::from(FIELDS));
        }
        assert_eq!(
            (
                &items[0]["contact"],
                &items[0]["channel"],
                &items[0]["bounce_class"]
            ),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!(
            (text(&items[1]["contact"]), text(&items[1]["contact_raw"])),
            ("jane@example.com".to_owned(), "Jane@Example.com".to_owned())
        );
        let received = text(&items[1]["received_at"]);
        assert!(
            received.ends_with('Z') && received.parse::<Timestamp>().is_ok(),
            "{received}"
        );
    })
    .await;
}

#[tokio::test]
async fn each_filter_lets_through_what_it_says_and_several_what_all_say() {
    on_each(async |door| {
        let day = |day| {
            format!("2026-04-{day:02}T12:00:00Z")
                .parse::<Timestamp>()
                .unwrap()
        };
        for (kind, day_of_month) in WEEK.iter().zip(1..) {
            door.record(
                Fact {
                    received_at: day(day_of_month),
                    ..fact(*kind)
                },
                &[],
            )
            .await;
        }
        let phone = Some(Contact::phone("+15551234567").unwrap());
        door.record(
            Fact {
                source: "news",
                contact: phone,
                received_at: day(9),
                ..fact(Kind::Opened)
            },
            &[],
        )
        .await;
        let counts = [
            ("", 8),
            ("source=shop", 7),
            ("source=news", 1),
            ("source=nobody", 0),
            ("kind=opened", 2),
            ("kind=opened&source=shop", 1),
            ("kind=resubscribed", 0),
            ("email=%20Jane@example.com", 7),
            ("email=john@example.com", 0),
            ("phone=%2B15551234567", 1),
            ("phone=+15551234567&kind=clicked", 0),
            ("from=2026-04-03T12:00:00Z", 6),
            ("to=2026-04-03T12:00:00Z", 2),
            ("from=2026-04-02T00:00:00Z&to=2026-04-04T00:00:00Z", 2),
            ("from=2026-04-03T14:00:00%2B02:00", 6),
            ("from=2026-04-03T14:00:00+02:00", 6),
            ("from=2026-04-03T12:00:00Z&to=2026-04-03T12:00:00Z", 0),
        ];
        for (query, count) in counts {
            assert_eq!(
                door.items(&format!("/api/v1/events?{query}")).await.len(),
                count,
                "{query}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_hundred_and_twenty_events_come_page_by_page_each_once_newest_first() {
    on_each(async |door| {
        let same_time = clock::now();
        let mut ids = vec![];
        for n in 0..120 {
            // Half of them were received at one instant, so the id has to decide.
            let received_at = if n % 2 == 0 { same_time } else { clock::now() };
            ids.push(
                door.record(
                    Fact {
                        received_at,
                        ..fact(Kind::Opened)
                    },
                    &["slack"],
                )
                .await
                .id
                .to_string(),
            );
        }
        for list in ["events", "deliveries"] {
            let (seen, pages) = door
                .all_pages(&format!("/api/v1/{list}?limit=25&kind=opened"))
                .await;
            assert_eq!((seen.len(), pages), (120, 5));
            assert_eq!(BTreeSet::from_iter(&seen).len(), 120, "none twice");
            assert_eq!(
                door.all_pages(&format!("/api/v1/{list}?kind=opened"))
                    .await
                    .1,
                3,
                "50 a page"
            );
            assert_eq!(
                door.all_pages(&format!("/api/v1/{list}?limit=120&"))
                    .await
                    .1,
                1,
                "no empty page at the end"
            );
        }
        let (seen, _) = door.all_pages("/api/v1/events?limit=500&").await;
        assert_eq!(BTreeSet::from_iter(&seen), BTreeSet::from_iter(&ids));
        let times: Vec<_> = door
            .items("/api/v1/events?limit=120")
            .await
            .iter()
            .map(|item| text(&item["received_at"]).parse::<Timestamp>().unwrap())
            .collect();
        assert!(times.windows(2).all(|pair| pair[0] >= pair[1]));
    })
    .await;
}

// rows: SM-22
#[tokio::test]
async fn one_event_comes_with_its_payload_its_deliveries_and_their_attempts() {
    on_each(async |door| {
        let event = door
            .record(fact(Kind::Unsubscribed), &["slack", "users"])
            .await;
        let slack = Delivery::id_of(event.id, "slack");
        door.attempt(slack, 1, State::Retrying).await;
        door.attempt(slack, 2, State::Delivered).await;
        let body = door.get(&format!("/api/v1/events/{}", event.id)).await.body;
        assert_eq!(text(&body["id"]), event.id.to_string());
        assert_eq!(
            (text(&body["payload"]), &body["payload_base64"]),
            ("{\"who\": \"Jane\"}".to_owned(), &Value::Null)
        );
        assert_eq!(text(&body["envelope"]["id"]), event.envelope_id.to_string());
        assert_eq!(
            (
                text(&body["envelope"]["content_type"]),
                &body["envelope"]["events"]
            ),
            ("application/json".to_owned(), &Value::from(1))
        );
        let deliveries = body["deliveries"].as_array().unwrap();
        let to = |target: &str| {
            deliveries
                .iter()
                .find(|delivery| delivery["target"] == target)
                .unwrap()
        };
        assert_eq!(
            (
                deliveries.len(),
                to("users")["attempts"].as_array().unwrap().len()
            ),
            (2, 0)
        );
        let attempts = to("slack")["attempts"].as_array().unwrap();
        assert_eq!(
            (
                attempts.len(),
                &attempts[1]["number"],
                &attempts[0]["status"]
            ),
            (2, &Value::from(2), &Value::from(410))
        );
        assert_eq!(
            (text(&to("slack")["state"]), &to("slack")["attempts_made"]),
            ("delivered".to_owned(), &Value::from(2))
        );
    })
    .await;
}

#[tokio::test]
async fn a_payload_that_is_not_utf8_is_told_in_base64() {
    on_each(async |door| {
        let event = door
            .record(
                Fact {
                    body: b"\xff\0\xfe",
                    ..fact(Kind::Other)
                },
                &[],
            )
            .await;
        let body = door.get(&format!("/api/v1/events/{}", event.id)).await.body;
        assert_eq!(
            (&body["payload"], text(&body["payload_base64"])),
            (&Value::Null, "/wD+".to_owned())
        );
    })
    .await;
}

#[tokio::test]
async fn an_echo_says_of_what_it_is_one_wherever_it_is_shown() {
    on_each(async |door| {
        let told = door.record(fact(Kind::Unsubscribed), &["crm"]).await;
        let echo = door.echo(told.id).await;
        let path = format!("/api/v1/events/{}", echo.id);
        let shown = door.get(&path).await.body;
        assert_eq!(
            (&shown["echo_of"], &shown["effect"], &shown["deliveries"]),
            (&told.id.to_string().into(), &"none".into(), &Value::Array(vec![]))
        );
        let first = door.get(&format!("/api/v1/events/{}", told.id)).await.body;
        assert_eq!(first.get("echo_of"), None, "left out where there is none");
        let story = door.get("/api/v1/contacts/jane@example.com").await.body;
        let summaries: Vec<_> = story["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .map(|moment| text(&moment["summary"]))
            .collect();
        let said = format!(
            "unsubscribed in global by crm, which only reports back that it was told of the event {}",
            told.id
        );
        assert!(summaries.contains(&said), "{summaries:?}");
        let suppressions = door.items("/api/v1/suppressions").await;
        assert_eq!(suppressions.len(), 1);
    })
    .await;
}

impl Door {
    /// Records what the source `crm` reports back of what it was told.
    pub(super) async fn echo(&self, told: Uuid) -> Event {
        let fact = Fact {
            source: "crm",
            ..fact(Kind::Unsubscribed)
        };
        let (envelope, event) = fact.event();
        let entry = Entry {
            envelope: &envelope,
            provider: "test",
            events: vec![(&event, vec![])],
            duplicates: vec![],
            echoes: vec![(event.id, told)],
            unreadable: vec![],
        };
        self.ledger.record(&[entry]).await.unwrap();
        event
    }
}
