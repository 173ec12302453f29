//! What processes use, as `/proc` tells it: processor time, theirs and that of all their descendants, and memory.

use std::{collections::HashMap, fs, ops::Range, time::Duration};

use anyhow::{Context, bail};

/// The kernel tells times in hundredths of a second, whatever its own clock's rate is.
const TICK: Duration = Duration::from_millis(10);

/// A process and all its descendants, each with the ticks of processor time that it and its ended children have used.
fn tree(root: u32) -> anyhow::Result<HashMap<u32, u32>> {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|id| id.parse().ok()) else {
            continue;
        };
        // One that has ended meanwhile has nothing to tell.
        if let Ok(text) = fs::read_to_string(entry.path().join("stat")) {
            processes.insert(id, read(&text, 11..15).context("/proc/PID/stat")?);
        }
    }
    if !processes.contains_key(&root) {
        bail!("the process {root} has ended");
    }
    let is_below = |mut id: u32| {
        while id != root {
            match processes.get(&id) {
                Some((parent, _)) => id = *parent,
                None => return false,
            }
        }
        true
    };
    let below = processes.iter().filter(|(id, _)| is_below(**id));
    Ok(below.map(|(id, (_, ticks))| (*id, *ticks)).collect())
}

/// Processor time that a process and its descendants have used so far, children that have ended included.
pub(crate) fn processor(root: u32) -> anyhow::Result<Duration> {
    Ok(TICK * tree(root)?.values().sum::<u32>())
}

/// Processor time that one process has used so far, without its children.
pub(crate) fn alone(id: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("the process's stat")?;
    let (_, ticks) = read(&stat, 11..13).context("/proc/PID/stat")?;
    Ok(TICK * ticks)
}

/// The parent and some ticks in a line of `/proc/PID/stat`: the fields 11 and 12 are the process's, 13 and 14 those
/// of its children that have ended.
fn read(stat: &str, fields: Range<usize>) -> Option<(u32, u32)> {
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let found: Vec<_> = rest.split_whitespace().collect();
    let parent = found.get(1)?.parse().ok()?;
    let ticks = found.get(fields)?.iter().map(|field| field.parse::<u32>());
    Some((parent, ticks.sum::<Result<_, _>>().ok()?))
}

/// Memory of processes; what they share counts for each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident now, in MiB.
    pub(crate) resident: f64,
    /// The most that was resident so far.
    pub(crate) most: f64,
}

/// The memory of a process and its descendants.
pub(crate) fn memory(root: u32) -> anyhow::Result<Memory> {
    let mut memory = Memory::default();
    for id in tree(root)?.into_keys() {
        let status = fs::read_to_string(format!("/proc/{id}/status"));
        let status = status.context("the process's status")?;
        let mebibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u32 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(f64::from(kibibytes) / 1024.0)
        };
        memory.resident += mebibytes("VmRSS:").context("VmRSS")?;
        memory.most += mebibytes("VmHWM:").context("VmHWM")?;
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_is() {
        let line = "7 (a b) c) S 3 7 7 0 -1 4194560 1 2 3 4 50 6 700 8 20 0 1 0 9 10 11";
        assert_eq!(read(line, 11..15), Some((3, 764)));
        assert_eq!(read("7 (a) S 3", 11..15), None);
    }

    #[test]
    fn what_this_process_uses_grows_with_what_it_does() {
        let before = processor(std::process::id()).unwrap();
        let mut work = 0_u64;
        while processor(std::process::id()).unwrap() < before + TICK * 2 {
            work = work.wrapping_mul(31).wrapping_add(7);
        }
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident > 0.5 && memory.most >= memory.resident && work != 1);
    }
}
