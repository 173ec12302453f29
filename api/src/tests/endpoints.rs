//! Endpoints that users register.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const PATH: &str = "/api/emails/webhook-endpoints/";
const REGISTER: &str = include_str!("../../../common/samples/sentinmail-api/register.json");
const UPDATE: &str = include_str!("../../../common/samples/sentinmail-api/update.json");

fn sample(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The kinds of event, whose order says nothing.
fn kinds(endpoint: &Value) -> BTreeSet<String> {
    let kinds = endpoint["events"].as_array().unwrap();
    kinds.iter().map(text).collect()
}

async fn register(door: &Door, body: &Value) -> Value {
    let answer = door.write("POST", PATH, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body
}

// rows: SM-23
#[tokio::test]
async fn the_examples_of_the_page_register_list_update_and_delete() {
    on_each(async |door| {
        let made = register(door, &sample(REGISTER)).await;
        assert_eq!(kinds(&made), kinds(&sample(REGISTER)));
        assert!(text(&made["secret"]).starts_with("whsec_"));
        let id = text(&made["id"]);
        for slash in ["", "/"] {
            let path = PATH.trim_end_matches('/');
            assert_eq!(door.items(&format!("{path}{slash}")).await.len(), 1);
            let one = format!("{path}/{id}{slash}");
            let shown = door.get(&one).await;
            assert_eq!(
                (shown.status.as_u16(), &shown.body["secret"]),
                (200, &json!(null)),
                "shown once"
            );
            let updated = door.write("PUT", &one, &sample(UPDATE)).await;
            assert_eq!(updated.status, 200);
            assert_eq!(kinds(&updated.body), kinds(&sample(UPDATE)));
        }
        let one = format!("{PATH}{id}/");
        for status in [204, 404] {
            let key = [("x-api-key", "write-key-0123")];
            assert_eq!(door.send("DELETE", &one, &key).await.status, status);
        }
        assert_eq!(door.get(&one).await.status, 404);
        assert_eq!(door.audited().await, 4);
    })
    .await;
}

// rows: SM-20, SM-23
#[tokio::test]
async fn a_url_that_is_not_safe_or_an_unknown_event_is_refused_by_its_field() {
    on_each(async |door| {
        let long = format!("https://example.com/{}", "x".repeat(3000));
        for url in [
            "http//example.com",
            "ftp://example.com",
            "example.com",
            "https://10.0.0.1/",
            "https://[::1]/",
            "https://169.254.169.254/x",
            "https://user:pw@example.com/",
            &long,
        ] {
            let body = json!({ "url": url, "events": ["bounced"] });
            let answer = door.write("POST", PATH, &body).await;
            let told = (answer.status.as_u16(), &answer.body["field"]);
            assert_eq!(told, (422, &json!("url")), "{url}");
        }
        for events in [json!([]), json!(["exploded"]), json!("bounced")] {
            let body = json!({ "url": "https://example.com/", "events": events });
            assert_eq!(door.write("POST", PATH, &body).await.status, 422, "{body}");
        }
        assert_eq!(
            door.write("POST", PATH, &json!({ "events": ["*"] }))
                .await
                .status,
            422
        );
    })
    .await;
}

#[tokio::test]
async fn a_rotation_shows_another_secret_and_the_worker_signs_with_both() {
    on_each(async |door| {
        let made = register(door, &sample(REGISTER)).await;
        let path = format!("{PATH}{}/rotate", text(&made["id"]));
        let rotated = door.write("POST", &path, &json!(null)).await;
        assert_eq!(rotated.status, 200, "{rotated:?}");
        assert_ne!(rotated.body["secret"], made["secret"]);
        let sendable = door.ledger.sendable_endpoints(None).await.unwrap();
        assert_eq!(sendable[0].keys.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_test_event_is_signed_and_what_came_back_is_told_also_of_a_disabled_endpoint() {
    on_each(async |door| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let made = register(
            door,
            &json!({ "url": url, "events": ["*"], "enabled": false }),
        )
        .await;
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = String::new();
            while !request.contains("\"test\":true") {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).await.unwrap();
                request.push_str(std::str::from_utf8(&piece[..read]).unwrap());
            }
            stream
                .write_all(b"HTTP/1.1 410 Gone\r\ncontent-length: 5\r\n\r\ngone!")
                .await
                .unwrap();
            request
        };
        let path = format!("{PATH}{}/test/", text(&made["id"]));
        let body = json!(null);
        let (request, told) = tokio::join!(answering, door.write("POST", &path, &body));
        assert!(request.contains("webhook-signature: v1,") && request.contains("test@example.com"));
        assert_eq!(told.status, 200, "{told:?}");
        assert_eq!(
            (
                &told.body["delivered"],
                &told.body["status"],
                &told.body["answer"]
            ),
            (&json!(false), &json!(410), &json!("gone!"))
        );
        assert_eq!(
            door.items("/api/v1/events").await.len(),
            0,
            "it is in no list"
        );
    })
    .await;
}
