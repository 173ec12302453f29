//! `optout compliance`: how long opt-outs took to hold everywhere, and which of them did not in time.

use std::process::ExitCode;

use common::config::{Loaded, Role};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use crate::{
    client::{self, Api},
    table::aligned,
    time::moment,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: client::Reach,
    /// Opt-outs received from then on: RFC 3339, or how long ago, such as 12h or 7d; else in the last 30 days
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Opt-outs received before then; else until now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// The report as it came
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) async fn report(loaded: Loaded, options: Options) -> anyhow::Result<ExitCode> {
    let api = Api::new(&loaded, &options.reach, Role::Read)?;
    let span = [("from", options.from), ("to", options.to)];
    let request = api.request(Method::GET, "/api/v1/compliance")?.query(&span);
    let report = api.json(request).await?;
    if options.json {
        println!("{report}");
    } else {
        println!("{}", lines(&report).join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The report as a table: a line for our own ledger and for each target, then what was late.
fn lines(report: &Value) -> Vec<String> {
    let span = format!(
        "{} opt-outs from {} to {}",
        report["opt_outs"],
        text(&report["from"]),
        text(&report["to"])
    );
    let titles = ["", "held", "waiting", "dead", "p50", "p95", "p99", "max"];
    let mut rows = vec![titles.map(str::to_owned)];
    let times = |row: &Value| ["p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|name| took(&row[name]));
    let row = |name: &str, counts: [&Value; 3], [p50, p95, p99, max]: [String; 4]| {
        let [held, waiting, dead] = counts.map(shown);
        [name.to_owned(), held, waiting, dead, p50, p95, p99, max]
    };
    let applied = &report["applied"];
    let none = Value::Null;
    rows.push(row(
        "(applied)",
        [&applied["count"], &none, &none],
        times(applied),
    ));
    for target in report["targets"].as_array().into_iter().flatten() {
        let counts = [&target["delivered"], &target["waiting"], &target["dead"]];
        rows.push(row(&text(&target["target"]), counts, times(target)));
    }
    let mut lines = vec![span];
    lines.extend(aligned(&rows, 1));
    for (name, title) in [
        ("over_48_hours", "over 48 hours"),
        ("over_10_business_days", "over 10 business days"),
    ] {
        lines.push(format!("{title}: {}", report[name]["count"]));
        let items = report[name]["items"].as_array().into_iter().flatten();
        lines.extend(items.map(late));
    }
    lines
}

fn late(item: &Value) -> String {
    let place = item["target"].as_str().unwrap_or("(applied)");
    format!(
        "  {} {} of {} received {}: {place} {} after {} h",
        text(&item["event_id"]),
        text(&item["kind"]),
        text(&item["source"]),
        text(&item["received_at"]),
        text(&item["state"]),
        item["took_hours"]
    )
}

/// A time as people read it.
fn took(ms: &Value) -> String {
    match ms.as_u64() {
        None => "-".to_owned(),
        Some(ms) if ms < 1_000 => format!("{ms} ms"),
        Some(ms) if ms < 60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        Some(ms) if ms < 3_600_000 => format!("{} min", ms / 60_000),
        Some(ms) => format!("{} h", ms / 3_600_000),
    }
}

fn shown(count: &Value) -> String {
    count
        .as_i64()
        .map_or_else(|| "-".to_owned(), |count| count.to_string())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_has_a_line_for_the_ledger_and_each_target_and_names_what_was_late() {
        let report = json!({
            "from": "2026-03-01T00:00:00Z", "to": "2026-03-31T00:00:00Z", "opt_outs": 3,
            "applied": { "count": 3, "p50_ms": 4, "p95_ms": 1250, "p99_ms": 61_000, "max_ms": 7_200_000 },
            "targets": [{ "target": "slack", "delivered": 1, "waiting": 2, "dead": 0,
                "p50_ms": 90, "p95_ms": 90, "p99_ms": 90, "max_ms": null }],
            "over_48_hours": { "count": 1, "items": [{ "event_id": "e1", "source": "shop", "kind": "unsubscribed",
                "received_at": "2026-03-02T00:00:00Z", "target": "slack", "delivered_at": null, "took_hours": 50.5,
                "state": "retrying" }] },
            "over_10_business_days": { "count": 0, "items": [] },
        });
        let expected = [
            "3 opt-outs from 2026-03-01T00:00:00Z to 2026-03-31T00:00:00Z",
            "           held  waiting  dead    p50    p95    p99  max",
            "(applied)     3        -     -   4 ms  1.2 s  1 min  2 h",
            "slack         1        2     0  90 ms  90 ms  90 ms    -",
            "over 48 hours: 1",
            "  e1 unsubscribed of shop received 2026-03-02T00:00:00Z: slack retrying after 50.5 h",
            "over 10 business days: 0",
        ];
        assert_eq!(lines(&report), expected);
    }
}
