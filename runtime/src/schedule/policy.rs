//! The policies by name, and what they can be told.

use std::fmt;
use std::str::FromStr;

/// Who goes first, and what runs at once.
///
/// `dlir`, `bnst`, `oyst`, `fifo` and `parallel` are those of SPLIT (Diao et al., "SPLIT: QoS-aware
/// DNN inference on shared GPU via evenly-sized model splitting", ICPP 2023) and of what it compares
/// itself with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Policy {
    /// One request at a time, whole, in order of arrival.
    Fifo,
    /// One request at a time, whole, in order of response ratios.
    Bnst,
    /// One block at a time, in order of response ratios.
    Oyst,
    /// As [`Policy::Oyst`], but a request that starts while every other model has some waiting runs
    /// whole.
    Dlir,
    /// One request of each model at a time, whole, all models at once.
    Parallel,
    /// Several requests at once, as many as the plan says pays and lets the urgent ones be on time;
    /// who can still meet its deadline or the first limit is more urgent than who cannot.
    Interleave,
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 6] = [
        Policy::Fifo,
        Policy::Bnst,
        Policy::Oyst,
        Policy::Dlir,
        Policy::Parallel,
        Policy::Interleave,
    ];

    /// Its name, as [`str::parse`] takes it: `interleave`.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Fifo => "fifo",
            Policy::Bnst => "bnst",
            Policy::Oyst => "oyst",
            Policy::Dlir => "dlir",
            Policy::Parallel => "parallel",
            Policy::Interleave => "interleave",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no policy of this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownPolicy {
    /// The name.
    pub asked: String,
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Policy::ALL.map(Policy::name);
        write!(
            f,
            "no policy {}; there are {}",
            self.asked,
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownPolicy {}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let found = Policy::ALL.into_iter().find(|p| p.name() == name);
        found.ok_or_else(|| UnknownPolicy {
            asked: name.to_owned(),
        })
    }
}

/// What all policies are told. What a policy has no use for is passed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The most requests of a model that wait or run; a further one is refused.
    pub queue: u32,
    /// The most requests that run at once: [`Policy::Interleave`].
    pub lanes: u16,
    /// The most requests of a model that run at once, each with memory of its own:
    /// [`Policy::Interleave`].
    pub copies: u16,
    /// Blocks of a request that are started before the one that runs has ended, so that the device
    /// does not wait for the host in between; at most [`Options::MAX_AHEAD`].
    pub ahead: u8,
    /// Priorities that the device tells apart; 1 if it knows none.
    pub levels: u8,
    /// Limits on the response ratio that requests without a deadline are to meet, in 1/1000 of the
    /// time alone, ascending: [`Policy::Interleave`] aims at the first that a request can still meet.
    pub limits: Vec<u32>,
    /// The response ratio, in 1/1000, from which on a request goes before all others of its priority
    /// but those that have grown farther: [`Policy::Interleave`]. While more than 12
    /// requests live, 50 times as much. 0: none does.
    pub starvation_cap: u32,
    /// Refuse requests that are predicted to miss their deadline.
    pub admission: bool,
    /// Drop requests that wait when their deadline has passed.
    pub drop_late: bool,
}

impl Options {
    /// The most blocks that may be started ahead.
    pub const MAX_AHEAD: u8 = 3;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 1024,
            lanes: 8,
            copies: 3,
            ahead: 1,
            levels: 6,
            limits: vec![2000, 4000, 8000],
            starvation_cap: 12_000,
            admission: false,
            drop_late: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        assert_eq!(
            "lifo".parse::<Policy>().unwrap_err().to_string(),
            "no policy lifo; there are fifo, bnst, oyst, dlir, parallel, interleave"
        );
    }
}
