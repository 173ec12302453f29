//! A section that is to be written: `[[sources]]` or `[[targets]]`, its settings in their order.

use std::collections::BTreeMap;

use anyhow::bail;
use secrecy::{ExposeSecret, SecretString};
use toml::Value;

/// The table of a source that stands on one line, as people write it.
const ON_ONE_LINE: &str = "auth";

#[derive(Debug)]
pub(super) struct Section {
    /// `sources` or `targets`.
    list: &'static str,
    name: String,
    entries: Vec<(Vec<String>, Entry)>,
}

#[derive(Debug)]
enum Entry {
    Plain(Value),
    /// What is kept elsewhere.
    Secret(SecretString),
    /// The same, of what was made here and is known to nobody yet.
    Made(SecretString),
    /// `env:NAME`, and what the variable is to be where it was made here.
    Variable(String, Option<SecretString>),
}

impl Section {
    pub(super) fn new(list: &'static str, name: &str) -> Self {
        let mut section = Self {
            list,
            name: name.to_owned(),
            entries: vec![],
        };
        section.set(&["name"], name);
        section
    }

    /// What it is called for people: `the source "shop"`.
    pub(super) fn title(&self) -> String {
        format!("The {} {:?}", self.list.trim_end_matches('s'), self.name)
    }

    pub(super) fn set(&mut self, key: &[&str], value: impl Into<Value>) {
        self.enter(key, Entry::Plain(value.into()));
    }

    /// A secret as somebody said it: a reference stays one. A variable that is not set is to be what is made.
    /// Of several, as while one is rotated, each has to be a reference.
    pub(super) fn secret(
        &mut self,
        key: &[&str],
        text: &str,
        made: Option<SecretString>,
    ) -> anyhow::Result<()> {
        let entry = match (reference(text, made), parsed(text)) {
            (Some(entry), _) => entry,
            (None, Some(Value::Array(items))) if are_references(&items) => {
                Entry::Plain(items.into())
            }
            (None, Some(Value::Array(_))) => bail!(
                "--set {}: a list of secrets says where each is, such as [\"env:NEW\", \"file:/run/secrets/old\"]; one that is not kept yet is given alone",
                key.join(".")
            ),
            (None, _) => Entry::Secret(text.into()),
        };
        self.enter(key, entry);
        Ok(())
    }

    /// A text that is no secret, or several as a list of TOML. Where it may be a secret, it may be a reference.
    pub(super) fn text(&mut self, key: &[&str], text: &str) {
        let entry = match (reference(text, None), parsed(text)) {
            (Some(entry), _) => entry,
            (None, Some(list @ Value::Array(_))) => Entry::Plain(list),
            (None, _) => Entry::Plain(text.into()),
        };
        self.enter(key, entry);
    }

    /// A secret that was made here.
    pub(super) fn make(&mut self, key: &[&str], made: SecretString) {
        self.enter(key, Entry::Made(made));
    }

    /// A setting as it stands on a command line: TOML, or else the text itself.
    pub(super) fn read(&mut self, key: &[&str], text: &str) {
        match parsed(text) {
            Some(value) => self.set(key, value),
            None => self.text(key, text),
        }
    }

    fn enter(&mut self, key: &[&str], entry: Entry) {
        let key = key.iter().map(|part| (*part).to_owned()).collect();
        self.entries.push((key, entry));
    }

