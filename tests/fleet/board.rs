//! What is seen on a terminal while hosts are worked on.

use crate::shop::{FINISHING, MANIFEST, SOON, hold, let_go, open_shops, wait_until_held, want};
use crate::terminal::{CTRL_C, Terminal};

/// What is said when a wave begins: as wide as the narrowest of the terminals.
const WAVE: &str = "wave 1: web1, web2, web3";

/// A release, the size of the terminal, a variable of the environment, and what stands on the board.
type Row = (&'static str, (u16, u16), &'static str, &'static [&'static str]);

/// Tells whether anything on it stands out.
fn is_painted(screen: &vt100::Screen) -> bool {
    let (rows, columns) = screen.size();
    let mut cells =
        (0..rows.get()).flat_map(|row| (0..columns.get()).filter_map(move |column| screen.cell(row, column)));
    cells.any(|cell| cell.bold() || cell.dim() || cell.fgcolor() != vt100::Color::Default)
}

/// One title, nothing that goes on in a second line, and the cursor where the next line would be.
#[track_caller]
fn is_in_order(frame: &vt100::Screen, title: &str) {
    let lines: Vec<String> = frame.rows(0, u16::MAX).map(|line| line.trim_end().to_owned()).collect();
    let seen = lines.join("\n");
    assert!(lines.iter().filter(|line| *line == title).count() <= 1, "{seen}");
    for (row, line) in (0..).zip(&lines) {
        assert!(!frame.row_wrapped(row) || FINISHING.contains(&**line), "{line}\n{seen}");
    }
    let used = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    assert_eq!(frame.cursor_position(), (u16::try_from(used).unwrap(), 0), "{seen}");
    assert!(!frame.hide_cursor(), "{seen}");
}

#[test]
fn a_board_fits_its_terminal_and_leaves_nothing_but_what_was_told() {
    let Some(network) = open_shops(3) else { return };
    let rows: [Row; 3] = [
        (
            "r2",
            (100, 30),
            "",
            &["web1  changing  run afterSwitch of r2", "0 of 3 done  3 at work  Ctrl-C ends after these"],
        ),
        ("r1", (40, 20), "NO_COLOR=1", &["web1  changing  run afterSwitch", "0 of 3 done  3 at work"]),
        ("r2", (24, 4), "", &["and 3 more", "0 of 3 done  3 at work"]),
    ];
    for (release, size, variable, board) in rows {
        want(&network, release, "canary: 0, batch: 100%, healthyFor: 0s");
        network.hosts().iter().for_each(hold);
        let argv = ["env", variable, "trueup", "reconcile", MANIFEST];
        let argv: Vec<&str> = argv.into_iter().filter(|word| !word.is_empty()).collect();
        let mut rolling = Terminal::run(&network.control, size, &argv);
        network.hosts().iter().for_each(wait_until_held);
        let seen = rolling.wait_for(board, SOON);
        assert_eq!(is_painted(&seen), variable.is_empty(), "{}", seen.contents());
        let stops = size.0 == 40;
        if stops {
            rolling.press(CTRL_C);
            rolling.wait_for(&[FINISHING], SOON);
        }
        network.hosts().iter().for_each(let_go);
        let (code, last) = rolling.wait(SOON);
        assert_eq!(code, 0, "{}", last.contents());
        // To some terminals that means to keep what was on the screen.
        assert!(!rolling.shown().windows(4).any(|bytes| bytes == b"A\x1b[J"), "all is cleared from the top");
        let title = format!("shop  {release}");
        for frame in rolling.frames() {
            is_in_order(&frame, &title);
        }
        let paper = rolling.paper();
        let (told, summary) = paper.split_at(paper.iter().position(|line| line.starts_with(&title)).unwrap());
        let told = told.concat();
        assert_eq!(told, if stops { [WAVE, FINISHING].concat() } else { WAVE.to_owned() }, "{paper:#?}");
        assert!(summary.concat().starts_with(&format!("{title}  converged in ")), "{paper:#?}");
        assert!(!summary.concat().contains("at work"), "{paper:#?}");
    }
}
