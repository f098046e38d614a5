//! nginx's configuration as it is written, with all that it includes in its place.
//!
//! The files are read: `nginx -T` would tell the same, but makes log files and directories as it begins, and takes
//! root. Begin at [`configuration`].

use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

use crate::host::config::{pattern, text, unread};
use crate::model::facts::{Directive, Nginx};
use crate::model::finding::Spot;
use crate::model::process::ProcessSummary;

/// Where the configuration is when no command line says so.
const PLACES: [&str; 3] =
    ["/etc/nginx/nginx.conf", "/usr/local/nginx/conf/nginx.conf", "/usr/local/etc/nginx/nginx.conf"];
/// Blocks and includes deeper than this are given up.
const DEPTH: u32 = 32;
/// More directives than this are not read, such as from files that include each other.
const MOST: usize = 100_000;

/// nginx's configuration: that of the nginx among these processes, else that in the usual place; none without either.
/// Blocks.
#[must_use]
pub fn configuration<'a>(mut processes: impl Iterator<Item = &'a ProcessSummary>) -> Option<Nginx> {
    let running = processes.find_map(|process| named(&process.command));
    let path = running.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.exists()))?;
    Some(read(&path))
}

/// The file that the command line of a main process names.
fn named(command: &[String]) -> Option<PathBuf> {
    // nginx writes a title over its command line, which then is one word.
    let title = command.first()?.strip_prefix("nginx: master process ")?;
    let words: Vec<&str> = title.split_whitespace().chain(command.iter().skip(1).map(String::as_str)).collect();
    let at = words.iter().position(|word| *word == "-c")?;
    words.get(at + 1).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn read(path: &Path) -> Nginx {
    let prefix = path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut reading = Reading { prefix, unread: Vec::new(), count: 0 };
    let directives = reading.file(path, 0);
    Nginx { file: path.to_owned(), directives, unread: reading.unread }
}

struct Reading {
    /// What relative includes are relative to.
    prefix: PathBuf,
    unread: Vec<String>,
    count: usize,
}

impl Reading {
    fn file(&mut self, path: &Path, depth: u32) -> Vec<Directive> {
        if !self.may_go_on() {
            return Vec::new();
        }
        match text(path) {
            Ok(text) => {
                let mut words = Words { letters: text.chars().peekable(), line: 1 };
                self.block(&mut words, path, depth)
            }
            Err(error) => {
                self.unread.push(unread(path, &error));
                Vec::new()
            }
        }
    }

    /// Everything up to the closing brace, or the end.
    fn block(&mut self, words: &mut Words<'_>, path: &Path, depth: u32) -> Vec<Directive> {
        let mut found = Vec::new();
        let mut open: Vec<String> = Vec::new();
        let mut at = Spot { file: path.to_owned(), line: 1 };
        while let Some((token, line)) = words.next() {
            match token {
                Token::Word(word) => {
                    if open.is_empty() {
                        at.line = line;
                    }
                    open.push(word);
                }
                Token::End => self.finish(std::mem::take(&mut open), at.clone(), depth, &mut found),
                Token::Open => {
                    let name = std::mem::take(&mut open);
                    let is_code = name.first().is_some_and(|name| name.ends_with("_by_lua_block"));
                    let block = if is_code || depth >= DEPTH {
                        words.skip_block();
                        Vec::new()
                    } else {
                        self.block(words, path, depth + 1)
                    };
                    if !name.is_empty() && self.may_go_on() {
                        found.push(Directive { words: name, at: at.clone(), block });
                    }
                }
                Token::Close => break,
            }
        }
        found
    }

    fn finish(&mut self, words: Vec<String>, at: Spot, depth: u32, found: &mut Vec<Directive>) {
        if words.is_empty() || !self.may_go_on() {
            return;
        }
        match words.as_slice() {
            [name, pattern] if name == "include" && depth < DEPTH => {
                for included in pattern::matches(&self.prefix.join(pattern)) {
                    found.extend(self.file(&included, depth + 1));
                }
            }
            _ => found.push(Directive { words, at, block: Vec::new() }),
        }
    }

    fn may_go_on(&mut self) -> bool {
        self.count += 1;
        self.count <= MOST
    }
}

enum Token {
    Word(String),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// nginx's words: between blanks, or in quotes.
struct Words<'a> {
    letters: Peekable<Chars<'a>>,
    line: u32,
}

impl Words<'_> {
    /// The next word or mark, and the line in which it begins.
    fn next(&mut self) -> Option<(Token, u32)> {
        loop {
            let line = self.line;
            let token = match self.letter()? {
                c if c.is_whitespace() => continue,
                '#' => {
                    while self.letters.peek().is_some_and(|c| *c != '\n') {
                        self.letter();
                    }
                    continue;
                }
                ';' => Token::End,
                '{' => Token::Open,
                '}' => Token::Close,
                quote @ ('"' | '\'') => Token::Word(self.quoted(quote)),
                first => Token::Word(self.bare(first)),
            };
            return Some((token, line));
        }
    }

    fn letter(&mut self) -> Option<char> {
        let letter = self.letters.next();
        self.line += u32::from(letter == Some('\n'));
        letter
    }

    fn quoted(&mut self, quote: char) -> String {
        let mut word = String::new();
        while let Some(c) = self.letter().filter(|c| *c != quote) {
            match c {
                '\\' if self.letters.peek() == Some(&quote) => word.extend(self.letter()),
                c => word.push(c),
            }
        }
        word
    }

    fn bare(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(c) = self.letters.peek().copied() {
            match c {
                // The braces of `${name}` are the variable's own.
                '{' if word.ends_with('$') => {
                    while let Some(c) = self.letter() {
                        word.push(c);
                        if c == '}' {
                            break;
                        }
                    }
                }
                ';' | '{' => break,
                c if c.is_whitespace() => break,
                '\\' => {
                    word.extend(self.letter());
                    word.extend(self.letter());
                }
                c => {
                    word.push(c);
                    self.letter();
                }
            }
        }
        word
    }

    /// Passes over what is no configuration.
    fn skip_block(&mut self) {
        let mut depth = 1;
        while depth > 0 {
            match self.letter() {
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                Some(_) => {}
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line for each directive, its block indented.
    fn shown(directives: &[Directive], indent: usize) -> String {
        let line = |one: &Directive| {
            let file = one.at.file.file_name().unwrap().to_string_lossy();
            let own = format!("{}{} @{file}:{}\n", " ".repeat(indent), one.words.join("|"), one.at.line);
            own + &shown(&one.block, indent + 1)
        };
        directives.iter().map(line).collect()
    }

    #[test]
    fn it_is_read_as_nginx_reads_it() {
        let place = tempfile::tempdir().unwrap();
        let main = "# user x;\nuser www-data; http {\n  include sites/*; log_format a '$b \"c;\" '\n    '\\'d';\n\
            content_by_lua_block { if a { b } c; }\n  map $x ${y}z { default \"\"; ~^a\\;b 1; }\n  include \
            none.conf;\n}\nlast on;\n";
        std::fs::create_dir(place.path().join("sites")).unwrap();
        std::fs::write(place.path().join("nginx.conf"), main).unwrap();
        let site = "server { root /srv; # }\n location ~ \\.php$ {\n fastcgi_param A\n  $document_root$b; }\n}";
        std::fs::write(place.path().join("sites/b"), site).unwrap();
        std::fs::write(place.path().join("sites/a"), "gzip on;").unwrap();
        let read = read(&place.path().join("nginx.conf"));
        let expected = "\
user|www-data @nginx.conf:2
http @nginx.conf:2
 gzip|on @a:1
 server @b:1
  root|/srv @b:1
  location|~|\\.php$ @b:2
   fastcgi_param|A|$document_root$b @b:3
 log_format|a|$b \"c;\" |'d @nginx.conf:3
 content_by_lua_block @nginx.conf:5
 map|$x|${y}z @nginx.conf:6
  default| @nginx.conf:6
  ~^a\\;b|1 @nginx.conf:6
last|on @nginx.conf:9
";
        assert_eq!(shown(&read.directives, 0), expected);
        assert_eq!(read.unread.len(), 1, "{:?}", read.unread);
    }

    #[test]
    fn files_that_include_themselves_and_blocks_without_end_are_given_up() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("nginx.conf");
        std::fs::write(&path, "include nginx.conf; include nginx.conf; a {").unwrap();
        assert!(read(&path).directives.len() <= MOST);
        std::fs::write(&path, "a { ".repeat(100_000)).unwrap();
        assert_eq!(read(&path).directives.len(), 1);
    }

    #[test]
    fn the_running_one_names_its_file() {
        let rows = [
            (vec!["nginx: master process /usr/sbin/nginx -g daemon on; -c /etc/x.conf"], Some("/etc/x.conf")),
            (vec!["nginx: master process /usr/sbin/nginx", "-c", "/etc/x.conf"], Some("/etc/x.conf")),
            (vec!["nginx: master process /usr/sbin/nginx -g daemon on;"], None),
            (vec!["vi", "-c", "/etc/x.conf"], None),
        ];
        for (words, path) in rows {
            let command: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(named(&command), path.map(PathBuf::from), "{words:?}");
        }
    }
}
