//! Reads a tar archive, entry by entry, and tells a [`Tree`] what to make.
//!
//! Long names are read here and not by the tar crate, which would take all the memory that an archive asks for.

use std::cell::Cell;
use std::io::{self, Read};

use tar::{Archive, Entry, EntryType, Header};

use super::tree::{Fault, Tree};

/// Longest name, or list of names and times, that an entry may have before it.
const LONGEST_NAME: u64 = 64 * 1024;

/// What stands before an entry and says more of it.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// Unpacks everything.
pub(super) fn unpack(reader: impl Read, bound: u64, tree: &mut Tree, strip: u32) -> Result<(), Fault> {
    let ended = Cell::new(false);
    let mut archive = Archive::new(Bounded { reader, left: bound, ended: &ended });
    let mut before = Before::default();
    for entry in archive.entries().map_err(Fault::Unreadable)?.raw(true) {
        let mut entry = entry.map_err(Fault::Unreadable)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => before.name = Some(until_zero(text(&mut entry)?)),
            EntryType::GNULongLink => before.link = Some(until_zero(text(&mut entry)?)),
            EntryType::XHeader => extend(&mut before, &text(&mut entry)?)?,
            // Comments, such as the commit that `git archive` puts there; the name of the volume.
            EntryType::XGlobalHeader => drop(text(&mut entry)?),
            kind if kind.as_byte() == b'V' => {}
            _ => {
                let said = std::mem::take(&mut before);
                one(&mut entry, said, tree, strip)?;
            }
        }
    }
    if ended.get() {
        return Err(Fault::Unreadable(io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short")));
    }
    // What is packed is only whole when it could be read to its end.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(|_| ()).map_err(Fault::Unreadable)
}

fn one<R: Read>(entry: &mut Entry<'_, R>, said: Before, tree: &mut Tree, strip: u32) -> Result<(), Fault> {
    let name = said.name.unwrap_or_else(|| entry.path_bytes().into_owned());
    let wrong = |what: &str| Err(Fault::Refused { name: shown(&name), what: what.to_owned() });
    tree.count()?;
    let size = entry.header().entry_size().map_err(Fault::Unreadable)?;
    if said.sparse || said.size.is_some_and(|said| said != size) {
        return wrong("is sparse or of a size that its header does not tell; pack it without `--sparse`");
    }
    let Some(path) = tree.path(&name, strip)? else { return Ok(()) };
    let mode = entry.header().mode().map_err(Fault::Unreadable)?;
    let link = said.link.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
    match entry.header().entry_type() {
        // Before there were directories in archives, they were files with such a name.
        EntryType::Regular if name.ends_with(b"/") => tree.directory(&path, mode),
        EntryType::Directory => tree.directory(&path, mode),
        EntryType::Regular | EntryType::Continuous => tree.file(&path, mode, size, entry),
        EntryType::Symlink => tree.symlink(&path, &link),
        EntryType::Link => match tree.path(&link, strip)? {
            Some(target) => tree.copy(&path, &target),
            None => wrong("is a hard link to what is not unpacked"),
        },
        EntryType::Char | EntryType::Block => wrong("is a device"),
        EntryType::Fifo => wrong("is a named pipe"),
        EntryType::GNUSparse => wrong("is sparse; pack it without `--sparse`"),
        _ => wrong("is of a kind that is not known"),
    }
}

/// Whether a block is the header of an entry.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Ok(block) = <&[u8; 512]>::try_from(block) else { return false };
    let header = Header::from_byte_slice(block);
    let sum: u32 =
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    header.cksum().is_ok_and(|said| said == sum)
}

fn text<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Fault> {
    let size = entry.header().entry_size().map_err(Fault::Unreadable)?;
    if size > LONGEST_NAME {
        return Err(Fault::Refused { name: "an entry".to_owned(), what: "has a name that is far too long".to_owned() });
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(Fault::Unreadable)?;
    Ok(bytes)
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

/// Takes up what a pax header says: lines of `LENGTH KEY=VALUE`.
fn extend(before: &mut Before, mut bytes: &[u8]) -> Result<(), Fault> {
    let broken = || Fault::Unreadable(io::Error::new(io::ErrorKind::InvalidData, "a pax header is broken"));
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let length = number(bytes.get(..space).unwrap_or_default()).ok_or_else(broken)?;
        let length = usize::try_from(length).map_err(|_| broken())?;
        let line = bytes.get(space + 1..length).and_then(|line| line.strip_suffix(b"\n")).ok_or_else(broken)?;
        let equals = line.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        let (key, value) = (line.get(..equals).unwrap_or_default(), line.get(equals + 1..).unwrap_or_default());
        match key {
            b"path" => before.name = Some(value.to_vec()),
            b"linkpath" => before.link = Some(value.to_vec()),
            b"size" => before.size = Some(number(value).ok_or_else(broken)?),
            _ => before.sparse |= key.starts_with(b"GNU.sparse."),
        }
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(())
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A name as it may stand in a message.
pub(super) fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name).escape_debug().to_string();
    let short: String = name.chars().take(200).collect();
    if short.len() < name.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

/// Ends in an error where there is more than may be, and notes whether anybody has read to the end: a whole archive
/// says itself where it ends.
struct Bounded<'a, R> {
    reader: R,
    left: u64,
    ended: &'a Cell<bool>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.ended.set(self.ended.get() || (length == 0 && !buffer.is_empty()));
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| io::Error::other("it is far too large"))?;
        Ok(length)
    }
}
