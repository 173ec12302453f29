//! Platforms that report back what they are told: five of them, each a source and the target that mirrors it.

use bytes::Bytes;
use common::{
    clock,
    contact::Contact,
    delivery::State,
    envelope::{self, Envelope},
    event::{Effect, Event, Kind},
    ledger::{DeliveryFilter, EventFilter, Standing},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    bench::{Bench, envelope_of, inbound, until},
    receiver::Receiver,
};

const PLATFORMS: usize = 5;

/// The one that says who changed its list; the others say nothing of it.
const POSTMARK: usize = 0;

/// Every order of the four that report a change which the fifth brought.
const ORDERS: usize = 24;

/// The most that is listed here: no list is longer.
const ALL: usize = 10_000;

/// The platforms around a worker.
struct Ring {
    bench: Bench,
    receiver: Receiver,
}

/// A change at a platform, as it will be reported.
#[derive(Clone)]
struct Report {
    platform: usize,
    kind: Kind,
    contact: String,
    scope: String,
    at: Timestamp,
    by_recipient: bool,
}

impl Ring {
    async fn start() -> Self {
        let receiver = Receiver::start().await;
        let platforms = (0..PLATFORMS).map(|number| {
            let provider = if number == POSTMARK { "postmark" } else { "generic" };
            let url = receiver.url(&path(number));
            format!(
                "[[sources]]\nname = 'p{number}'\nprovider = '{provider}'\nauth = {{ kind = 'none' }}\n\
                 [[targets]]\nname = 't{number}'\nkind = 'http'\nevents = ['*']\nurl = '{url}'\nsign = false\n\
                 mirrors = 'p{number}'\n"
            )
        });
        let outbound = "[outbound]\nallow_networks = ['127.0.0.0/8']\n".to_owned();
        let settings = platforms.chain([outbound]).collect::<String>();
        let bench = Bench::with("", &settings).await;
        bench.work();
        Self { bench, receiver }
    }

    /// Receives these, and waits until that many requests are recorded in all.
    async fn receives(&self, envelopes: &[Envelope], in_all: usize) {
        for envelope in envelopes {
            let message = envelope::encode([envelope]);
            self.bench.publish(inbound(), message).await;
        }
        until(async || {
            let (recorded, _) = self.bench.ledger.receipts().await.unwrap();
            (recorded == i64::try_from(in_all).unwrap()).then_some(())
        })
        .await;
    }

    /// Waits until all that is to be told was told, and says how many deliveries that were, to each of the five.
    async fn at_rest(&self) -> [usize; PLATFORMS] {
        let page = until(async || {
            let filter = DeliveryFilter::default();
            let page = self.bench.ledger.deliveries(&filter, ALL, None).await;
            let items = page.unwrap().items;
            let told = |row: &common::ledger::DeliveryRow| row.state == State::Delivered;
            items.iter().all(told).then_some(items)
        })
        .await;
        std::array::from_fn(|number| {
            let heard = self.receiver.heard(&path(number)).len();
            let target = format!("t{number}");
            let made = page.iter().filter(|row| row.target == target).count();
            assert_eq!(heard, made, "{target} hears of each delivery once");
            made
        })
    }

    /// What a platform reports of all that it has heard from the `since`th on: that it is so now.
    fn echoes(&self, platform: usize, since: usize) -> Vec<Report> {
        let heard = self.receiver.heard(&path(platform));
        let report = |told: &Value| Report {
            platform,
            kind: told["type"].as_str().unwrap().parse().unwrap(),
            contact: told["recipient"].as_str().unwrap().to_owned(),
            scope: told["scope"].as_str().unwrap().to_owned(),
            at: clock::now(),
            by_recipient: false,
        };
        heard[since..]
            .iter()
            .map(|heard| report(&heard.json()))
            .collect()
    }

    async fn events(&self) -> Vec<Event> {
        let filter = EventFilter::default();
        let page = self.bench.ledger.events(&filter, ALL, None).await;
        page.unwrap().items
    }

    async fn is_suppressed(&self, contact: &str) -> bool {
        let contact = [Contact::email(contact).unwrap()];
        let registers = self.bench.ledger.registers(&contact).await.unwrap();
        registers.iter().any(|one| one.state == Standing::Active)
    }
}

fn path(number: usize) -> String {
    format!("/p{number}")
}

impl Report {
    fn new(platform: usize, kind: Kind, contact: &str) -> Self {
        Self {
            platform,
            kind,
            contact: contact.to_owned(),
            scope: "global".to_owned(),
            at: clock::now(),
            by_recipient: true,
        }
    }

