//! What providers' bodies may hold, every parser withstands.

use hostile::{bytes, withstands};
use jiff::Timestamp;

use super::{
    ALL, Keys, Provider, Sample,
    sample::reading::{envelope, events},
    talkable::{self, Question},
};
use crate::{
    delivery::Delivery,
    envelope::Envelope,
    event::{Effect, Event},
    queue::Priority,
};

/// The bodies of the samples, the provider's own first.
fn bodies(provider: &dyn Provider) -> Vec<&'static str> {
    let others = ALL.iter().filter(|other| other.name() != provider.name());
    let others = others.flat_map(|other| other.samples().iter().take(1));
    let own = provider.samples().iter();
    own.chain(others).map(Sample::body).collect()
}

#[test]
fn no_body_makes_a_parser_panic_tell_an_address_or_let_an_opt_out_wait() {
    for provider in ALL.iter().copied() {
        let parser = format!("{} parse, priority", provider.name());
        withstands(&parser, file!(), &bytes(bodies(provider)), |body| {
            let envelope = Envelope {
                body: body.into(),
                ..envelope("")
            };
            let priority = provider.priority(&envelope.body);
            let results = events(provider, &envelope).unwrap_or_else(|why| vec![Err(why)]);
            for result in results {
                match result {
                    Ok(event) => holds(event, priority),
                    Err(why) => assert!(!why.0.contains("@example"), "{why}"),
                }
            }
        });
    }
}

/// What is true of every event, whatever it was read from.
fn holds(event: Event, priority: Priority) {
    assert!(priority == Priority::Urgent || event.effect == Effect::None);
    // A backslash of the text is two in JSON, and is no escape of a NUL with what follows it.
    let escapes = serde_json::to_string(&event).unwrap().replace(r"\\", "");
    assert!(!escapes.contains(r"\u0000"), "a NUL is not stored");
    assert!(event.occurred_at >= Timestamp::UNIX_EPOCH);
    let delivery = Delivery::new(event, "target");
    assert_eq!(Delivery::decode(&delivery.encode()).unwrap(), delivery);
}

#[test]
fn no_form_makes_the_reader_of_talkable_s_question_panic() {
    let samples = talkable::SAMPLES.iter().map(Sample::body);
    withstands("talkable form", file!(), &bytes(samples), |form| {
        if let Ok(question) = Question::read(&form)
            && let Ok(asked) = question.asked()
        {
            assert!(asked.contacts.len() <= 2);
        }
    });
}

#[test]
fn a_question_is_asked_by_any_key_and_site_as_they_are() {
    let provider = super::find("talkable").unwrap();
    let words = [
        "k&y=1",
        "a site+%41",
        "payload={",
        "<site>",
        "&payload={\"a\":1}",
    ];
    let pairs = (hostile::text(words), hostile::text(words));
    withstands("talkable credentials", file!(), &pairs, |(key, site)| {
        let keys = Keys {
            secrets: vec![key.clone().into()],
            site: Some(site.clone()),
            ..Keys::default()
        };
        let proof = provider.prove(&talkable::SAMPLES[0], &keys, Timestamp::UNIX_EPOCH);
        let question = Question::read(proof.unwrap().body.as_bytes()).unwrap();
        assert_eq!((question.key, question.site), (key, site));
    });
}
