//! Passes against text files, the manager, and work that grows with the program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod evaluate;
mod files;
mod linear;
mod manager;
mod random;
