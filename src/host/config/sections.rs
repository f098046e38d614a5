//! Files of `[headings]` and settings: supervisord's, PHP's and systemd's, which differ in comments and long lines.
//!
//! In: a file. Out: its sections with the place of every setting. What is included stands where the dialect has it:
//! php-fpm reads it in place, supervisord after the file that names it.

use std::path::Path;

use super::{pattern, text, unread};
use crate::model::facts::{Configuration, Section, Setting};
use crate::model::finding::Spot;

/// Files may include others; php-fpm itself has such a limit.
const DEPTH: usize = 4;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Python's: `key = value ; comment` or `key: value`, further lines indented; keys in lower case.
    Supervisord,
    /// `php.ini` and php-fpm's: `key = "value" ; comment`, `include = PATTERN` in place.
    Php,
    /// Units: a comment has a line of its own, a `\` at its end joins a line with the next one.
    Systemd,
}

/// Reads a file with all that it includes; what cannot be read is told in `unread`.
#[must_use]
pub fn read(path: &Path, dialect: Dialect) -> Configuration {
    let mut reading = Reading::new(path, dialect);
    reading.file(path, 0);
    reading.configuration
}

/// Reads several files as one, such as a unit and its drop-ins; the first one gives its name.
#[must_use]
pub fn read_all<'a>(paths: impl IntoIterator<Item = &'a Path>, dialect: Dialect) -> Configuration {
    let mut paths = paths.into_iter().peekable();
    let mut reading = Reading::new(paths.peek().unwrap_or(&Path::new("")), dialect);
    for path in paths {
        reading.file(path, 0);
    }
    reading.configuration
}

struct Reading {
    dialect: Dialect,
    configuration: Configuration,
}

impl Reading {
    fn new(path: &Path, dialect: Dialect) -> Self {
        Self { dialect, configuration: Configuration { file: path.to_owned(), ..Configuration::default() } }
    }

    fn file(&mut self, path: &Path, depth: usize) {
        let text = match text(path) {
            Ok(text) => text,
            Err(error) => return self.configuration.unread.push(unread(path, &error)),
        };
        if depth == 0 {
            self.begin("", path, 1);
        }
        let mut joined: Option<(String, u32)> = None;
        for (raw, line) in text.lines().zip(1..) {
            if self.dialect == Dialect::Systemd {
                let (mut whole, first) = joined.take().unwrap_or((String::new(), line));
                let is_comment = raw.trim_start().starts_with(['#', ';']);
                match raw.strip_suffix('\\') {
                    // A comment in between does not end it.
                    _ if is_comment && !whole.is_empty() => joined = Some((whole, first)),
                    Some(part) if !is_comment => {
                        whole.push_str(part.trim());
                        whole.push(' ');
                        joined = Some((whole, first));
                    }
                    _ => self.line(&(whole + raw.trim()), path, first, depth),
                }
            } else {
                self.line(raw, path, line, depth);
            }
        }
        if depth == 0 && self.dialect == Dialect::Supervisord {
            self.include_files(path);
        }
    }

    fn begin(&mut self, name: &str, path: &Path, line: u32) {
        let at = Spot { file: path.to_owned(), line };
        self.configuration.sections.push(Section { name: name.to_owned(), at, settings: Vec::new() });
    }

    fn line(&mut self, raw: &str, path: &Path, line: u32, depth: usize) {
        let text = raw.trim();
        if text.is_empty() || text.starts_with([';', '#']) {
            return;
        }
        let Some(section) = self.configuration.sections.last_mut() else { return };
        if self.dialect == Dialect::Supervisord && raw.starts_with([' ', '\t']) {
            if let Some(last) = section.settings.last_mut() {
                last.value.push('\n');
                last.value.push_str(self.dialect.value(text).trim());
            }
            return;
        }
        if let Some(heading) = text.strip_prefix('[') {
            let name = heading.split(']').next().unwrap_or_default().trim().to_owned();
            return self.begin(&name, path, line);
        }
        let delimiters: &[char] = if self.dialect == Dialect::Supervisord { &['=', ':'] } else { &['='] };
        let Some((key, value)) = text.split_once(delimiters) else { return };
        let key = key.trim();
        let key = if self.dialect == Dialect::Supervisord { key.to_lowercase() } else { key.to_owned() };
        let value = self.dialect.value(value.trim()).to_owned();
        if self.dialect == Dialect::Php && key == "include" {
            let included = if depth < DEPTH { pattern::matches(Path::new(&value)) } else { Vec::new() };
            return included.iter().for_each(|path| self.file(path, depth + 1));
        }
        section.settings.push(Setting { key, value, at: Spot { file: path.to_owned(), line } });
    }

