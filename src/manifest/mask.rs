//! Keeps secrets out of the words of a mistake, which quote what stands where it is.

use std::ops::Range;

use super::node::{Tree, cut};
use super::secrets::MASK;
use super::yaml::{Finding, parse};

/// The same finding, with stars in place of what it quotes where that is a secret of the text.
pub(super) fn masked(mut finding: Finding, text: &str, secrets: &[Range<usize>]) -> Finding {
    let span = &finding.span;
    let near = secrets.iter().filter(|secret| secret.start <= span.end && span.start <= secret.end);
    let mut spelled: Vec<&str> = near.filter_map(|secret| text.get(secret.clone())).collect();
    if spelled.is_empty() {
        return finding;
    }
    spelled.extend(text.get(span.clone()));
    let forms: Vec<String> = spelled.into_iter().flat_map(forms).filter(|form| !form.is_empty()).collect();
    for words in std::iter::once(&mut finding.message).chain(finding.help.as_mut()) {
        for form in &forms {
            hide(words, form);
        }
    }
    finding
}

/// How messages may quote what is spelled so: as it is, its first word, as YAML reads it, and cut short.
fn forms(spelled: &str) -> Vec<String> {
    let spelled = spelled.trim();
    let mut texts: Vec<String> = vec![spelled.to_owned()];
    texts.extend(spelled.split_whitespace().next().map(str::to_owned));
    for node in parse(spelled).documents {
        if let Tree::Scalar { text, .. } = node.tree {
            texts.push(text);
        }
    }
    texts.iter().flat_map(|text| [text.clone(), cut(text)]).collect()
}

/// Puts stars where the words quote it: all that stands between two quotes, or the rest of a path.
fn hide(words: &mut String, form: &str) {
    for (before, after) in [("`", "`"), ("\"", "\""), (".", "`"), (".", ".")] {
        *words = words.replace(&format!("{before}{form}{after}"), &format!("{before}{MASK}{after}"));
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::report::Text;
    use crate::manifest::yaml::Finding;

    /// What is said of `marked`, in a text in which it stands.
    fn told(text: &str, marked: &str, message: &str) -> String {
        let start = text.find(marked).unwrap();
        let finding = Finding::new(start..start + marked.len(), message).help(message);
        let mistake = Text::new("m.yaml", text.to_owned()).mistake(finding);
        assert_eq!(mistake.help.as_deref(), Some(mistake.message.as_str()), "{text}");
        mistake.message
    }

    #[test]
    fn what_is_quoted_of_a_secret_is_masked() {
        let long = "s".repeat(70);
        let short = format!("{}…", "s".repeat(60));
        let rows = [
            ("password: TOP", "TOP", "`password` must be a map, not `TOP`", "`password` must be a map, not `***`"),
            ("env: T", "T", "`a.env` must be a map, not `T`", "`a.env` must be a map, not `***`"),
            ("env: \"T\\x4fP\"", "\"T\\x4fP\"", "not the text \"TOP\"", "not the text \"***\""),
            ("env: 'T''P'", "'T''P'", "not the text \"T'P\"", "not the text \"***\""),
            ("env: a`b", "a`b", "not `a`b`", "not `***`"),
            ("env:\n  one\n  two\n", "one\n  two", "not `one two`", "not `***`"),
            ("password: !TOP x", "x", "the tag `!TOP` means nothing here", "the tag `***` means nothing here"),
            ("password: {TOP}", "TOP", "unknown key `TOP` in `password`", "unknown key `***` in `password`"),
            ("env: {TOP}", "TOP", "`env.TOP` has no value", "`env.***` has no value"),
            (&format!("token: {long}"), &long, &format!("not `{short}`"), "not `***`"),
            ("url: http://u:TOP@h/", "http://u:TOP@h/", "not `http://u:TOP@h/`", "not `***`"),
            ("count: many", "many", "must be a whole number, not `many`", "must be a whole number, not `many`"),
            ("name: a\npassword: b", "a", "`a` is there already", "`a` is there already"),
        ];
        for (text, marked, message, expected) in rows {
            assert_eq!(told(text, marked, message), expected, "{text}");
        }
    }
}
