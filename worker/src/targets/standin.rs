//! For tests: a real HTTP server on a loopback port in the place of a system, events to tell it of, and targets built
//! from their settings as the configuration would.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, Method, Response},
};
use common::{
    contact::Contact,
    delivery::{Answer, Delivery, Outcome},
    envelope::Envelope,
    event::{Draft, Identity, Kind as EventKind, Undetermined},
    settings::Section,
};
use serde_json::Value;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Kind, Setup, Target};
use common::outbound::{DEFAULT_TIMEOUT, Outbound};

/// One request, as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A server that keeps what it received.
pub(crate) struct Standin {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Standin {
    /// `answer` is given the request and how many came before it.
    pub(crate) async fn start(
        answer: impl Fn(&Received, usize) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (kept, answer) = (Arc::clone(&received), Arc::new(answer));
        let router = Router::new().fallback(move |request: Request| {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let path = head.uri.path_and_query().unwrap().to_string();
                let body = to_bytes(body, 1 << 24).await.unwrap();
                let one = Received {
                    method: head.method,
                    path,
                    headers: head.headers,
                    body,
                };
                let before = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(one.clone());
                    kept.len() - 1
                };
                answer(&one, before)
            }
        });
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        drop(tokio::spawn(axum::serve(listener, router).into_future()));
        Self { url, received }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// An answer of a stand-in.
pub(crate) fn response(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(body.into())
        .unwrap()
}

/// The way out of tests: stand-ins are on the loopback.
pub(crate) fn outbound() -> Outbound {
    Outbound::new(vec!["127.0.0.0/8".parse().unwrap()], DEFAULT_TIMEOUT).unwrap()
}

/// The target that the settings make.
pub(crate) fn target(kind: Kind, settings: &str) -> Box<dyn Target> {
    match build(kind, settings, &[EventKind::Unsubscribed]) {
        (Some(target), mistakes) if mistakes.is_empty() => target,
        (_, mistakes) => panic!("{mistakes:?}"),
    }
}

/// What is wrong with the settings, `key: why` each.
pub(crate) fn mistakes(kind: Kind, settings: &str) -> Vec<String> {
    let (target, mistakes) = build(kind, settings, &[EventKind::Unsubscribed]);
    assert_eq!(target.is_none(), !mistakes.is_empty(), "{mistakes:?}");
    mistakes
}

pub(crate) fn build(
    kind: Kind,
    settings: &str,
    events: &[EventKind],
) -> (Option<Box<dyn Target>>, Vec<String>) {
    let environment = [("TOKEN".to_owned(), "s3cret".to_owned())].into();
    let mut section = Section::root(settings.parse().unwrap(), environment);
    let target = (kind.build)(
        &mut section,
        &Setup {
            events,
            rate: kind.rate,
            outbound: &outbound(),
        },
    );
    section.clone().finish();
    (
        target,
        section.mistakes().iter().map(ToString::to_string).collect(),
    )
}

/// The delivery of an event to the target `t`; another `number` is another event, another contact and another reason.
pub(crate) fn delivery(number: u32) -> Delivery {
    delivery_of(
        EventKind::Unsubscribed,
        Contact::email(&format!("Jane{number}@Example.com")).ok(),
        number,
    )
}

pub(crate) fn delivery_of(kind: EventKind, contact: Option<Contact>, number: u32) -> Delivery {
    let envelope = Envelope {
        id: Uuid::from_u128(7),
        source: "shop".to_owned(),
        received_at: "2026-04-02T14:30:01.5Z".parse().unwrap(),
        content_type: None,
        headers: vec![],
        body: Bytes::new(),
    };
    let mut draft = Draft::new(kind, kind.as_str(), Identity::Own(format!("evt-{number}")));
    draft.contact = contact;
    draft.scope = Some("news".to_owned());
    draft.occurred_at = "2026-04-02T14:30:00Z".parse().ok();
    draft.reason = Some("too many \"offers\"".to_owned());
    draft.origin = common::event::Origin::Recipient;
    draft.message_id = Some("msg-1".to_owned());
    draft.campaign_id = Some("spring".to_owned());
    draft
        .metadata
        .insert("ip".to_owned(), Value::from("192.0.2.7"));
    Delivery::new(
        draft.into_event(&envelope, "sentinmail", Undetermined::Suppress),
        "t",
    )
}

/// What the target says of one delivery.
pub(crate) async fn deliver(target: &dyn Target, delivery: &Delivery) -> Answer {
    let mut answers = target.deliver(std::slice::from_ref(delivery)).await;
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// `done`, `retry: why` or `dead: why`.
pub(crate) fn verdict(answer: &Answer) -> String {
    match &answer.outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Withheld => "withheld".to_owned(),
        Outcome::Retry { why, .. } => format!("retry: {why}"),
        Outcome::Dead { why } => format!("dead: {why}"),
    }
}
