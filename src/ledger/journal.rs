//! What was done and why: one JSON line each, oldest first.
//!
//! `journal.jsonl` is moved to `journal.1.jsonl` before it would grow beyond 1 MiB, so the two
//! never hold much more than 2 MiB together. Whoever owns the root can make them larger: no more is read than
//! their ends. Lines are not forced to the disk: a power cut may cost the last seconds of history, and no decision
//! rests on them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;

use super::folder::Folder;
use crate::model::journal::JournalEntry;
use crate::model::names::Root;
use crate::ports::{HostError, HostErrorKind};

const NAME: &str = "journal.jsonl";
const OLDER: &str = "journal.1.jsonl";
/// Size in bytes that the journal does not grow beyond.
const LIMIT: u64 = 1 << 20;
/// So many bytes are read of each file, from its end: all of it, unless others have made it longer than we do, and
/// at least one whole line of any length that we write.
const WINDOW: u64 = 4 * LIMIT;

/// Adds one line, in one write; a torn last line of a pass that died is closed first.
///
/// # Errors
/// What the file system refuses.
pub fn append(root: &Root, entry: &JournalEntry) -> Result<(), HostError> {
    append_within(root, entry, LIMIT)
}

fn append_within(root: &Root, entry: &JournalEntry, limit: u64) -> Result<(), HostError> {
    let line = serde_json::to_vec(entry).map_err(|error| {
        HostError::new(HostErrorKind::Other, format!("cannot write a line of the journal as JSON: {error}"))
    })?;
    let folder = Folder::open(root)?;
    write(&folder, &line, limit)
        .map_err(|error| HostError::io(format!("cannot write `{}`", folder.path(NAME).display()), &error))
}

fn write(folder: &Folder, line: &[u8], limit: u64) -> io::Result<()> {
    let mut file = folder.file(NAME, OFlags::APPEND)?;
    let mut length = file.metadata()?.len();
    if length > 0 && length + line.len() as u64 + 2 > limit {
        folder.rename(NAME, OLDER)?;
        file = folder.file(NAME, OFlags::APPEND)?;
        length = 0;
    }
    let mut text = Vec::with_capacity(line.len() + 2);
    if is_torn(&file, length)? {
        text.push(b'\n');
    }
    text.extend_from_slice(line);
    text.push(b'\n');
    file.write_all(&text)
}

