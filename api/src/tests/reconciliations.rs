//! Reconciliations by the api; the tests write what a worker would.

use common::{
    contact::Channel,
    event::Lane,
    ledger::{Difference, Gap, Reconciling, Tally},
};
use serde_json::json;

use super::*;

const PATH: &str = "/api/v1/reconciliations";

async fn start(door: &Door, body: &Value) -> Answer {
    door.write("POST", PATH, body).await
}

/// Asks for one, and takes it as a worker does.
async fn taken(door: &Door, body: &Value) -> Reconciling {
    let asked = start(door, body).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
    let taken = door.ledger.take_reconciliation(&["slack"]).await.unwrap();
    let taken = taken.unwrap();
    assert_eq!(asked.body["id"], taken.id.to_string());
    taken
}

pub(super) fn difference(list: &str, gap: Gap, contact: &str) -> Difference {
    let is_theirs = gap != Gap::OnlyOurs;
    let at = |second| Timestamp::from_second(second).unwrap();
    Difference {
        id: Uuid::now_v7(),
        found_at: clock::now(),
        target: "slack".to_owned(),
        list: list.to_owned(),
        difference: gap,
        channel: Channel::Email,
        contact: contact.to_owned(),
        listed_since: is_theirs.then(|| at(1_770_000_000)),
        listed_lane: is_theirs.then_some(Lane::Complaint),
        listed_reason: is_theirs.then(|| format!("=HYPERLINK(\"{contact}\")")),
        scope: (gap != Gap::OnlyTheirs).then(|| "global".to_owned()),
        source: (gap != Gap::OnlyTheirs).then(|| "shop".to_owned()),
        lane: None,
        occurred_at: (gap != Gap::OnlyTheirs).then(|| at(1_780_000_000)),
        event_id: (gap != Gap::OnlyTheirs).then(Uuid::nil),
        delivery: (gap == Gap::OnlyOurs).then_some(State::Dead),
        repaired: gap == Gap::OnlyTheirs,
    }
}

/// Compares a list as a worker does.
async fn compare(door: &Door, held: &Reconciling, list: &str, found: &[Difference]) {
    let tally = Tally {
        target: "slack".to_owned(),
        list: list.to_owned(),
        listed: 1_200,
        unread: 2,
    };
    let ledger = &door.ledger;
    assert!(ledger.begin_list(held, &tally).await.unwrap());
    assert!(ledger.note_differences(held, &tally, found).await.unwrap());
    assert!(ledger.end_list(held, &tally, None).await.unwrap());
}

/// One that is done: in the list `news` one of each difference, the list `offers` given up.
pub(super) async fn done(door: &Door) -> Uuid {
    let held = taken(door, &json!({ "target": "slack", "repair": true })).await;
    let found = [
        difference("news", Gap::OnlyTheirs, "ann@example.com"),
        difference("news", Gap::OnlyOurs, "bob@example.com"),
        difference("news", Gap::Differs, "jane@example.com"),
    ];
    compare(door, &held, "news", &found).await;
    let tally = Tally {
        target: "slack".to_owned(),
        list: "offers".to_owned(),
        ..Tally::default()
    };
    let why = Some("401: the token of jane@example.com is refused");
    assert!(door.ledger.begin_list(&held, &tally).await.unwrap());
    assert!(door.ledger.end_list(&held, &tally, why).await.unwrap());
    assert!(door.ledger.end_reconciliation(&held, None).await.unwrap());
    held.id
}

