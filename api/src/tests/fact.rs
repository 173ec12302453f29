//! What tests have happened.

use super::*;

/// Something that happened to Jane at `shop`, unless said otherwise.
#[derive(Clone)]
pub(super) struct Fact {
    pub(super) kind: Kind,
    pub(super) source: &'static str,
    pub(super) contact: Option<Contact>,
    pub(super) scope: Option<&'static str>,
    pub(super) received_at: Timestamp,
    pub(super) body: &'static [u8],
}

pub(super) fn fact(kind: Kind) -> Fact {
    Fact {
        kind,
        source: "shop",
        contact: Some(Contact::email("Jane@Example.com").unwrap()),
        scope: None,
        received_at: clock::now(),
        body: b"{\"who\": \"Jane\"}",
    }
}

impl Fact {
    pub(super) fn envelope(&self) -> Envelope {
        Envelope {
            id: Uuid::now_v7(),
            source: self.source.to_owned(),
            received_at: self.received_at,
            content_type: Some("application/json".to_owned()),
            headers: vec![("user-agent".to_owned(), "test".to_owned())],
            body: self.body.into(),
        }
    }

    pub(super) fn event(self) -> (Envelope, Event) {
        let envelope = self.envelope();
        let mut draft = Draft::new(
            self.kind,
            "their name",
            Identity::Own(envelope.id.to_string()),
        );
        draft.contact = self.contact;
        draft.scope = self.scope.map(str::to_owned);
        draft.reason = Some("no interest".to_owned());
        let event = draft.into_event(&envelope, "test", Undetermined::Suppress);
        (envelope, event)
    }
}
