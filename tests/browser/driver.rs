//! A headless Chromium, driven over `WebDriver`: JSON over HTTP, of which a dozen commands are needed here.

use std::process::Stdio;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::{http, port, until};
use tokio::process::{Child, Command};

/// How `WebDriver` calls the id of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One window of a browser of its own. It is closed when this is dropped.
pub(crate) struct Page {
    driver: Child,
    http: Client,
    /// The session.
    url: String,
}

impl Page {
    /// Opens a browser.
    pub(crate) async fn new() -> Self {
        let port = port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            // A group of its own, which ends with it whatever the browser is made of.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver, which scripts/install installs");
        let (http, base) = (http(), format!("http://127.0.0.1:{port}"));
        until("the driver answers", async || {
            http.get(format!("{base}/status")).send().await.ok()
        })
        .await;
        // Not a sandbox, which root cannot have: it sees our own pages alone.
        let options = json!({ "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-background-networking", "--no-first-run", "--window-size=1280,900", "--lang=en-US"] });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let opened = http.post(format!("{base}/session")).json(&wanted).send();
        let opened: Value = opened.await.unwrap().json().await.unwrap();
        let session = opened["value"]["sessionId"].as_str();
        let session = session.unwrap_or_else(|| panic!("no session: {opened}"));
        Self {
            driver,
            http,
            url: format!("{base}/session/{session}"),
        }
    }

    /// Asks the driver; the error is what it says.
    async fn try_ask(&self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let request = self
            .http
            .request(method.clone(), format!("{}{path}", self.url));
        let request = if method == Method::POST {
            request.json(&body)
        } else {
            request
        };
        let answer = request.send().await.unwrap();
        let ok = answer.status().is_success();
        let mut body: Value = answer.json().await.unwrap();
        let value = body["value"].take();
        if ok { Ok(value) } else { Err(value) }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.try_ask(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, body).await
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    pub(crate) async fn address(&self) -> String {
        let url = self.ask(Method::GET, "/url", json!(null)).await;
        url.as_str().unwrap().to_owned()
    }

    /// The first element that the CSS selector names, once there is one.
    async fn element(&self, selector: &str) -> String {
        until(&format!("there is {selector}"), async || {
            let wanted = json!({ "using": "css selector", "value": selector });
            let found = self.try_ask(Method::POST, "/element", wanted).await.ok()?;
            found[ELEMENT].as_str().map(str::to_owned)
        })
        .await
    }

    /// Does something with an element once it is there. A page that is brought up to date may put another in its place
    /// meanwhile.
    async fn act(&self, selector: &str, command: &str, body: &Value) {
        until(&format!("{selector} takes {command}"), async || {
            let element = self.element(selector).await;
            let path = format!("/element/{element}/{command}");
            match self.try_ask(Method::POST, &path, body.clone()).await {
                Ok(_) => Some(()),
                Err(error) if error["error"] == "stale element reference" => None,
                Err(error) => panic!("{path}: {error}"),
            }
        })
        .await;
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.act(selector, "click", &json!({})).await;
    }

    /// Types into a field what a person would, or chooses a file by its path.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        self.act(selector, "value", &json!({ "text": text })).await;
    }

    /// Runs a script in the page, and gives what it returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// The same with one that says itself when it is done.
    pub(crate) async fn run_until_done(&self, script: &str) -> Value {
        self.post("/execute/async", json!({ "script": script, "args": [] }))
            .await
    }

    /// What the page says.
    pub(crate) async fn text(&self) -> String {
        let text = self
            .run("return document.body ? document.body.innerText : ''")
            .await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says this.
    pub(crate) async fn says(&self, wanted: &str) {
        until(&format!("the page says {wanted:?}"), async || {
            self.text().await.contains(wanted).then_some(())
        })
        .await;
    }

    /// Waits until the page's heading is this.
    pub(crate) async fn is_headed(&self, wanted: &str) {
        until(&format!("the page is headed {wanted:?}"), async || {
            let script = "return document.readyState === 'complete' ? document.querySelector('h1')?.innerText ?? '' : ''";
            (self.run(script).await == wanted).then_some(())
        })
        .await;
    }

    /// A command of Chromium's own.
    pub(crate) async fn chromium(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("/goog/cdp/execute", body).await
    }

    /// Has pages be shown in `light` or `dark`, and so wide.
    pub(crate) async fn looks(&self, scheme: &str, width: u32) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.chromium("Emulation.setEmulatedMedia", media).await;
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.chromium("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    /// Whether a page is to be scrolled sideways.
    pub(crate) async fn is_too_wide(&self) -> bool {
        let script =
            "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
        self.run(script).await == true
    }

    /// What the browser complained of: broken scripts, what its policy kept from a page, requests that failed.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().unwrap().iter();
        let grave = entries.filter(|entry| entry["level"] == "SEVERE");
        grave.map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(id) = self.driver.id() {
            let group = format!("-{id}");
            let mut kill = std::process::Command::new("kill");
            kill.args(["-KILL", "--", &group]).status().ok();
        }
    }
}
