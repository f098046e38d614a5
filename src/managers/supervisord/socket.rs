//! Finds supervisord's socket and the credentials for it.
//!
//! In: what the manifest says of a group's manager. Out: an [`Address`]. The manifest comes first, then the
//! usual places, then `[unix_http_server]` of supervisord's own configuration. Credentials come from the
//! manifest alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use crate::host::config::sections::{Dialect, read};
use crate::model::app::{SecretSource, Supervisord};
use crate::ports::{HostError, HostErrorKind};

/// Where distributions put the socket.
const PLACES: [&str; 3] = ["/run/supervisor.sock", "/var/run/supervisor.sock", "/tmp/supervisor.sock"];
/// Where distributions put the configuration.
pub(super) const CONFIGURATION: &str = "/etc/supervisor/supervisord.conf";

/// One supervisord and how we present ourselves to it; two groups with the same address share a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The socket; it need not be there.
    pub(super) socket: PathBuf,
    /// Whether the manifest names the socket; `supervisorctl` has to be told then.
    pub(super) named: bool,
    username: Option<String>,
    password: Option<SecretSource>,
}

impl Address {
    /// Where the group's supervisord is.
    ///
    /// # Errors
    /// When the manifest names no socket and none is found.
    pub(super) fn of(manager: &Supervisord) -> Result<Self, HostError> {
        let (socket, named) = match &manager.socket {
            Some(socket) => (socket.clone(), true),
            None => (find(&PLACES.map(PathBuf::from), Path::new(CONFIGURATION))?, false),
        };
        Ok(Self { socket, named, username: manager.username.clone(), password: manager.password.clone() })
    }

    /// The same for a manifest that nobody has approved: it may name none but the host's own, and its password is not
    /// read.
    ///
    /// # Errors
    /// When it names another one, or none is found.
    pub(super) fn usual(manager: &Supervisord) -> Result<Self, HostError> {
        let configuration = Path::new(CONFIGURATION);
        let named = manager.socket.is_some();
        let socket = match &manager.socket {
            Some(socket) if !is_usual(socket, configuration) => {
                let message =
                    format!("supervisord's socket `{}` is not asked: the manifest names it", socket.display());
                return Err(HostError::new(HostErrorKind::Denied, message).with_help(
                    "without `--no-probe` it is; with it, only what the host's own configuration names is connected to",
                ));
            }
            Some(socket) => socket.clone(),
            None => find(&PLACES.map(PathBuf::from), configuration)?,
        };
        Ok(Self { socket, named, username: None, password: None })
    }

    /// Whether the socket is there and closed to us.
    pub(super) fn is_closed_to_us(&self) -> bool {
        let access = rustix::fs::accessat(CWD, &self.socket, Access::WRITE_OK, AtFlags::EACCESS);
        matches!(access, Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM))
    }

    /// User name and password, if the manifest names any.
    ///
    /// # Errors
    /// When the password cannot be had from where the manifest says it is.
    pub(super) fn credentials(&self) -> Result<Option<(String, String)>, HostError> {
        let password = match &self.password {
            None => None,
            Some(SecretSource::EnvironmentVariable(variable)) => Some(std::env::var(variable).map_err(|_| {
                HostError::new(HostErrorKind::Misconfigured, format!("supervisord's password is not in ${variable}"))
                    .with_help(format!("set {variable} where trueup runs"))
            })?),
            Some(SecretSource::File(path)) => {
                let doing = format!("cannot read supervisord's password from `{}`", path.display());
                let text = std::fs::read_to_string(path).map_err(|error| HostError::io(doing, &error))?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
        };
        Ok(match (&self.username, password) {
            (None, None) => None,
            (username, password) => Some((username.clone().unwrap_or_default(), password.unwrap_or_default())),
        })
    }
}

/// Whether the host itself has supervisord's socket there.
fn is_usual(socket: &Path, configuration: &Path) -> bool {
    PLACES.iter().any(|place| Path::new(place) == socket) || configured(configuration).is_some_and(|own| own == socket)
}

