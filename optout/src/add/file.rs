//! The configuration file that a section is added to, and the files that its secrets are kept in.
//!
//! It promises: what stood in the file stays, letter by letter; the file is as it was or has the section, whole, whatever
//! happens; and what replaces it has its owner, its group and its mode, so that whoever read it still does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, bail};
use common::{
    config::{LoadError, Loaded, USUAL, environment},
    settings::Mistake,
};
use tempfile::NamedTempFile;
use worker::Outlets;

use super::{
    is_later,
    keep::{Owner, SECRETS, keep, own, sync},
    note,
    section::Section,
};

pub(super) struct ConfigFile {
    /// Symbolic links are followed: what is replaced is the file itself.
    path: PathBuf,
    text: String,
    owner: Owner,
    environment: BTreeMap<String, String>,
    loaded: Loaded,
}

impl ConfigFile {
    /// The file that the services read; one that is not there yet is made.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let environment = environment();
        let named = Loaded::named(path, &environment).unwrap_or_else(|| USUAL.into());
        let unreadable = |source| LoadError::Unreadable {
            path: named.clone(),
            source,
        };
        let (path, text, there) = match fs::canonicalize(&named) {
            Ok(path) => {
                let text = fs::read_to_string(&path).map_err(unreadable)?;
                let there = fs::metadata(&path).map_err(unreadable)?;
                (path, text, Some(there))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (std::path::absolute(&named)?, String::new(), None)
            }
            Err(error) => return Err(unreadable(error).into()),
        };
        let loaded = Loaded::from_text(&text, environment.clone())
            .with_context(|| format!("cannot add to {}", path.display()))?;
        // Built so that what is wrong with the targets' settings is known.
        worker::outlets(&loaded.config)?;
        Ok(Self {
            path,
            text,
            owner: Owner::of(there),
            environment,
            loaded,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is, and who reads what is kept beside it.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Where secrets are kept.
    pub(super) fn secrets(&self) -> PathBuf {
        self.path.with_file_name(SECRETS)
    }

    pub(super) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    pub(super) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Whether a secret, as it is written, refers to a variable that is not set.
    pub(super) fn is_unset(&self, text: &str) -> bool {
        let name = text.strip_prefix("env:");
        name.is_some_and(|name| !self.environment.contains_key(name))
    }

    /// What is wrong with the file as it is.
    pub(super) fn mistakes(&self) -> Vec<Mistake> {
        self.loaded.mistakes()
    }

    /// The configuration with a section at its end, as it would be read. What was wrong before is none of the section's: a
    /// secret of another source that is not set in this environment is no reason to refuse this one.
    pub(super) fn with(&self, section: &Section, text: &str) -> anyhow::Result<(Loaded, Outlets)> {
        let mut environment = self.environment.clone();
        let made = section.variables(&self.environment);
        environment
            .extend(made.filter_map(|(name, made)| Some((name.to_owned(), made?.to_owned()))));
        // None of the parser's words are passed on: they have the line that it stumbles over, with the secret in it.
        let Ok(loaded) = Loaded::from_text(&self.joined(text), environment) else {
            let (list, title) = (section.list(), section.title());
            if toml::Table::from_str(text).is_err() {
                bail!(
                    "{title} has a setting twice, or by itself and as a table, such as `scopes` and `scopes.news`"
                );
            }
            bail!(
                "{title} cannot stand at the end of {}: where {list} are written as one list, `{list} = [...]`, turn them into [[{list}]]",
                self.path.display()
            );
        };
        let outlets = worker::outlets(&loaded.config)?;
        let before: BTreeSet<_> = self
            .mistakes()
            .into_iter()
            .map(|mistake| mistake.key)
            .collect();
        let mistakes = loaded.mistakes().into_iter();
        let ours =
            mistakes.filter(|one| !before.contains(&one.key) && !is_later(section, &one.why));
        let ours: Vec<_> = ours.map(|mistake| mistake.to_string()).collect();
        if !ours.is_empty() {
            bail!(
                "nothing was written, since this is wrong:\n{}",
                ours.join("\n")
            );
        }
        Ok((loaded, outlets))
    }

    /// Keeps the secrets, then writes the section at the end of the file. Where the secrets are, by their keys. Two that add at
    /// once take turns: the later one finds the file changed.
    pub(super) fn add(&self, section: &Section) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let folder = self.folder();
        let turn = File::open(folder).and_then(|folder| folder.lock().map(|()| folder));
        // Held until it ends, or the process does.
        let _turn = turn.with_context(|| format!("cannot lock {}", folder.display()))?;
        let mut kept = vec![];
        let added = self.keep(section, &mut kept).and_then(|()| {
            let mut places = kept.iter();
            let text = section.render(|_, _| {
                let place = places
                    .next()
                    .map(|(_, path)| format!("file:{}", path.display()));
                place.unwrap_or_default()
            });
            self.with(section, &text)?;
            self.replace(&text)
        });
        match added {
            Ok(()) => Ok(kept),
            Err(error) => {
                for (_, path) in &kept {
                    // One that cannot be taken away again is referred to by nothing.
                    fs::remove_file(path).ok();
                }
                Err(error)
            }
        }
    }

    fn keep(&self, section: &Section, kept: &mut Vec<(String, PathBuf)>) -> anyhow::Result<()> {
        let what = format!(
            "{}-{}",
            section.list().trim_end_matches('s'),
            section.name()
        );
        for (key, secret) in section.secrets() {
            let path = keep(
                &self.secrets(),
                &self.owner,
                &format!("{what}-{key}"),
                secret,
            )?;
            kept.push((key, path));
        }
        Ok(())
    }

    /// Written beside and renamed, so that nobody reads half of it, with the mode and the owner that it had.
    fn replace(&self, section: &str) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", self.path.display());
        let now = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(failed)?,
        };
        if now != self.text {
            bail!(
                "{} was changed meanwhile: nothing was written",
                self.path.display()
            );
        }
        let folder = self.folder();
        let mut file = NamedTempFile::new_in(folder).with_context(failed)?;
        file.write_all(self.joined(section).as_bytes())
            .with_context(failed)?;
        own(&file, &self.owner, self.owner.mode()).with_context(failed)?;
        file.persist(&self.path).with_context(failed)?;
        // The file names the secrets from here on: that it may be lost with the power is no reason to take them away.
        if let Err(error) = sync(folder) {
            note(&format!(
                "{} was written, but it is not known whether that outlasts a loss of power: {error}",
                self.path.display()
            ));
        }
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn joined(&self, section: &str) -> String {
        let gap = match self.text.as_str() {
            "" => "",
            text if text.ends_with("\n\n") => "",
            text if text.ends_with('\n') => "\n",
            _ => "\n\n",
        };
        format!("{}{gap}{section}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn source() -> Section {
        let mut section = Section::new("sources", "shop");
        section.set(&["provider"], "brevo");
        section.set(&["auth", "kind"], "bearer");
        section.make(&["auth", "token"], "s3cret".into());
        section
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("optout.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn refused(file: &ConfigFile) -> String {
        format!("{:#}", file.add(&source()).unwrap_err())
    }

    fn secrets(folder: &tempfile::TempDir) -> Vec<String> {
        let there = fs::read_dir(folder.path().join(SECRETS)).unwrap();
        let names = there.map(|one| one.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_section_is_added_behind_what_is_there_however_that_ends() {
        for text in [
            "",
            "# a",
            "# a\n",
            "# a\n\n",
            "[api]\nrate = '5/s'",
            "[[targets]]\nname = 'x'\nkind = 'file'\npath = '-'\nevents = ['*']\n",
        ] {
            let (_folder, path) = file(text);
            ConfigFile::open(Some(&path))
                .unwrap()
                .add(&source())
                .unwrap();
            let now = fs::read_to_string(&path).unwrap();
            assert!(now.starts_with(text), "{now}");
            let loaded = Loaded::from_text(&now, BTreeMap::new()).unwrap();
            assert_eq!(loaded.mistakes(), []);
            assert!(loaded.config.source("shop").is_some());
        }
    }

    #[test]
    fn a_link_to_the_file_stays_one_and_a_file_that_is_not_there_is_made() {
        let (folder, path) = file("");
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        ConfigFile::open(Some(&link))
            .unwrap()
            .add(&source())
            .unwrap();
        assert!(link.is_symlink() && fs::read_to_string(&path).unwrap().contains("shop"));
        let new = folder.path().join("new.toml");
        ConfigFile::open(Some(&new))
            .unwrap()
            .add(&source())
            .unwrap();
        assert_eq!(fs::metadata(&new).unwrap().mode() & 0o777, 0o600);
        // Both have a secret of that name, beside what keeps them from version control.
        assert_eq!(
            secrets(&folder),
            [".gitignore", "source-shop-token", "source-shop-token-2"]
        );
        let ignored = folder.path().join(SECRETS).join(".gitignore");
        assert_eq!(fs::read_to_string(ignored).unwrap(), "*\n");
    }

    #[test]
    fn of_two_that_add_at_once_one_is_refused_and_neither_is_lost() {
        for _ in 0..10 {
            let (folder, path) = file("");
            let both = [(), ()].map(|()| ConfigFile::open(Some(&path)).unwrap());
            let start = std::sync::Barrier::new(2);
            let add = |file: &ConfigFile| {
                start.wait();
                file.add(&source()).is_ok()
            };
            let added = std::thread::scope(|scope| {
                let running = both.each_ref().map(|file| scope.spawn(move || add(file)));
                running.map(|one| one.join().unwrap())
            });
            assert_eq!(added.iter().filter(|added| **added).count(), 1);
            let now = fs::read_to_string(&path).unwrap();
            assert_eq!(now.matches("[[sources]]").count(), 1);
            assert_eq!(secrets(&folder).len(), 2, "the other's is gone");
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_neither_a_change_nor_a_secret() {
        let (folder, path) = file("# before\n");
        let changed = ConfigFile::open(Some(&path)).unwrap();
        fs::write(&path, "# somebody else's\n").unwrap();
        assert!(refused(&changed).contains("was changed meanwhile"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "# somebody else's\n");

        fs::write(&path, "sources = []\n").unwrap();
        let listed = ConfigFile::open(Some(&path)).unwrap();
        assert!(refused(&listed).contains("turn them into [[sources]]"));
        assert_eq!(secrets(&folder), [".gitignore"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
