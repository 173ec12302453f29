//! `[reconcile]`: how often platforms' lists are compared with the ledger by themselves.

use std::time::Duration;

use crate::settings::Section;

/// Reading a list takes many requests, of which platforms allow so many in an hour or a day.
const SHORTEST: Duration = Duration::from_hours(1);

/// What was found is kept three times as long.
const LONGEST: Duration = Duration::from_hours(24 * 30);

/// `[reconcile]`.
#[derive(Debug, Clone, Copy)]
pub struct Reconcile {
    /// None for only when somebody asks.
    pub every: Option<Duration>,
    /// Whether what differs is then made suppressed on both sides.
    pub repair: bool,
}

impl Reconcile {
    pub(super) fn read(mut section: Section) -> Self {
        let is_given = section.keys().contains(&"every".to_owned());
        let reconcile = Self {
            every: section.optional("every"),
            repair: section.or("repair", false),
        };
        if reconcile
            .every
            .is_some_and(|every| !(SHORTEST..=LONGEST).contains(&every))
        {
            section.mistake("every", "is out of range: 1h to 30d");
        }
        if reconcile.repair && !is_given {
            let why = "is true, but nothing is compared by itself: set every, such as \"1d\", or leave it out";
            section.mistake("repair", why);
        }
        section.finish();
        reconcile
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Loaded;

    fn read(text: &str) -> (Reconcile, Vec<String>) {
        let text = format!("[reconcile]\n{text}");
        let loaded = Loaded::from_text(&text, BTreeMap::new()).unwrap();
        let mistakes = loaded.mistakes().into_iter().map(|mistake| mistake.key);
        let mistakes = mistakes.filter(|key| key.starts_with("reconcile"));
        let mistakes = mistakes.collect();
        (loaded.config.reconcile, mistakes)
    }

    #[test]
    fn nothing_is_compared_by_itself_unless_it_is_said_how_often() {
        let (none, mistakes) = read("");
        assert!(none.every.is_none() && !none.repair && mistakes.is_empty());
        let (daily, mistakes) = read("every = '1d'\nrepair = true");
        assert_eq!(daily.every, Some(Duration::from_hours(24)));
        assert!(daily.repair && mistakes.is_empty());
    }

    #[test]
    fn what_is_out_of_range_is_one_mistake_by_its_key() {
        for (text, key) in [
            ("every = '59m'", "reconcile.every"),
            ("every = '31d'\nrepair = true", "reconcile.every"),
            ("every = 'often'\nrepair = true", "reconcile.every"),
            ("repair = true", "reconcile.repair"),
            ("often = true", "reconcile.often"),
        ] {
            assert_eq!(read(text).1, [key], "{text}");
        }
    }
}
