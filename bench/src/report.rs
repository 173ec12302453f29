//! What was measured: a table to read, and the same as JSON in `target/bench/`.

use std::{fmt::Write, path::PathBuf};

use ::tests::binary;
use anyhow::Context;
use serde_json::{Value, json};

/// A measurement's figures, and what they are held against.
#[derive(Debug)]
pub(crate) struct Report {
    name: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Option<f64>>)>,
    bounds: Vec<Bound>,
}

/// One figure that is to be at least, or at most, so much.
#[derive(Debug)]
struct Bound {
    what: String,
    found: f64,
    limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    fn holds(self, found: f64) -> bool {
        match self {
            Self::AtLeast(least) => found >= least,
            Self::AtMost(most) => found <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("at least {}", figure(least)),
            Self::AtMost(most) => format!("at most {}", figure(most)),
        }
    }
}

impl Report {
    pub(crate) fn new(name: &'static str, columns: &[&'static str]) -> Self {
        Self {
            name,
            columns: columns.to_vec(),
            rows: vec![],
            bounds: vec![],
        }
    }

    /// One line, a figure for each column.
    pub(crate) fn row(&mut self, label: impl Into<String>, figures: Vec<Option<f64>>) {
        self.rows.push((label.into(), figures));
    }

    pub(crate) fn bound(&mut self, what: impl Into<String>, found: f64, limit: Limit) {
        let what = what.into();
        self.bounds.push(Bound { what, found, limit });
    }

    /// Prints the table and writes the JSON.
    #[expect(clippy::print_stdout, reason = "the table is what it is run for")]
    pub(crate) fn publish(&self) -> anyhow::Result<()> {
        println!("{}", self.table());
        let folder = folder()?;
        std::fs::create_dir_all(&folder).context("target/bench")?;
        let file = folder.join(format!("{}.json", self.name));
        std::fs::write(&file, format!("{:#}\n", self.json())).context("the report")
    }

    fn table(&self) -> String {
        let label = self.rows.iter().map(|(label, _)| label.chars().count());
        let label = label.chain([self.name.len()]).max().unwrap_or_default();
        let mut table = format!("\n{:label$}", self.name);
        for column in &self.columns {
            write!(table, "  {column:>9}").expect("memory takes any write");
        }
        for (name, figures) in &self.rows {
            write!(table, "\n{name:label$}").expect("memory takes any write");
            for (column, found) in self.columns.iter().zip(figures) {
                let text = found.map_or_else(|| "-".to_owned(), figure);
                let width = column.len().max(9);
                write!(table, "  {text:>width$}").expect("memory takes any write");
            }
        }
        for bound in &self.bounds {
            let holds = if bound.limit.holds(bound.found) {
                "holds"
            } else {
                "MISSED"
            };
            let (what, found, limit) = (&bound.what, figure(bound.found), bound.limit.text());
            write!(table, "\n  {holds:6} {found} ({limit}): {what}")
                .expect("memory takes any write");
        }
        table
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|(label, figures)| {
            let mut row = serde_json::Map::from_iter([("what".to_owned(), json!(label))]);
            let figures = self.columns.iter().zip(figures);
            row.extend(figures.map(|(column, figure)| ((*column).to_owned(), json!(figure))));
            Value::Object(row)
        });
        let bounds = self.bounds.iter().map(|bound| {
            json!({
                "what": bound.what,
                "found": bound.found,
                "limit": bound.limit.text(),
                "holds": bound.limit.holds(bound.found),
            })
        });
        json!({
            "name": self.name,
            "processors": std::thread::available_parallelism().map_or(0, usize::from),
            "rows": rows.collect::<Vec<_>>(),
            "bounds": bounds.collect::<Vec<_>>(),
        })
    }
}

/// Three digits are all that a measurement is good for.
fn figure(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `target/bench`.
fn folder() -> anyhow::Result<PathBuf> {
    let here = binary("bench");
    let target = here.parent().and_then(|profile| profile.parent());
    Ok(target
        .context("this program is in target/PROFILE")?
        .join("bench"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_json_tell_the_same_figures_and_what_was_missed() {
        let mut report = Report::new("door", &["requests/s", "p99 ms"]);
        report.row("bare handler", vec![Some(51_234.0), Some(1.234)]);
        report.row("product", vec![Some(12_345.0), None]);
        report.bound("product : bare", 0.24, Limit::AtLeast(0.6));
        report.bound("resident MiB", 12.0, Limit::AtMost(40.0));
        assert_eq!(
            report.table(),
            "\ndoor          requests/s     p99 ms\
             \nbare handler       51234       1.23\
             \nproduct            12345          -\
             \n  MISSED 0.24 (at least 0.60): product : bare\
             \n  holds  12.0 (at most 40.0): resident MiB"
        );
        let json = report.json();
        assert_eq!(json["rows"][0]["requests/s"], 51_234.0);
        assert_eq!(json["rows"][1]["p99 ms"], Value::Null);
        assert_eq!(json["bounds"][0]["holds"], false);
    }
}
