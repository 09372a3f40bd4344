//! What plans promise: specs, validation, files, and forms for people.

#![allow(clippy::unwrap_used, reason = "in a test a panic is a finding")]

extern crate dlirc_plans as plans;

mod deploy;
mod device_code;
mod file;
mod forms;
mod interleavings;
mod layers;
mod pictures;
mod random_plans;
mod samples;
mod sizes;
mod specs;
mod touch;
mod validation;
mod zoo;

/// Random numbers below what is asked for, the same on every run.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }
}
