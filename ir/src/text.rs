//! The text form of programs (`.dlir`).
