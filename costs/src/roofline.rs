//! Predictions from what a kernel does and what the device can do.

use crate::device::{Device, Kind};
use crate::predict::{Demand, Estimate, Predict, Source};
use crate::work::{Grid, Work};

/// The longer of the time to calculate and the time to move bytes, each with as much of the device as
/// the kernel's blocks fill, and what a start takes; never less than the device allows.
///
/// The blocks of a launch are dealt out to the multiprocessors evenly, and the one that gets most
/// decides: it works through its blocks in waves of as many as it holds at once. Fewer warps reach a
/// smaller share of its rate, `w / (w + h)` of it, with `h` of the device file.
#[derive(Clone, Debug)]
pub struct Roofline {
    device: Device,
}

/// Blocks that a multiprocessor of any architecture holds at most.
const MOST_RESIDENT: u32 = 32;

/// Threads of a warp.
const WARP: u32 = 32;

impl Roofline {
    /// Predictions for a device.
    pub fn new(device: Device) -> Self {
        Self { device }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The least time in which the device can do the work, in nanoseconds.
    fn floor_ns(&self, work: &Work) -> f64 {
        let compute = work.flop as f64 / self.device.flop_per_s(&work.dtype);
        let memory = work.bytes() as f64 / self.bytes_per_s(work);
        compute.max(memory) * 1e9
    }

    /// The rate of the cache for what fits into half of it, else that of memory; of copies between
    /// the host and the device, that of the way between them.
    fn bytes_per_s(&self, work: &Work) -> f64 {
        let device = &self.device;
        // A copy's bytes count twice, where they are read and where they are written.
        match (work.class.as_str(), &device.transfer) {
            ("transfer.to", Some(t)) => 2.0 * t.to_bytes_per_s,
            ("transfer.from", Some(t)) => 2.0 * t.from_bytes_per_s,
            _ if work.bytes() <= device.cache_bytes / 2 => device.cache_bytes_per_s,
            _ => device.bytes_per_s,
        }
    }

    /// What calculating and moving bytes takes.
    fn parts(&self, work: &Work) -> Parts {
        let device = &self.device;
        let e = device.efficiency_of(&work.class);
        let flop_per_s = device.flop_per_s(&work.dtype) * e.compute;
        let bytes_per_s = self.bytes_per_s(work) * e.memory;
        let flop = work.flop as f64;
        let memory_at_best = work.bytes() as f64 / bytes_per_s * 1e9;
        let (Some(grid), Kind::Cuda) = (work.main_launch(), device.kind) else {
            let compute = flop / flop_per_s * 1e9;
            return Parts {
                compute,
                memory: memory_at_best,
                compute_at_best: compute,
                memory_at_best,
            };
        };
        let units = f64::from(device.units);
        let blocks = grid.blocks.max(1);
        let (warps, resident) = self.occupied(grid);
        let of_unit = blocks.div_ceil(u64::from(device.units));
        // What a multiprocessor takes for `n` blocks at once.
        let with = |n: u64| {
            let rate = flop_per_s / units * saturation(n as f64 * warps, e.compute_warps);
            n as f64 * (flop / blocks as f64) / rate * 1e9
        };
        let (waves, rest) = (of_unit / resident, of_unit % resident);
        let last = if rest > 0 { with(rest) } else { 0.0 };
        let at_once = blocks.min(resident.saturating_mul(u64::from(device.units)));
        let warps_of_unit = at_once as f64 * warps / units;
        let full = saturation(resident as f64 * warps, e.compute_warps);
        Parts {
            compute: waves as f64 * with(resident) + last,
            memory: memory_at_best / saturation(warps_of_unit, e.memory_warps),
            compute_at_best: flop / (flop_per_s * full) * 1e9,
            memory_at_best,
        }
    }

    /// The warps of a block, and the blocks that a multiprocessor holds at once.
    fn occupied(&self, grid: &Grid) -> (f64, u64) {
        let threads = grid.threads.max(1);
        let resident = match grid.resident {
            0 => (self.device.threads_per_unit / threads).clamp(1, MOST_RESIDENT),
            known => known,
        };
        (f64::from(threads.div_ceil(WARP)), u64::from(resident))
    }
}

/// What a kernel's work takes, in nanoseconds.
struct Parts {
    /// To calculate.
    compute: f64,
    /// To move bytes.
    memory: f64,
    /// To calculate if its blocks filled the whole device all the time.
    compute_at_best: f64,
    /// To move bytes if its blocks filled the whole device.
    memory_at_best: f64,
}

/// The share of a rate that `n` of something reach, half of it being reached by `half`.
fn saturation(n: f64, half: f64) -> f64 {
    n / (n + half)
}

impl Predict for Roofline {
    fn alone(&self, work: &Work) -> Estimate {
        let e = self.device.efficiency_of(&work.class);
        let parts = self.parts(work);
        let starts = work.launches.len().saturating_sub(1) as f64 * self.device.launch.graph_ns;
        let rounds = work.rounds.saturating_sub(1) as f64 * e.round_ns;
        let ns = e.start_ns + parts.compute.max(parts.memory) + starts + rounds;
        let ns = ns.max(self.floor_ns(work));
        Estimate {
            ns,
            std_ns: ns * e.error,
            source: Source::Predicted,
        }
    }

