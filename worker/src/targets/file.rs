//! A file of JSON lines, one payload each; `-` is standard output.
//!
//! A line is whole and on the disk before its delivery is done. The file may be rotated away at any time: what is
//! written next goes to a new one. A line that a crash or a full disk cut short is ended before the next one is written,
//! so it spoils no other.
//!
//! Settings: `path`. Its folder is made at the first delivery.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Ask, Guide, Kind, Setup, Target};
use async_trait::async_trait;
use common::{
    delivery::{Answer, Delivery},
    settings::Section,
    webhook::Payload,
};

pub(super) const KIND: Kind = Kind {
    name: "file",
    rate: None,
    guide: Guide {
        title: "the file",
        asks: &[Ask::usually(
            "path",
            "data/events.jsonl",
            "the file that is written to, or - for standard output",
        )],
        events: &["*"],
        steps: &[],
    },
    build,
};

/// Lines that share one wait.
const BATCH: usize = 100;

struct Lines {
    path: PathBuf,
    open: Arc<Mutex<Option<File>>>,
}

struct StandardOutput;

fn build(section: &mut Section, _setup: &Setup<'_>) -> Option<Box<dyn Target>> {
    let path: String = section.required("path")?;
    if path == "-" {
        return Some(Box::new(StandardOutput));
    }
    if path.is_empty() || path.ends_with('/') || Path::new(&path).is_dir() {
        section.mistake(
            "path",
            format!("is {path:?}, but the name of a file is needed, or - for standard output"),
        );
        return None;
    }
    Some(Box::new(Lines {
        path: path.into(),
        open: Arc::default(),
    }))
}

fn lines(deliveries: &[Delivery]) -> Vec<Vec<u8>> {
    let line = |delivery| {
        let mut line = Payload::from(delivery).to_json();
        line.push(b'\n');
        line
    };
    deliveries.iter().map(line).collect()
}

fn answer(written: io::Result<()>, to: &str) -> Answer {
    match written {
        Ok(()) => Answer::done(format!("written to {to}")),
        Err(error) => Answer::retry(format!("write to {to}: {error}")),
    }
}

#[async_trait]
impl Target for StandardOutput {
    fn batch(&self) -> usize {
        BATCH
    }

    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        let lines = lines(deliveries);
        let written = tokio::task::spawn_blocking(move || {
            let mut output = io::stdout().lock();
            lines.iter().try_for_each(|line| output.write_all(line))?;
            output.flush()
        });
        let answer = answer(
            written.await.map_err(io::Error::other).flatten(),
            "standard output",
        );
        vec![answer; deliveries.len()]
    }
}

#[async_trait]
impl Target for Lines {
    fn batch(&self) -> usize {
        BATCH
    }

    async fn deliver(&self, deliveries: &[Delivery]) -> Vec<Answer> {
        let (path, open, lines) = (self.path.clone(), Arc::clone(&self.open), lines(deliveries));
        let written = tokio::task::spawn_blocking(move || append(&path, &open, &lines)).await;
        let answer = answer(
            written.map_err(io::Error::other).flatten(),
            &self.path.display().to_string(),
        );
        vec![answer; deliveries.len()]
    }
}

/// Writes the lines and waits until they are on the disk. After an error the file is opened anew.
fn append(path: &Path, open: &Mutex<Option<File>>, lines: &[Vec<u8>]) -> io::Result<()> {
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = match open.take() {
        Some(file) if is_at(&file, path) => file,
        _ => open_at(path)?,
    };
    // Other workers write here too: one that is half way would look like a line cut short.
    file.lock()?;
    end_line(&mut file)?;
    for line in lines {
        file.write_all(line)?;
    }
    file.unlock()?;
    sync(&file)?;
    *open = Some(file);
    Ok(())
}

/// Ends a line that a crash or a full disk cut short.
fn end_line(file: &mut File) -> io::Result<()> {
    if !file.metadata()?.is_file() || file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        Ok(())
    } else {
        file.write_all(b"\n")
    }
}

/// Whether the open file is still the one of that name: a rotation renames or removes it.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => identity(ours) == identity(named),
        _ => false,
    }
}

