//! `optout reconcile`: compares whom platforms list as suppressed with the ledger. Asks the api for it, and follows the job,
//! which a worker does; it goes on without this command.

use std::{
    io::Write,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use common::config::{Loaded, Role};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    client::{self, Api},
    download,
    table::aligned,
};

const PATH: &str = "/api/v1/reconciliations";

/// How often the job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// After how long it is said that no worker has begun it.
const SHOULD_HAVE_BEGUN: Duration = Duration::from_secs(30);

/// The exit status after Ctrl-C, as shells know it.
const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: client::Reach,
    /// Only the lists of this target; else of all whose platforms can be read
    #[arg(long)]
    target: Option<String>,
    /// Suppress on both sides who is suppressed on one. It only ever suppresses, and lifts nothing: so nobody is asked
    #[arg(long)]
    repair: bool,
    /// The job as the api shows it, without a progress bar
    #[arg(long)]
    json: bool,
    /// Write all differences to this file as CSV; - for standard output, with everything else on standard error
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

pub(crate) async fn reconcile(loaded: Loaded, options: Options) -> anyhow::Result<ExitCode> {
    let is_piped = options.csv.as_deref() == Some(Path::new("-"));
    if is_piped && options.json {
        bail!("--json and --csv - both want standard output: give --csv a file");
    }
    let api = Api::new(&loaded, &options.reach, Role::Write)?;
    let wish = json!({ "target": options.target, "repair": options.repair });
    let asked = api
        .json(api.request(Method::POST, PATH)?.json(&wish))
        .await?;
    let id = asked["id"]
        .as_str()
        .context("the api's answer has no id")?
        .to_owned();
    let run = follow(&api, &format!("{PATH}/{id}"), asked, options.json).await?;
    let goes_on = run["state"] == "running";
    let tell = |lines: &[String]| {
        if options.json {
            print(&[run.to_string()]);
        } else if is_piped {
            note(&lines.join("\n"));
        } else {
            print(lines);
        }
    };
    if goes_on {
        tell(&[format!("the reconciliation goes on; see GET {PATH}/{id}")]);
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let mut place = format!("see {}", api.at(&format!("/reconciliations/{id}"))?);
    if options.csv.is_none() {
        place.push_str(", or write them to a file by --csv FILE");
    }
    tell(&lines(&run, place));
    if let Some(file) = &options.csv {
        let request = api.request(Method::GET, &format!("{PATH}/{id}/export"))?;
        let file = Some(file.as_path()).filter(|_| !is_piped);
        download::write(api.send(request).await?, file).await?;
    }
    if run["state"] == "failed" {
        let why = run["error"].as_str().unwrap_or_default();
        bail!("the reconciliation failed: {why}");
    }
    Ok(if agrees(&run) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Looks at the job until it has ended, or Ctrl-C: then it runs still.
async fn follow(api: &Api, path: &str, mut run: Value, json: bool) -> anyhow::Result<Value> {
    let bar = if json {
        ProgressBar::hidden()
    } else {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")?;
        ProgressBar::new_spinner().with_style(style)
    };
    let (begun, mut is_told) = (Instant::now(), false);
    // One for all, so that it is heard while the api is asked, too.
    let mut pressed = pin!(tokio::signal::ctrl_c());
    while run["state"] == "running" {
        bar.set_message(progress(&run));
        if lists(&run).is_empty() && !is_told && begun.elapsed() > SHOULD_HAVE_BEGUN {
            is_told = true;
            bar.suspend(|| {
                note("no worker has begun it yet: is one running, or still at another?");
            });
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            pressed = &mut pressed => {
                pressed?;
                bar.abandon();
                return Ok(run);
            }
        }
        let look = api.json(api.request(Method::GET, path)?).await;
        run = look.with_context(|| format!("the reconciliation goes on; see GET {path}"))?;
    }
    bar.finish_and_clear();
    Ok(run)
}

fn progress(run: &Value) -> String {
    let done = lists(run)
        .iter()
        .filter(|list| list["finished_at"] != Value::Null);
    format!(
        "{} contacts listed, {} lists done",
        sum(run, &["listed"]),
        done.count()
    )
}

/// What came of it: a line for each list, then how much differs, and where that is to be seen.
fn lines(run: &Value, place: String) -> Vec<String> {
    if lists(run).is_empty() {
        return vec!["nothing was compared".to_owned()];
    }
    let titles = [
        "target",
        "list",
        "listed",
        "only theirs",
        "only ours",
        "differs",
        "repaired",
    ];
    let mut rows = vec![titles.map(str::to_owned)];
    let mut notes = vec![String::new()];
    for list in lists(run) {
        let text = |name: &str| list[name].as_str().unwrap_or_default().to_owned();
        let count = |name: &str| list[name].to_string();
        rows.push([
            text("target"),
            text("list"),
            count("listed"),
            count("only_theirs"),
            count("only_ours"),
            count("differs"),
            count("repaired"),
        ]);
        notes.push(remark(list));
    }
    let rows = aligned(&rows, 2).into_iter().zip(notes);
    let mut lines: Vec<_> = rows
        .map(|(row, remark)| format!("{row}  {remark}").trim_end().to_owned())
        .collect();
    let (different, repaired) = (different(run), sum(run, &["repaired"]));
    if different == 0 {
        lines.push("nothing differs in what was compared".to_owned());
        return lines;
    }
    lines.push(if run["repair"] == true {
        format!("{different} differ, of which {repaired} are being repaired")
    } else {
        format!("{different} differ")
    });
    lines.push(place);
    lines
}

/// What else is to be known of a list.
fn remark(list: &Value) -> String {
    match (list["error"].as_str(), list["unread"].as_u64()) {
        (Some(why), _) => format!("not compared: {why}"),
        (None, Some(unread)) if unread > 0 => format!("{unread} of its entries name nobody"),
        (None, _) => String::new(),
    }
}

/// Whether every list was compared, and all that differs is being repaired.
fn agrees(run: &Value) -> bool {
    let is_compared = |list: &Value| list["error"].is_null();
    !lists(run).is_empty()
        && lists(run).iter().all(is_compared)
        && different(run) <= sum(run, &["repaired"])
}

fn different(run: &Value) -> u64 {
    sum(run, &["only_theirs", "only_ours", "differs"])
}

/// These counts of all lists together.
fn sum(run: &Value, names: &[&str]) -> u64 {
    let counts = lists(run)
        .iter()
        .flat_map(|list| names.iter().filter_map(|name| list[*name].as_u64()));
    counts.sum()
}

fn lists(run: &Value) -> &[Value] {
    run["lists"].as_array().map_or(&[], Vec::as_slice)
}

/// Not by `println!`, which panics where the reader is gone: what else was asked for is done all the same.
fn print(lines: &[String]) {
    writeln!(std::io::stdout(), "{}", lines.join("\n")).ok();
}

#[expect(clippy::print_stderr, reason = "a word beside the answer")]
fn note(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(place: [&str; 2], counts: [u64; 5], error: Option<&str>) -> Value {
        let [target, name] = place;
        let [listed, only_theirs, only_ours, differs, repaired] = counts;
        json!({ "target": target, "list": name, "listed": listed, "unread": 0, "only_theirs": only_theirs,
            "only_ours": only_ours, "differs": differs, "repaired": repaired, "error": error,
            "finished_at": "2026-04-02T14:30:00Z" })
    }

    fn run(repair: bool, lists: &[Value]) -> Value {
        json!({ "state": "done", "repair": repair, "lists": lists })
    }

    #[test]
    fn the_table_has_a_line_for_each_list_and_says_what_was_not_compared() {
        let news = list(["news", "global"], [1_204, 3, 1, 0, 0], None);
        let mut receipts = list(["receipts", "outbound"], [311, 0, 0, 1, 0], None);
        receipts["unread"] = json!(2);
        let why = Some("401: the token is refused");
        let refused = list(["receipts", "broadcast"], [0, 0, 0, 0, 0], why);
        let run = run(false, &[news, receipts, refused]);
        assert_eq!(progress(&run), "1515 contacts listed, 3 lists done");
        let expected = [
            "target    list       listed  only theirs  only ours  differs  repaired",
            "news      global       1204            3          1        0         0",
            "receipts  outbound      311            0          0        1         0  2 of its entries name nobody",
            "receipts  broadcast       0            0          0        0         0  not compared: 401: the token is refused",
            "5 differ",
            "see there",
        ];
        assert_eq!(lines(&run, "see there".to_owned()), expected);
    }

    #[test]
    fn it_agrees_if_all_was_compared_and_nothing_is_left_to_repair() {
        let a = |counts| list(["x", "a"], counts, None);
        let given_up = list(["x", "b"], [0, 0, 0, 0, 0], Some("503"));
        let cases = [
            (vec![], false, "nothing was compared"),
            (vec![a([9, 0, 0, 0, 0])], true, "nothing differs"),
            (vec![a([9, 1, 1, 1, 3])], true, "3 differ, of which 3"),
            (vec![a([9, 1, 1, 1, 2])], false, "3 differ, of which 2"),
            (
                vec![a([9, 0, 0, 0, 0]), given_up],
                false,
                "nothing differs in what",
            ),
        ];
        for (lists, expected, said) in cases {
            let run = run(true, &lists);
            assert_eq!(agrees(&run), expected, "{run}");
            let text = lines(&run, String::new()).join("\n");
            assert!(text.contains(said), "{text}");
        }
        let found = run(false, &[a([9, 1, 0, 0, 0])]);
        assert!(!agrees(&found));
        assert!(lines(&found, String::new()).contains(&"1 differ".to_owned()));
    }
}
