//! Keeps secrets out of what is shown.

/// Stands where a secret was.
const MASK: &[u8] = b"***";

/// Shorter lines of a secret of several lines, such as the last one of a key, occur by chance elsewhere.
const LEAST_LINE: usize = 8;

/// Replaces secrets in a stream of bytes, also where one comes in several pieces.
#[derive(Default)]
pub(super) struct Mask {
    /// Longest first: one may begin with another.
    secrets: Vec<Vec<u8>>,
    /// The end of the stream so far, which may be the beginning of a secret.
    pending: Vec<u8>,
}

impl Mask {
    /// Takes a secret in; also each line of it, for programs that print it line by line.
    pub(super) fn add(&mut self, secret: &str) {
        let lines = secret.lines().filter(|line| line.len() >= LEAST_LINE);
        for text in std::iter::once(secret).chain(lines).filter(|text| !text.is_empty()) {
            if !self.secrets.iter().any(|known| known == text.as_bytes()) {
                self.secrets.push(text.as_bytes().to_vec());
            }
        }
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// The next bytes, as far as it is sure what they are.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.secrets.is_empty() {
            return bytes.to_vec();
        }
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let (shown, done) = self.replaced(&pending, false);
        self.pending = pending.get(done..).unwrap_or_default().to_vec();
        shown
    }

    /// What was held back, when nothing more comes.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let pending = std::mem::take(&mut self.pending);
        self.replaced(&pending, true).0
    }

    /// A whole text.
    pub(super) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.replaced(text.as_bytes(), true).0).into_owned()
    }

    /// The bytes without secrets, and how many of them that were: all, unless more may come.
    fn replaced(&self, bytes: &[u8], whole: bool) -> (Vec<u8>, usize) {
        let mut shown = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let begins = |secret: &&Vec<u8>| secret.len() > rest.len() && secret.starts_with(rest);
            if !whole && self.secrets.iter().any(|secret| begins(&secret)) {
                break;
            }
            if let Some(secret) = self.secrets.iter().find(|secret| rest.starts_with(secret)) {
                shown.extend_from_slice(MASK);
                at += secret.len();
            } else {
                shown.extend(rest.first());
                at += 1;
            }
        }
        (shown, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let mut mask = Mask::default();
        for secret in secrets {
            mask.add(secret);
        }
        mask
    }

    #[test]
    fn secrets_are_masked_however_they_come_in_pieces() {
        let rows: [(&[&str], &str, &str); 8] = [
            (&[], "anything", "anything"),
            (&[""], "anything", "anything"),
            (&["s3cret"], "a s3cret, s3crets3cret s3cre", "a ***, ****** s3cre"),
            (&["ab", "abc"], "ab abc abcd", "*** *** ***d"),
            (&["aab"], "aaab aa", "a*** aa"),
            (&["aba"], "ababa", "***ba"),
            (&["line-one-of-key\nend"], "line-one-of-key\nend|x line-one-of-key\nEND|end", "***|x ***\nEND|end"),
            (&["geh\u{e4}im"], "das ist geh\u{e4}im!", "das ist ***!"),
        ];
        for (secrets, text, shown) in rows {
            assert_eq!(mask(secrets).text(text), shown, "{text}");
            for size in 1..=text.len() {
                let mut mask = mask(secrets);
                let mut out: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| mask.pass(piece)).collect();
                out.extend(mask.finish());
                assert_eq!(String::from_utf8_lossy(&out), shown, "{text} by {size}");
            }
        }
    }
}
