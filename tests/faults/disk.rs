//! A small file system for the embedded stores, which can be made full: one of its own, or, where nobody may mount one, as
//! in most containers, the shared memory, which is small there.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Room enough for the longest run.
const SIZE: &str = "size=2g";

/// Where what is shared is small enough to be filled, if it is.
const SHARED: &str = "/dev/shm";
const SMALL: u64 = 256 << 20;

/// It is gone when this is dropped.
pub(crate) enum Disk {
    Own(PathBuf),
    Shared(TempDir),
}

impl Disk {
    /// Mounts an empty one at a folder, which it makes; else takes a part of the shared memory.
    pub(crate) fn at(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut mount = as_root("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(folder);
        let Err(refused) = run(&mut mount) else {
            return Self::Own(folder.to_owned());
        };
        let size = blocks(Path::new(SHARED), "size") * 4096;
        assert!(
            size <= SMALL,
            "nothing can be made full: {refused}, and {SHARED} is large"
        );
        Self::Shared(tempfile::tempdir_in(SHARED).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Own(at) => at,
            Self::Shared(folder) => folder.path(),
        }
    }

    /// Takes away all the room that is not in use.
    pub(crate) fn fill(&self) {
        match self {
            Self::Own(at) => resize(at, &format!("size={}", blocks(at, "used") * 4096)),
            Self::Shared(folder) => {
                let mut filler = std::fs::File::create(filler(folder)).unwrap();
                while filler.write(&[0; 4096]).is_ok() {}
            }
        }
    }

    /// Gives it back.
    pub(crate) fn clear(&self) {
        match self {
            Self::Own(at) => resize(at, SIZE),
            Self::Shared(folder) => std::fs::remove_file(filler(folder)).unwrap(),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Own(at) = self {
            // Lazily: whoever still has a file open there keeps it until it ends.
            run(as_root("umount").arg("--lazy").arg(at)).unwrap();
        }
    }
}

fn filler(folder: &TempDir) -> PathBuf {
    folder.path().join("filler")
}

/// How large a file system is, or how much of it is used.
fn blocks(at: &Path, what: &str) -> u64 {
    let mut df = Command::new("df");
    df.args(["--block-size=4096", &format!("--output={what}")])
        .arg(at);
    let said = run(&mut df).unwrap();
    said.lines().last().unwrap().trim().parse().unwrap()
}

fn resize(at: &Path, size: &str) {
    let mut mount = as_root("mount");
    run(mount.args(["-o", &format!("remount,{size}")]).arg(at)).unwrap();
}

/// Only root may mount. Whoever runs the tests is root or may become so, as for installing what they need.
fn as_root(program: &str) -> Command {
    let id = run(Command::new("id").arg("-u")).unwrap();
    if id.trim() == "0" {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["--non-interactive", program]);
    sudo
}

/// What it printed, or why it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
