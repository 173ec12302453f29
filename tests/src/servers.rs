//! RabbitMQ, Redis and PostgreSQL of one test's own, one of each or clusters, so that it may kill them.

use std::{path::PathBuf, process::Output};

use tempfile::TempDir;
use tokio::process::Command;

use crate::signal;

/// They end when this is dropped.
pub struct Servers {
    folder: TempDir,
    names: &'static [&'static str],
}

impl Servers {
    /// Starts one of each, and waits until they answer.
    pub async fn start() -> Self {
        Self::of(&["rabbitmq", "redis", "postgres"]).await
    }

    /// Starts those that have these names in `scripts/services`, and waits until they answer.
    pub async fn of(names: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let servers = Self { folder, names };
        servers.launch(names).await;
        servers
    }

    /// Starts one that has ended, and waits until it answers: with its port and its data as before, but Redis, which has
    /// forgotten everything.
    pub async fn again(&self, name: &str) {
        self.launch(&[name]).await;
    }

    async fn launch(&self, names: &[&str]) {
        let Output { status, stderr, .. } = Command::from(self.command("start", names))
            .output()
            .await
            .expect("scripts/services");
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{names:?} do not start: {said}");
    }

    /// Stops one in order.
    pub async fn stop(&self, name: &str) {
        let mut stop = Command::from(self.command("stop", &[name]));
        let output = stop.output().await.expect("scripts/services");
        assert!(output.status.success(), "{name} does not stop");
    }

    /// Sends a signal to all processes of a server.
    pub async fn signal(&self, signal_name: &str, name: &str) {
        signal(signal_name, &format!("-{}", self.id(name))).await;
    }

    /// The id of a server's first process, which is its group's, too.
    pub fn id(&self, name: &str) -> u32 {
        let file = self.folder.path().join(format!("{name}.pid"));
        let id = std::fs::read_to_string(file).expect("the server was started");
        id.trim().parse().expect("a process id")
    }

    /// The URL that `scripts/services` wrote for `OPTOUT_TEST_{name}_URL`.
    pub fn url(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("env")).expect("it was started");
        let start = format!("export OPTOUT_TEST_{name}_URL=");
        let mut lines = text.lines();
        let url = lines.find_map(|line| line.strip_prefix(&start));
        url.expect("an address of each server").to_owned()
    }

    fn command(&self, action: &str, names: &[&str]) -> std::process::Command {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
        let mut command = std::process::Command::new(script);
        command.arg(action).arg(self.folder.path()).args(names);
        command
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Whoever does not stop by then is killed by the script.
        let mut stop = self.command("stop", self.names);
        stop.output().ok();
    }
}
