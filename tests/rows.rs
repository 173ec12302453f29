//! Every statement of the five pages that the product began with is shown by a test that names it.
//!
//! The statements are numbered in the order of the pages: `NB` NotifiedBy, `TK` Talkable, `BR` the Brevo document, `SM` SentinMail, `PM` Postmark.
//! A test says which of them it shows in a line `// rows: NB-1, NB-2` above its attribute.
#![expect(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// How many statements each document has.
const DOCUMENTS: [(&str, u32); 5] = [("NB", 21), ("TK", 34), ("BR", 28), ("SM", 29), ("PM", 33)];

#[test]
fn every_statement_of_the_documents_is_shown_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in sources(&root) {
        for (row, test) in rows(&fs::read_to_string(&file).unwrap(), &file) {
            shown.entry(row).or_default().push(test);
        }
    }
    let stated: BTreeSet<_> = DOCUMENTS
        .iter()
        .flat_map(|(document, count)| (1..=*count).map(move |row| format!("{document}-{row}")))
        .collect();
    let unshown: Vec<_> = stated
        .iter()
        .filter(|row| !shown.contains_key(*row))
        .collect();
    assert!(unshown.is_empty(), "no test shows {unshown:?}");
    let unstated: Vec<_> = shown
        .iter()
        .filter(|(row, _)| !stated.contains(*row))
        .collect();
    assert!(unstated.is_empty(), "no document states {unstated:?}");
}

/// The workspace's source files.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders: Vec<_> = ["common", "ingress", "worker", "api", "optout", "tests"]
        .map(|member| root.join(member))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The rows that a file names, each with the test below.
fn rows(text: &str, file: &Path) -> Vec<(String, String)> {
    let mut found = vec![];
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(named) = line.strip_prefix("// rows: ") else {
            continue;
        };
        let named: Vec<_> = named.split(", ").map(str::to_owned).collect();
        let attribute = lines
            .find(|line| !line.starts_with("//"))
            .unwrap_or_default();
        let function = lines.next().unwrap_or_default();
        let is_test = attribute.starts_with("#[test]") || attribute.starts_with("#[tokio::test");
        assert!(
            is_test && function.contains("fn "),
            "{}: {named:?} stand above {attribute:?}, which is no test",
            file.display()
        );
        found.extend(named.into_iter().map(|row| (row, function.to_owned())));
    }
    found
}
