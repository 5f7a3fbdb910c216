//! Bringing in what a program touched and is not there yet.

pub use process::fault::resolve;