    fn in_chain(&self, work: &Work, alone: Estimate) -> Estimate {
        let e = self.device.efficiency_of(&work.class);
        let launches = work.launches.len() as f64 * self.device.launch.graph_ns;
        let least = self.floor_ns(work).max(launches);
        Estimate {
            ns: (alone.ns * e.in_chain - e.overlap_ns).max(least),
            std_ns: alone.std_ns * e.in_chain,
            source: alone.source,
        }
    }

    fn demand(&self, work: &Work) -> Demand {
        let ns = self.in_chain(work, self.alone(work)).ns;
        let parts = self.parts(work);
        let share = |at_best: f64| {
            if ns > 0.0 {
                (at_best / ns).min(1.0)
            } else {
                0.0
            }
        };
        Demand {
            compute: match self.device.kind {
                Kind::Cuda => share(parts.compute_at_best),
                // A kernel has all threads of a CPU, whatever it does with them.
                Kind::Cpu => 1.0,
            },
            memory: share(parts.memory_at_best),
        }
    }

    fn room(&self, work: &Work) -> f64 {
        match self.device.kind {
            Kind::Cpu => 1.0,
            Kind::Cuda => {
                let taken = |grid: &Grid| {
                    let (_, resident) = self.occupied(grid);
                    grid.blocks as f64 / (resident as f64 * f64::from(self.device.units))
                };
                work.launches.iter().map(taken).fold(0.0, f64::max).min(1.0)
            }
        }
    }

    fn together(&self, a: &Demand, b: &Demand) -> [f64; 2] {
        // What is wanted twice is shared in proportion; who does not want it does not wait for it.
        let used = |own: f64, other: f64| if own > 0.0 { own + other } else { 0.0 };
        let of = |a: &Demand, b: &Demand| {
            let compute = used(a.compute, b.compute);
            compute.max(used(a.memory, b.memory)).max(1.0)
        };
        [of(a, b), of(b, a)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h200() -> Roofline {
        Roofline::new(Device::find("h200").expect("a built-in device"))
    }

    fn work(flop: u64, bytes: u64, blocks: u64) -> Work {
        Work {
            class: "contract".into(),
            dtype: "f32".into(),
            flop,
            bytes_read: bytes,
            bytes_written: 0,
            launches: vec![Grid {
                blocks,
                threads: 256,
                resident: 2,
            }],
            rounds: 1,
        }
    }

    #[test]
    fn no_prediction_beats_the_device() {
        let p = h200();
        for flop in [0, 1_000, 1_000_000_000, 1 << 45] {
            for bytes in [0, 1_000, 1_000_000_000, 1 << 40] {
                for blocks in [0, 1, 131, 132, 133, 1 << 20] {
                    let work = work(flop, bytes, blocks);
                    let alone = p.alone(&work);
                    let chained = p.in_chain(&work, alone);
                    let floor = p.floor_ns(&work);
                    assert!(alone.ns >= floor && chained.ns >= floor, "{work:?}");
                    let demand = p.demand(&work);
                    for share in [demand.compute, demand.memory] {
                        assert!((0.0..=1.0).contains(&share), "{work:?}: {demand:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn waves_and_full_devices() {
        let p = h200();
        let ns = |flop, blocks| p.alone(&work(flop, 0, blocks)).ns;
        // The same work in twice as many blocks, until all multiprocessors have some.
        assert!(ns(1 << 32, 132) < ns(1 << 32, 66));
        // One block too many for a wave: one multiprocessor works alone in the end.
        assert!(ns(265 << 24, 265) > 1.2 * ns(264 << 24, 264));
        let demand = |blocks| p.demand(&work(blocks << 28, 0, blocks)).compute;
        assert!(demand(264 * 8) > 0.85 && demand(20) < 0.2);
        let room = |blocks| p.room(&work(0, 0, blocks));
        assert_eq!([0, 66, 264, 265].map(room), [0.0, 0.25, 1.0, 1.0]);
    }

    #[test]
    fn copies_take_the_way_between_devices() {
        let p = h200();
        let copy = |class: &str| Work {
            class: class.into(),
            dtype: "f32".into(),
            bytes_read: 1 << 30,
            bytes_written: 1 << 30,
            ..Work::default()
        };
        for class in ["transfer.to", "transfer.from"] {
            let gb_per_s = f64::from(1 << 30) / p.alone(&copy(class)).ns;
            assert!((45.0..55.4).contains(&gb_per_s), "{class}: {gb_per_s}");
        }
        assert!(p.alone(&copy("map")).ns < 2e6);
    }

    #[test]
    fn who_wants_different_things_runs_side_by_side() {
        let p = h200();
        let compute = Demand {
            compute: 0.9,
            memory: 0.0,
        };
        let memory = Demand {
            compute: 0.0,
            memory: 0.9,
        };
        assert_eq!(p.together(&compute, &memory), [1.0, 1.0]);
        assert_eq!(p.together(&compute, &compute), [1.8, 1.8]);
    }
}
