//! What has arrived before, in bounded memory: the oldest are forgotten first.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest, Sha256};

/// How many are remembered.
const LIMIT: usize = 1024;

/// Digests of what has arrived.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Seen {
    /// Names something, made of its parts.
    pub(super) fn digest(parts: &[&[u8]]) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in parts {
            // With its length, so that no two lists of parts are the same text.
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    pub(super) fn has(&self, digest: &[u8; 32]) -> bool {
        self.known.contains(digest)
    }

    pub(super) fn remember(&mut self, digest: [u8; 32]) {
        if !self.known.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_known_and_memory_is_bounded() {
        let mut seen = Seen::default();
        let name = |number: usize| Seen::digest(&[b"delivery", &number.to_be_bytes()]);
        for number in 0..LIMIT + 10 {
            assert!(!seen.has(&name(number)));
            seen.remember(name(number));
            seen.remember(name(number));
        }
        assert_eq!((seen.known.len(), seen.order.len()), (LIMIT, LIMIT));
        assert!(!seen.has(&name(9)) && seen.has(&name(10)) && seen.has(&name(LIMIT + 9)));
        assert_ne!(Seen::digest(&[b"ab", b"c"]), Seen::digest(&[b"a", b"bc"]));
    }
}
