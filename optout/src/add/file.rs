//! The configuration file that a section is added to, and the files that its secrets are kept in.
//!
//! It promises: what stood in the file stays, letter by letter; the file is as it was or has the section, whole, whatever
//! happens; and it is replaced only by what the services can read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, bail};
use common::{
    config::{Loaded, USUAL, environment},
    settings::Mistake,
};
use secrecy::{ExposeSecret, SecretString};
use tempfile::NamedTempFile;
use worker::Outlets;

use super::{is_later, section::Section};

/// Where secrets are kept, beside the file.
const SECRETS: &str = "secrets";

pub(super) struct ConfigFile {
    /// Symbolic links are followed: what is replaced is the file itself.
    path: PathBuf,
    text: String,
    /// None where there is no such file yet.
    there: Option<Metadata>,
    environment: BTreeMap<String, String>,
    loaded: Loaded,
}

impl ConfigFile {
    /// The file that the services read; one that is not there yet is made.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let environment = environment();
        let named = Loaded::named(path, &environment).unwrap_or_else(|| USUAL.into());
        let unreadable = || format!("the configuration file {} cannot be read", named.display());
        let (path, text, there) = match fs::canonicalize(&named) {
            Ok(path) => {
                let text = fs::read_to_string(&path).with_context(unreadable)?;
                let there = fs::metadata(&path).with_context(unreadable)?;
                (path, text, Some(there))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (std::path::absolute(&named)?, String::new(), None)
            }
            Err(error) => return Err(error).with_context(unreadable),
        };
        let loaded = Loaded::from_text(&text, environment.clone()).with_context(unreadable)?;
        // Built so that what is wrong with the targets' settings is known.
        worker::outlets(&loaded.config)?;
        Ok(Self {
            path,
            text,
            there,
            environment,
            loaded,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
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

    /// Keeps the secrets, then writes the section at the end of the file. Where the secrets are, by their keys.
    pub(super) fn add(&self, section: &Section) -> anyhow::Result<Vec<(String, PathBuf)>> {
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
            let path = self.keep_one(&format!("{what}-{key}"), secret)?;
            kept.push((key, path));
        }
        Ok(())
    }

    /// Another file's secret may have that name: then it is kept by another one.
    fn keep_one(&self, name: &str, secret: &SecretString) -> anyhow::Result<PathBuf> {
        let folder = self.path.with_file_name(SECRETS);
        let failed = || format!("cannot keep a secret in {}", folder.display());
        if folder.to_str().is_none() {
            bail!(
                "{}: its name is no text, which a configuration could refer to",
                failed()
            );
        }
        if !folder.exists() {
            let mode = if self.is_of_a_group() { 0o750 } else { 0o700 };
            let created = DirBuilder::new().mode(mode).create(&folder);
            created.with_context(failed)?;
            self.give(&folder).with_context(failed)?;
        }
        let mut file = NamedTempFile::new_in(&folder).with_context(failed)?;
        let line = format!("{}\n", secret.expose_secret());
        file.write_all(line.as_bytes()).with_context(failed)?;
        self.give(file.path()).with_context(failed)?;
        let mode = if self.is_of_a_group() { 0o640 } else { 0o600 };
        let permissions = Permissions::from_mode(mode);
        file.as_file()
            .set_permissions(permissions)
            .with_context(failed)?;
        file.as_file().sync_all().with_context(failed)?;
        let numbered = (2..1000).map(|number| format!("{name}-{number}"));
        for name in [name.to_owned()].into_iter().chain(numbered) {
            let path = folder.join(name);
            match file.persist_noclobber(&path) {
                Ok(_) => {
                    sync(&folder).with_context(failed)?;
                    return Ok(path);
                }
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => file = error.file,
                Err(error) => return Err(error.error).with_context(failed),
            }
        }
        bail!("{}: there is no name left", failed())
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
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let mut file = NamedTempFile::new_in(folder).with_context(failed)?;
        file.write_all(self.joined(section).as_bytes())
            .with_context(failed)?;
        self.give(file.path()).with_context(failed)?;
        let mode = self.there.as_ref().map_or(0o600, Metadata::mode);
        let permissions = Permissions::from_mode(mode & 0o7777);
        file.as_file()
            .set_permissions(permissions)
            .with_context(failed)?;
        file.as_file().sync_all().with_context(failed)?;
        file.persist(&self.path).with_context(failed)?;
        sync(folder).with_context(failed)
    }

    /// Gives it to whom the configuration file is, who reads it: a service, perhaps, where root adds to it.
    fn give(&self, path: &Path) -> std::io::Result<()> {
        let Some(there) = &self.there else {
            return Ok(());
        };
        let made = fs::metadata(path)?;
        if (made.uid(), made.gid()) == (there.uid(), there.gid()) {
            return Ok(());
        }
        chown(path, Some(there.uid()), Some(there.gid()))
    }

    /// Whether it is root's, and a service reads it as one of its group.
    fn is_of_a_group(&self) -> bool {
        let of_a_group =
            |there: &Metadata| there.uid() == 0 && there.gid() != 0 && there.mode() & 0o040 != 0;
        self.there.as_ref().is_some_and(of_a_group)
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

/// A new name is durable only when its folder is.
fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
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
        // Both have a secret of that name.
        let secrets = fs::read_dir(folder.path().join(SECRETS)).unwrap();
        assert_eq!(secrets.count(), 2);
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
        let secrets = fs::read_dir(folder.path().join(SECRETS)).unwrap();
        assert_eq!(secrets.count(), 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
