//! Replays by the api, and the loop that does them.

use common::{
    ledger::{Leave, ReplayFilter},
    lifecycle::Lifecycle,
    queue::Feed,
};
use serde_json::json;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// The time span of a body that takes in everything until now.
fn always() -> Value {
    json!({ "since": "2020-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z" })
}

fn with(name: &str, value: &str) -> Value {
    let mut body = always();
    body[name] = value.into();
    body
}

async fn start(door: &Door, body: &Value) -> Answer {
    door.write("POST", "/api/v1/replays", body).await
}

async fn shown(door: &Door, id: &Value) -> Value {
    let path = format!("/api/v1/replays/{}", text(id));
    door.get(&path).await.body
}

/// Runs the loop until `enough`, and stops it.
async fn run_until(door: &Door, enough: impl AsyncFn() -> bool) {
    let lifecycle = Lifecycle::new();
    let run = crate::replays::run(Arc::clone(&door.app), lifecycle.clone());
    let watch = async {
        while !enough().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lifecycle.stop();
    };
    let both = async { tokio::join!(run, watch) };
    let (ended, ()) = tokio::time::timeout(PATIENCE, both)
        .await
        .expect("waited in vain");
    ended.unwrap();
}

/// Runs the loop until the replay has ended, and gives it as it is shown then.
async fn finish(door: &Door, id: &Value) -> Value {
    run_until(door, async || shown(door, id).await["state"] != "running").await;
    shown(door, id).await
}

/// Deliveries to `slack` that ended in `state`.
async fn ended(door: &Door, count: usize, state: State) -> Vec<(Event, Uuid)> {
    let mut all = vec![];
    for _ in 0..count {
        let (event, id) = door.delivery_to("slack").await;
        door.attempt(id, 1, state).await;
        all.push((event, id));
    }
    next_tick().await;
    all
}

