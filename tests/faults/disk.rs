//! A small file system of its own for the embedded stores, which can be made full.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Room enough for the longest run.
const SIZE: &str = "size=2g";

/// It is unmounted when this is dropped.
pub(crate) struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts an empty one at a folder, which it makes.
    pub(crate) fn at(folder: &Path) -> Self {
        let at = folder.to_owned();
        std::fs::create_dir_all(&at).unwrap();
        run(as_root("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(&at));
        Self { at }
    }

    /// Takes away all the room that is not in use.
    pub(crate) fn fill(&self) {
        let used = run(Command::new("df")
            .args(["--block-size=4096", "--output=used"])
            .arg(&self.at));
        let blocks: u64 = used.lines().last().unwrap().trim().parse().unwrap();
        self.resize(&format!("size={}", blocks * 4096));
    }

    /// Gives it back.
    pub(crate) fn clear(&self) {
        self.resize(SIZE);
    }

    fn resize(&self, size: &str) {
        run(as_root("mount")
            .args(["-o", &format!("remount,{size}")])
            .arg(&self.at));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there keeps it until it ends.
        run(as_root("umount").arg("--lazy").arg(&self.at));
    }
}

/// Only root may mount. Whoever runs the tests is root or may become so, as for installing what they need.
fn as_root(program: &str) -> Command {
    let id = run(Command::new("id").arg("-u"));
    if id.trim() == "0" {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg(program);
    sudo
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
