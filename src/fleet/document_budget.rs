//! The documents of hosts, kept until they are printed: each as its host's own, all of them within a total.

use serde_json::Value;

use crate::documents::wire::bounds::stub;
use crate::model::names::HostName;

/// Most bytes of all documents of one App. Those of a thousand hosts with twenty workers each have a sixth of that.
const ROOM: usize = 256 << 20;

/// How much room there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentBudget {
    /// None where nobody wants any.
    left: Option<usize>,
}

impl DocumentBudget {
    /// An empty one; on one that is not wanted nothing is kept.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        Self { left: wanted.then_some(ROOM) }
    }

    /// Keeps what the host has printed, instead of what it has printed before. No host speaks for another one. Where there
    /// is no room any more, a document says that all of it was left out.
    pub fn keep(&mut self, slot: &mut Option<String>, host: &HostName, kind: &str, text: &str) {
        self.forget(slot);
        let Some(left) = &mut self.left else { return };
        let own = owned(host, text).filter(|own| own.len() <= *left).or_else(|| owned(host, &stub(kind)));
        *left = left.saturating_sub(own.as_ref().map_or(0, String::len));
        *slot = own;
    }

    /// Keeps nothing of that host any more.
    pub fn forget(&mut self, slot: &mut Option<String>) {
        let Some(left) = &mut self.left else { return };
        *left += slot.take().map_or(0, |before| before.len());
    }
}

/// None for what is no document.
fn owned(host: &HostName, text: &str) -> Option<String> {
    let mut document: Value = serde_json::from_str(text).ok()?;
    document.as_object_mut()?.insert("host".to_owned(), Value::String(host.to_string()));
    Some(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_its_hosts_own_and_all_of_them_have_a_bound() {
        let host = HostName::new("web1").unwrap();
        let rows = [
            (r#"{"kind":"App","host":"web9"}"#, r#"{"host":"web1","kind":"App"}"#),
            ("[1]", "leftOut"),
            ("no JSON", "leftOut"),
            ("", "leftOut"),
        ];
        for (text, expected) in rows {
            let (mut budget, mut slot) = (DocumentBudget::new(true), None);
            budget.keep(&mut slot, &host, "App", text);
            let kept = slot.unwrap();
            assert!(kept.contains(expected) && kept.contains("\"host\":\"web1\""), "{text}: {kept}");
        }
        let long = format!("{{\"text\":\"{}\"}}", "x".repeat(600));
        let mut budget = DocumentBudget { left: Some(1_500) };
        let mut slots = [None, None, None];
        // The last one of each host counts, however often it has spoken.
        for round in 0..3 {
            for slot in &mut slots {
                budget.keep(slot, &host, "PassReport", &long);
            }
            let long = slots.iter().flatten().filter(|kept| kept.len() > 600).count();
            assert_eq!(long, 2, "round {round}: {slots:?}");
            assert!(slots.iter().flatten().any(|kept| kept.contains("\"leftOut\":{\"parts\":[\"all\"]")));
        }
        let mut slot = None;
        DocumentBudget::new(false).keep(&mut slot, &host, "App", &long);
        assert_eq!(slot, None);
    }
}
