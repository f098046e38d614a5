use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

use super::*;

const DEPLOY: u32 = 4242;
const WEB: u32 = 4343;

/// Something on the way, in the order in which it is made: path, owner, and what it is.
enum Made {
    Directory(&'static str, u32, u32),
    File(&'static str, u32, u32),
    Link(&'static str, u32, &'static str),
}

use Made::{Directory as D, File as F, Link as L};

fn made(things: &[Made]) -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    fs::set_permissions(site.path(), Permissions::from_mode(0o755)).unwrap();
    for thing in things {
        match thing {
            D(path, owner, mode) => {
                let path = site.path().join(path);
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
                chown(&path, Some(*owner), Some(*owner)).unwrap();
            }
            F(path, owner, mode) => {
                let path = site.path().join(path);
                fs::write(&path, "content").unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
                chown(&path, Some(*owner), Some(*owner)).unwrap();
            }
            L(path, owner, target) => {
                let path = site.path().join(path);
                symlink(target.replace("SITE", &site.path().to_string_lossy()), &path).unwrap();
                lchown(&path, Some(*owner), Some(*owner)).unwrap();
            }
        }
    }
    site
}

fn told(opened: Result<(OwnedFd, Led), OpenError>) -> String {
    match opened {
        Ok(_) => "open".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn root_reads_for_nobody_what_he_may_not_read_himself() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = made(&[
        D("closed", 0, 0o700),
        F("closed/open", 0, 0o644),
        F("secret", 0, 0o600),
        F("public", 0, 0o644),
        L("roots-link", 0, "closed/open"),
        L("link-among-roots", DEPLOY, "secret"),
        L("link-to-public", DEPLOY, "public"),
        D("app", DEPLOY, 0o750),
        F("app/own", DEPLOY, 0o600),
        F("app/webs", WEB, 0o640),
        F("app/webs-public", WEB, 0o644),
        F("app/roots", 0, 0o600),
        L("app/absolute", DEPLOY, "SITE/secret"),
        L("app/relative", DEPLOY, "../secret"),
        L("app/through", DEPLOY, "../closed/open"),
        L("app/home", DEPLOY, "SITE/app/own"),
        L("app/roots-link", 0, "../secret"),
        L("app/twice", DEPLOY, "roots-link"),
        L("app/stat", DEPLOY, "/proc/self/maps"),
        D("app/web", WEB, 0o755),
        L("app/web/back", WEB, "../own"),
        L("app/directory", DEPLOY, "../closed"),
    ]);
    // `whose` could have led there; none of them, and root reads.
    let rows = [
        ("secret", None),
        ("closed/open", None),
        ("roots-link", None),
        ("link-to-public", None),
        ("app/own", None),
        ("app/home", None),
        ("app/webs-public", None),
        ("link-among-roots", Some(("link-among-roots", "secret", DEPLOY))),
        ("app/webs", Some(("app", "app/webs", DEPLOY))),
        ("app/roots", Some(("app", "app/roots", DEPLOY))),
        ("app/absolute", Some(("app", "secret", DEPLOY))),
        ("app/relative", Some(("app", "secret", DEPLOY))),
        ("app/through", Some(("app", "closed", DEPLOY))),
        ("app/roots-link", Some(("app", "secret", DEPLOY))),
        ("app/twice", Some(("app", "secret", DEPLOY))),
        ("app/web/back", Some(("app/web", "app", WEB))),
    ];
    let at = |path: &str| site.path().join(path);
    for (path, refused) in rows {
        let told = told(open(&at(path), Wanted::File));
        match refused {
            None => assert_eq!(told, "open", "{path}"),
            Some((owns, leads_to, user)) => {
                let words =
                    format!("`{}` belongs to `{user}` and leads to `{}`", at(owns).display(), at(leads_to).display());
                assert!(told.starts_with(&words), "{path}: {told}");
            }
        }
    }
    // Its mode says that everybody may read it.
    assert!(told(open(&at("app/stat"), Wanted::File)).contains("root does not read it for him"));
    assert!(told(open(&at("app/directory"), Wanted::Directory)).contains("which `4242` may not read"));
    assert_eq!(told(open(&at("app"), Wanted::Directory)), "open");
    assert_eq!(told(open(&at("closed"), Wanted::Directory)), "open");
}

#[test]
fn who_could_lead_on_from_a_directory_is_known_in_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = made(&[
        D("app", DEPLOY, 0o755),
        F("app/roots", 0, 0o600),
        D("app/web", WEB, 0o755),
        F("app/web/deploys", DEPLOY, 0o600),
    ]);
    let (app, led) = open(&site.path().join("app"), Wanted::Directory).unwrap();
    let inside = |path: &str| openat(&app, path, OFlags::RDONLY, Mode::empty()).unwrap();
    assert!(matches!(led.allows(inside("roots").as_fd()), Err(OpenError::Led { .. })));
    assert_eq!(led.allows(inside("web/deploys").as_fd()), Ok(()), "as far as its own owner goes");
    let led = led.beyond(inside("web").as_fd()).unwrap();
    assert!(matches!(led.allows(inside("web/deploys").as_fd()), Err(OpenError::Led { .. })));
}

#[test]
fn only_what_is_wanted_is_opened_and_nothing_is_waited_for() {
    let site = tempfile::tempdir().unwrap();
    let at = |path: &str| site.path().join(path);
    fs::write(at("file"), "content").unwrap();
    fs::create_dir_all(at("directory/below")).unwrap();
    symlink("below/../../file", at("directory/link")).unwrap();
    symlink("loop", at("loop")).unwrap();
    rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let os = |error: Errno| std::io::Error::from(error).to_string();
    let rows = [
        ("file", Wanted::File, "open".to_owned()),
        ("directory/link", Wanted::File, "open".to_owned()),
        ("directory/../directory/./link", Wanted::File, "open".to_owned()),
        ("directory", Wanted::Directory, "open".to_owned()),
        ("directory", Wanted::File, "it is a directory, no regular file".to_owned()),
        ("pipe", Wanted::File, "it is no regular file".to_owned()),
        ("socket", Wanted::File, "it is no regular file".to_owned()),
        ("file", Wanted::Directory, os(Errno::NOTDIR)),
        ("pipe", Wanted::Directory, os(Errno::NOTDIR)),
        ("file/below", Wanted::File, os(Errno::NOTDIR)),
        ("absent", Wanted::File, os(Errno::NOENT)),
        ("loop", Wanted::File, os(Errno::LOOP)),
    ];
    for (path, wanted, expected) in rows {
        assert_eq!(told(open(&at(path), wanted)), expected, "{path} {wanted:?}");
    }
    let (file, _) = open(&at("directory/link"), Wanted::File).unwrap();
    assert_eq!(place(file.as_fd()).unwrap(), at("file").canonicalize().unwrap());
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).unwrap();
    assert_eq!(text, "content");
    assert_eq!(told(open(Path::new("Cargo.toml"), Wanted::File)), "open", "where this process is");
}
