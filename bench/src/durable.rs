//! Figures without durability are worth nothing: this refuses stores that have it turned off.
//!
//! The queues of RabbitMQ are quorum queues and SQLite's commits `FULL` by the product's own doing, so what is left to
//! look at is the file system below them, PostgreSQL's settings, and what would make `fsync` do nothing.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use sqlx::{AnyPool, Row, any::install_default_drivers};

/// PostgreSQL's settings without which an answered commit can be lost.
const SETTINGS: &str = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')";

/// Refuses a folder that a power failure would take, and a preloaded library that makes syncing a lie.
pub(crate) fn check_folder(folder: &Path) -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    let folder = folder.canonicalize().context("the stores' folder")?;
    let kind = file_system(&mounts, &folder).context("the file system of the stores' folder")?;
    ensure!(
        !matches!(kind, "tmpfs" | "ramfs"),
        "{} is on {kind}, which keeps nothing: set TMPDIR to a folder on a disk",
        folder.display()
    );
    let maps = fs::read_to_string("/proc/self/maps").context("/proc/self/maps")?;
    ensure!(
        !maps.contains("libeatmydata"),
        "libeatmydata is loaded, by which nothing is synced to the disk"
    );
    Ok(())
}

/// The kind of the file system that a path is on: of the longest mount point above it, the last that was mounted.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        path.starts_with(point).then_some((point.len(), kind))
    });
    mounts
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

/// Refuses a PostgreSQL that answers before its disk does.
pub(crate) async fn check_postgres(url: &str) -> anyhow::Result<()> {
    install_default_drivers();
    let pool = AnyPool::connect(url).await.context("PostgreSQL")?;
    let rows = sqlx::query(SETTINGS).fetch_all(&pool).await;
    let rows = rows.context("PostgreSQL's settings")?;
    ensure!(rows.len() == 3, "PostgreSQL does not tell its settings");
    for row in rows {
        let (name, setting): (String, String) = (row.get(0), row.get(1));
        ensure!(
            setting != "off",
            "PostgreSQL has {name} = off: what it answers may be lost"
        );
    }
    pool.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount_point() {
        let mounts = "one / ext4 rw 0 0\nnone /fast tmpfs rw 0 0\nother /fast/disk ext4 rw 0 0";
        let kind = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(kind("/slow/x"), Some("ext4"));
        assert_eq!(kind("/fast/x"), Some("tmpfs"));
        assert_eq!(kind("/fast/disk/x"), Some("ext4"));
        assert_eq!(kind("/faster"), Some("ext4"));
    }

    #[test]
    fn what_is_in_memory_is_refused() {
        let refused = check_folder(Path::new("/dev/shm")).unwrap_err().to_string();
        assert!(refused.contains("tmpfs"), "{refused}");
    }
}
