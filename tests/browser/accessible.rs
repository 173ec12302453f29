//! Every page, held against axe-core's rules, in light and dark and on a phone.

use common::{
    clock,
    contact::Channel,
    event::Lane,
    ledger::{Difference, Gap, Tally},
};
use serde_json::{Value, json};
use tests::{told, until};
use uuid::Uuid;

use crate::{BOTH, Desk};

/// Runs axe-core over the page that is shown, and gives what it finds wrong.
pub(crate) async fn violations(desk: &Desk, axe: &str) -> Vec<String> {
    desk.page.run(axe).await;
    let script = "const done = arguments[arguments.length - 1];
        axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations.map((one) =>
            `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html + ' ' + node.failureSummary).join('; ')}`)),
            (error) => done([String(error)]));";
    let found = desk.page.run_until_done(script).await;
    let found = found.as_array().unwrap().iter();
    found.map(Value::to_string).collect()
}

/// A reconciliation with a list that differs and one that could not be compared. Of a target that no worker has, so that
/// none takes it.
async fn reconciled(desk: &Desk) -> Uuid {
    let (ledger, target) = (desk.stores.ledger().await, "elsewhere");
    let asked = ledger.ask_reconciliation(Some(target), false, "e2e").await;
    let held = ledger.take_reconciliation(&[target]).await.unwrap();
    let held = held.unwrap();
    for (list, error) in [("news", None), ("offers", Some("401: refused"))] {
        let tally = Tally {
            target: target.to_owned(),
            list: list.to_owned(),
            listed: 1,
            ..Tally::default()
        };
        let found = Difference {
            id: Uuid::now_v7(),
            found_at: clock::now(),
            target: target.to_owned(),
            list: list.to_owned(),
            difference: Gap::OnlyTheirs,
            channel: Channel::Email,
            contact: "jane@example.com".to_owned(),
            listed_since: Some(clock::now()),
            listed_lane: Some(Lane::Manual),
            listed_reason: Some("ManualSuppression".to_owned()),
            scope: None,
            source: None,
            lane: None,
            occurred_at: None,
            event_id: None,
            delivery: None,
            repaired: false,
        };
        assert!(ledger.begin_list(&held, &tally).await.unwrap());
        let noted = ledger.note_differences(&held, &tally, &[found]).await;
        assert!(noted.unwrap());
        assert!(ledger.end_list(&held, &tally, error).await.unwrap());
    }
    assert!(ledger.end_reconciliation(&held, None).await.unwrap());
    asked.unwrap().id
}

/// The pages, with something on each.
async fn pages(desk: &Desk) -> Vec<String> {
    desk.receiver.answer("/hook", 410);
    desk.unsubscribe("jane@example.com").await;
    desk.optout.accepted("notifiedby", "no JSON").await;
    let first = async |path: &str| {
        until(&format!("there is something at {path}"), async || {
            let page = desk.optout.get(path).await;
            page["items"][0]["id"].as_str().map(str::to_owned)
        })
        .await
    };
    let dead = first("/api/v1/deliveries?state=dead").await;
    let (event, held) = (
        first("/api/v1/events").await,
        first("/api/v1/quarantine").await,
    );
    let suppression = first("/api/v1/suppressions").await;
    let endpoint = json!({ "url": "https://example.com/hook", "events": ["*"] });
    let (_, endpoint) = desk
        .optout
        .ask("POST", "/api/emails/webhook-endpoints/", &endpoint)
        .await;
    let replay = json!({ "since": "2020-01-01T00:00:00Z", "until": "2030-01-01T00:00:00Z", "dry_run": true });
    let (_, replay) = desk.optout.ask("POST", "/api/v1/replays", &replay).await;
    let id = |of: &Value| of["id"].as_str().unwrap().to_owned();
    let paths = [
        "/",
        "/contacts",
        "/events",
        "/deliveries",
        "/quarantine",
        "/suppressions",
        "/suppressions/add",
        "/suppressions/import",
        "/replays",
        "/reconciliations",
        "/targets",
        "/targets/hook",
        "/sources",
        "/nothing",
    ];
    let mut pages: Vec<_> = paths.map(str::to_owned).into();
    pages.extend([
        format!("/events/{event}"),
        format!("/contacts?event={event}"),
        format!("/deliveries/{dead}"),
        format!("/quarantine/{held}"),
        format!("/suppressions/{suppression}"),
        format!("/endpoints/{}", id(&endpoint)),
        format!("/replays/{}", id(&replay)),
        format!("/reconciliations/{}", reconciled(desk).await),
    ]);
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_keeps_anybody_out() {
    let axe = std::fs::read_to_string(told("OPTOUT_TEST_AXE")).unwrap();
    for kind in BOTH {
        let desk = Desk::new(kind).await;
        desk.open("/").await;
        desk.page.is_headed("Sign in").await;
        assert_eq!(violations(&desk, &axe).await, [""; 0], "the way in");
        desk.sign_in(tests::API_KEY).await;
        desk.page.is_headed("Overview").await;
        let pages = pages(&desk).await;
        for (scheme, width) in [("light", 1280), ("dark", 820), ("light", 390)] {
            desk.page.looks(scheme, width).await;
            for path in &pages {
                desk.open(path).await;
                let found = violations(&desk, &axe).await;
                assert_eq!(
                    found, [""; 0],
                    "{path}, {scheme}, {width} wide, on {kind:?}"
                );
                assert!(
                    !desk.page.is_too_wide().await,
                    "{path} is wider than {width}"
                );
            }
        }
    }
}