async fn csv(door: &Door, id: Uuid) -> String {
    let request = Request::get(format!("{PATH}/{id}/export")).header("x-api-key", "read-key-0123");
    let request = request.body(Body::empty()).unwrap();
    let response = door.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn one_is_asked_for_by_whoever_may_write_and_shows_each_list_as_it_is_done() {
    on_each(async |door| {
        let asked = start(door, &json!({})).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED);
        let told = ["state", "target", "repair", "actor", "lists"];
        assert_eq!(
            told.map(|name| asked.body[name].clone()),
            [
                json!("running"),
                json!(null),
                json!(false),
                json!("the write key"),
                json!([])
            ]
        );
        let all = door.ledger.take_reconciliation(&[]).await.unwrap();
        assert!(
            door.ledger
                .end_reconciliation(&all.unwrap(), Some("no lists"))
                .await
                .unwrap()
        );
        let path = format!("{PATH}/{}", text(&asked.body["id"]));
        let failed = door.get(&path).await.body;
        assert_eq!(
            (&failed["state"], &failed["error"]),
            (&json!("failed"), &json!("no lists"))
        );

        let id = done(door).await;
        let shown = door.get(&format!("{PATH}/{id}")).await.body;
        assert_eq!(
            (&shown["state"], &shown["repair"]),
            (&json!("done"), &json!(true))
        );
        let [news, offers] = &shown["lists"].as_array().unwrap()[..] else {
            panic!("{shown}");
        };
        let counts = [
            "listed",
            "unread",
            "only_theirs",
            "only_ours",
            "differs",
            "repaired",
        ];
        assert_eq!(
            counts.map(|name| news[name].as_i64().unwrap()),
            [1_200, 2, 1, 1, 1, 1]
        );
        assert!(text(&offers["error"]).starts_with("401"));
        assert_eq!(door.items(PATH).await[0], shown);
        assert_eq!(door.audited().await, 2, "each stands in the trail");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_by_the_fields_name_and_nothing_is_asked_for() {
    on_each(async |door| {
        let wanted = json!({ "url": "http://127.0.0.1:1/hook", "events": ["*"] });
        let made = door.write("POST", "/api/emails/webhook-endpoints/", &wanted);
        let endpoint = format!("endpoint.{}", text(&made.await.body["id"]));
        let disable = json!({ "enabled": false });
        let cases = [
            (json!({ "target": "nobody" }), 422, "target"),
            (json!({ "target": "" }), 422, "target"),
            (json!({ "target": "nul\0" }), 422, "target"),
            (json!({ "target": endpoint }), 422, "target"),
            (json!({ "target": "off" }), 409, "off"),
            (json!({ "repair": "yes" }), 422, "boolean"),
            (json!({ "colour": "blue" }), 422, "colour"),
            (json!([]), 422, "wrong"),
        ];
        for (body, status, named) in cases {
            let answer = start(door, &body).await;
            assert_eq!(answer.status, status, "{body}: {answer:?}");
            assert!(text(&answer.body["detail"]).contains(named), "{answer:?}");
        }
        let unknown = start(door, &json!({ "target": "nobody" })).await;
        assert_eq!(unknown.body["field"], "target");
        door.write("PUT", "/api/v1/targets/slack", &disable).await;
        let answer = start(door, &json!({ "target": "slack" })).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(door.items(PATH).await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn each_path_wants_its_role_and_an_id_of_one() {
    on_each(async |door| {
        let id = done(door).await;
        let nobodys = Uuid::now_v7();
        for (role, status) in [("check", 403), ("read", 200), ("write", 200)] {
            let key = [("x-api-key", &*format!("{role}-key-0123"))];
            let body = || Body::from("{}");
            let asked = door.send_body("POST", PATH, &key, body()).await.status;
            assert_eq!(asked == StatusCode::ACCEPTED, role == "write", "{role}");
            assert_eq!(door.send("GET", PATH, &key).await.status, status);
            for part in ["", "/differences", "/export"] {
                let one = format!("{PATH}/{id}{part}");
                let one = door.send("GET", &one, &key).await.status;
                assert_eq!(one, status, "{role} at {part}");
                let none = format!("{PATH}/{nobodys}{part}");
                let none = door.send("GET", &none, &key).await.status;
                let missing = if status == 200 { 404 } else { status };
                assert_eq!(none, missing, "{role} at {part}");
            }
        }
        let wrong = door.get(&format!("{PATH}/none/differences")).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test]
async fn they_are_listed_newest_first_in_pages() {
    on_each(async |door| {
        let mut asked = vec![];
        for _ in 0..5 {
            asked.insert(0, text(&start(door, &json!({})).await.body["id"]));
            next_tick().await;
        }
        let (ids, pages) = door.all_pages(&format!("{PATH}?limit=2")).await;
        assert_eq!((ids, pages), (asked, 3));
    })
    .await;
}

#[tokio::test]
async fn differences_are_turned_page_by_page_and_each_filter_lets_through_what_it_says() {
    on_each(async |door| {
        let id = done(door).await;
        let path = format!("{PATH}/{id}/differences");
        for (query, contacts) in [
            ("", &["ann", "bob", "jane"][..]),
            ("?target=slack&list=news", &["ann", "bob", "jane"]),
            ("?difference=only_theirs", &["ann"]),
            ("?difference=only_ours", &["bob"]),
            ("?difference=differs&list=news", &["jane"]),
            ("?target=off", &[]),
            ("?list=offers", &[]),
        ] {
            let found = door.items(&format!("{path}{query}")).await;
            let mut found: Vec<_> = found.iter().map(|one| text(&one["contact"])).collect();
            found.sort();
            let wanted: Vec<_> = contacts
                .iter()
                .map(|name| format!("{name}@example.com"))
                .collect();
            assert_eq!(found, wanted, "{query}");
        }
        let (ids, pages) = door.all_pages(&format!("{path}?limit=1")).await;
        assert_eq!((ids.len(), pages), (3, 3));
        let ours = &door
            .items(&format!("{path}?difference=only_ours"))
            .await
            .remove(0);
        assert_eq!(
            (&ours["delivery"], &ours["listed_since"], &ours["repaired"]),
            (&json!("dead"), &json!(null), &json!(false))
        );

        let wrong = door.get(&format!("{path}?difference=lost")).await;
        assert!(text(&wrong.body["detail"]).contains("only_theirs, only_ours, differs"));
        for query in [
            "difference=",
            "difference=lost",
            "colour=blue",
            "limit=0",
            "cursor=x",
        ] {
            let wrong = door.get(&format!("{path}?{query}")).await;
            assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_export_has_a_line_for_each_difference_and_no_formula_and_the_trail_says_whose() {
    on_each(async |door| {
        let id = done(door).await;
        let before = door.audited().await;
        let answer = door.get(&format!("{PATH}/{id}/export")).await;
        assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
        assert_eq!(
            answer.headers["content-disposition"],
            "attachment; filename=\"differences.csv\""
        );
        assert_eq!(door.audited().await, before + 1);
        let shown = door.items(&format!("{PATH}/{id}/differences")).await;
        let csv = csv(door, id).await;
        let mut lines = csv::Reader::from_reader(csv.as_bytes());
        let header = lines.headers().unwrap().clone();
        let names: BTreeSet<_> = shown[0].as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            header.iter().map(str::to_owned).collect::<BTreeSet<_>>(),
            names
        );
        let records: Vec<_> = lines.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 3);
        for (record, shown) in records.iter().zip(&shown) {
            for (name, cell) in header.iter().zip(record) {
                let member = match &shown[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let written = if name == "listed_reason" && !member.is_empty() {
                    format!("'{member}")
                } else {
                    member
                };
                assert_eq!(cell, written, "{name}");
            }
        }
        assert!(
            csv.contains(",\"'=HYPERLINK(\"\"ann@example.com\"\")\","),
            "{csv}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_export_of_more_than_a_page_has_all_of_them_once() {
    on_each(async |door| {
        let held = taken(door, &json!({})).await;
        let contact = |number| format!("user{number}@example.com");
        let found: Vec<_> = (0..2_300)
            .map(|number| difference("news", Gap::OnlyOurs, &contact(number)))
            .collect();
        compare(door, &held, "news", &found).await;
        let csv = csv(door, held.id).await;
        assert_eq!(csv.lines().count(), 1 + 2_300);
        let ids: BTreeSet<_> = csv.lines().skip(1).map(|line| &line[..36]).collect();
        assert_eq!(ids.len(), 2_300);
        let other = taken(door, &json!({})).await;
        let nothing = self::csv(door, other.id).await;
        assert_eq!(nothing.lines().count(), 1, "the header alone");
    })
    .await;
}