fn open_at(path: &Path) -> io::Result<File> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let file = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .open(path)?;
    // A new name is durable only when its folder is.
    File::open(folder)?.sync_all()?;
    Ok(file)
}

fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        // A pipe or a device has no disk to wait for.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::targets::standin::{deliver, delivery, mistakes, target, verdict};

    fn numbers(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'));
        let read = |line: &str| {
            serde_json::from_str::<Value>(line).map_or(line.to_owned(), |value| {
                value["provider_event_id"].to_string()
            })
        };
        text.lines().map(read).collect()
    }

    #[tokio::test]
    async fn each_delivery_is_one_line_and_the_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/events.jsonl");
        let target = target(KIND, &format!("path = '{}'", path.display()));
        assert!(!path.parent().unwrap().exists());
        let mut hostile = delivery(1);
        hostile.event.reason = Some("a\nb\u{2028}\"}\r\n{".to_owned());
        let answers = target.deliver(&[hostile, delivery(2), delivery(3)]).await;
        assert!(answers.len() == 3 && answers.iter().all(|answer| verdict(answer) == "done"));
        assert_eq!(numbers(&path), ["\"evt-1\"", "\"evt-2\"", "\"evt-3\""]);
    }

    #[tokio::test]
    async fn a_file_that_was_rotated_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (
            folder.path().join("events.jsonl"),
            folder.path().join("events.1"),
        );
        let target = target(KIND, &format!("path = '{}'", path.display()));
        deliver(&*target, &delivery(1)).await;
        fs::rename(&path, &rotated).unwrap();
        deliver(&*target, &delivery(2)).await;
        fs::remove_file(&path).unwrap();
        deliver(&*target, &delivery(3)).await;
        assert_eq!(
            (numbers(&rotated), numbers(&path)),
            (vec!["\"evt-1\"".to_owned()], vec!["\"evt-3\"".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_line_that_was_cut_short_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, "{\"torn").unwrap();
        deliver(
            &*target(KIND, &format!("path = '{}'", path.display())),
            &delivery(1),
        )
        .await;
        assert_eq!(numbers(&path), ["{\"torn", "\"evt-1\""]);
    }

    #[tokio::test]
    async fn a_write_that_fails_is_tried_again_and_then_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("blocked");
        fs::write(&blocked, "").unwrap();
        let target = target(
            KIND,
            &format!("path = '{}/events.jsonl'", blocked.display()),
        );
        assert!(verdict(&deliver(&*target, &delivery(1)).await).starts_with("retry: write to "));
        fs::remove_file(&blocked).unwrap();
        assert_eq!(verdict(&deliver(&*target, &delivery(1)).await), "done");
    }

    #[tokio::test]
    async fn a_full_disk_is_tried_again() {
        let answer = deliver(&*target(KIND, "path = '/dev/full'"), &delivery(1)).await;
        assert!(
            verdict(&answer).contains("No space left on device"),
            "{}",
            verdict(&answer)
        );
    }

    #[tokio::test]
    async fn writers_at_once_mix_no_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let targets: Vec<_> = (0..4)
            .map(|_| target(KIND, &format!("path = '{}'", path.display())))
            .collect();
        let many: Vec<_> = (0..50).map(delivery).collect();
        futures_util::future::join_all(targets.iter().map(|target| target.deliver(&many))).await;
        let numbers = numbers(&path);
        assert_eq!(
            (
                numbers.len(),
                numbers
                    .iter()
                    .filter(|number| *number == "\"evt-7\"")
                    .count()
            ),
            (200, 4)
        );
    }

    #[tokio::test]
    async fn a_dash_is_standard_output() {
        let answer = deliver(&*target(KIND, "path = '-'"), &delivery(1)).await;
        assert_eq!(
            answer.excerpt.as_deref(),
            Some("written to standard output")
        );
    }

    #[test]
    fn a_path_that_is_no_file_is_a_mistake() {
        for path in ["", "data/", "/tmp"] {
            assert!(
                mistakes(KIND, &format!("path = '{path}'"))[0].starts_with("path: is "),
                "{path}"
            );
        }
    }
}
