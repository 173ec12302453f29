//! A service as its users run it: a real process, started, watched, killed and started again.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use reqwest::Response;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{Stores, http, until};

/// The key that every process under test takes.
pub const API_KEY: &str = "end-to-end-key";

/// The variable that names the point at which a process dies, as `route.recorded:3`.
pub const FAULT: &str = "OPTOUT_FAULT";

/// One process, or what is left of it.
pub struct Process {
    program: &'static str,
    configuration: PathBuf,
    child: Child,
    pub door: String,
    pub api: String,
    pub ops: String,
}

impl Process {
    /// Starts `program` (`optout`, `ingress`, `worker` or `api`) with `rest` of a configuration over `stores`, and waits
    /// until it is ready. `fault` names a point at which it dies.
    pub async fn start(
        program: &'static str,
        stores: &Stores,
        rest: &str,
        fault: Option<&str>,
    ) -> Self {
        let environment = fault.map(|fault| (FAULT, fault));
        Self::start_with(program, stores, rest, environment.as_slice()).await
    }

    /// The same with these variables in its environment, which go before its configuration.
    pub async fn start_with(
        program: &'static str,
        stores: &Stores,
        rest: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let [door, api, ops] = [port(), port(), port()];
        let ops_section = match program {
            "ingress" | "optout" => "ingress",
            other => other,
        };
        let bind = |section: &str, port: u16| {
            let ops = if section == ops_section {
                format!("ops_bind = \"127.0.0.1:{ops}\"\n")
            } else {
                String::new()
            };
            let keys = if section == "api" {
                format!("keys = [{{ name = \"e2e\", key = \"{API_KEY}\", role = \"admin\" }}]\n")
            } else {
                String::new()
            };
            format!("[{section}]\nbind = \"127.0.0.1:{port}\"\n{ops}{keys}")
        };
        let worker_ops = if ops_section == "worker" {
            format!("ops_bind = \"127.0.0.1:{ops}\"\n")
        } else {
            String::new()
        };
        let text = format!(
            "{}{}[worker]\n{worker_ops}sweep_every = \"1s\"\n{}{rest}",
            bind("ingress", door),
            bind("api", api),
            stores.configuration(),
        );
        let configuration = stores.folder.path().join(format!("{program}-{ops}.toml"));
        std::fs::write(&configuration, text).expect("a configuration file");
        let child = spawn(program, &configuration, environment);
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        let process = Self {
            program,
            configuration,
            child,
            door: local(door),
            api: local(api),
            ops: local(ops),
        };
        process.ready().await;
        process
    }

    /// Waits until every dependency answers.
    pub async fn ready(&self) {
        let url = format!("{}/readyz", self.ops);
        until(&format!("{} is ready", self.program), async || {
            http()
                .get(&url)
                .send()
                .await
                .ok()
                .filter(|answer| answer.status().is_success())
        })
        .await;
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the process was running");
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        signal("TERM", &self.id().to_string()).await;
        self.child.wait().await.expect("the process ends")
    }

    /// Waits for it to end by itself, as it does at a fault point.
    pub async fn died(&mut self) {
        until("the process dies at its fault point", async || {
            self.child.try_wait().expect("a child").map(drop)
        })
        .await;
    }

    /// Its id, while it runs.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the process was running")
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Starts it again as it was, without a fault.
    pub async fn again(&mut self) {
        self.again_with(&[]).await;
    }

    /// Starts it again with these variables in its environment.
    pub async fn again_with(&mut self, environment: &[(&str, &str)]) {
        self.launch(environment);
        self.ready().await;
    }

    /// The same without waiting, for one that [`FAULT`] lets die early.
    pub fn launch(&mut self, environment: &[(&str, &str)]) {
        self.child = spawn(self.program, &self.configuration, environment);
    }

    /// Which of the workspace's programs it is.
    pub fn program(&self) -> &'static str {
        self.program
    }

    /// Posts a webhook.
    pub async fn post(&self, source: &str, body: &str) -> Result<Response, reqwest::Error> {
        let request = http()
            .post(format!("{}/webhooks/{source}", self.door))
            .body(body.to_owned());
        request
            .header("content-type", "application/json")
            .send()
            .await
    }

    /// Posts a webhook that is to be accepted, and gives the envelope's id.
    pub async fn accepted(&self, source: &str, body: &str) -> String {
        let answer = self.post(source, body).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["received"], true);
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// The file that it was started with.
    pub fn configuration(&self) -> &std::path::Path {
        &self.configuration
    }

    /// Asks the api.
    pub async fn get(&self, path: &str) -> Value {
        let request = http()
            .get(format!("{}{path}", self.api))
            .bearer_auth(API_KEY);
        request
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON")
    }

    /// Asks the api with a body; there is no answer if the process dies over it.
    pub async fn try_ask(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Response, reqwest::Error> {
        let method = method.parse().expect("a method");
        let request = http().request(method, format!("{}{path}", self.api));
        let request = request.bearer_auth(API_KEY).body(body.to_string());
        request.send().await
    }

    /// Asks the api with a body, and gives the status and the answer.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.try_ask(method, path, body).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.bytes().await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Asks the api what makes the process die before it answers.
    pub async fn is_cut_off(&self, method: &str, path: &str, body: &Value) {
        let method = method.parse().expect("a method");
        let request = http().request(method, format!("{}{path}", self.api));
        let request = request.bearer_auth(API_KEY).body(body.to_string());
        request.send().await.expect_err("no answer");
    }

    /// Asks the api to do something, and gives the status.
    pub async fn do_it(&self, path: &str) -> u16 {
        let request = http()
            .post(format!("{}{path}", self.api))
            .bearer_auth(API_KEY);
        request.send().await.expect("an answer").status().as_u16()
    }
}

/// Sends a signal to a process, or to its group if a minus stands before its id.
pub async fn signal(name: &str, id: &str) {
    let mut kill = Command::new("kill");
    let sent = kill
        .args([&format!("-{name}"), "--", id])
        .status()
        .await
        .expect("kill");
    assert!(sent.success(), "there is no process {id}");
}

fn spawn(program: &str, configuration: &std::path::Path, environment: &[(&str, &str)]) -> Child {
    let mut command = Command::new(binary(program));
    command
        .arg("--config")
        .arg(configuration)
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(configuration.with_extension("log"));
    command.stderr(log.expect("a log file"));
    command.envs(environment.iter().copied());
    command.spawn().unwrap_or_else(|error| {
        panic!("cannot start {program}: {error}; run the tests by scripts/test")
    })
}

/// The workspace's binary, which `scripts/test` builds in the folder above this test's, and `scripts/bench` beside this
/// program.
pub fn binary(program: &str) -> PathBuf {
    let here = std::env::current_exe().expect("this program's path");
    let folder = here.parent().expect("target/PROFILE or its deps");
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    above.unwrap_or(folder).join(program)
}

/// A port that nobody listens on, below those that the kernel hands out by itself: so it is still free when a process is
/// started again on it.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + u16::try_from(std::process::id() % 100).expect("below 100") * 200;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
