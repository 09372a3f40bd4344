//! The order of a norm.

use crate::attrs::{Attr, AttrField};

/// The order p of a norm `(sum of |x|^p)^(1/p)`, at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NormOrder(i32);

impl NormOrder {
    /// The Euclidean norm's.
    pub const TWO: Self = Self(2);

    /// The order.
    pub fn get(self) -> u32 {
        self.0.unsigned_abs()
    }

    /// `|v|^p`.
    pub(crate) fn power(self, v: f64) -> f64 {
        v.abs().powi(self.0)
    }

    /// The p-th root.
    pub(crate) fn root(self, sum: f64) -> f64 {
        sum.powf(1.0 / f64::from(self.0))
    }

    /// The norm of `lane`.
    pub(crate) fn of(self, lane: &[f64]) -> f64 {
        self.root(lane.iter().map(|&v| self.power(v)).sum())
    }
}

impl AttrField for NormOrder {
    const EXPECTED: &'static str = "an integer of at least 1";
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Int(p) => i32::try_from(*p).ok().filter(|&p| p > 0).map(Self),
            _ => None,
        }
    }
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Int(self.0.into()))
    }
}
