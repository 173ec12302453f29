//! The Brevo document, to the letter.

use serde_json::json;

use super::*;

const PATH: &str = "/api/v1/brevo/unsubscribe";
const KEY: (&str, &str) = ("authorization", "Bearer write-key-0123");
const SUCCESS: &str = include_str!("../../../common/samples/brevo-document/success.json");
const ERROR: &str = include_str!("../../../common/samples/brevo-document/error.json");

const BY_EMAIL: &str = include_str!("../../../common/samples/brevo-document/email.json");
const BY_PHONE: &str = include_str!("../../../common/samples/brevo-document/phone.json");
const BY_BOTH: &str = include_str!("../../../common/samples/brevo-document/both.json");

const EMAIL: &str = "email=user@example.com";
const PHONE: &str = "phone=%2B15551234567";

async fn ask(door: &Door, body: impl Into<String>) -> Answer {
    let headers = [KEY, ("content-type", "application/json")];
    door.send_body("POST", PATH, &headers, Body::from(body.into()))
        .await
}

async fn succeeds(door: &Door, body: impl Into<String>) {
    let answer = ask(door, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let success: Value = serde_json::from_str(SUCCESS).unwrap();
    assert_eq!(answer.body, success);
}

async fn is_refused(door: &Door, body: impl Into<String>, about: &str) {
    let answer = ask(door, body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.body["error"], "ValidationError");
    assert!(text(&answer.body["message"]).contains(about), "{answer:?}");
    assert_eq!(answer.body.as_object().unwrap().len(), 2);
    assert_eq!(answer.headers["content-type"], "application/json");
}

async fn submitted(door: &Door, body: Value) -> String {
    let answer = door.write("POST", "/api/v1/submissions", &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    text(&answer.body["id"])
}

async fn consents(door: &Door, id: &str) -> Value {
    let answer = door.get(&format!("/api/v1/submissions/{id}")).await;
    answer.body["consents"].clone()
}

// rows: BR-1, BR-2, BR-3, BR-4, BR-5, BR-6, BR-7, BR-15, BR-19, BR-20, BR-23
#[tokio::test]
async fn each_example_of_the_document_unsubscribes_before_it_is_answered() {
    on_each(async |door| {
        for (body, email, phone) in [
            (BY_EMAIL, true, false),
            (BY_PHONE, true, true),
            (BY_BOTH, true, true),
        ] {
            succeeds(door, body).await;
            let scope = "&scope=general_contact";
            assert_eq!(door.unsubscribed(&format!("{EMAIL}{scope}")).await, email);
            assert_eq!(door.unsubscribed(&format!("{PHONE}{scope}")).await, phone);
        }
    })
    .await;
}

// rows: BR-8, BR-9, BR-21
#[tokio::test]
async fn without_a_contact_the_documents_error_is_answered() {
    on_each(async |door| {
        let nobody = [
            "{}",
            r#"{"email":""}"#,
            r#"{"email":null,"phone":"  "}"#,
            r#"{"other":1}"#,
        ];
        for body in nobody {
            let answer = ask(door, body).await;
            assert_eq!(answer.status, 400, "{answer:?}");
            let error: Value = serde_json::from_str(ERROR).unwrap();
            assert_eq!(answer.body, error);
        }
        for body in [r#"{"email":7}"#, r#"{"phone":["+15551234567"]}"#] {
            is_refused(door, body, "is no string").await;
        }
        assert_eq!(door.asked().len(), 0);
    })
    .await;
}

// rows: BR-16, BR-22
#[tokio::test]
async fn a_request_that_is_half_valid_is_refused_whole_and_phones_may_be_punctuated() {
    on_each(async |door| {
        is_refused(
            door,
            r#"{"email":"user@example.com","phone":"5551234"}"#,
            "E.164",
        )
        .await;
        is_refused(
            door,
            r#"{"email":"nobody","phone":"+15551234567"}"#,
            "email",
        )
        .await;
        assert!(!door.unsubscribed(EMAIL).await && !door.unsubscribed(PHONE).await);
        assert_eq!(door.asked().len(), 0, "nothing is half done");
        succeeds(door, r#"{"phone":"+1 (555) 123-45.67"}"#).await;
        assert!(door.unsubscribed(PHONE).await);
    })
    .await;
}

// rows: BR-25
#[tokio::test]
async fn what_is_no_json_object_is_refused_in_the_documents_words() {
    on_each(async |door| {
        for body in ["", "{", "[]", "7", "email=user@example.com"] {
            is_refused(door, body, "").await;
        }
    })
    .await;
}

// rows: BR-24
#[tokio::test]
async fn without_a_key_the_answer_is_unauthorized_in_the_documents_form() {
    on_each(async |door| {
        let wrong = ("authorization", "Bearer wrong-key-0123");
        for headers in [&[][..], &[wrong]] {
            let answer = door
                .send_body("POST", PATH, headers, Body::from(BY_EMAIL))
                .await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert_eq!(answer.body["error"], "Unauthorized");
            assert!(!text(&answer.body["message"]).is_empty());
        }
        let read = ("authorization", "Bearer read-key-0123");
        let answer = door
            .send_body("POST", PATH, &[read], Body::from(BY_EMAIL))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["error"]),
            (403, &json!("Forbidden"))
        );
        assert!(!door.unsubscribed(EMAIL).await);
    })
    .await;
}

// rows: BR-10, BR-11, BR-12
#[tokio::test]
async fn general_contact_consent_is_revoked_for_all_submissions_that_match_by_either_key() {
    on_each(async |door| {
        let agreed = json!({ "general_contact": true, "primary_purpose": true });
        let mine = submitted(
            door,
            json!({ "email": "User@Example.com", "consents": agreed }),
        )
        .await;
        let both =
            json!({ "email": "other@example.com", "phone": "+15551234567", "consents": agreed });
        let both = submitted(door, both).await;
        let another = json!({ "email": "third@example.com", "consents": agreed });
        let another = submitted(door, another).await;
        succeeds(door, BY_BOTH).await;
        for (id, holds) in [(mine, false), (both, false), (another, true)] {
            let consents = consents(door, &id).await;
            assert_eq!(
                consents,
                json!({ "general_contact": holds, "primary_purpose": true })
            );
        }
        // Whoever filled in a form that matches is contacted by neither way any more.
        assert!(
            door.unsubscribed("email=other@example.com&scope=general_contact")
                .await
        );
        assert!(!door.unsubscribed("email=third@example.com").await);
    })
    .await;
}

// rows: BR-13
#[tokio::test]
async fn no_other_consent_is_affected() {
    on_each(async |door| {
        let consents_given = json!({ "general_contact": true, "primary_purpose": true,
            "events": { "spring-fair": true }, "other.partners": true });
        let body = json!({ "email": "user@example.com", "consents": consents_given });
        let id = submitted(door, body).await;
        succeeds(door, BY_EMAIL).await;
        let expected = json!({ "general_contact": false, "primary_purpose": true,
            "events.spring-fair": true, "other.partners": true });
        assert_eq!(consents(door, &id).await, expected);
        for scope in [
            "primary_purpose",
            "events.spring-fair",
            "other.partners",
            "global",
        ] {
            assert!(
                !door.unsubscribed(&format!("{EMAIL}&scope={scope}")).await,
                "{scope}"
            );
        }
    })
    .await;
}

// rows: BR-14, BR-26, BR-28
#[tokio::test]
async fn brevos_own_webhooks_are_understood_and_only_an_unsubscribe_unsubscribes() {
    on_each(async |door| {
        for event in ["delivered", "opened", "click", "hard_bounce", "spam", ""] {
            let body = json!({ "event": event, "email": "user@example.com", "id": 26224, "ts_event": 1_604_933_654_i64 });
            succeeds(door, body.to_string()).await;
        }
        succeeds(door, r#"{"event":"opened"}"#).await;
        assert!(!door.unsubscribed(EMAIL).await);
        assert_eq!(door.asked().len(), 0);
        for (number, event) in ["unsubscribe", "Unsubscribed", "list_unsubscribe"].iter().enumerate() {
            let email = format!("user{number}@example.com");
            let body = json!({ "event": event, "email": email, "id": 26224, "date": "2020-10-09 00:00:00" });
            succeeds(door, body.to_string()).await;
            assert!(door.unsubscribed(&format!("email={email}")).await, "{event}");
        }
    })
    .await;
}

// rows: BR-17, BR-18
#[tokio::test]
async fn a_repeat_changes_nothing_and_is_audited() {
    on_each(async |door| {
        for times in 1..=3 {
            succeeds(door, BY_EMAIL).await;
            assert_eq!(door.audited().await, times);
        }
        assert_eq!(door.asked().len(), 1, "the targets hear of it once");
        assert_eq!(
            door.items(&format!("/api/v1/events?{EMAIL}")).await.len(),
            1
        );
    })
    .await;
}

#[tokio::test]
async fn the_same_request_twenty_times_at_once_is_one_event() {
    on_each(async |door| {
        let calls = (0..20).map(|_| succeeds(door, BY_BOTH));
        futures_util::future::join_all(calls).await;
        assert_eq!(
            door.items("/api/v1/events").await.len(),
            2,
            "one for each channel"
        );
        assert_eq!(door.audited().await, 40);
    })
    .await;
}

// rows: BR-27
#[tokio::test]
async fn both_keys_make_two_suppressions_that_stand_by_themselves() {
    on_each(async |door| {
        succeeds(door, BY_BOTH).await;
        let again = json!({ "email": "user@example.com", "consents": { "general_contact": true } });
        submitted(door, again).await;
        assert!(
            !door
                .unsubscribed(&format!("{EMAIL}&scope=general_contact"))
                .await
        );
        assert!(
            door.unsubscribed(&format!("{PHONE}&scope=general_contact"))
                .await
        );
    })
    .await;
}

#[tokio::test]
async fn nothing_changes_while_the_queue_is_away_and_the_answer_says_so() {
    on_each(async |door| {
        door.queue.refuses.store(true, Ordering::SeqCst);
        let answer = ask(door, BY_EMAIL).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.body["error"], "ServiceUnavailable");
        assert!(answer.headers.contains_key("retry-after"));
        assert!(
            !door.unsubscribed(EMAIL).await,
            "or a repeat would not be told to the targets"
        );
        door.queue.refuses.store(false, Ordering::SeqCst);
        succeeds(door, BY_EMAIL).await;
        assert_eq!(door.asked().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_the_worker_records_afterwards_changes_no_consent_and_tells_the_targets() {
    on_each(async |door| {
        let body = json!({ "email": "user@example.com", "consents": { "general_contact": true } });
        let id = submitted(door, body).await;
        succeeds(door, BY_EMAIL).await;
        let before = door.get(&format!("/api/v1/submissions/{id}")).await.body;
        // The worker records the same: it finds the consents revoked, and tells the targets.
        door.work().await;
        assert_eq!(door.items("/api/v1/deliveries").await.len(), 1);
        let after = door.get(&format!("/api/v1/submissions/{id}")).await.body;
        assert_eq!(before, after);
        let record = &before["consent_records"][0];
        assert_eq!(
            (&record["granted"], record["revoked_at"].is_string()),
            (&json!(true), true)
        );
    })
    .await;
}