    /// The environment variables that it refers to.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.referred().map(|(name, _)| name)
    }

    /// The same, and what each is to be where that was made here.
    fn referred(&self) -> impl Iterator<Item = (&str, Option<&SecretString>)> {
        self.entries.iter().flat_map(|(_, entry)| match entry {
            Entry::Variable(name, made) => vec![(name.as_str(), made.as_ref())],
            Entry::Plain(Value::Array(items)) => {
                let names = items
                    .iter()
                    .filter_map(|item| item.as_str()?.strip_prefix("env:"));
                names.map(|name| (name, None)).collect()
            }
            Entry::Plain(_) | Entry::Secret(_) | Entry::Made(_) => vec![],
        })
    }

    /// Those that are still to be set, and to what, where that was made here.
    pub(super) fn variables<'a>(
        &'a self,
        environment: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let unset = self.referred();
        let unset = unset.filter(|(name, _)| !environment.contains_key(*name));
        unset.map(|(name, made)| (name, made.map(ExposeSecret::expose_secret)))
    }

    /// The secrets that are to be kept, each by its key.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (String, &SecretString)> {
        self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Secret(secret) | Entry::Made(secret) => {
                Some((key.last().cloned().unwrap_or_default(), secret))
            }
            Entry::Plain(_) | Entry::Variable(..) => None,
        })
    }

    /// A secret that was made here, which whoever checks it has to be told.
    pub(super) fn made(&self) -> Option<&SecretString> {
        self.entries.iter().find_map(|(_, entry)| match entry {
            Entry::Made(secret) => Some(secret),
            Entry::Plain(_) | Entry::Secret(_) | Entry::Variable(..) => None,
        })
    }

    /// As it is checked: with its secrets.
    pub(super) fn whole(&self) -> String {
        self.render(|_, secret| secret.expose_secret().to_owned())
    }

    /// As it is shown: without.
    pub(super) fn shown(&self) -> String {
        self.render(|_, _| "***".to_owned())
    }

    /// As it is written, where `place` says what a secret, by its key, is written as.
    pub(super) fn render(&self, mut place: impl FnMut(&str, &SecretString) -> String) -> String {
        let mut tables: Vec<(&[String], Vec<String>)> = vec![(&[], vec![])];
        for (key, entry) in &self.entries {
            let Some((last, table)) = key.split_last() else {
                continue;
            };
            let value = match entry {
                Entry::Plain(value) => value.clone(),
                Entry::Secret(secret) | Entry::Made(secret) => place(last, secret).into(),
                Entry::Variable(name, _) => format!("env:{name}").into(),
            };
            let line = format!("{} = {value}", bare(last));
            match tables.iter_mut().find(|(other, _)| *other == table) {
                Some((_, lines)) => lines.push(line),
                None => tables.push((table, vec![line])),
            }
        }
        let mut text = vec![format!("[[{}]]\n", self.list)];
        let (inline, below): (Vec<_>, Vec<_>) = tables
            .into_iter()
            .partition(|(table, _)| table.is_empty() || *table == [ON_ONE_LINE]);
        for (table, lines) in inline {
            if table.is_empty() {
                text.push(lines.join("\n") + "\n");
            } else {
                text.push(format!("{ON_ONE_LINE} = {{ {} }}\n", lines.join(", ")));
            }
        }
        for (table, lines) in below {
            let path: Vec<_> = table.iter().map(|part| bare(part)).collect();
            let path = format!("{}.{}", self.list, path.join("."));
            text.push(format!("[{path}]\n{}\n", lines.join("\n")));
        }
        text.concat()
    }

    pub(super) fn list(&self) -> &'static str {
        self.list
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The value that a text is, if it is TOML.
pub(super) fn parsed(text: &str) -> Option<Value> {
    let table: Option<toml::Table> = format!("value = {text}").parse().ok();
    table.and_then(|mut table| table.remove("value"))
}

fn are_references(items: &[Value]) -> bool {
    let is_one = |item: &Value| {
        item.as_str()
            .is_some_and(|text| reference(text, None).is_some())
    };
    !items.is_empty() && items.iter().all(is_one)
}

/// What says where a value is to be had.
fn reference(text: &str, made: Option<SecretString>) -> Option<Entry> {
    match text.split_once(':') {
        Some(("env", name)) => Some(Entry::Variable(name.to_owned(), made)),
        Some(("file", _)) => Some(Entry::Plain(text.into())),
        _ => None,
    }
}

/// A key as it is written: in quotes where it has to be.
fn bare(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(is_bare) {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_secrets_each_is_referred_to_and_a_list_of_others_is_refused() {
        let mut section = Section::new("sources", "crm");
        let both = r#"["env:NEW", "file:/old"]"#;
        section.secret(&["token"], both, None).unwrap();
        assert_eq!(section.names().collect::<Vec<_>>(), ["NEW"]);
        assert!(section.shown().contains(&format!("token = {both}")));
        for refused in [r#"["env:NEW", "s3cret"]"#, "[]", "[1]"] {
            let error = section.secret(&["token"], refused, None).unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains("says where each is") && !said.contains("s3cret"),
                "{said}"
            );
        }
        // No list, but what somebody may have as a password.
        section.secret(&["secret"], "[s3cret", None).unwrap();
        assert!(section.whole().contains("[s3cret"));
    }

    #[test]
    fn a_section_is_written_as_people_write_it_and_read_as_it_was_meant() {
        let mut section = Section::new("sources", "crm");
        section.set(&["provider"], "generic");
        section.set(&["auth", "kind"], "signature");
        section.make(&["auth", "secret"], "s3cret".into());
        section.read(&["format", "utc"], "true");
        section.read(&["format", "event"], "it's \"quoted\"");
        section.set(&["format", "signature", "header"], "x-sign");
        section.set(&["scopes", "*"], "out");
        section.secret(&["token"], "env:TOKEN", None).unwrap();
        let text = section.render(|key, _| format!("file:/run/{key}"));
        let quoted = Value::from("it's \"quoted\"");
        let expected = format!(
            r#"[[sources]]
name = "crm"
provider = "generic"
token = "env:TOKEN"
auth = {{ kind = "signature", secret = "file:/run/secret" }}
[sources.format]
utc = true
event = {quoted}
[sources.format.signature]
header = "x-sign"
[sources.scopes]
"*" = "out"
"#
        );
        assert_eq!(text, expected);
        let read: toml::Table = text.parse().unwrap();
        let source = &read["sources"][0];
        assert_eq!(source["format"]["event"].as_str(), Some("it's \"quoted\""));
        assert_eq!(
            source["format"]["signature"]["header"].as_str(),
            Some("x-sign")
        );
        assert_eq!(section.names().collect::<Vec<_>>(), ["TOKEN"]);
        assert!(section.whole().contains("s3cret") && !section.shown().contains("s3cret"));
    }
}