    /// A webhook of it. Another `number` is another event of the same change.
    fn envelope(&self, number: usize) -> Envelope {
        let id = format!("{}-{number}", self.at.as_microsecond());
        let body = if self.platform == POSTMARK {
            let suppress = self.kind != Kind::Resubscribed;
            json!({
                "RecordType": "SubscriptionChange", "MessageID": id, "ServerID": 1, "MessageStream": "outbound",
                "ChangedAt": self.at.to_string(), "Recipient": self.contact, "SuppressSending": suppress,
                "Origin": if self.by_recipient { "Recipient" } else { "Customer" },
                "SuppressionReason": suppress.then_some("ManualSuppression"),
            })
        } else {
            json!({ "event": self.kind, "email": self.contact, "timestamp": self.at.to_string(), "scope": self.scope,
                "id": id })
        };
        Envelope {
            id: Uuid::now_v7(),
            body: Bytes::from(body.to_string()),
            ..envelope_of(&format!("p{}", self.platform), "")
        }
    }
}

/// The `number`th order of these.
fn ordered<T: Clone>(items: &[T], mut number: usize) -> Vec<T> {
    let mut left = items.to_vec();
    let mut order = vec![];
    while !left.is_empty() {
        order.push(left.remove(number % left.len()));
        number /= left.len() + 1;
    }
    order
}

fn contact(number: usize) -> String {
    format!("user{number}@example.com")
}

/// The reports of each contact, in an order of its own, each of them twice and once again as another event.
fn with_repeats(reports: &[Report]) -> Vec<Envelope> {
    let mut envelopes = vec![];
    for number in 0..ORDERS {
        let of_it: Vec<_> = reports
            .iter()
            .filter(|report| report.contact == contact(number))
            .cloned()
            .collect();
        for report in ordered(&of_it, number) {
            for event in [0, 0, 1] {
                envelopes.push(report.envelope(event));
            }
        }
    }
    envelopes
}

#[tokio::test]
async fn five_platforms_that_all_echo_hear_of_each_change_once_in_any_order_with_delays_and_repeats()
 {
    let ring = Ring::start().await;
    let by_each = |kind| {
        let changes =
            (0..ORDERS).map(|number| Report::new(number % PLATFORMS, kind, &contact(number)));
        changes.map(|change| change.envelope(0)).collect::<Vec<_>>()
    };
    // Each of them is told what the others bring, and not what comes from itself.
    let told: [usize; PLATFORMS] = std::array::from_fn(|platform| {
        let own = (0..ORDERS).filter(|number| number % PLATFORMS == platform);
        ORDERS - own.count()
    });
    ring.receives(&by_each(Kind::Unsubscribed), ORDERS).await;
    assert_eq!(ring.at_rest().await, told);
    let echoes: Vec<_> = (0..PLATFORMS).flat_map(|one| ring.echoes(one, 0)).collect();
    assert_eq!(echoes.len(), ORDERS * (PLATFORMS - 1));
    // Half of the platforms are slow: theirs come after the lift, and after its echoes.
    let (slow, prompt): (Vec<_>, Vec<_>) = echoes
        .into_iter()
        .partition(|echo| echo.platform.is_multiple_of(2));
    let prompt = with_repeats(&prompt);
    let mut in_all = ORDERS + prompt.len();
    ring.receives(&prompt, in_all).await;
    assert_eq!(ring.at_rest().await, told, "nobody is told of an echo");
    for number in 0..ORDERS {
        assert!(ring.is_suppressed(&contact(number)).await);
    }

    in_all += ORDERS;
    ring.receives(&by_each(Kind::Resubscribed), in_all).await;
    let twice = told.map(|told| 2 * told);
    assert_eq!(ring.at_rest().await, twice);
    let lifts: Vec<_> = (0..PLATFORMS)
        .flat_map(|one| ring.echoes(one, told[one]))
        .collect();
    for late in [with_repeats(&lifts), with_repeats(&slow)] {
        in_all += late.len();
        ring.receives(&late, in_all).await;
    }
    assert_eq!(ring.at_rest().await, twice, "nobody is told of an echo");
    for number in 0..ORDERS {
        assert!(
            !ring.is_suppressed(&contact(number)).await,
            "lifted once and for all"
        );
    }
    let events = ring.events().await;
    assert_eq!(events.len(), 2 * ORDERS + 2 * 2 * ORDERS * (PLATFORMS - 1));
    each_echo_is_of_its_change(&events, 2 * ORDERS);
}

