//! Questions on a terminal. They go to standard error, so that the answer of the command can be kept.

use std::io::{IsTerminal, Write, stderr, stdin};

use anyhow::bail;
use console::Term;

use super::note;

/// How often something is asked before it is given up: a terminal that has gone answers nothing for ever.
const TRIES: usize = 5;

/// Whoever sits there, if anybody does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    can_ask: bool,
}

impl Asker {
    /// Asks if there is a terminal, unless it is to ask nothing.
    pub(super) fn new(silent: bool) -> Self {
        let can_ask = !silent && stdin().is_terminal() && stderr().is_terminal();
        Self { can_ask }
    }

    pub(super) fn can_ask(self) -> bool {
        self.can_ask
    }

    /// A line that `check` finds nothing wrong with; an empty one is the usual answer.
    pub(super) fn text(
        self,
        question: &str,
        usual: Option<&str>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> anyhow::Result<String> {
        let shown = usual.map(|usual| format!(" [{usual}]"));
        self.line(
            &format!("{question}{}", shown.unwrap_or_default()),
            usual,
            check,
        )
    }

    fn line(
        self,
        question: &str,
        usual: Option<&str>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> anyhow::Result<String> {
        self.is_there(question)?;
        for _ in 0..TRIES {
            prompt(&format!("{question}: "))?;
            let mut line = String::new();
            if stdin().read_line(&mut line)? == 0 {
                break;
            }
            let answer = match (line.trim(), usual) {
                ("", Some(usual)) => usual,
                (answer, _) => answer,
            };
            match check(answer) {
                _ if answer.is_empty() => note("an answer is needed"),
                Ok(()) => return Ok(answer.to_owned()),
                Err(why) => note(&why),
            }
        }
        bail!("there was no answer to the question: {question}")
    }

    /// One of several words.
    pub(super) fn word(
        self,
        question: &str,
        words: &[&str],
        usual: Option<&str>,
    ) -> anyhow::Result<String> {
        let all = words.join(", ");
        note(&format!("{question}: {all}"));
        self.text(question, usual, |word| {
            let known = words.contains(&word).then_some(());
            known.ok_or_else(|| format!("{word:?} is none of {all}"))
        })
    }

    /// A line that is not shown while it is typed; none where it may be empty and is.
    pub(super) fn secret(
        self,
        question: &str,
        may_be_empty: bool,
    ) -> anyhow::Result<Option<String>> {
        self.is_there(question)?;
        for _ in 0..TRIES {
            prompt(&format!("{question} (is not shown): "))?;
            let answer = Term::stderr().read_secure_line()?;
            match answer.trim() {
                "" if may_be_empty => return Ok(None),
                "" => note("an answer is needed"),
                answer => return Ok(Some(answer.to_owned())),
            }
        }
        bail!("there was no answer to the question: {question}")
    }

    fn is_there(self, question: &str) -> anyhow::Result<()> {
        if !self.can_ask {
            bail!("there is nobody who could be asked: {question}");
        }
        Ok(())
    }

    pub(super) fn confirm(self, question: &str, usual: bool) -> anyhow::Result<bool> {
        let (shown, usual) = if usual { ("Y/n", "y") } else { ("y/N", "n") };
        let answer = self.line(&format!("{question} ({shown})"), Some(usual), |answer| {
            let known = ["y", "yes", "n", "no"].contains(&answer.to_ascii_lowercase().as_str());
            known
                .then_some(())
                .ok_or_else(|| "answer y or n".to_owned())
        })?;
        Ok(answer.to_ascii_lowercase().starts_with('y'))
    }
}

fn prompt(text: &str) -> anyhow::Result<()> {
    let mut error = stderr();
    error.write_all(text.as_bytes())?;
    Ok(error.flush()?)
}
