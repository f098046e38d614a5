//! How many workers run, and how many of them are fresh: the same two columns for Apps and for hosts.

use super::style::{DIM, GOOD, WARN};
use super::table::Cell;

/// Workers that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// Of those that are wanted.
    pub wanted: u32,
    /// Beyond these: one too many in one group does not make up for one that another group lacks.
    pub beyond: u32,
    /// Of all that run, those that are fresh.
    pub fresh: u32,
}

/// WORKERS and FRESH: `2/2` and `0/2` where two of two run, and both are stale; `1/1 +1` where one runs too many.
/// Without numbers nobody knows, or where none are wanted either, there is nothing to know.
#[must_use]
pub fn numbers(desired: u32, ran: Option<Ran>, is_right: bool) -> [Cell; 2] {
    let style = if is_right { GOOD } else { WARN };
    let Some(Ran { wanted, beyond, fresh }) = ran else {
        return if desired == 0 {
            [Cell::styled(DIM, "-"), Cell::styled(DIM, "-")]
        } else {
            [Cell::styled(WARN, format!("?/{desired}")), Cell::styled(WARN, "?")]
        };
    };
    let more = if beyond > 0 { format!(" +{beyond}") } else { String::new() };
    let running = wanted + beyond;
    let fresh = if running == 0 { Cell::styled(DIM, "-") } else { Cell::styled(style, format!("{fresh}/{running}")) };
    [Cell::styled(style, format!("{wanted}/{desired}{more}")), fresh]
}

#[cfg(test)]
mod tests {
    use super::super::style::plain;
    use super::super::table::Table;
    use super::*;

    #[test]
    fn what_runs_and_what_is_fresh_of_it_are_two_things() {
        let ran = |wanted, beyond, fresh| Some(Ran { wanted, beyond, fresh });
        let rows = [
            (2, ran(2, 0, 2), "2/2  2/2"),
            (2, ran(2, 0, 0), "2/2  0/2"),
            (2, ran(1, 0, 1), "1/2  1/1"),
            (1, ran(1, 1, 2), "1/1 +1  2/2"),
            (2, ran(0, 0, 0), "0/2  -"),
            (0, ran(0, 3, 0), "0/0 +3  0/3"),
            (2, None, "?/2  ?"),
            (0, None, "-  -"),
        ];
        for (desired, ran, expected) in rows {
            let mut table = Table::new(&[]);
            table.row(numbers(desired, ran, true));
            assert_eq!(plain(&table.render(None)).trim_end(), expected);
        }
    }
}
