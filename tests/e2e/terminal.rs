//! Questions of commands, on a terminal as a person has one.

use std::{path::Path, process::Stdio};

use tests::{binary, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::onboarding::{COMMENT, done, file, read};

/// A command on a terminal of its own, whose questions are waited for.
struct Terminal {
    child: tokio::process::Child,
    said: String,
    /// Up to where it was looked at.
    seen: usize,
}

impl Terminal {
    async fn start(file: &Path, arguments: &str) -> Self {
        let (program, file) = (binary("optout"), file.display());
        let line = format!(
            "tty; exec {} {arguments} --config {file}",
            program.display()
        );
        let mut command = Command::new("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .kill_on_drop(true);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut terminal = Self {
            child: child.unwrap(),
            said: String::new(),
            seen: 0,
        };
        terminal.until("\n").await;
        terminal
    }

    /// Whether what is typed is shown.
    async fn shows(&self) -> bool {
        let device = self.said.lines().next().unwrap().trim();
        let state = Command::new("stty")
            .args(["-F", device, "-a"])
            .output()
            .await
            .unwrap();
        !String::from_utf8(state.stdout).unwrap().contains(" -echo ")
    }

    async fn until(&mut self, question: &str) {
        let mut buffer = [0; 1024];
        loop {
            if let Some(at) = self.said[self.seen..].find(question) {
                self.seen += at + question.len();
                return;
            }
            let output = self.child.stdout.as_mut().unwrap();
            let read = output.read(&mut buffer).await.unwrap();
            assert!(read > 0, "waited in vain for {question:?}: {}", self.said);
            self.said += &String::from_utf8_lossy(&buffer[..read]);
        }
    }

    async fn write(&mut self, answer: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input
            .write_all(format!("{answer}\n").as_bytes())
            .await
            .unwrap();
        input.flush().await.unwrap();
    }

    async fn answer(&mut self, question: &str, answer: &str) {
        self.until(question).await;
        self.write(answer).await;
    }

    /// Answers once what is typed is not shown any more.
    async fn answer_hidden(&mut self, question: &str, answer: &str) {
        self.until(question).await;
        until("nothing is shown", async || {
            (!self.shows().await).then_some(())
        })
        .await;
        self.write(answer).await;
    }

    async fn end(mut self) -> (bool, String) {
        let mut rest = vec![];
        let output = self.child.stdout.as_mut().unwrap();
        output.read_to_end(&mut rest).await.unwrap();
        self.said += &String::from_utf8_lossy(&rest);
        (self.child.wait().await.unwrap().success(), self.said)
    }
}

#[tokio::test]
async fn on_a_terminal_what_is_missing_is_asked_for_and_a_secret_is_not_shown() {
    let (_folder, file) = file("");
    let mut terminal = Terminal::start(&file, "sources add").await;
    terminal.answer("Provider:", "pigeon").await;
    terminal.answer("is none of", "resend").await;
    terminal.answer("Name [resend]", "").await;
    terminal
        .answer("Where providers reach ingress", "https://hooks.example.com")
        .await;
    terminal
        .answer_hidden("(is not shown)", "whsec_typed")
        .await;
    terminal.answer("(Y/n)", "y").await;
    let (succeeded, said) = terminal.end().await;
    assert!(succeeded && !said.contains("whsec_typed"), "{said}");
    let kept = file.with_file_name("secrets").join("source-resend-secret");
    assert_eq!(read(&kept), "whsec_typed\n");
    assert!(read(&file).starts_with(COMMENT));
    done(&file, &["config", "check"]).await;

    let mut terminal = Terminal::start(&file, "targets add file").await;
    terminal.answer("Name [file]", "log").await;
    terminal.answer("What it is told of [*]", "").await;
    terminal.answer("[data/events.jsonl]", "").await;
    terminal.answer("Write this to", "n").await;
    let (succeeded, said) = terminal.end().await;
    assert!(!succeeded && said.contains("nothing was written"), "{said}");
    assert!(!read(&file).contains("[[targets]]"));
}
