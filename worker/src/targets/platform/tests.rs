//! What is decided before a platform is asked, whichever it is.

use common::{
    delivery::{Answer, Outcome},
    event::{Effect, Kind as EventKind, Lane, Register},
    ledger::Accounted,
};

use common::outbound::Reply;
use tokio::time::Instant;

use super::{
    Call, Platform, Scopes, Teller,
    rehearsal::{lift, suppress, told},
};
use crate::targets::{Target, standin::verdict};

/// Keeps what it is told, a line per call, and refuses a call that has `bad` in it.
struct Recording(std::sync::Mutex<Vec<String>>);

#[async_trait::async_trait]
impl Platform for Recording {
    fn most(&self) -> usize {
        4
    }

    fn batch(&self, _list: &str, suppress: bool) -> usize {
        if suppress { 4 } else { 1 }
    }

    async fn look(&self, _deadline: Instant) -> Result<Reply, Answer> {
        Err(Answer::retry("it is away"))
    }

    async fn tell(&self, call: &Call<'_>) -> Result<Vec<Answer>, Answer> {
        let verb = if call.suppress { "suppress" } else { "lift" };
        let names = call.contacts.iter().map(|told| {
            let (name, _) = told.contact.address.split_once('@').unwrap();
            format!("{name}:{}", told.lane)
        });
        let line = format!(
            "{verb} {} {}",
            call.list,
            names.collect::<Vec<_>>().join(",")
        );
        self.0.lock().unwrap().push(line.clone());
        if line.contains("bad") {
            return Err(Answer {
                status: Some(400),
                ..Answer::dead("refused")
            });
        }
        if line.contains("slow") && call.list == "b" {
            return Err(Answer::retry("slow"));
        }
        Ok(vec![Answer::done("told"); call.contacts.len()])
    }
}

fn teller(scopes: &str) -> Teller<Recording> {
    let text = format!("scopes = {scopes}").parse().unwrap();
    let mut section = common::settings::Section::root(text, std::collections::BTreeMap::new());
    Teller {
        platform: Recording(std::sync::Mutex::default()),
        scopes: Scopes::read(&mut section, |_| Ok(())).unwrap(),
        outbound: crate::targets::standin::outbound(),
    }
}

impl Teller<Recording> {
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.platform.0.lock().unwrap())
    }
}

#[tokio::test]
async fn suppressions_are_told_together_and_a_lift_between_them_in_its_place() {
    let teller = teller("{ '*' = 'a' }");
    let deliveries = [
        suppress("jane@b.example", "x"),
        suppress("joe@b.example", "x"),
        suppress("jane@b.example", "y"),
        lift("jane@b.example", "x"),
        lift("joe@b.example", "x"),
        suppress("jane@b.example", "x"),
    ];
    let answers = teller.deliver(&deliveries).await;
    assert!(answers.iter().all(|answer| verdict(answer) == "done"));
    assert_eq!(
        teller.calls(),
        [
            "suppress a jane:consent,joe:consent",
            "lift a jane:consent",
            "lift a joe:consent",
            "suppress a jane:consent",
        ]
    );
}

#[tokio::test]
async fn of_a_call_that_is_refused_for_its_content_the_halves_are_tried() {
    let teller = teller("{ '*' = 'a' }");
    let deliveries =
        ["one", "two", "bad", "four"].map(|name| suppress(&format!("{name}@b.example"), "x"));
    let answers = teller.deliver(&deliveries).await;
    let verdicts: Vec<_> = answers.iter().map(verdict).collect();
    assert_eq!(verdicts, ["done", "done", "dead: refused", "done"]);
    assert_eq!(teller.calls().len(), 5);
}

#[tokio::test]
async fn of_several_lists_the_one_that_failed_has_the_delivery_tried_again() {
    let teller = teller("{ x = ['a', 'b', 'c'], y = 'c' }");
    let deliveries = [
        suppress("slow@b.example", "x"),
        suppress("joe@b.example", "y"),
    ];
    let answers = teller.deliver(&deliveries).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.outcome, Outcome::Retry { .. }))
    );
    assert_eq!(
        teller.calls(),
        ["suppress a slow:consent", "suppress b slow:consent"]
    );
}

