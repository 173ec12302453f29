//! Endpoints over the api: SentinMail's management API, secrets, tests and retries. What may be registered is in
//! `endpoint_rules`.

use std::net::TcpListener;

use axum::Router;
use common::{endpoint, ledger::Act, queue::Feed};
use serde_json::json;

use super::*;

pub(super) const PATH: &str = "/api/emails/webhook-endpoints";

fn sample(name: &str) -> Value {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../common/samples/sentinmail-api"
    );
    serde_json::from_slice(&std::fs::read(format!("{folder}/{name}")).unwrap()).unwrap()
}

async fn created(door: &Door, url: &str) -> Value {
    let wish = json!({ "url": url, "events": ["unsubscribed"] });
    let answer = door.write("POST", &format!("{PATH}/"), &wish).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.body
}

fn uuid(made: &Value) -> Uuid {
    text(&made["id"]).parse().unwrap()
}

// rows: SM-23
#[tokio::test]
async fn sentinmails_requests_register_list_change_and_delete_with_and_without_the_final_slash() {
    on_each(async |door| {
        for slash in ["/", ""] {
            let made = door
                .write("POST", &format!("{PATH}{slash}"), &sample("register.json"))
                .await;
            assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
            let one = format!("{PATH}/{}{slash}", text(&made.body["id"]));
            let mut shown = made.body.clone();
            let secret = shown.as_object_mut().unwrap().remove("secret");
            assert!(text(&secret.unwrap()).starts_with("whsec_"));
            assert_eq!(shown["url"], "https://yourapp.com/webhooks/sentinmail");
            assert_eq!(shown["events"], sample("register.json")["events"]);
            let nothing = [
                "description",
                "disabled_reason",
                "failing_since",
                "last_success_at",
                "last_failure_at",
                "last_error",
            ];
            assert!(nothing.iter().all(|field| shown[field].is_null()));
            assert_eq!(door.get(&one).await.body, shown, "without the secret");
            assert_eq!(door.items(&format!("{PATH}{slash}")).await, [shown]);

            let changed = door.write("PUT", &one, &sample("update.json")).await;
            assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
            assert_eq!(
                changed.body["url"],
                "https://yourapp.com/webhooks/sentinmail-v2"
            );
            assert_eq!(changed.body["events"], sample("update.json")["events"]);
            assert_eq!(changed.body["secret"], Value::Null);

            let deleted = door.write("DELETE", &one, &Value::Null).await;
            assert_eq!(deleted.status, StatusCode::NO_CONTENT);
            for method in ["GET", "PUT", "DELETE"] {
                let gone = door.write(method, &one, &sample("update.json")).await;
                assert_eq!(gone.status, StatusCode::NOT_FOUND, "{method}");
            }
            assert_eq!(
                door.items(&format!("{PATH}{slash}")).await,
                [Value::Null; 0]
            );
        }
    })
    .await;
}

