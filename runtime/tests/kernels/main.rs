//! Every class of kernel against its definition, evaluated one element at a time.
#![allow(clippy::unwrap_used, reason = "in a test a panic is a finding")]

mod attention;
mod contract;
mod empty;
mod library;
mod map;
mod movement;
mod plan;
mod recurrent;
mod reference;
mod row;
mod seeded;
mod window;
