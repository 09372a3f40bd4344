//! What was measured on one device, taken out of a database.

use super::Key;
use crate::Times;
use std::collections::BTreeMap;

/// What was measured on one device.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// Kernels, each timed by itself.
    pub kernels: BTreeMap<Key, Times>,
    /// Blocks.
    pub blocks: BTreeMap<Key, Times>,
    /// Blocks side by side, the smaller key first: how many times as long each took.
    pub pairs: BTreeMap<(Key, Key), [f64; 2]>,
    /// A hash of all of it.
    pub hash: [u8; 32],
}

impl Measured {
    /// What was measured, hashed.
    pub fn new(
        kernels: BTreeMap<Key, Times>,
        blocks: BTreeMap<Key, Times>,
        pairs: BTreeMap<(Key, Key), [f64; 2]>,
    ) -> Self {
        let mut hasher = blake3::Hasher::new();
        for (name, list) in [("kernels", &kernels), ("blocks", &blocks)] {
            hasher.update(name.as_bytes());
            for (key, times) in list {
                hasher.update(&key.0);
                hasher.update(&times.n.to_le_bytes());
                for ns in [times.mean_ns, times.std_ns] {
                    hasher.update(&ns.to_le_bytes());
                }
            }
        }
        hasher.update(b"pairs");
        for ((a, b), slowdown) in &pairs {
            hasher.update(&a.0);
            hasher.update(&b.0);
            for times in slowdown {
                hasher.update(&times.to_le_bytes());
            }
        }
        Self {
            kernels,
            blocks,
            pairs,
            hash: hasher.finalize().into(),
        }
    }

    /// How many times as long each of two blocks took beside the other, if they were measured.
    pub fn together(&self, a: &Key, b: &Key) -> Option<[f64; 2]> {
        match a > b {
            true => self.pairs.get(&(*b, *a)).map(|&[b, a]| [a, b]),
            false => self.pairs.get(&(*a, *b)).copied(),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.kernels.is_empty() && self.blocks.is_empty() && self.pairs.is_empty()
    }
}
