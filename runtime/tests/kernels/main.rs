//! Every class of kernel against its definition, evaluated one element at a time.
#![allow(
    unreachable_pub,
    reason = "modules of a test are not seen from outside"
)]

mod contract;
mod map;
mod plan;
mod reference;
mod row;
mod seeded;
mod window;