#[tokio::test]
async fn a_replay_tells_the_target_each_delivery_again_under_its_own_id_with_a_full_schedule() {
    on_each(async |door| {
        let dead = ended(door, 2, State::Dead).await;
        let delivered = ended(door, 1, State::Delivered).await;
        let (_, under_way) = door.delivery_to("slack").await;
        let (_, elsewhere) = door.delivery_to("off").await;
        let answer = start(door, &always()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!(answer.body["state"], "running");
        assert_eq!(
            (&answer.body["matched"], &answer.body["sent"]),
            (&3.into(), &0.into())
        );
        assert_eq!(answer.body["actor"], "the write key");
        let until: Timestamp = text(&answer.body["until"]).parse().unwrap();
        assert!(until <= clock::now(), "the time span is closed");

        let replay = finish(door, &answer.body["id"]).await;
        assert_eq!(
            (&replay["state"], &replay["sent"]),
            (&"done".into(), &3.into())
        );
        let mut published: Vec<Delivery> = door
            .queue
            .take()
            .iter()
            .map(|message| {
                let queue = QueueName::Target("slack".to_owned(), Feed::Retried);
                assert_eq!(message.queue, queue);
                serde_json::from_slice(&message.body).unwrap()
            })
            .collect();
        let mut expected: Vec<_> = dead
            .into_iter()
            .chain(delivered)
            .map(|(event, _)| Delivery::new(event, "slack"))
            .collect();
        published.sort_by_key(|delivery| delivery.id);
        expected.sort_by_key(|delivery| delivery.id);
        assert_eq!(published, expected);
        let ids: Vec<_> = expected.iter().map(|delivery| delivery.id).collect();
        let leaves = door
            .ledger
            .take(&ids, Uuid::now_v7(), PATIENCE)
            .await
            .unwrap();
        for leave in leaves {
            assert_eq!(
                leave,
                Leave::Granted {
                    attempt: 1,
                    ever: 2
                }
            );
        }
        for left_alone in [under_way, elsewhere] {
            let row = door.ledger.delivery(left_alone).await.unwrap().unwrap();
            assert_eq!((row.state, row.attempts), (State::Pending, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    on_each(async |door| {
        let dead = ended(door, 2, State::Dead).await;
        let mut body = with("state", "dead");
        body["dry_run"] = true.into();
        let answer = start(door, &body).await;
        assert_eq!(answer.status, StatusCode::OK);
        let told = ["state", "matched", "sent", "dry_run"].map(|name| answer.body[name].clone());
        assert_eq!(told, [json!("done"), json!(2), json!(0), json!(true)]);
        assert_eq!(answer.body["filter"]["state"], "dead");
        assert_eq!(answer.body["finished_at"], answer.body["created_at"]);
        let id = answer.body["id"].clone();
        assert_eq!(shown(door, &id).await, answer.body);
        for (_, id) in dead {
            let row = door.ledger.delivery(id).await.unwrap().unwrap();
            assert_eq!(row.state, State::Dead);
        }
        assert_eq!(door.queue.take(), []);
        assert_eq!(door.audited().await, 0);
        assert_eq!(
            start(door, &with("state", "dead")).await.status,
            StatusCode::ACCEPTED
        );
        assert_eq!(door.audited().await, 1);
    })
    .await;
}

#[tokio::test]
async fn each_filter_counts_what_it_says() {
    on_each(async |door| {
        ended(door, 2, State::Dead).await;
        ended(door, 1, State::Delivered).await;
        let between = clock::now();
        door.delivery_to("slack").await;
        let off = door.record(fact(Kind::Complained), &["off", "slack"]).await;
        door.attempt(Delivery::id_of(off.id, "slack"), 1, State::Dead)
            .await;
        let mut after = always();
        after["since"] = between.to_string().into();
        let cases = [
            (always(), 4),
            (with("target", "slack"), 4),
            (with("state", "dead"), 3),
            (with("state", "delivered"), 1),
            (with("state", "pending"), 1),
            (with("state", "retrying"), 0),
            (with("kind", "complained"), 1),
            (with("until", &between.to_string()), 3),
            (after, 1),
        ];
        for (mut body, matched) in cases {
            body["dry_run"] = true.into();
            assert_eq!(start(door, &body).await.body["matched"], matched, "{body}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused_by_the_fields_name() {
    on_each(async |door| {
        let unknown_field = with("colour", "blue");
        let mut no_until = always();
        no_until.as_object_mut().unwrap().remove("until");
        let in_the_future =
            json!({ "since": "2998-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z" });
        let cases = [
            (with("target", "nobody"), 422, "target"),
            (with("target", "off"), 409, "off"),
            (with("state", "parked"), 422, "state"),
            (with("state", "lost"), 422, "pending, retrying"),
            (with("kind", "vanished"), 422, "unsubscribed, resubscribed"),
            (with("since", "yesterday"), 422, "since"),
            (with("until", "2026-02-30T00:00:00Z"), 422, "until"),
            (with("until", "2020-01-01T00:00:00Z"), 422, "since"),
            (in_the_future, 422, "since"),
            (with("target", "nul\0"), 422, "target"),
            (with("dry_run", "yes"), 422, "boolean"),
            (no_until, 422, "until"),
            (unknown_field, 422, "colour"),
        ];
        for (body, status, named) in cases {
            let answer = start(door, &body).await;
            assert_eq!(answer.status, status, "{body}: {answer:?}");
            assert!(text(&answer.body["detail"]).contains(named), "{answer:?}");
        }
        assert_eq!(door.items("/api/v1/replays").await.len(), 0);
        let nobodys = format!("/api/v1/replays/{}", Uuid::now_v7());
        assert_eq!(door.get(&nobodys).await.status, StatusCode::NOT_FOUND);
        let reader = [("x-api-key", "read-key-0123")];
        let body = Body::from(always().to_string());
        let answer = door
            .send_body("POST", "/api/v1/replays", &reader, body)
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn replays_are_listed_newest_first_in_pages() {
    on_each(async |door| {
        let mut started = vec![];
        for _ in 0..5 {
            started.insert(0, text(&start(door, &always()).await.body["id"]));
        }
        let (ids, pages) = door.all_pages("/api/v1/replays?limit=2").await;
        assert_eq!((ids, pages), (started, 3));
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_is_away_makes_the_job_wait_and_fails_nothing() {
    on_each(async |door| {
        ended(door, 3, State::Dead).await;
        door.queue.refuses.store(true, Ordering::SeqCst);
        let id = start(door, &always()).await.body["id"].clone();
        run_until(door, async || shown(door, &id).await["sent"] == 3).await;
        let replay = shown(door, &id).await;
        assert_eq!(
            (&replay["state"], door.queue.take().len()),
            (&"running".into(), 0)
        );
        // The process that had restarted them has stopped before it could publish them; the next one does.
        door.queue.refuses.store(false, Ordering::SeqCst);
        let replay = finish(door, &id).await;
        assert_eq!(
            (&replay["state"], &replay["sent"]),
            (&"done".into(), &3.into())
        );
        assert_eq!(door.queue.take().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_makes_the_job_wait_for_room() {
    on_each(async |door| {
        ended(door, 1, State::Dead).await;
        door.queue.waiting.store(20_000, Ordering::SeqCst);
        let id = start(door, &always()).await.body["id"].clone();
        let looked = std::sync::atomic::AtomicU64::new(0);
        run_until(door, async || looked.fetch_add(1, Ordering::SeqCst) > 20).await;
        assert_eq!(shown(door, &id).await["sent"], 0);
        door.queue.waiting.store(19_999, Ordering::SeqCst);
        assert_eq!(finish(door, &id).await["sent"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_target_is_not_served_any_more_fails_and_says_why() {
    on_each(async |door| {
        ended(door, 1, State::Dead).await;
        let since = "2020-01-01T00:00:00Z".parse().unwrap();
        let filter = ReplayFilter {
            target: Some("removed".to_owned()),
            state: None,
            kind: None,
            since,
            until: clock::now(),
        };
        let targets = ["removed".to_owned()];
        let job = door.ledger.start_replay(filter, &targets, false, "key");
        let id = job.await.unwrap().id.to_string().into();
        let other = start(door, &always()).await.body["id"].clone();
        let failed = finish(door, &id).await;
        assert_eq!(failed["state"], "failed");
        assert!(text(&failed["error"]).contains("removed"), "{failed}");
        assert_eq!(finish(door, &other).await["sent"], 1, "the other goes on");
    })
    .await;
}

#[tokio::test]
async fn more_than_a_batch_is_sent_to_the_end_and_the_count_only_grows() {
    on_each(async |door| {
        let (envelope, event) = fact(Kind::Opened).event();
        let events: Vec<_> = (0..1_100)
            .map(|_| Event {
                id: Uuid::now_v7(),
                ..event.clone()
            })
            .collect();
        let told = |event| (event, vec![("slack".to_owned(), State::Pending)]);
        let entry = Entry {
            envelope: &envelope,
            provider: "test",
            events: events.iter().map(told).collect(),
            duplicates: vec![],
            echoes: vec![],
            unreadable: vec![],
        };
        door.ledger.record(&[entry]).await.unwrap();
        let id = start(door, &with("state", "pending")).await.body["id"].clone();
        let last = std::sync::atomic::AtomicU64::new(0);
        run_until(door, async || {
            let replay = shown(door, &id).await;
            let sent = replay["sent"].as_u64().unwrap();
            assert!(sent >= last.swap(sent, Ordering::SeqCst));
            assert!(sent <= replay["matched"].as_u64().unwrap());
            replay["state"] == "done"
        })
        .await;
        assert_eq!(shown(door, &id).await["sent"], 1_100);
        let published: BTreeSet<_> = door
            .queue
            .take()
            .into_iter()
            .map(|message| Delivery::decode(&message.body).unwrap().id)
            .collect();
        assert_eq!(published.len(), 1_100);
    })
    .await;
}
