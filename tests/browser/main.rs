//! The dashboard in a real browser, over real processes and both sets of stores.
#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod accessible;
mod driver;
mod links;
mod live;
mod refusals;
mod work;

use serde_json::json;
use tests::{API_KEY, Kind, Process, Receiver, Stores};

use driver::Page;

/// Both sets of stores.
const BOTH: [Kind; 2] = [Kind::Embedded, Kind::Scaled];

/// A person before a browser, and what it shows the dashboard of.
struct Desk {
    optout: Process,
    receiver: Receiver,
    page: Page,
    stores: Stores,
}

impl Desk {
    /// Two sources that anybody may call, and one target that hears of everything.
    async fn new(kind: Kind) -> Self {
        let (stores, receiver) = (Stores::fresh(kind).await, Receiver::start().await);
        let source = |name: &str| {
            format!(
                "[[sources]]\nname = \"{name}\"\nprovider = \"{name}\"\nauth = {{ kind = \"none\" }}\n"
            )
        };
        let rest = format!(
            "[retry]\nschedule = [\"300ms\"]\n[outbound]\nallow_networks = [\"127.0.0.0/8\"]\n{}{}\
             [[targets]]\nname = \"hook\"\nkind = \"http\"\nevents = [\"*\"]\nurl = \"{}\"\ntimeout = \"2s\"\n\
             secret = \"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"\n{}",
            source("notifiedby"),
            source("postmark"),
            receiver.url("/hook"),
            links::CONFIGURED
        );
        Self {
            optout: Process::start("optout", &stores, &rest, None).await,
            receiver,
            page: Page::new().await,
            stores,
        }
    }

    /// The same, signed in as an admin.
    async fn signed_in(kind: Kind) -> Self {
        let desk = Self::new(kind).await;
        desk.sign_in(API_KEY).await;
        desk.page.is_headed("Overview").await;
        desk
    }

    async fn open(&self, path: &str) {
        self.page.open(&format!("{}{path}", self.optout.api)).await;
    }

    async fn sign_in(&self, key: &str) {
        self.open("/").await;
        self.page.is_headed("Sign in").await;
        self.page
            .type_into("input[type=password][name=key]", key)
            .await;
        self.page.click("button[type=submit]").await;
    }

    /// A key of this role.
    async fn key(&self, role: &str) -> String {
        let wanted = json!({ "name": format!("the-{role}-key"), "role": role });
        let (status, made) = self.optout.ask("POST", "/api/v1/keys", &wanted).await;
        assert_eq!(status, 201, "{made}");
        made["key"].as_str().unwrap().to_owned()
    }

    async fn unsubscribe(&self, email: &str) {
        let body = format!(
            r#"{{"event":"unsubscribed","email":"{email}","timestamp":"2026-04-02T18:04:00Z"}}"#
        );
        self.optout.accepted("notifiedby", &body).await;
    }
}
