//! The files that secrets are kept in, in a folder beside the configuration file, and who reads them: whoever owns that file,
//! and where it is root's, the group by which a service reads it.

use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use tempfile::NamedTempFile;

/// Where secrets are kept, beside the file.
pub(super) const SECRETS: &str = "secrets";

/// What stands in the folder beside them, so that none of them gets under version control.
const IGNORED: &str = ".gitignore";

/// Whose the configuration file is; of one that is not there yet, whose process makes it.
pub(super) struct Owner(Option<Metadata>);

impl Owner {
    pub(super) fn of(there: Option<Metadata>) -> Self {
        Self(there)
    }

    /// The mode of the configuration file.
    pub(super) fn mode(&self) -> u32 {
        self.0.as_ref().map_or(0o600, Metadata::mode) & 0o7777
    }

    /// Gives it to whom the configuration file is, who reads it: a service, perhaps, where root adds to it.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        let Some(there) = &self.0 else {
            return Ok(());
        };
        let made = fs::metadata(path)?;
        if (made.uid(), made.gid()) == (there.uid(), there.gid()) {
            return Ok(());
        }
        chown(path, Some(there.uid()), Some(there.gid()))
    }

    /// Who reads what is kept.
    pub(super) fn readers(&self) -> &'static str {
        if self.is_of_a_group() {
            "its owner and its group"
        } else {
            "its owner"
        }
    }

    /// Whether a service of another user may read the file, but not what is kept: that is root's alone.
    pub(super) fn is_roots_for_all(&self) -> bool {
        let for_all = |there: &Metadata| there.uid() == 0 && there.mode() & 0o004 != 0;
        self.0.as_ref().is_some_and(for_all) && !self.is_of_a_group()
    }

    /// Whether it is root's, and a service reads it as one of its group.
    fn is_of_a_group(&self) -> bool {
        let of_a_group =
            |there: &Metadata| there.uid() == 0 && there.gid() != 0 && there.mode() & 0o040 != 0;
        self.0.as_ref().is_some_and(of_a_group)
    }
}

/// Keeps a secret. Where another one has its name, that of another file perhaps, it is kept by another name. Who dies before
/// the file has its name leaves one that nobody refers to.
pub(super) fn keep(
    folder: &Path,
    owner: &Owner,
    name: &str,
    secret: &SecretString,
) -> anyhow::Result<PathBuf> {
    let failed = || format!("cannot keep a secret in {}", folder.display());
    if folder.to_str().is_none() {
        bail!(
            "{}: its name is no text, which a configuration could refer to",
            failed()
        );
    }
    if !folder.exists() {
        make(folder, owner).with_context(failed)?;
    }
    let mut file = NamedTempFile::new_in(folder).with_context(failed)?;
    let line = format!("{}\n", secret.expose_secret());
    file.write_all(line.as_bytes()).with_context(failed)?;
    let mode = if owner.is_of_a_group() { 0o640 } else { 0o600 };
    own(&file, owner, mode).with_context(failed)?;
    // A header, which is somebody's word, may be called anything.
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = name.replace(|c| !is_usual(c), "_");
    let numbered = (2..1000).map(|number| format!("{name}-{number}"));
    for name in [name.clone()].into_iter().chain(numbered) {
        let path = folder.join(name);
        match file.persist_noclobber(&path) {
            Ok(_) => {
                if let Err(error) = sync(folder) {
                    fs::remove_file(&path).ok();
                    return Err(error).with_context(failed);
                }
                return Ok(path);
            }
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => file = error.file,
            Err(error) => return Err(error.error).with_context(failed),
        }
    }
    bail!("{}: there is no name left", failed())
}

/// The folder, which is there with all that it needs, or not at all. One that somebody else made is theirs.
fn make(folder: &Path, owner: &Owner) -> io::Result<()> {
    let beside = folder.parent().unwrap_or(Path::new("/"));
    let made = tempfile::tempdir_in(beside)?;
    let ignored = made.path().join(IGNORED);
    fs::write(&ignored, "*\n")?;
    owner.give(&ignored)?;
    owner.give(made.path())?;
    let permissions = if owner.is_of_a_group() { 0o750 } else { 0o700 };
    fs::set_permissions(made.path(), Permissions::from_mode(permissions))?;
    fs::rename(made.path(), folder)?;
    // What would be taken away with it has its own name now.
    let _elsewhere = made.keep();
    sync(beside)
}

/// Gives a file to whom the configuration's is, with what was written to it on the disk.
pub(super) fn own(file: &NamedTempFile, owner: &Owner, mode: u32) -> io::Result<()> {
    owner.give(file.path())?;
    let permissions = Permissions::from_mode(mode);
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()
}

/// A new name is durable only when its folder is.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_may_read_is_told_from_what_only_root_can_use() {
        let file = NamedTempFile::new().unwrap();
        let there = |mode| {
            fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            fs::metadata(file.path()).unwrap()
        };
        let (all, few) = (there(0o644), there(0o640));
        let is_roots = (all.uid(), all.gid()) == (0, 0);
        assert_eq!(Owner::of(Some(all)).is_roots_for_all(), is_roots);
        assert!(!Owner::of(Some(few)).is_roots_for_all());
        assert!(!Owner::of(None).is_roots_for_all());
    }
}