fn find(places: &[PathBuf], configuration: &Path) -> Result<PathBuf, HostError> {
    let there = |path: &&PathBuf| match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    };
    if let Some(place) = places.iter().find(there) {
        return Ok(place.clone());
    }
    configured(configuration).ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|place| format!("`{}`", place.display())).collect();
        let message = format!("found no socket of supervisord (looked for {})", looked.join(", "));
        HostError::new(HostErrorKind::Unreachable, message).with_help(
            "start supervisord (`systemctl start supervisor`), or name its socket in `manager.supervisord.socket`",
        )
    })
}

/// `file` of `[unix_http_server]`; a value that supervisord would have to expand is none to us.
fn configured(configuration: &Path) -> Option<PathBuf> {
    let configured = read(configuration, Dialect::Supervisord);
    let here = configuration.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let file = configured.get("unix_http_server", "file")?.value.replace("%(here)s", &here);
    Some(PathBuf::from(file)).filter(|file| file.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_socket() {
        let rows = [
            ("[unix_http_server]\nfile=/var/run/s.sock   ; (the path)\n", Some("/var/run/s.sock")),
            ("[inet_http_server]\nfile=/no\n[unix_http_server]\nchmod=0700\nfile = /a;b.sock\n", Some("/a;b.sock")),
            ("[unix_http_server]\nfile=%(here)s/s.sock\n", Some("HERE/s.sock")),
            ("[unix_http_server]\n;file=/commented\n", None),
            ("[unix_http_server]\n[supervisord]\nfile=/no\n", None),
            ("[unix_http_server]\nfile=%(ENV_HOME)s/s.sock\n", None),
            ("", None),
        ];
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("supervisord.conf");
        let here = dir.path().to_str().unwrap();
        for (text, wanted) in rows {
            std::fs::write(&file, text).unwrap();
            assert_eq!(configured(&file), wanted.map(|path| path.replace("HERE", here).into()), "{text}");
        }
        assert_eq!(configured(&dir.path().join("absent.conf")), None);
    }

    #[test]
    fn places_come_before_the_configuration_and_nothing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second, conf) = (dir.path().join("1"), dir.path().join("2"), dir.path().join("conf"));
        let places = [first.clone(), second.clone()];
        let error = find(&places, &conf).unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Unreachable);
        assert!(error.message.contains(first.to_str().unwrap()), "{error}");
        std::fs::write(&conf, "[unix_http_server]\nfile=/configured\n").unwrap();
        assert_eq!(find(&places, &conf).unwrap(), Path::new("/configured"));
        std::fs::write(&second, "").unwrap();
        assert_eq!(find(&places, &conf).unwrap(), second);
    }

    #[test]
    fn a_manifest_that_nobody_has_approved_names_no_socket_but_the_hosts_own() {
        let file = SecretSource::File("/etc/shadow".into());
        let manager = |socket: &str| Supervisord {
            group: "web".to_owned(),
            program: None,
            socket: Some(socket.into()),
            username: Some("u".to_owned()),
            password: Some(file.clone()),
        };
        for (socket, is_asked) in [(PLACES[0], true), (PLACES[2], true), ("/tmp/of-somebody.sock", false)] {
            let address = Address::usual(&manager(socket));
            assert_eq!(address.is_ok(), is_asked, "{socket}");
            if let Ok(address) = address {
                assert_eq!(address.credentials().unwrap(), None, "{socket}: nothing is read for it");
            }
        }
    }

    #[test]
    fn passwords_come_from_the_first_line_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "s3cret\nnext\n").unwrap();
        let address = |username: Option<&str>, password: Option<SecretSource>| Address {
            socket: "/s".into(),
            named: true,
            username: username.map(str::to_owned),
            password,
        };
        let both = address(Some("u"), Some(SecretSource::File(file))).credentials().unwrap();
        assert_eq!(both, Some(("u".to_owned(), "s3cret".to_owned())));
        assert_eq!(address(None, None).credentials().unwrap(), None);
        let missing = address(None, Some(SecretSource::File(dir.path().join("none")))).credentials().unwrap_err();
        assert!(missing.message.contains("none"), "{missing}");
        let unset = SecretSource::EnvironmentVariable("TRUEUP_TEST_NO_SUCH_VARIABLE".to_owned());
        assert_eq!(address(None, Some(unset)).credentials().unwrap_err().kind, HostErrorKind::Misconfigured);
    }
}
