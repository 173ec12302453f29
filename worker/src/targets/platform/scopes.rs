//! `[targets.scopes]`: which of our scopes is which list of the platform's.
//!
//! A scope has one list or several. One that is not written out is the list of its name, as the platform's own source calls
//! it, or else what `*` is. `global` covers everything on a channel, so where it is not written out itself it is every list
//! that is named.

use std::collections::{BTreeMap, BTreeSet};

use common::{
    event::GLOBAL,
    settings::{Section, Setting},
};
use toml::Value;

const OTHERS: &str = "*";

/// The table, read.
#[derive(Debug)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

/// One list, or several.
struct Lists(Vec<String>);

impl Setting for Lists {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(_) => Vec::read(value).map(Self),
            one => String::read(one).map(|one| Self(vec![one])),
        }
    }

    fn show(&self) -> Value {
        self.0.show()
    }
}

impl Scopes {
    /// Reads the table. `check` says what is wrong with the name of a list.
    pub(crate) fn read(
        section: &mut Section,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<Self> {
        let before = section.mistakes().len();
        let mut table = section.section("scopes");
        let mut scopes = BTreeMap::new();
        for scope in table.keys() {
            let Some(Lists(lists)) = table.optional(&scope) else {
                continue;
            };
            if lists.is_empty() {
                table.mistake(&scope, "names no list: take it out, or name one");
            }
            for list in &lists {
                let checked = match list.as_str() {
                    "" | "." | ".." => Err("is no name of a list".to_owned()),
                    list => check(list),
                };
                if let Err(why) = checked {
                    table.mistake(&scope, why);
                }
            }
            scopes.insert(scope, lists.into_iter().collect());
        }
        if scopes.is_empty() && section.mistakes().len() == before {
            section.mistake(
                "scopes",
                "is missing: say which list of theirs each of our scopes is, \"*\" being all others, \
                 such as scopes = { news = \"LIST\", \"*\" = \"LIST\" }",
            );
        }
        (section.mistakes().len() == before).then_some(Self(scopes))
    }

    /// The platform's lists that a scope is.
    pub(crate) fn lists(&self, scope: &str) -> BTreeSet<&str> {
        if let Some(lists) = self.0.get(scope) {
            return lists.iter().map(String::as_str).collect();
        }
        let mut all = self.0.values().flatten().map(String::as_str);
        if scope == GLOBAL {
            return all.collect();
        }
        match (all.find(|list| *list == scope), self.0.get(OTHERS)) {
            (Some(list), _) => BTreeSet::from([list]),
            (None, Some(others)) => others.iter().map(String::as_str).collect(),
            (None, None) => BTreeSet::new(),
        }
    }

    /// Every list that is named.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(String::as_str)
    }

    /// The scopes that are written out as just this list.
    pub(crate) fn just(&self, list: &str) -> Vec<String> {
        let is_just = |lists: &BTreeSet<String>| lists.len() == 1 && lists.contains(list);
        let written = self.0.iter().filter(|(scope, _)| *scope != OTHERS);
        let just = written.filter(|(_, lists)| is_just(lists));
        just.map(|(scope, _)| scope.clone()).collect()
    }

    /// Whether a suppression in the scope `standing` keeps the lists of the scope `lifted` suppressed: it covers that scope,
    /// or is in one of those lists itself.
    pub(crate) fn keep(&self, lifted: &str, standing: &str) -> bool {
        standing == lifted
            || standing == GLOBAL
            || !self.lists(lifted).is_disjoint(&self.lists(standing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Scopes>, Vec<String>) {
        let mut section = Section::root(text.parse().unwrap(), BTreeMap::new());
        let scopes = Scopes::read(&mut section, |list| {
            let known = list.len() == 1;
            known
                .then_some(())
                .ok_or(format!("is {list:?}, but a letter is needed"))
        });
        let mistakes = section.mistakes().iter().map(ToString::to_string).collect();
        (scopes, mistakes)
    }

    fn scopes(text: &str) -> Scopes {
        read(text).0.unwrap()
    }

    fn lists(scopes: &Scopes, scope: &str) -> String {
        scopes.lists(scope).into_iter().collect()
    }

    #[test]
    fn a_scope_is_the_lists_that_are_written_for_it_or_for_all_others() {
        let some = scopes("[scopes]\nnews = 'a'\noffers = ['b', 'c']\nnumbers = 7");
        assert_eq!(lists(&some, "news"), "a");
        assert_eq!(lists(&some, "offers"), "bc");
        assert_eq!(lists(&some, "numbers"), "7");
        assert_eq!(lists(&some, "else"), "");
        assert_eq!(
            lists(&scopes("scopes = { '*' = 'a', news = 'b' }"), "else"),
            "a"
        );
        assert_eq!(
            lists(&scopes("scopes = { '*' = 'a', news = 'b' }"), "news"),
            "b"
        );
    }

    #[test]
    fn a_scope_that_has_a_list_s_name_is_that_list_unless_it_is_written_out() {
        let scopes = scopes("scopes = { news = 'a', b = 'c', offers = 'b', '*' = 'd' }");
        for (scope, list) in [("a", "a"), ("b", "c"), ("d", "d"), ("e", "d")] {
            assert_eq!(lists(&scopes, scope), list, "{scope}");
        }
    }

    #[test]
    fn what_is_global_is_every_list_unless_it_is_written_out() {
        assert_eq!(
            lists(&scopes("scopes = { '*' = 'a', news = 'b' }"), "global"),
            "ab"
        );
        assert_eq!(lists(&scopes("scopes = { news = 'b' }"), "global"), "b");
        assert_eq!(
            lists(&scopes("scopes = { news = 'b', global = 'c' }"), "global"),
            "c"
        );
    }

    #[test]
    fn what_stands_in_the_same_list_or_covers_the_scope_keeps_a_lift_back() {
        let scopes = scopes("scopes = { news = 'a', offers = ['a', 'b'], other = 'c' }");
        for (lifted, standing, kept) in [
            ("news", "news", true),
            ("news", "offers", true),
            ("news", "global", true),
            ("news", "other", false),
            ("news", "unknown", false),
            ("unknown", "unknown", true),
            ("global", "other", true),
        ] {
            assert_eq!(scopes.keep(lifted, standing), kept, "{lifted} {standing}");
        }
    }

    #[test]
    fn a_table_that_cannot_be_meant_is_a_mistake_by_key() {
        for (text, mistake) in [
            ("", "scopes: is missing"),
            ("scopes = 'a'", "scopes: is a text, a table is needed"),
            ("scopes = { news = [] }", "scopes.news: names no list"),
            (
                "scopes = { news = 'ab' }",
                "scopes.news: is \"ab\", but a letter is needed",
            ),
            (
                "scopes = { news = '..' }",
                "scopes.news: is no name of a list",
            ),
            ("scopes = { news = { a = 1 } }", "scopes.news: is "),
        ] {
            let (scopes, mistakes) = read(text);
            assert!(scopes.is_none(), "{text}");
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
            assert!(mistakes[0].starts_with(mistake), "{text}: {mistakes:?}");
        }
    }
}
