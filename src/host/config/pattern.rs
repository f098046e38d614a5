//! Which files a path with wildcards names, as `glob` of the C library finds them.

use std::path::{Component, Path, PathBuf};

/// More files than this are not looked for.
const MOST: usize = 4096;
/// A longer one names no file.
const LONGEST: usize = 4096;

/// The files that are there, in the order of their names; a pattern without wildcards is itself, there or not.
#[must_use]
pub fn matches(pattern: &Path) -> Vec<PathBuf> {
    if pattern.as_os_str().len() > LONGEST {
        return Vec::new();
    }
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        match part {
            Component::Normal(name) if name.to_string_lossy().contains(['*', '?', '[']) => {
                let name = name.to_string_lossy();
                found = found.iter().flat_map(|above| below(above, &name)).take(MOST).collect();
            }
            part => found.iter_mut().for_each(|path| path.push(part)),
        }
    }
    let literal = found.len() == 1 && found.first().is_some_and(|path| path == pattern);
    found.retain(|path| literal || path.exists());
    found
}

fn below(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    // A wildcard does not stand for the dot of a hidden file.
    let shown = |name: &String| pattern.starts_with('.') || !name.starts_with('.');
    let mut names: Vec<String> = names.filter(|name| shown(name) && fits(pattern, name)).collect();
    names.sort();
    names.into_iter().map(|name| directory.join(name)).collect()
}

/// Whether a name fits a pattern of `*`, `?` and `[…]`. Takes no longer than their lengths multiplied: the pattern may
/// be anybody's.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pieces, letters) = (pieces(pattern), name.chars().collect::<Vec<_>>());
    let (mut piece, mut letter) = (0, 0);
    // Behind the last `*`, and where the letters begin that it has not taken yet: what earlier ones took is as good.
    let mut again: Option<(usize, usize)> = None;
    while let Some(&next) = letters.get(letter) {
        match (pieces.get(piece), again) {
            (Some(Piece::Any), _) => {
                piece += 1;
                again = Some((piece, letter));
            }
            (Some(one), _) if one.is(next) => {
                piece += 1;
                letter += 1;
            }
            (_, Some((behind, from))) => {
                piece = behind;
                letter = from + 1;
                again = Some((behind, letter));
            }
            (_, None) => return false,
        }
    }
    pieces.iter().skip(piece).all(|piece| matches!(piece, Piece::Any))
}

/// One part of a pattern.
#[derive(Debug, Clone, Copy)]
enum Piece<'a> {
    /// `*`: any letters.
    Any,
    /// `?`: one letter.
    One,
    /// What stands in brackets.
    Set(&'a str),
    Letter(char),
}

impl Piece<'_> {
    /// Whether it stands for this letter alone.
    fn is(self, letter: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Set(set) => holds(set, letter),
            Self::Letter(own) => own == letter,
        }
    }
}

fn pieces(pattern: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = pattern.chars();
    while let Some(letter) = rest.next() {
        found.push(match letter {
            '*' => Piece::Any,
            '?' => Piece::One,
            '[' => match set(rest.as_str()) {
                Some((set, after)) => {
                    rest = after.chars();
                    Piece::Set(set)
                }
                None => Piece::Letter('['),
            },
            letter => Piece::Letter(letter),
        });
    }
    found
}

/// What stands in the brackets, and what comes behind them; none where they are never closed.
fn set(behind_bracket: &str) -> Option<(&str, &str)> {
    // A bracket that comes first belongs to the set.
    let first = behind_bracket.trim_start_matches(['!', '^']).chars().next()?.len_utf8();
    let negation = behind_bracket.len() - behind_bracket.trim_start_matches(['!', '^']).len();
    let end = behind_bracket.get(negation + first..)?.find(']')? + negation + first;
    Some((behind_bracket.get(..end)?, behind_bracket.get(end + 1..)?))
}

fn holds(set: &str, letter: char) -> bool {
    let wanted = !set.starts_with(['!', '^']);
    let letters: Vec<char> = set.trim_start_matches(['!', '^']).chars().collect();
    let range = letters.windows(3).any(|three| matches!(three, [from, '-', to] if (*from..=*to).contains(&letter)));
    (range || letters.contains(&letter)) == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_letters() {
        let rows = [
            ("*.conf", "www.conf", true),
            ("*.conf", "www.conf.bak", false),
            ("w?w*", "www.conf", true),
            ("w?w", "ww", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("[0-9]*", "10-opcache.ini", true),
            ("[!0-9]*", "10-opcache.ini", false),
            ("[]x]a", "]a", true),
            ("[ab", "[ab", true),
            ("*[ab]*x", "aby-bx", true),
            ("*ab*ab", "ab-a-ab-x", false),
            ("*?", "", false),
            ("ä*ö", "äxöyö", true),
            ("a", "ab", false),
            ("ab**", "ab", true),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    /// With a try for each way to share the letters out, this would go on for ever.
    #[test]
    fn a_pattern_of_many_wildcards_is_soon_tried() {
        let name = "a".repeat(255);
        assert!(!fits(&format!("{}b", "*a".repeat(250)), &name));
        assert!(fits(&"*a".repeat(250), &name));
    }

    #[test]
    fn files_are_found_below_several_wildcards_in_order() {
        let place = tempfile::tempdir().unwrap();
        for path in ["b/1.conf", "a/2.conf", "a/1.conf", "a/.hidden.conf", "a/other"] {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| {
            let found = matches(&place.path().join(pattern));
            found.iter().map(|path| path.strip_prefix(place.path()).unwrap().display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found("*/*.conf"), ["a/1.conf", "a/2.conf", "b/1.conf"]);
        assert_eq!(found("*/2.conf"), ["a/2.conf"]);
        assert_eq!(found("none/*.conf"), Vec::<String>::new());
        assert_eq!(found("absent.conf"), ["absent.conf"], "what is named itself is missed where it is read");
    }
}
