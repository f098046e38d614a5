//! What is kept under `ROOT/.trueup/`: the lock, the journal, the memory and a record of each
//! release.
//!
//! In: a root and what is to be kept. Out: what was kept. The folder is made when it is first needed
//! and, made by root, belongs to the owner of the root, so that a deploy user can go on with it.
//! Promised: a crash at any moment leaves at worst one torn line in the journal, which is skipped
//! when it is read; without the folder nothing that serves is lost.
//! Begin at [`lock`]; the [`journal`], the memory and the records are written by its holder only.

mod folder;
pub mod journal;
mod lock;
mod memory;
mod records;
mod spare;
#[cfg(test)]
mod testing;

pub use lock::{Lock, confirm, holder, lock};
pub use memory::{recall, remember};
pub use records::{forget, record, records};
