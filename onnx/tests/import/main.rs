//! The importer: opsets, functions, graphs that break rules, shapes, and damaged files.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails as it should"
)]

mod children;
mod damaged;
mod examples;
mod functions;
mod graphs;
mod make;
mod opsets;
mod shapes;
