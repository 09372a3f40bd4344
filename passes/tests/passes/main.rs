//! Passes against text files, the manager, and work that grows with the program.

mod evaluate;
mod files;
mod linear;
mod manager;
