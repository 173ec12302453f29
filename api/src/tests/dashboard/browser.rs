//! A browser without script: it keeps a cookie, and sends forms with what their pages put into them.

use std::time::{Duration, Instant};

use super::*;

/// A page is waited for no longer.
const LIMIT: Duration = Duration::from_secs(20);

/// What it shows.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Shown {
    /// Where it leads to.
    pub(super) fn location(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.headers["location"].to_str().unwrap()
    }

    /// The page's one heading.
    pub(super) fn heading(&self) -> &str {
        assert_eq!(self.text.matches("<h1").count(), 1, "{}", self.text);
        let (_, rest) = self.text.split_once("<h1>").unwrap();
        rest.split_once("</h1>").unwrap().0
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    #[track_caller]
    pub(super) fn shows(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.has(text), "{text} is not in {}", self.text);
        }
    }

    #[track_caller]
    pub(super) fn hides(&self, texts: &[&str]) {
        for text in texts {
            assert!(!self.has(text), "{text} is in {}", self.text);
        }
    }

    /// The token that its forms hold.
    pub(super) fn csrf(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }
}

pub(super) struct Browser<'a> {
    router: &'a Router,
    cookie: String,
    pub(super) csrf: String,
}

impl<'a> Browser<'a> {
    pub(super) fn new(router: &'a Router) -> Self {
        Self {
            router,
            cookie: String::new(),
            csrf: String::new(),
        }
    }

    /// One that is signed in.
    pub(super) async fn of(door: &'a Door, role: Role) -> Self {
        let mut browser = Self::new(&door.router);
        let shown = browser.sign_in(&format!("{role}-key-0123")).await;
        assert_eq!(shown.location(), "/");
        browser.csrf = browser.get("/").await.csrf();
        browser
    }

    pub(super) async fn sign_in(&mut self, key: &str) -> Shown {
        let shown = self.send("/sign-in", &[("key", key)]).await;
        if let Some(cookie) = shown.headers.get("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            self.cookie = cookie.split_once(';').unwrap().0.to_owned();
        }
        shown
    }

    /// One that holds this cookie.
    pub(super) fn with(self, cookie: &str) -> Self {
        let cookie = cookie.to_owned();
        Self { cookie, ..self }
    }

    pub(super) fn cookie(&self) -> String {
        self.cookie.clone()
    }

    pub(super) async fn get(&self, path: &str) -> Shown {
        self.ask("GET", path, &[("accept", "text/html")], String::new())
            .await
    }

    /// What a page shows once it has all of these: numbers may be a moment old.
    pub(super) async fn in_the_end(&self, path: &str, texts: &[&str]) -> Shown {
        let begun = Instant::now();
        loop {
            let shown = self.get(path).await;
            if texts.iter().all(|text| shown.has(text)) {
                return shown;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "{texts:?} are never in {}",
                shown.text
            );
            tokio::task::yield_now().await;
        }
    }

    /// Sends a form of a page of ours, with the session's token.
    pub(super) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let with_csrf = [&[("csrf", self.csrf.as_str())], fields].concat();
        self.send(path, &with_csrf).await
    }

    /// Sends these fields and no others.
    pub(super) async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.ask("POST", path, &headers, body.finish()).await
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Shown {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        let request = request.body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 64 << 20).await.unwrap();
        Shown {
            status: parts.status.as_u16(),
            headers: parts.headers,
            // The templates write slashes so.
            text: String::from_utf8(bytes.to_vec())
                .unwrap()
                .replace("&#x2f;", "/"),
        }
    }
}
