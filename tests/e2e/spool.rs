//! Real processes with a broker that goes away: ingress answers 200 from its spool, and whatever was answered 200 is
//! recorded, and told once.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use common::ledger::EventFilter;
use futures_util::future::join_all;
use serde_json::Value;
use tests::{Kind, Process, Receiver, Stores, http, until};

use crate::{
    configuration,
    proxy::{Proxy, Way},
    unsubscribed,
};

/// Every named point of the spool.
const POINTS: [&str; 5] = [
    "spool.before_put",
    "spool.put:3",
    "spool.taken",
    "spool.published",
    "spool.finished",
];

/// An ingress that reaches the broker through a proxy, and a worker that reaches it directly.
struct Scene {
    proxy: Proxy,
    ingress: Process,
    worker: Process,
    receiver: Receiver,
    stores: Stores,
}

impl Scene {
    async fn new(max_size: &str, fault: Option<&str>) -> Self {
        let (mut stores, receiver) = (Stores::fresh(Kind::Scaled).await, Receiver::start().await);
        let rest = configuration(&receiver);
        let worker = Process::start("worker", &stores, &rest, None).await;
        let proxy = Proxy::before(&stores.queue).await;
        stores.queue = proxy.url(&stores.queue);
        let path = stores.folder.path().join("spool.db");
        let spool = format!(
            "[ingress.spool]\npath = \"{}\"\nmax_size = \"{max_size}\"\n",
            path.display()
        );
        let ingress = Process::start("ingress", &stores, &(rest + &spool), fault).await;
        Self {
            proxy,
            ingress,
            worker,
            receiver,
            stores,
        }
    }

    /// Waits until the ledger has these and no others, and the target was told of each once.
    async fn told_once(&self, emails: &HashSet<String>) {
        let told = || -> Vec<String> {
            let heard = self.receiver.heard("/hook").into_iter();
            let recipient = |told: Value| told["recipient"].as_str().unwrap_or_default().to_owned();
            heard.map(|heard| recipient(heard.json())).collect()
        };
        until("every one is told", async || {
            let told: HashSet<_> = told().into_iter().collect();
            emails.is_subset(&told).then_some(())
        })
        .await;
        let ledger = self.stores.ledger().await;
        let filter = EventFilter::default();
        let events = ledger.events(&filter, 500, None).await.unwrap().items.len();
        assert_eq!((events, told().len()), (emails.len(), emails.len()));
    }

    /// Waits until nothing waits in the spool.
    async fn drained(&self) {
        until("the spool is empty", async || {
            let metrics = http().get(format!("{}/metrics", self.ingress.ops)).send();
            let metrics = metrics.await.ok()?.text().await.ok()?;
            let mut waiting = metrics
                .lines()
                .filter(|line| line.starts_with("optout_spool_messages{"));
            let first = waiting.next()?;
            (first.ends_with(" 0") && waiting.all(|line| line.ends_with(" 0"))).then_some(())
        })
        .await;
    }
}

/// Addresses of a name and a range of numbers.
fn emails(name: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{name}{number}@example.com"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_broker_silent_then_gone_webhooks_are_answered_200_and_survive_kill_9() {
    let mut scene = Scene::new("64MiB", None).await;
    let mut all = HashSet::new();
    let mut slowest = Duration::ZERO;
    for (way, name) in [
        (Way::Open, "before"),
        (Way::Silent, "silent"),
        (Way::Cut, "cut"),
    ] {
        scene.proxy.become_(way);
        for email in emails(name, 20) {
            let begun = Instant::now();
            scene
                .ingress
                .accepted("notifiedby", &unsubscribed(&email))
                .await;
            slowest = slowest.max(begun.elapsed());
            all.insert(email);
        }
    }
    // At most once a fifth of the time that a request may wait, for the first one.
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");

    // With a full spool, killed, started without its broker, and filled further.
    scene.ingress.kill().await;
    scene.ingress.again().await;
    let ready = http().get(format!("{}/readyz", scene.ingress.ops)).send();
    let ready: Value = ready.await.unwrap().json().await.unwrap();
    assert_eq!(ready["dependencies"]["spool"], "ok");
    assert_ne!(ready["dependencies"]["queue"], "ok");
    for email in emails("again", 20) {
        scene
            .ingress
            .accepted("notifiedby", &unsubscribed(&email))
            .await;
        all.insert(email);
    }
    scene.ingress.kill().await;
    scene.proxy.become_(Way::Open);
    scene.ingress.again().await;
    scene
        .ingress
        .accepted("notifiedby", &unsubscribed("last@example.com"))
        .await;
    all.insert("last@example.com".to_owned());
    scene.told_once(&all).await;
    scene.drained().await;
    assert!(scene.ingress.terminate().await.success());
    assert!(scene.worker.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_answers_503_and_what_it_answered_200_is_told() {
    let scene = Scene::new("1MiB", None).await;
    scene.proxy.become_(Way::Cut);
    let mut taken = HashSet::new();
    // Large ones until there is no room for any, and then small ones until the last page is taken.
    for (name, padding) in [("large", 100 * 1024), ("small", 0)] {
        let padding = " ".repeat(padding);
        let mut refused = 0;
        for email in emails(name, 500) {
            let body = unsubscribed(&email) + &padding;
            let answer = scene.ingress.post("notifiedby", &body).await.unwrap();
            if answer.status() == 200 {
                taken.insert(email);
                continue;
            }
            assert_eq!(answer.status(), 503);
            assert!(answer.headers().contains_key("retry-after"));
            refused += 1;
            if refused == 5 {
                break;
            }
        }
        assert_eq!(refused, 5, "{name}");
    }
    until("ingress is not ready", async || {
        let ready = http().get(format!("{}/readyz", scene.ingress.ops)).send();
        (ready.await.ok()?.status() == 503).then_some(())
    })
    .await;
    scene.proxy.become_(Way::Open);
    scene.told_once(&taken).await;
    scene.drained().await;
    scene.ingress.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_any_two_steps_of_the_spool_nothing_answered_200_is_lost_or_told_twice() {
    join_all(POINTS.map(killed_at)).await;
}

async fn killed_at(point: &str) {
    let mut scene = Scene::new("64MiB", Some(point)).await;
    scene.proxy.become_(Way::Cut);
    let mut answered = HashSet::new();
    for email in emails("user", 5) {
        match scene
            .ingress
            .post("notifiedby", &unsubscribed(&email))
            .await
        {
            Ok(answer) if answer.status() == 200 => drop(answered.insert(email)),
            _ => break,
        }
    }
    scene.proxy.become_(Way::Open);
    scene.ingress.died().await;
    scene.ingress.again().await;
    // What died unanswered may be recorded or not: sent again, as its provider does, it is.
    for email in emails("user", 5) {
        if !answered.contains(&email) {
            let body = unsubscribed(&email);
            scene.ingress.accepted("notifiedby", &body).await;
            answered.insert(email);
        }
    }
    scene.told_once(&answered).await;
    scene.drained().await;
}