#[tokio::test]
async fn a_complaint_and_a_bounce_are_of_everything_and_a_register_is_what_it_says() {
    let teller = teller("{ news = 'a', offers = 'b' }");
    let mut by_hand = told(EventKind::Resubscribed, "ann@b.example", "offers");
    by_hand.event.register = Some(Register {
        source: "shop".to_owned(),
        lane: Lane::Complaint,
    });
    let deliveries = [
        told(EventKind::Complained, "jane@b.example", "news"),
        told(EventKind::Bounced, "joe@b.example", "news"),
        by_hand,
    ];
    teller.deliver(&deliveries).await;
    assert_eq!(
        teller.calls(),
        [
            "suppress a jane:complaint,joe:deliverability",
            "suppress b jane:complaint,joe:deliverability",
            "lift b ann:complaint",
        ]
    );
}

#[tokio::test]
async fn what_is_none_of_the_platform_s_is_done_without_a_call_and_says_why() {
    let teller = teller("{ news = 'a' }");
    let mut none = suppress("jane@b.example", "news");
    none.event.effect = Effect::None;
    let mut nobody = suppress("jane@b.example", "news");
    nobody.event.contact = None;
    for (delivery, why) in [
        (
            told(EventKind::Opened, "jane@b.example", "news"),
            "suppresses nobody",
        ),
        (none, "suppresses nobody"),
        (nobody, "names nobody"),
        (suppress("+15551234567", "news"), "contacts by sms"),
        (
            suppress("jane@b.example", "offers"),
            "\"offers\" is not in [targets.scopes]",
        ),
    ] {
        let answers = teller.deliver(&[delivery]).await;
        let said = answers[0].excerpt.as_deref().unwrap();
        assert_eq!(verdict(&answers[0]), "withheld");
        assert!(
            said.starts_with("not told: ") && said.contains(why),
            "{said}"
        );
    }
    assert!(teller.calls().is_empty());
}

#[test]
fn what_stands_in_a_list_that_two_scopes_share_keeps_a_lift_back() {
    let teller = teller("{ news = 'a', offers = 'a', other = 'b' }");
    assert!(teller.decides());
    assert!(teller.keeps("news", "offers"));
    assert!(!teller.keeps("news", "other"));
}

#[test]
fn a_platform_reports_what_it_was_told_in_the_scopes_of_its_lists() {
    let teller = teller("{ news = 'a', offers = ['b', 'c'] }");
    for (told, reported, is_reported) in [
        ("news", "a", true),
        ("news", "news", false),
        ("news", "b", false),
        ("offers", "c", true),
        ("global", "b", true),
        ("global", "d", false),
        ("unknown", "unknown", false),
    ] {
        assert_eq!(
            teller.reports(told, reported),
            is_reported,
            "{told} {reported}"
        );
    }
}

#[test]
fn a_platform_that_reported_a_change_is_told_of_it_where_it_has_other_lists_for_it() {
    let teller = teller("{ a = 'a', b = ['a', 'b'], c = 'd' }");
    assert!(teller.knows("a"));
    assert!(teller.knows("unknown"), "there is nothing to tell");
    assert!(!teller.knows("b"));
    assert!(!teller.knows("c"));
}

#[test]
fn what_a_platform_reported_in_a_list_keeps_a_lift_of_that_list_back() {
    let teller = teller("{ news = 'a', offers = 'b' }");
    assert!(teller.keeps("news", "a"));
    assert!(!teller.keeps("news", "b"));
}

#[test]
fn a_lift_is_accounted_for_if_each_of_its_lists_is() {
    let teller = teller("{ news = 'a', offers = ['a', 'b'] }");
    let by = |told: &[&str], reported: &[&str]| {
        let owned = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Accounted {
            told: owned(told),
            reported: owned(reported),
        }
    };
    for (lifted, told, reported, is_accounted) in [
        ("news", vec!["news"], vec![], true),
        ("news", vec!["global"], vec![], true),
        ("news", vec!["offers"], vec![], true),
        ("news", vec!["elsewhere"], vec![], false),
        ("news", vec![], vec!["a"], true),
        ("news", vec![], vec!["news"], false),
        ("offers", vec!["news"], vec![], false),
        ("offers", vec!["news"], vec!["b"], true),
    ] {
        let found = teller.accounts(lifted, &by(&told, &reported));
        assert_eq!(found, is_accounted, "{lifted} {told:?} {reported:?}");
    }
}
