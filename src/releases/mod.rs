//! The release directories of one root: reading them, fetching one, linking what is
//! shared into it, and moving `current`.
//!
//! In: a [`Root`] and names below it. Out: a [`Layout`], a moved link, or the digest of a file.
//! Promised: nothing outside the root is written, a real directory at `current` is never replaced,
//! and what could not be read is an error or unknown, never absent.
//! Begin at [`layout`] and [`inspect`], which only look; [`fetch`], [`link`], [`switch`] and [`remove`]
//! change things.
//!
//! [`Root`]: crate::model::names::Root
//! [`Layout`]: crate::model::observed::Layout

mod archive;
mod beneath;
mod content;
mod delete;
mod dir;
mod download;
mod fetch;
mod git;
mod inspect;
mod layout;
mod links;
mod place;
mod remove;
mod size;
mod switch;
mod tape;
mod tree;
mod writable;

pub use content::content;
pub use fetch::{fetch, make_root};
pub use inspect::inspect;
pub use layout::layout;
pub use links::link;
pub use remove::{remove, settle, sweep};
pub use size::sizes;
pub use switch::switch;