fn each_echo_is_of_its_change(events: &[Event], count: usize) {
    let (echoes, changes): (Vec<_>, Vec<_>) =
        events.iter().partition(|event| event.echo_of.is_some());
    assert_eq!(changes.len(), count);
    for echo in echoes {
        let of = |change: &&&Event| Some(change.id) == echo.echo_of;
        let change = changes.iter().find(of).unwrap();
        let address = |event: &Event| event.contact.as_ref().unwrap().address.clone();
        assert_eq!(address(change), address(echo));
        let lifts = |event: &Event| event.kind == Kind::Resubscribed;
        assert_eq!(lifts(change), lifts(echo));
        assert_eq!(echo.effect, Effect::None);
    }
}

#[tokio::test]
async fn an_opt_out_of_the_person_amid_echoes_is_told_to_all_others_and_outlives_the_lift_of_the_first()
 {
    let ring = Ring::start().await;
    let jane = "jane@example.com";
    let first = Report::new(1, Kind::Unsubscribed, jane);
    ring.receives(&[first.envelope(0)], 1).await;
    assert_eq!(ring.at_rest().await, [1, 0, 1, 1, 1]);
    let own = Report::new(POSTMARK, Kind::Unsubscribed, jane);
    let mut webhooks: Vec<_> = [0, 2, 3, 4]
        .into_iter()
        .flat_map(|platform| ring.echoes(platform, 0))
        .map(|echo| echo.envelope(0))
        .collect();
    webhooks.insert(2, own.envelope(0));
    ring.receives(&webhooks, 6).await;
    assert_eq!(ring.at_rest().await, [1, 1, 2, 2, 2]);
    let lift = Report::new(1, Kind::Resubscribed, jane);
    ring.receives(&[lift.envelope(0)], 7).await;
    assert!(
        ring.is_suppressed(jane).await,
        "she opted out there herself"
    );
    let echoes = ring.events().await;
    let echoes = echoes.iter().filter(|event| event.echo_of.is_some());
    assert_eq!(echoes.count(), 4);
}

#[tokio::test]
async fn an_echo_that_is_faster_than_the_answer_is_known() {
    let ring = Ring::start().await;
    ring.receiver.hold(&path(2));
    let change = Report::new(1, Kind::Unsubscribed, "jane@example.com");
    ring.receives(&[change.envelope(0)], 1).await;
    ring.receiver.hears(&path(2), 1).await;
    let echoes = ring.echoes(2, 0);
    ring.receives(&[echoes[0].envelope(0)], 2).await;
    let echo_of = ring.events().await.iter().find_map(|event| event.echo_of);
    assert!(echo_of.is_some());
    ring.receiver.release(&path(2));
    assert_eq!(ring.at_rest().await, [1, 0, 1, 1, 1]);
}

#[tokio::test]
async fn what_a_platform_was_told_long_before_or_in_another_scope_is_news_when_it_reports_it() {
    let ring = Ring::start().await;
    let jane = "jane@example.com";
    let mut change = Report::new(1, Kind::Unsubscribed, jane);
    change.scope = "news".to_owned();
    ring.receives(&[change.envelope(0)], 1).await;
    assert_eq!(ring.at_rest().await, [1, 0, 1, 1, 1]);
    let mut report = ring.echoes(2, 0).remove(0);
    report.scope = "offers".to_owned();
    ring.receives(&[report.envelope(0)], 2).await;
    assert_eq!(ring.at_rest().await, [2, 1, 1, 2, 2]);
    report.scope = "news".to_owned();
    report.at -= SignedDuration::from_mins(6);
    ring.receives(&[report.envelope(0)], 3).await;
    assert_eq!(ring.at_rest().await, [3, 2, 1, 3, 3], "it was so before");
}

#[tokio::test]
async fn a_complaint_in_one_stream_is_told_to_its_own_platform_for_the_others() {
    let ring = Ring::start().await;
    let body = r#"{"RecordType":"SpamComplaint","Type":"SpamComplaint","ID":7,"MessageStream":"outbound","Email":"jane@example.com",
        "BouncedAt":"2026-05-04T12:00:00Z"}"#;
    let complaint = Envelope {
        body: Bytes::from(body),
        ..envelope_of("p0", "")
    };
    ring.receives(&[complaint], 1).await;
    assert_eq!(ring.at_rest().await, [1; PLATFORMS]);
}
