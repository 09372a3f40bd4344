//! What schedules are predicted to take, and which there are to choose from.

use super::super::source::Width;
use super::super::{Precision, Target};
use super::form::Form;
use super::loader::{Loader, flat};
use super::schedule::{Cores, Schedule, Stream, Tiled};
use super::stream::{Along, Streamed};
use super::tiled::{extent, sum_size};
use plans::spec::{ContractSpec, Operand};

/// What the predictions are made of. Clock cycles are those of a multiprocessor.
///
/// From the programming guide and published microbenchmarks of sm_80 and sm_90, for a clock of
/// 1.75 GHz and an H200's memory.
pub(super) struct Constants {
    /// Clock cycles a second.
    clock: f64,
    /// Multiply-adds of f32 in a cycle.
    fma: f64,
    /// The same of f64 and of 64-bit integers.
    fma_wide: f64,
    /// The same of tf32 on tensor cores.
    fma_tensor: f64,
    /// Cycles of shared memory that a read of 16 bytes a lane takes.
    quad_read: f64,
    /// Instructions of a thread beside a copy, by the taps' way and by the flat one.
    copy: f64,
    copy_flat: f64,
    /// Instructions of a warp for each stage beside copies and products.
    stage: f64,
    /// Cycles from a copy's start to its end.
    latency: f64,
    /// Share of the issue slots that 1, 2, 3 and more warps a scheduler fill.
    filled: [f64; 4],
    /// Bytes a cycle from the second-level cache, a multiprocessor and all of them.
    l2_sm: f64,
    l2_all: f64,
    /// Bytes a cycle from memory, and the share of it that copies of tiles reach.
    memory: f64,
    tile_memory: f64,
    /// Seconds from a launch to its first copies, and from the last product to the end.
    launch: f64,
    /// Seconds until all blocks know that a tile's parts are done.
    arrival: f64,
}

const CONSTANTS: Constants = Constants {
    clock: 1.75e9,
    fma: 128.0,
    fma_wide: 32.0,
    fma_tensor: 600.0,
    quad_read: 2.0,
    copy: 6.0,
    copy_flat: 24.0,
    stage: 40.0,
    latency: 900.0,
    filled: [0.55, 0.8, 0.9, 0.95],
    l2_sm: 48.0,
    l2_all: 3000.0,
    memory: 2300.0,
    tile_memory: 0.8,
    launch: 2.0e-6,
    arrival: 1.2e-6,
};

/// The seconds that a contraction is predicted to take.
pub(super) fn predict(
    form: &Form,
    spec: &ContractSpec,
    target: &Target,
    schedule: &Schedule,
) -> f64 {
    match schedule {
        Schedule::Tiled(s) => {
            let flat = if s.by_taps { None } else { flat(form) };
            let form = flat.as_ref().unwrap_or(form);
            Tiles::new(form, spec, target, s).seconds(s.split)
        }
        Schedule::Stream(s) => stream(form, target, s),
        Schedule::Direct => direct(form, target),
    }
}

/// The prediction for a tile, whatever the number of blocks that share its sum.
struct Tiles<'a> {
    form: &'a Form,
    target: &'a Target,
    s: &'a Tiled,
    tiles: f64,
    /// Stages of a sum.
    n_stages: f64,
    /// Cycles of a multiprocessor for a stage of one block, if enough warps run.
    stage: f64,
    /// Blocks that a multiprocessor holds.
    resident: f64,
    /// Bytes that a block reads in a stage.
    stage_bytes: f64,
    /// Bytes of all operands.
    bytes: f64,
    fits: bool,
}

