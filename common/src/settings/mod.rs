//! Reads settings out of TOML tables so that all mistakes are found in one go, each by its key.
//!
//! A [`Section`] hands out one value after the other, each of a type that is a [`Setting`]; a value that is missing or
//! wrong is noted as a [`Mistake`] and reading goes on. What is left over at [`Section::finish`] is unknown, and a
//! mistake too. Every value that was read is kept for `optout config show`, secrets masked.

mod section;
mod value;

pub use section::{Mistake, Section, unset};
pub use value::{ByteSize, Setting};

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use secrecy::ExposeSecret;

    use super::*;

    fn section(text: &str) -> Section {
        Section::root(
            text.parse().unwrap(),
            [("TOKEN".to_owned(), "s3cret".to_owned())].into(),
        )
    }

    #[test]
    fn every_mistake_is_reported_by_its_key() {
        let mut root =
            section("bind = 'nowhere'\nextra = 1\n[inner]\nwait = 5\n[[list]]\nsize = '1XB'");
        root.or("bind", SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut inner = root.section("inner");
        inner.or("wait", Duration::from_secs(1));
        inner.required::<String>("name");
        inner.finish();
        for mut item in root.sections("list", false) {
            item.optional::<ByteSize>("size");
            item.finish();
        }
        let keys: Vec<_> = {
            root.clone().finish();
            root.mistakes()
                .into_iter()
                .map(|mistake| mistake.key)
                .collect()
        };
        assert_eq!(
            keys,
            ["bind", "inner.wait", "inner.name", "list[0].size", "extra"]
        );
    }

    #[test]
    fn secrets_are_resolved_and_never_shown() {
        let mut root = section(
            "a = 'env:TOKEN'\nb = ['plain', 'env:TOKEN']\nc = 'env:MISSING'\nd = 'https://user:pw@hooks.example/x'",
        );
        assert_eq!(root.secret("a").unwrap().expose_secret(), "s3cret");
        assert_eq!(root.secrets("b").len(), 2);
        assert!(root.secret("c").is_none());
        root.secret_url("d", None);
        assert!(root.mistakes()[0].to_string().contains("MISSING"));
        let shown = format!("{:?}", root.effective());
        assert!(shown.contains("env:TOKEN") && shown.contains("hooks.example"));
        assert!(
            !shown.contains("s3cret") && !shown.contains("plain") && !shown.contains("pw@"),
            "{shown}"
        );
    }

    #[test]
    fn durations_and_sizes_are_shown_as_they_are_written() {
        let mut root = section("d = '1h30m'\ns = '64KiB'");
        assert_eq!(
            root.optional::<Duration>("d"),
            Some(Duration::from_mins(90))
        );
        assert_eq!(root.optional::<ByteSize>("s"), Some(ByteSize(65536)));
        assert_eq!(root.effective()["d"].as_str(), Some("1h 30m"));
        assert_eq!(root.effective()["s"].as_str(), Some("64KiB"));
    }
}