    /// The files of `[include]`, whose patterns are relative to the file that names them.
    fn include_files(&mut self, path: &Path) {
        let here = path.parent().unwrap_or(Path::new("/"));
        let named = self.configuration.get("include", "files").map(|files| files.value.clone()).unwrap_or_default();
        for pattern in named.split_whitespace() {
            let pattern = pattern.replace("%(here)s", &here.to_string_lossy());
            if pattern.contains("%(") {
                self.configuration.unread.push(format!("`{pattern}`: what supervisord puts into it is not known"));
            }
            for included in pattern::matches(&here.join(pattern)) {
                self.file(&included, 1);
            }
        }
    }
}

impl Dialect {
    /// A value without the comment behind it and without its quotes.
    fn value(self, text: &str) -> &str {
        match self {
            Self::Systemd => text,
            Self::Supervisord => {
                let comment = text
                    .char_indices()
                    .zip(text.chars().skip(1))
                    .find_map(|((at, c), next)| (c.is_whitespace() && matches!(next, ';' | '#')).then_some(at));
                let starts = text.starts_with([';', '#']);
                if starts { "" } else { text.get(..comment.unwrap_or(text.len())).unwrap_or(text).trim_end() }
            }
            Self::Php => match text.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
                Some((quoted, _)) => quoted,
                None => text.split(';').next().unwrap_or_default().trim().trim_matches('\'').trim(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `section/key=value@line` of all settings in these files; the first one is read.
    fn settings(files: &[(&str, &str)], dialect: Dialect) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text.replace("HERE", &place.path().display().to_string())).unwrap();
        }
        let read = read(&place.path().join(files[0].0), dialect);
        assert_eq!(read.unread, Vec::<String>::new());
        let of = |section: &Section, one: &Setting| {
            let file = one.at.file.strip_prefix(place.path()).unwrap().display().to_string();
            format!("{}/{}={}@{file}:{}", section.name, one.key, one.value, one.at.line)
        };
        read.sections.iter().flat_map(|section| section.settings.iter().map(move |one| of(section, one))).collect()
    }

    #[test]
    fn supervisord_s_files_as_python_reads_them() {
        let main =
            "; x=1\n[unix_http_server]\nfile=/a;b.sock   ; (path)\n[include]\nfiles = conf.d/*.conf\n\tmore/x.ini\n";
        let one = "[program:w]\nCommand: php a.php # no\ndirectory =\nenvironment=\n  A=\"1\",\n  B=\"2\" ; \
            two\nnumprocs=2\n";
        let found = settings(
            &[("s.conf", main), ("conf.d/w.conf", one), ("more/x.ini", "[group:g]\nprograms=w\n")],
            Dialect::Supervisord,
        );
        assert_eq!(
            found,
            [
                "unix_http_server/file=/a;b.sock@s.conf:3",
                "include/files=conf.d/*.conf\nmore/x.ini@s.conf:5",
                "program:w/command=php a.php@conf.d/w.conf:2",
                "program:w/directory=@conf.d/w.conf:3",
                "program:w/environment=\nA=\"1\",\nB=\"2\"@conf.d/w.conf:4",
                "program:w/numprocs=2@conf.d/w.conf:7",
                "group:g/programs=w@more/x.ini:2",
            ]
        );
    }

    #[test]
    fn php_s_files_include_others_in_place() {
        let main = "[global]\npid = /run/x ; c\ninclude=HERE/pool.d/*.conf\n";
        let pool = "[www]\nuser = \"www-data\" ; him\nphp_admin_value[opcache.enable] = '1'\n; a = b\n";
        let found = settings(&[("fpm.conf", main), ("pool.d/www.conf", pool)], Dialect::Php);
        assert_eq!(
            found,
            [
                "global/pid=/run/x@fpm.conf:2",
                "www/user=www-data@pool.d/www.conf:2",
                "www/php_admin_value[opcache.enable]=1@pool.d/www.conf:3",
            ]
        );
    }

    #[test]
    fn units_have_long_lines() {
        let unit = "[Service]\n# Restart=no\nExecStart=/usr/bin/php \\\n  # in between\n  a.php ; \
            b\nRestart=always\nExecReload=x\\";
        let found = settings(&[("w@.service", unit)], Dialect::Systemd);
        assert_eq!(
            found,
            ["Service/ExecStart=/usr/bin/php a.php ; b@w@.service:3", "Service/Restart=always@w@.service:6"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_and_a_circle_ends() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.conf");
        std::fs::write(
            &path,
            format!("include={}\ninclude={}/*.none\n", place.path().join("b").display(), place.path().display()),
        )
        .unwrap();
        let found = read(&path, Dialect::Php);
        assert_eq!(found.unread.len(), 1, "{found:?}");
        assert!(found.unread[0].contains("/b`: No such file"), "{found:?}");
        std::fs::write(&path, format!("include={}\nx=1\n", path.display())).unwrap();
        assert_eq!(read(&path, Dialect::Php).sections[0].settings.len(), DEPTH + 1);
        assert!(text(place.path()).is_err());
    }
}