impl<'a> Tiles<'a> {
    fn new(form: &'a Form, spec: &ContractSpec, target: &'a Target, s: &'a Tiled) -> Self {
        let c = &CONSTANTS;
        let width = Width::Bits32;
        let extent = extent(form, s, width);
        let sides = [
            Loader::new(form, true, s, width),
            Loader::new(form, false, s, width),
        ];
        let threads = s.threads();
        let warps = threads as f64 / 32.0;
        let n_stages = if s.by_taps {
            let channels = form.k.last().copied().unwrap_or(1);
            form.taps() * channels.div_ceil(s.depth)
        } else {
            form.depth().div_ceil(s.depth)
        };
        let (rows, cols) = (s.thread_rows as f64, s.thread_cols as f64);
        let wide = sum_size(form.sum) as f64 / 4.0;
        let fma = if wide > 1.0 { c.fma_wide } else { c.fma };
        // Of one warp, four steps of the sum.
        let (products, issue, reads) = match s.cores {
            Cores::Ordinary => (
                rows * cols * 4.0 * 32.0 / fma,
                (rows * cols * 4.0 + (rows + cols) * wide) / 4.0,
                (rows + cols) * c.quad_read * wide,
            ),
            Cores::Tensor { products } => {
                let products = products as f64;
                // Fragments of four steps: of 16 rows two words a lane, of 8 columns one.
                let words = rows / 2.0 + cols;
                let split = if products > 1.0 { 3.0 } else { 2.0 };
                let instructions = rows / 4.0 * cols / 2.0 * products + words * (1.0 + split);
                (
                    rows * cols * 4.0 * 32.0 / c.fma_tensor * products,
                    instructions / 4.0,
                    words,
                )
            }
        };
        let steps = s.slice_depth() as f64 / 4.0;
        let mut copies = 0.0;
        let mut stage_bytes = 0.0;
        for (side, n) in sides.iter().zip([s.rows, s.cols]) {
            let elements = (n * s.depth) as f64;
            let flat = !s.by_taps && side.is_checked();
            let each = if flat && side.table() == 0 {
                c.copy_flat
            } else {
                c.copy
            };
            let each = if side.is_asynchronous() {
                each
            } else {
                2.0 * each
            };
            copies += elements / side.vector() as f64 / 32.0 * each;
            stage_bytes += elements * 4.0 / side.sector_use();
        }
        let stage =
            warps * steps * products.max(issue).max(reads) + (copies + warps * c.stage) / 4.0;
        let by_shared = f64::from(target.max_shared + 1024) / (extent.shared_bytes + 1024) as f64;
        let resident = by_shared.min(s.resident() as f64).floor();
        Self {
            form,
            target,
            s,
            tiles: extent.tiles as f64,
            n_stages: n_stages as f64,
            stage,
            resident,
            stage_bytes,
            bytes: operand_bytes(spec),
            fits: extent.shared_bytes <= u64::from(target.max_shared) && resident >= 1.0,
        }
    }

    fn seconds(&self, split: u64) -> f64 {
        if !self.fits {
            return f64::INFINITY;
        }
        let c = &CONSTANTS;
        let s = self.s;
        let n_sms = f64::from(self.target.n_sms);
        let n_stages = (self.n_stages / split as f64).ceil();
        let blocks = self.tiles * split as f64;
        let on_sm = (blocks / n_sms).ceil();
        let at_once = on_sm.min(self.resident);
        let warps = at_once * s.threads() as f64 / 32.0 / 4.0;
        let filled = match warps {
            w if w < 1.0 => c.filled[0] * w,
            w if w < 4.0 => {
                let (low, part) = (w.floor() as usize - 1, w.fract());
                c.filled[low] + part * (c.filled[low + 1] - c.filled[low])
            }
            _ => c.filled[3],
        };
        let busy = on_sm * n_stages * self.stage / filled;
        // Stages on their way hide the latency of copies.
        let rounds = (on_sm / at_once).ceil();
        let waits = rounds * (n_stages * c.latency / (s.stages - 1) as f64);
        let filling = rounds * c.latency;
        let block_bytes = n_stages * self.stage_bytes;
        let l2 = (on_sm * block_bytes / c.l2_sm).max(blocks * block_bytes / c.l2_all);
        let memory = self.bytes / (c.memory * c.tile_memory);
        let results = (s.rows * s.cols * sum_size(self.form.sum)) as f64;
        let written = on_sm * results / c.l2_sm * 2.0;
        let mut cycles = busy.max(waits).max(l2).max(memory) + filling + written;
        let mut seconds = c.launch;
        if split > 1 {
            let tails = (self.tiles / n_sms).ceil().min(on_sm);
            cycles += tails * results * split as f64 / c.l2_sm;
            seconds += c.arrival;
        }
        seconds + cycles / c.clock
    }
}

fn operand_bytes(spec: &ContractSpec) -> f64 {
    let [(x, xs), (w, ws)] = spec.problem.operands();
    let domain = spec.problem.domain();
    let epilogue = spec.epilogue.inputs.iter().chain(&spec.epilogue.outputs);
    let bytes = |o: &Operand, extents: &[u64]| -> f64 {
        let dims = extents.iter().zip(&o.strides).filter(|(_, s)| **s != 0);
        dims.map(|(n, _)| *n as f64).product::<f64>() * o.dtype.size() as f64
    };
    bytes(x, &xs) + bytes(w, &ws) + epilogue.map(|o| bytes(o, &domain)).sum::<f64>()
}