fn is_torn(file: &File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else { return Ok(false) };
    let mut byte = [b'\n'];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// All lines of the journal, oldest first. Torn, unknown and too long lines are skipped; no journal is an empty one.
/// Of a file that is longer than it can have become by our doing only the end is read.
///
/// # Errors
/// What the file system refuses: a history that may not be read is not an empty one.
pub fn read(root: &Root) -> Result<Vec<JournalEntry>, HostError> {
    let mut entries = Vec::new();
    for name in [OLDER, NAME] {
        let part = Folder::existing(root)
            .and_then(|folder| folder.map_or(Ok(None), |folder| folder.readable(name)))
            .and_then(|file| file.map_or(Ok(Part::default()), |file| end(file, WINDOW)));
        let path = root.state().join(name);
        let mut part = part.map_err(|error| HostError::io(format!("cannot read `{}`", path.display()), &error))?;
        if part.unread > 0 {
            tracing::warn!(file = %path.display(), unread = part.unread, "the journal is too long: only its end is read");
        }
        if part.skipped > 0 {
            tracing::debug!(file = %path.display(), skipped = part.skipped, "lines of the journal make no sense");
        }
        entries.append(&mut part.entries);
    }
    Ok(entries)
}

/// What was read of one file.
#[derive(Debug, Default, PartialEq)]
struct Part {
    entries: Vec<JournalEntry>,
    /// Bytes at its beginning that were not looked at.
    unread: u64,
    /// Lines that are none.
    skipped: usize,
}

/// The whole lines among the last bytes of a file.
fn end(mut file: File, window: u64) -> io::Result<Part> {
    let unread = file.metadata()?.len().saturating_sub(window);
    // The byte before them tells whether the first of them begins a line.
    let from = unread.saturating_sub(1);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(window + 1).read_to_end(&mut bytes)?;
    let mut part = Part { unread, ..Part::default() };
    let mut lines = bytes.split(|byte| *byte == b'\n');
    if unread > 0 {
        lines.next();
    }
    for line in lines.filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(entry) => part.entries.push(entry),
            Err(_) => part.skipped += 1,
        }
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;

    use super::*;
    use crate::ledger::testing::root;
    use crate::model::action::Action;
    use crate::model::journal::JournalEvent;
    use crate::model::names::{AppName, GroupName, MemberName, ReleaseId};
    use crate::model::process::{Pid, ProcessId, StartTicks};

    fn entry(event: JournalEvent) -> JournalEntry {
        JournalEntry {
            at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            pass: "p1".to_owned(),
            app: AppName::new("yujix").unwrap(),
            event,
        }
    }

    fn numbered(number: u32) -> JournalEntry {
        entry(JournalEvent::PassEnded { outcome: "converged".to_owned(), summary: format!("{number:08}") })
    }

    #[test]
    fn every_sort_of_line_reads_back_as_it_was_written() {
        let (_directory, root) = root();
        let group = GroupName::new("default").unwrap();
        let member = MemberName::new("w@1.service").unwrap();
        let process = ProcessId { pid: Pid(7), start_ticks: StartTicks(99) };
        let restart = Action::RestartWorker { group: group.clone(), member: member.clone(), process: Some(process) };
        let r2 = ReleaseId::new("1e3").unwrap();
        let events = [
            JournalEvent::PassStarted { release: r2.clone(), trigger: "command".to_owned(), pid: 12 },
            JournalEvent::Begin { action: Action::SwitchCurrent { to: r2 }, reason: "line\nbreak".to_owned() },
            JournalEvent::Begin { action: restart.clone(), reason: String::new() },
            JournalEvent::Done { action: restart, took_ms: 12, notes: vec!["pid 7 was killed".to_owned()] },
            JournalEvent::Done {
                action: Action::RestartWorker { group, member, process: None },
                took_ms: 1,
                notes: Vec::new(),
            },
            JournalEvent::Failed { action: Action::StopStray { process }, error: "no".to_owned(), took_ms: 3 },
            JournalEvent::PassEnded { outcome: "failed".to_owned(), summary: "one of two".to_owned() },
        ];
        let entries: Vec<JournalEntry> = events.into_iter().map(entry).collect();
        for entry in &entries {
            append(&root, entry).unwrap();
        }
        assert_eq!(read(&root).unwrap(), entries);
        let text = fs::read_to_string(root.state().join(NAME)).unwrap();
        assert_eq!(text.lines().count(), entries.len());
    }

    #[test]
    fn a_torn_tail_is_skipped_and_closed() {
        let (_directory, root) = root();
        append(&root, &numbered(1)).unwrap();
        append(&root, &numbered(2)).unwrap();
        let path = root.state().join(NAME);
        let whole = fs::read(&path).unwrap();
        // Whatever part of the last line reached the disk.
        let second = whole.len() / 2;
        for length in second..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            append(&root, &numbered(3)).unwrap();
            let mut expected = vec![numbered(1), numbered(3)];
            if length == whole.len() - 1 {
                expected.insert(1, numbered(2));
            }
            assert_eq!(read(&root).unwrap(), expected, "{length}");
        }
    }

    #[test]
    fn garbage_between_lines_is_skipped() {
        let (_directory, root) = root();
        append(&root, &numbered(1)).unwrap();
        let path = root.state().join(NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"\xff\0\n\n{\"event\":\"fromTheFuture\"}\n");
        fs::write(&path, bytes).unwrap();
        append(&root, &numbered(2)).unwrap();
        assert_eq!(read(&root).unwrap(), [numbered(1), numbered(2)]);
    }

    #[test]
    fn only_the_end_of_a_file_is_read_and_only_whole_lines_of_it() {
        let (_directory, root) = root();
        let line = serde_json::to_vec(&numbered(0)).unwrap().len() as u64 + 1;
        for number in 0..10 {
            append(&root, &numbered(number)).unwrap();
        }
        let open = || fs::File::open(root.state().join(NAME)).unwrap();
        let rows = [(0, 10), (1, 9), (line - 1, 9), (line, 9), (line + 1, 8), (9 * line, 1), (9 * line + 1, 0)];
        for (unread, kept) in rows {
            let part = end(open(), 10 * line - unread).unwrap();
            let expected: Vec<JournalEntry> = (10 - kept..10).map(numbered).collect();
            assert_eq!(part, Part { entries: expected, unread, skipped: 0 }, "{unread}");
        }
        fs::write(root.state().join(NAME), "{\nnonsense\n\n\0\0\n").unwrap();
        assert_eq!(end(open(), 100).unwrap().skipped, 3);
    }

    #[test]
    fn a_file_that_somebody_made_huge_costs_no_more_than_its_end() {
        let (_directory, root) = root();
        let path = root.state().join(NAME);
        append(&root, &numbered(1)).unwrap();
        let began = std::time::Instant::now();
        // A hole, which takes no room on the disk and would take as much memory as it is long.
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&root).unwrap(), []);
        append(&root, &numbered(2)).unwrap();
        assert_eq!(read(&root).unwrap(), [numbered(2)]);
        assert_eq!(fs::metadata(root.state().join(OLDER)).unwrap().len(), 1 << 40);
        // Real lines at the end of it count, however much is before them.
        let line = serde_json::to_string(&numbered(3)).unwrap();
        fs::rename(root.state().join(OLDER), &path).unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(format!("\n{line}\n").as_bytes()).unwrap();
        assert_eq!(read(&root).unwrap(), [numbered(3)]);
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn it_stays_bounded_and_loses_only_the_oldest_lines() {
        let (_directory, root) = root();
        let line = serde_json::to_vec(&numbered(0)).unwrap().len() as u64 + 1;
        let limit = 4 * line + 1;
        for number in 0..100 {
            append_within(&root, &numbered(number), limit).unwrap();
            for name in [NAME, OLDER] {
                let length = fs::metadata(root.state().join(name)).map_or(0, |found| found.len());
                assert!(length <= limit, "{name}: {length}");
            }
            let kept = read(&root).unwrap();
            assert_eq!(kept.last(), Some(&numbered(number)));
            let first = number + 1 - u32::try_from(kept.len()).unwrap();
            assert_eq!(kept, (first..=number).map(numbered).collect::<Vec<_>>());
            assert!(kept.len() > 4 || number < 4, "{} after {number}", kept.len());
        }
    }

    #[test]
    fn no_folder_is_no_history() {
        let (_directory, root) = root();
        assert_eq!(read(&root).unwrap(), []);
        assert!(!root.state().exists());
    }

    #[test]
    fn what_may_not_be_read_is_an_error_and_not_an_empty_history() {
        let (_directory, root) = root();
        fs::create_dir_all(root.state().join(NAME)).unwrap();
        assert!(read(&root).unwrap_err().message.contains("journal.jsonl"));
    }
}
