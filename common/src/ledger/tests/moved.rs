//! Changes of address are found among all that is known of a contact, by themselves.

use serde_json::json;

use super::{plans::plan, *};
use crate::{ledger::moved::told_of, providers};

#[tokio::test]
async fn they_are_found_by_an_index_of_their_own() {
    let moves = providers::find("mailchimp").unwrap().moves().unwrap();
    let text = told_of(moves);
    for Fresh { ledger, .. } in &fresh().await {
        let contact = |number: usize| json!({ "number": number, "contact": format!("user{number}@example.com"), "channel": "email" });
        let asked = rows(&(0..16).map(contact).collect::<Vec<_>>());
        let plan = plan(ledger, &text, |query| {
            let query = query.bind(asked.clone()).bind("mailchimp");
            query.bind(moves.since)
        });
        let plan = plan.await;
        assert!(plan.contains("events_of_moves"), "{plan}");
        assert!(plan.contains("events_by_envelope"), "{plan}");
        assert!(!plan.contains("events_by_contact"), "{plan}");
    }
}
