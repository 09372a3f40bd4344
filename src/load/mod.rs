//! Requests for the models of a plan, and how they fared.
//!
//! [`arrivals`] says when which model is asked, [`record`] what became of each request, and
//! [`statistics`] what that comes to. A [`scene`] is one such run, of one policy; a [`catalogue`]
//! keeps finished ones, and [`play`] plays what it has not. [`page`] and [`table`] show several beside
//! each other.

pub mod arrivals;
pub mod bounds;
pub mod busy;
pub mod catalogue;
pub mod measured;
pub mod page;
pub mod play;
pub mod record;
pub mod scene;
pub mod simulated;
pub mod spread;
pub mod statistics;
pub mod table;
pub mod trace;