#[tokio::test]
async fn reading_wants_the_role_read_and_everything_else_write() {
    on_each(async |door| {
        let made = created(door, "https://example.com/x").await;
        let one = format!("{PATH}/{}", text(&made["id"]));
        let paths = [
            ("POST", format!("{PATH}/")),
            ("PUT", one.clone()),
            ("DELETE", one.clone()),
            ("POST", format!("{one}/rotate/")),
            ("POST", format!("{one}/test/")),
        ];
        for (method, path) in paths {
            let answer = door
                .send(method, &path, &[("x-api-key", "read-key-0123")])
                .await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        }
        let answer = door
            .send("GET", &one, &[("x-api-key", "check-key-0123")])
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn a_rotation_tells_another_secret_once() {
    on_each(async |door| {
        let made = created(door, "https://example.com/x").await;
        let one = format!("{PATH}/{}", text(&made["id"]));
        let rotated = door.post(&format!("{one}/rotate/")).await;
        assert_eq!(rotated.status, StatusCode::OK, "{rotated:?}");
        assert_ne!(rotated.body["secret"], made["secret"]);
        let keys = door
            .ledger
            .sendable_endpoints(Some(uuid(&made)))
            .await
            .unwrap();
        assert_eq!(keys[0].keys.len(), 2, "both are signed with");
        assert_eq!(door.get(&one).await.body["secret"], Value::Null);
        let gone = door
            .post(&format!("{PATH}/{}/rotate", Uuid::now_v7()))
            .await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
    })
    .await;
}

/// A server that answers every request with `status`, and keeps what it heard.
#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn receiver(status: u16) -> (String, Arc<Mutex<Vec<(HeaderMap, Value)>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/s3cret", listener.local_addr().unwrap());
    let heard = Arc::<Mutex<Vec<_>>>::default();
    let kept = Arc::clone(&heard);
    let router =
        Router::new().fallback(async move |headers: HeaderMap, body: axum::Json<Value>| {
            kept.lock().unwrap().push((headers, body.0));
            (StatusCode::from_u16(status).unwrap(), "noted")
        });
    drop(tokio::spawn(axum::serve(listener, router).into_future()));
    (url, heard)
}

#[tokio::test]
async fn a_test_sends_one_signed_event_and_says_what_came_of_it() {
    on_each(async |door| {
        for (status, delivered) in [(200, true), (503, false)] {
            let (url, heard) = receiver(status).await;
            let wish = json!({ "url": url, "events": ["opened"], "enabled": false });
            let made = door.write("POST", PATH, &wish).await.body;
            let before = door.audited().await;
            let answer = door
                .post(&format!("{PATH}/{}/test/", text(&made["id"])))
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(answer.body["delivered"], delivered);
            assert_eq!(answer.body["status"], status);
            assert_eq!(answer.body["error"].is_null(), delivered);
            assert_eq!(answer.body["answer"], "noted");
            let heard = heard.lock().unwrap().clone();
            assert_eq!(heard.len(), 1);
            let (headers, body) = &heard[0];
            assert_eq!(
                (&body["type"], &body["recipient"]),
                (&json!("unsubscribed"), &json!("test@example.com"))
            );
            assert_eq!(body["metadata"], json!({ "test": true }));
            assert_eq!(headers["webhook-id"], text(&body["delivery_id"]).as_str());
            assert!(
                headers["webhook-signature"]
                    .to_str()
                    .unwrap()
                    .starts_with("v1,")
            );
            assert_eq!(door.audited().await, before + 1);
            let shown = door
                .get(&format!("{PATH}/{}", text(&made["id"])))
                .await
                .body;
            assert_eq!(
                shown["updated_at"], made["updated_at"],
                "nothing else has changed"
            );
        }
        assert_eq!(door.items("/api/v1/deliveries").await.len(), 0);
        assert_eq!(door.items("/api/v1/events").await.len(), 0);
        assert_eq!(door.queue.take(), []);
    })
    .await;
}

#[tokio::test]
async fn a_test_of_an_endpoint_where_nobody_listens_is_answered_too() {
    on_each(async |door| {
        let nobody = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let made = created(door, &format!("http://{nobody}/s3cret")).await;
        let answer = door
            .post(&format!("{PATH}/{}/test", text(&made["id"])))
            .await;
        assert_eq!(
            (answer.status, &answer.body["delivered"]),
            (StatusCode::OK, &json!(false))
        );
        assert!(answer.body["status"].is_null());
        let error = text(&answer.body["error"]);
        assert!(!error.contains("s3cret"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn every_change_is_in_the_audit_trail_without_the_secret_and_with_the_host_alone() {
    on_each(async |door| {
        let made = created(door, "https://example.com/s3cret").await;
        let one = format!("{PATH}/{}", text(&made["id"]));
        let wish = json!({ "url": "https://example.org/s3cret", "events": ["*"], "enabled": true });
        door.write("PUT", &one, &wish).await;
        door.post(&format!("{one}/rotate")).await;
        door.write("DELETE", &one, &Value::Null).await;
        let path = format!("/api/v1/audit?subject={}", text(&made["id"]));
        let admin = [("x-api-key", "admin-key-0123")];
        let trail = door.send("GET", &path, &admin).await.body;
        let acts = trail["items"].as_array().unwrap();
        let actions: Vec<_> = acts.iter().rev().map(|act| text(&act["action"])).collect();
        assert_eq!(
            actions,
            [
                "endpoint.create",
                "endpoint.update",
                "endpoint.rotate",
                "endpoint.delete"
            ]
        );
        assert!(acts.iter().all(|act| act["actor"] == "the write key"));
        assert_eq!(acts[2]["details"]["host"], "example.org");
        assert_eq!(acts[0]["details"]["host"], "example.org");
        let said = trail.to_string();
        assert!(
            !said.contains("s3cret") && !said.contains("whsec_"),
            "{said}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_delivery_to_an_endpoint_is_retried_by_hand_while_the_endpoint_is_enabled() {
    on_each(async |door| {
        let made = created(door, "https://example.com/x").await;
        let target = endpoint::target(uuid(&made));
        let (_, id) = door.delivery_to(&target).await;
        door.attempt(id, 1, State::Dead).await;
        let retry = async || door.post(&format!("/api/v1/deliveries/{id}/retry")).await;
        assert_eq!(retry().await.status, StatusCode::ACCEPTED);
        let shared = QueueName::Target("endpoints".to_owned(), Feed::Retried);
        assert_eq!(door.queue.take()[0].queue, shared);

        let one = format!("{PATH}/{}", text(&made["id"]));
        let wish = json!({ "url": "https://example.com/x", "events": ["*"], "enabled": false });
        let disabled = door.write("PUT", &one, &wish).await.body;
        assert_eq!(disabled["disabled_reason"], "disabled over the api");
        let refused = retry().await;
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert!(text(&refused.body["detail"]).contains("is disabled"));
        let deleted = door
            .ledger
            .delete_endpoint(uuid(&made), &Act::default())
            .await;
        assert!(deleted.unwrap());
        let refused = retry().await;
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert!(text(&refused.body["detail"]).contains("was deleted"));
        assert_eq!(door.queue.take(), []);
    })
    .await;
}

#[tokio::test]
async fn deliveries_to_endpoints_are_replayed_alone_or_with_all_others() {
    on_each(async |door| {
        let made = created(door, "https://example.com/x").await;
        let target = endpoint::target(uuid(&made));
        let (_, id) = door.delivery_to(&target).await;
        door.attempt(id, 1, State::Dead).await;
        let mut wish =
            json!({ "since": "2020-01-01T00:00:00Z", "until": clock::now(), "dry_run": true });
        let matched = door.write("POST", "/api/v1/replays", &wish).await;
        assert_eq!(matched.body["matched"], 1, "{matched:?}");
        wish["target"] = json!(target);
        let matched = door.write("POST", "/api/v1/replays", &wish).await;
        assert_eq!(matched.body["matched"], 1, "{matched:?}");
        wish["target"] = json!(endpoint::target(Uuid::now_v7()));
        let unknown = door.write("POST", "/api/v1/replays", &wish).await;
        assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    })
    .await;
}
