//! Values to text: everything that the program prints, and nothing that reads or asks.
//!
//! Every function is pure and renders in colour; whoever prints strips the colours where they are not wanted. Only
//! [`remedy`] knows how this program was called. Foreign text goes through [`words::safe`] before it reaches a
//! terminal. Begin at [`preview`] for what would be done, [`report`] for what was done, [`status`] for what is.

pub mod board;
pub mod doctor;
pub mod evidence;
pub mod fleet;
pub mod fleet_back;
pub mod health;
pub mod history;
pub mod in_hand;
pub mod manual;
pub mod markdown;
pub mod news;
pub mod numbers;
pub mod older;
pub mod operate;
pub mod plan;
pub mod preview;
pub mod problem;
pub mod releases;
pub mod remedy;
pub mod report;
pub mod shape;
pub mod shared;
pub mod status;
pub mod style;
pub mod sudoers;
pub mod table;
pub mod unified;
pub mod withheld;
pub mod words;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_by_hand;
