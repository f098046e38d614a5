//! Secrets, read when they are needed. Nothing in here says what they are.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use super::way::{self, OpenError, Wanted};
use crate::model::app::SecretSource;
use crate::ports::{HostError, HostErrorKind};

/// A longer first line is no secret.
const LIMIT: u64 = 64 * 1024;

/// Reads a secret for what is called `key`, such as an environment variable. Blocks.
///
/// # Errors
/// It is not there, is empty, or cannot be the value of an environment variable; `key` is named.
pub fn read(source: &SecretSource, key: &str) -> Result<String, HostError> {
    let refused = |what: String, help: &str| {
        HostError::new(HostErrorKind::Misconfigured, format!("there is no value for `{key}`: {what}")).with_help(help)
    };
    let (value, place) = match source {
        SecretSource::EnvironmentVariable(name) => {
            let value = std::env::var(name).map_err(|_| {
                let what = format!("the variable `{name}` is not set in trueup's own environment, or is no text");
                refused(what, "set it where trueup is started, such as in its systemd unit")
            })?;
            (value, format!("the variable `{name}`"))
        }
        SecretSource::File(path) => {
            let place = format!("`{}`", path.display());
            let unreadable = |error: std::io::Error| {
                let what = format!("cannot read {place}: {error}");
                refused(what, "put the value into its first line, readable for the user who runs trueup")
            };
            let (opened, _) = way::open(path, Wanted::File).map_err(|error| match error {
                OpenError::Led { message, help } => refused(message, &help),
                OpenError::Failed(error) => unreadable(error.into()),
                OpenError::Other(what) => {
                    refused(format!("{place} {what}"), "put the value into the first line of a file")
                }
            })?;
            let file = File::from(opened);
            let mut line = Vec::new();
            BufReader::new(file.take(LIMIT)).read_until(b'\n', &mut line).map_err(unreadable)?;
            let end = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
            line.truncate(end);
            let help = "put the value into its first line";
            let text = String::from_utf8(line).map_err(|_| refused(format!("{place} is no UTF-8 text"), help))?;
            (text, place)
        }
    };
    if value.is_empty() || value.contains('\0') {
        let what = format!("{place} is empty or has a NUL byte in it");
        return Err(refused(what, "write the value there, or take it out of the configuration"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode};

    use super::*;

    #[test]
    fn a_file_gives_its_first_line_and_an_error_names_the_key_but_no_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let source = SecretSource::File(path.clone());
        let rows: [(&[u8], Option<&str>); 7] = [
            (b"s3cret", Some("s3cret")),
            (b"s3cret\n", Some("s3cret")),
            (b"s3cret\r\nmore\n", Some("s3cret")),
            (b" a b \n", Some(" a b ")),
            (b"", None),
            (b"\nsecond-line\n", None),
            (b"s3cret\xff", None),
        ];
        for (bytes, expected) in rows {
            std::fs::write(&path, bytes).unwrap();
            match (read(&source, "TOKEN"), expected) {
                (Ok(value), Some(expected)) => assert_eq!(value, expected),
                (Err(error), None) => {
                    assert!(error.message.contains("`TOKEN`") && error.help.is_some(), "{error:?}");
                    assert!(!error.message.contains("s3cret") && !error.message.contains("second"), "{error}");
                }
                (read, _) => panic!("{bytes:?}: {read:?}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read(&source, "TOKEN").unwrap_err().message.contains("token"));
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(read(&source, "TOKEN").is_err(), "a pipe without a writer has nothing in it");
    }

    #[test]
    fn a_secret_is_read_for_nobody_who_may_not_read_it() {
        use std::os::unix::fs::{PermissionsExt, chown, symlink};
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "s3cret").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let theirs = directory.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        symlink(&secret, theirs.join("token")).unwrap();
        let source = SecretSource::File(theirs.join("token"));
        assert_eq!(read(&source, "TOKEN").unwrap(), "s3cret");
        chown(&theirs, Some(4242), Some(4242)).unwrap();
        let error = read(&source, "TOKEN").unwrap_err();
        let words = format!("there is no value for `TOKEN`: `{}` belongs to `4242`", theirs.display());
        assert!(error.message.starts_with(&words) && error.help.is_some(), "{error:?}");
    }

    #[test]
    fn a_variable_is_trueups_own() {
        // Cargo sets this one for every test.
        let set = SecretSource::EnvironmentVariable("CARGO_PKG_NAME".to_owned());
        assert_eq!(read(&set, "KEY").unwrap(), "trueup");
        let error = read(&SecretSource::EnvironmentVariable("TRUEUP_NO_SUCH".to_owned()), "KEY").unwrap_err();
        assert!(error.message.contains("`KEY`") && error.message.contains("`TRUEUP_NO_SUCH`"), "{error}");
    }
}
