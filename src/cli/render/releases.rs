//! The releases of a root, for people: one row each, the one made last at the end.

use jiff::Timestamp;

use super::style::{BAD, DIM, GOOD, PLAIN, STRONG, WARN};
use super::table::{Cell, Table};
use super::words::bytes;
use crate::model::inventory::{ReleaseStanding, ReleaseStatus};
use crate::model::length::age;

/// A table in colour, in at most `width` columns where that is possible.
#[must_use]
pub fn releases(items: &[ReleaseStatus], now: Timestamp, width: Option<usize>) -> String {
    let header = ["RELEASE", "STATE", "FROM", "SIZE", "AGE", "USED BY", "FATE"];
    let mut table = Table::new(&header).give_way(&[1, 2, 5]);
    for one in items {
        let unknown = || Cell::styled(DIM, "?").right();
        let dash = || Cell::styled(DIM, "-");
        let there =
            one.state != ReleaseStanding::Absent && (one.made.is_some() || one.size_bytes.is_some() || one.current);
        table.row([
            Cell::styled(if one.current { STRONG } else { PLAIN }, &one.id),
            state(one),
            one.origin.as_ref().map_or_else(dash, Cell::new),
            one.size_bytes.map_or_else(unknown, |size| Cell::new(bytes(size)).right()),
            one.made.map_or_else(unknown, |made| Cell::new(age(made, now)).right()),
            used_by(one),
            match one {
                _ if !there => dash(),
                ReleaseStatus { surplus: true, .. } => Cell::styled(WARN, "to be pruned"),
                _ => Cell::styled(DIM, "kept"),
            },
        ]);
        if let Some(quarantine) = &one.quarantine {
            table.note(Cell::styled(DIM, &quarantine.reason));
        }
    }
    if table.is_empty() { "no releases\n".to_owned() } else { table.render(width) }
}

fn state(one: &ReleaseStatus) -> Cell {
    let style = match one.state {
        ReleaseStanding::Good => GOOD,
        ReleaseStanding::Quarantined => BAD,
        ReleaseStanding::HalfMade | ReleaseStanding::Absent => WARN,
        ReleaseStanding::Unproven | ReleaseStanding::Unknown => PLAIN,
    };
    let mut words = Vec::new();
    if one.current {
        words.push("current".to_owned());
    } else if one.desired {
        words.push("desired".to_owned());
    }
    words.push(one.state.to_string());
    Cell::styled(style, words.join(", "))
}

fn used_by(one: &ReleaseStatus) -> Cell {
    let stray = one.used_by.iter().any(|user| user.member.is_none());
    let user = |user: &crate::model::inventory::Use| {
        let mark = if user.member.is_none() { " (stray)" } else { "" };
        format!("{}{mark}", user.process.pid)
    };
    let users: Vec<String> = one.used_by.iter().map(user).collect();
    if users.is_empty() {
        return Cell::styled(DIM, "-");
    }
    Cell::styled(if stray { WARN } else { PLAIN }, users.join(", "))
}