fn stream(form: &Form, target: &Target, s: &Stream) -> f64 {
    let c = &CONSTANTS;
    let Some(streamed) = Streamed::of(form) else {
        return f64::INFINITY;
    };
    let n_sms = f64::from(target.n_sms);
    let block_cols = streamed.block_cols(s);
    let tiles = (form.n_cols().div_ceil(block_cols) * form.n_batch()) as f64;
    let blocks = tiles * s.split as f64;
    let size = form.right.dtype.size() as f64;
    let steps = (form.depth() as f64 / s.split as f64).ceil();
    let bytes = (form.n_batch() * form.depth() * form.n_cols()) as f64 * size;
    // Bytes of a multiprocessor on their way at once.
    let warps = (blocks / n_sms).ceil().min((64 / s.warps) as f64) * s.warps as f64;
    let in_flight = warps * 4096.0;
    let rate = (in_flight / c.latency * n_sms).min(c.memory);
    let on_sm = (blocks / n_sms).ceil() / (blocks / n_sms);
    let reads = bytes / rate * on_sm.min(2.0);
    let turns = match streamed.along {
        Along::Sum => steps / 512.0,
        Along::Cols => steps / s.warps as f64 / 8.0,
    };
    let cycles = reads.max(turns.ceil() * c.latency) + c.latency;
    let mut seconds = c.launch + cycles / c.clock;
    if s.split > 1 {
        let results = (form.n_rows() * block_cols * s.split) as f64 * size;
        seconds += c.arrival + (results / c.l2_sm + c.latency) / c.clock;
    }
    seconds
}

fn direct(form: &Form, target: &Target) -> f64 {
    let c = &CONSTANTS;
    let n_sms = f64::from(target.n_sms);
    let results = (form.n_batch() * form.n_rows() * form.n_cols()) as f64;
    let depth = form.depth() as f64;
    let blocks = (results / 128.0).ceil();
    let on_sm = (blocks / n_sms).ceil();
    // Some instructions and two reads of the first-level cache a product.
    let issue = on_sm * 4.0 * depth * 12.0 / 4.0;
    let reads = on_sm * 4.0 * depth * 6.0;
    let alone = depth * 40.0;
    c.launch + (issue.max(reads).max(alone) + c.latency) / c.clock
}

/// Rows and columns of a block's tile, then of a thread's.
const TILES: [[u64; 4]; 28] = [
    [256, 128, 16, 8],
    [128, 256, 16, 8],
    [256, 64, 16, 8],
    [128, 128, 16, 8],
    [128, 64, 16, 8],
    [64, 128, 16, 8],
    [128, 128, 8, 8],
    [256, 64, 8, 8],
    [64, 256, 8, 8],
    [128, 64, 8, 8],
    [64, 128, 8, 8],
    [64, 64, 8, 8],
    [32, 128, 8, 8],
    [32, 64, 8, 8],
    [128, 64, 8, 4],
    [128, 32, 8, 4],
    [64, 64, 8, 4],
    [64, 32, 8, 4],
    [32, 32, 8, 4],
    [32, 128, 4, 8],
    [32, 64, 4, 8],
    [16, 128, 4, 8],
    [16, 64, 4, 8],
    [64, 64, 4, 4],
    [64, 32, 4, 4],
    [32, 32, 4, 4],
    [32, 64, 4, 4],
    [16, 32, 4, 4],
];

/// The most threads that tiles of one block are divided among.
const MAX_THREADS: u64 = 256;

/// All schedules that a contraction may have.
pub(super) fn config_space(form: &Form, target: &Target) -> Vec<Schedule> {
    let mut space = vec![Schedule::Direct];
    space.extend(streams(form).into_iter().map(Schedule::Stream));
    for s in tiles(form, target) {
        let splits = splits(form, &s);
        space.extend(
            splits
                .into_iter()
                .map(|split| Schedule::Tiled(Tiled { split, ..s })),
        );
    }
    space
}

/// The schedule of the least predicted time; of equal ones the first.
pub(super) fn choose(form: &Form, spec: &ContractSpec, target: &Target) -> Schedule {
    ranked(form, spec, target)
        .first()
        .map_or(Schedule::Direct, |(_, s)| *s)
}

/// All schedules with their predicted seconds, the best first.
pub(super) fn ranked(form: &Form, spec: &ContractSpec, target: &Target) -> Vec<(f64, Schedule)> {
    let mut all = vec![(direct(form, target), Schedule::Direct)];
    for s in streams(form) {
        all.push((stream(form, target, &s), Schedule::Stream(s)));
    }
    let flat = flat(form);
    for s in tiles(form, target) {
        let flat = flat.as_ref().filter(|_| !s.by_taps);
        let prediction = Tiles::new(flat.unwrap_or(form), spec, target, &s);
        for split in splits(form, &s) {
            let schedule = Schedule::Tiled(Tiled { split, ..s });
            all.push((prediction.seconds(split), schedule));
        }
    }
    all.retain(|(seconds, _)| seconds.is_finite());
    all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    all
}

