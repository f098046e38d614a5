//! The text of one file: opened, read whole, and known to be UTF-8.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::report::{Mistake, Text};
use super::yaml::Finding;

/// Most bytes of one file.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Why there is no text to be looked at.
pub(super) enum Unreadable {
    File(io::Error),
    Content(Box<Mistake>),
}

/// Reads a whole file that is called `name` in messages.
pub(super) fn text(name: &str, from: &mut dyn Read) -> Result<Text, Unreadable> {
    let content = |mistake| Err(Unreadable::Content(Box::new(mistake)));
    let mut bytes = Vec::new();
    from.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(Unreadable::File)?;
    if bytes.len() as u64 > FILE_LIMIT {
        let message = format!("it is larger than {} KiB", FILE_LIMIT / 1024);
        return content(Mistake::unreadable(name, message, "is this the right file? Manifests are small"));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => Text::new(name, text),
        Err(error) => return content(not_utf8(name, &error)),
    };
    if let Some(at) = text.text().find('\0') {
        let finding = Finding::new(at..at, "a NUL byte: this is no text file").help("is this the right file?");
        return content(text.mistake(finding));
    }
    Ok(text)
}

/// Opens what somebody has named: `<(…)` of a shell is a pipe.
pub(super) fn named(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Opens what was found in a directory. A pipe there, which nobody may ever write into, is waited for by nobody.
pub(super) fn plain(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Mistake {
    let at = error.utf8_error().valid_up_to();
    let bytes = error.as_bytes();
    let before = bytes.get(..at).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let message = if utf16 { "the text is UTF-16, not UTF-8" } else { "the text is not UTF-8" };
    let mut mistake = Mistake::unreadable(name, message, "save it as UTF-8");
    mistake.line = Some(line);
    mistake.column =
        before.rsplit(|byte| *byte == b'\n').next().map(|last| String::from_utf8_lossy(last).chars().count() + 1);
    mistake
}
