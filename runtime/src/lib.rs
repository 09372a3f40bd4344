//! The engine of dlirc: loads a plan, checks it, runs it