fn streams(form: &Form) -> Vec<Stream> {
    let Some(streamed) = Streamed::of(form) else {
        return vec![];
    };
    let mut all = vec![];
    for warps in [4, 8] {
        let cols: &[u64] = match streamed.along {
            Along::Sum => &[1, 2, 4],
            Along::Cols => &[4],
        };
        for &cols in cols {
            for split in [1, 2, 4, 8, 16, 32] {
                if form.depth() >= split * 32 || split == 1 {
                    all.push(Stream { warps, cols, split });
                }
            }
        }
    }
    all
}

/// Schedules of tiles, each sum being one block's.
fn tiles(form: &Form, target: &Target) -> Vec<Tiled> {
    let mut all = vec![];
    let flat = flat(form);
    if form.depth() == 0 || !form.is_narrow() {
        return all;
    }
    let ways: &[bool] = match (form.phases.is_empty(), form.taps()) {
        (true, 1) => &[false],
        (true, _) => &[true, false],
        (false, _) => &[true],
    };
    let cores = cores(form, target);
    for ([rows, cols, thread_rows, thread_cols], &cores) in TILES
        .iter()
        .flat_map(|tile| cores.iter().map(move |c| (*tile, c)))
    {
        // Tiles beyond the matrix are of no use.
        let wasted = |tile: u64, least: u64, n: u64| tile > least && tile / 2 >= n;
        if wasted(rows, 16, form.n_rows()) || wasted(cols, 32, form.n_cols()) {
            continue;
        }
        for depth in [8, 16, 32] {
            for slices in [1, 2, 4, 8] {
                for stages in [2, 3, 4] {
                    for (&by_taps, &registers) in each(ways, thread_rows * thread_cols, cores) {
                        let s = Tiled {
                            rows,
                            cols,
                            depth,
                            thread_rows,
                            thread_cols,
                            slices,
                            stages,
                            split: 1,
                            group: 8,
                            by_taps,
                            registers,
                            cores,
                        };
                        let threads = s.threads();
                        let is_small = slices > 1 && threads > MAX_THREADS;
                        if s.is_sound()
                            && !is_small
                            && fits(
                                flat.as_ref().filter(|_| !by_taps).unwrap_or(form),
                                target,
                                &s,
                            )
                        {
                            all.push(s);
                        }
                    }
                }
            }
        }
    }
    all
}

/// What may multiply.
fn cores(form: &Form, target: &Target) -> Vec<Cores> {
    let products = match target.precision {
        Precision::Fp32 => None,
        Precision::Tf32x3 => Some(3),
        Precision::Tf32 => Some(1),
    };
    let tensor = products.filter(|_| form.is_f32());
    let tensor = tensor.map(|products| Cores::Tensor { products });
    [Cores::Ordinary].into_iter().chain(tensor).collect()
}

/// Ways of summing by numbers of registers, for threads that hold so many sums.
fn each(ways: &[bool], sums: u64, cores: Cores) -> impl Iterator<Item = (&bool, &u64)> {
    let registers: &[u64] = match (sums, cores) {
        (128, _) => &[216],
        (64, Cores::Tensor { products: 3 }) => &[168],
        (64, _) => &[128, 168],
        (32, Cores::Tensor { .. }) => &[96, 128],
        (32, _) => &[128],
        (_, Cores::Tensor { .. }) => &[80],
        _ => &[96],
    };
    ways.iter()
        .flat_map(move |way| registers.iter().map(move |n| (way, n)))
}

fn fits(form: &Form, target: &Target, s: &Tiled) -> bool {
    extent(form, s, Width::Bits32).shared_bytes <= u64::from(target.max_shared)
}

/// How many blocks may share a sum: as long as each has a few stages of it.
fn splits(form: &Form, s: &Tiled) -> Vec<u64> {
    let n_stages = if s.by_taps {
        let channels = form.k.last().copied().unwrap_or(1);
        form.taps() * channels.div_ceil(s.depth)
    } else {
        form.depth().div_ceil(s.depth)
    };
    let all = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32];
    let is_worth = |split: &u64| *split == 1 || n_stages >= 3 * split;
    all.into_iter().filter(is_worth).collect()
}
