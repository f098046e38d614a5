//! Manifests: YAML in, checked Apps out, every mistake of every file located.
//!
//! In: paths of files and directories. Out: one [`Loaded`] for each document, or [`LoadErrors`] with all that is wrong,
//! each with file, line, column and a remedy. Two shapes: [`shape`] is a document as people write it,
//! [`crate::model::app::App`] the strict one that the rest of the program trusts.
//!
//! The steps: `yaml` makes a tree that knows where everything stands; `conform` holds it against the schema of
//! [`shape`] (unknown, missing and duplicate keys, wrong types); `check` makes the App of what is left (names, paths,
//! durations, rules). A mistake in one place hides none in another. A document with hosts is checked as it is on each
//! of them: `fill` makes it. Start with [`load`]; [`load_agent`] does the same for the agent's own configuration.

mod agent;
mod check;
mod conform;
pub mod duration;
mod fill;
mod fleet;
mod load;
mod mask;
mod node;
mod report;
mod roots;
pub mod schema;
mod secrets;
pub mod shape;
pub mod size;
mod snippet;
mod text;
mod yaml;

pub use agent::{is_agent, load_agent};
pub use fleet::of_this_host;
pub use load::{Loaded, Source, load, load_again, load_beside, load_commit, load_sound, load_unapproved};
pub use report::{LoadErrors, Mistake};
pub use roots::{distinct_roots, same_roots};
pub use secrets::mask;
pub(crate) use snippet::turns;
pub use yaml::to_string;
