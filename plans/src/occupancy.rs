//! How many blocks of a function a multiprocessor holds at once.

use crate::code::{Launch, Resources};

/// What of a multiprocessor a launch can fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occupancy {
    /// Blocks that fit at once.
    pub blocks: u32,
    /// Their warps.
    pub warps: u32,
    /// The most warps that the multiprocessor holds.
    pub max_warps: u32,
}

impl Occupancy {
    /// Warps of the most that there can be, in percent.
    pub fn percent(&self) -> u32 {
        (self.warps * 100).checked_div(self.max_warps).unwrap_or(0)
    }
}

/// Limits of a multiprocessor.
struct Limits {
    warps: u32,
    blocks: u32,
    /// Shared memory of all blocks together, in bytes.
    shared: u32,
}

/// From the table of compute capabilities in the CUDA programming guide.
fn limits(arch: u32) -> Option<Limits> {
    let (warps, blocks, shared) = match arch {
        80 => (64, 32, 164 << 10),
        86 | 87 => (48, 16, if arch == 86 { 100 << 10 } else { 164 << 10 }),
        89 => (48, 24, 100 << 10),
        90 => (64, 32, 228 << 10),
        100 | 103 => (64, 32, 228 << 10),
        120 | 121 => (48, 24, 100 << 10),
        _ => return None,
    };
    Some(Limits {
        warps,
        blocks,
        shared,
    })
}

/// Registers of a multiprocessor, of all these architectures.
const REGISTERS: u32 = 64 << 10;
/// Registers are given to warps in lots of this many.
const REGISTER_LOT: u32 = 256;
/// Schedulers of a multiprocessor, among which warps and registers are divided.
const SCHEDULERS: u32 = 4;
/// Shared memory is given to blocks in lots of this many bytes.
const SHARED_LOT: u32 = 128;
/// Shared memory that the system takes of each block.
const SHARED_OF_SYSTEM: u32 = 1 << 10;

/// The blocks of `launch`, whose function takes `resources`, that a multiprocessor of architecture
/// `arch` holds at once; `None` if its limits are not known here.
pub fn occupancy(arch: u32, resources: &Resources, launch: &Launch) -> Option<Occupancy> {
    let limits = limits(arch)?;
    let threads = launch.block.iter().fold(1u32, |n, &b| n.saturating_mul(b));
    let warps = threads.div_ceil(32).max(1);
    let mut blocks = limits.blocks.min(limits.warps / warps);
    if resources.registers > 0 {
        let a_warp = resources
            .registers
            .saturating_mul(32)
            .checked_next_multiple_of(REGISTER_LOT)?;
        let held = REGISTERS / SCHEDULERS / a_warp * SCHEDULERS;
        blocks = blocks.min(held / warps);
    }
    let shared = resources
        .shared_bytes
        .saturating_add(launch.shared_bytes)
        .saturating_add(SHARED_OF_SYSTEM)
        .checked_next_multiple_of(SHARED_LOT)?;
    blocks = blocks.min(limits.shared / shared);
    Some(Occupancy {
        blocks,
        warps: blocks * warps,
        max_warps: limits.warps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(arch: u32, threads: u32, registers: u32, shared_bytes: u32) -> (u32, u32) {
        let launch = Launch {
            function: "f".into(),
            grid: [1; 3],
            block: [threads, 1, 1],
            cluster: [1; 3],
            shared_bytes,
            cooperative: false,
            starts_early: false,
        };
        let resources = Resources {
            registers,
            ..Resources::default()
        };
        let found = occupancy(arch, &resources, &launch).expect("a known architecture");
        (found.blocks, found.percent())
    }

    #[test]
    fn what_fills_a_multiprocessor() {
        assert_eq!(percent(90, 256, 32, 0), (8, 100));
        assert_eq!(percent(90, 128, 255, 0), (2, 12));
        assert_eq!(percent(90, 256, 128, 0), (2, 25));
        assert_eq!(percent(90, 256, 64, 100 << 10), (2, 25));
        assert_eq!(percent(90, 32, 16, 0), (32, 50));
        assert_eq!(percent(80, 256, 40, 48 << 10), (3, 37));
        assert_eq!(percent(86, 1024, 32, 0), (1, 66));
        assert_eq!(percent(90, 1024, 72, 0), (0, 0));
    }

    #[test]
    fn of_unknown_architectures_nothing_is_said() {
        let launch = Launch {
            function: "f".into(),
            grid: [1; 3],
            block: [u32::MAX; 3],
            cluster: [1; 3],
            shared_bytes: u32::MAX,
            cooperative: false,
            starts_early: false,
        };
        assert_eq!(occupancy(35, &Resources::default(), &launch), None);
        let resources = Resources {
            registers: u32::MAX,
            ..Resources::default()
        };
        assert_eq!(occupancy(90, &resources, &launch), None);
    }
}
