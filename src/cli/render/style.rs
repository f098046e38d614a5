//! The few colours there are, and what they mean.
//!
//! Everything is rendered with them; whoever prints strips them where they are not wanted.

use anstyle::{AnsiColor, Style};

/// Names that the eye should find.
pub const STRONG: Style = Style::new().bold();
/// What may be passed over.
pub const DIM: Style = Style::new().dimmed();
/// As it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Not as it should be; an action or time will put it right.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// Wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What people may do about it.
pub const HELP: Style = AnsiColor::Cyan.on_default();
/// A line that would come in.
pub const ADDED: Style = AnsiColor::Green.on_default();
/// A line that would go.
pub const REMOVED: Style = AnsiColor::Red.on_default();
/// No style.
pub const PLAIN: Style = Style::new();

/// Without colour, and so without anything else that a terminal would obey.
#[must_use]
pub fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// `text` in `style`.
#[must_use]
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    if text.is_empty() { text } else { format!("{style}{text}{style:#}") }
}
