//! Many updates that are combined: sorted by target, in order, and then combined target by target.
//!
//! The sort is a radix sort, least significant digits first. A pass counts each block's digits and
//! then moves each block's updates behind those of lesser digits and of earlier blocks; blocks write
//! to places of their own, so that the order does not depend on which of them comes first.

use super::{Shape, combine, element, item, load, parts, start, store};
use crate::cuda::movement::{THREADS, blocks};
use crate::cuda::source::{self, Extras, START};
use crate::cuda::tape;
use crate::cuda::{Generated, Refused};
use plans::spec::ArgSpec;
use std::fmt::Write;

/// Bits of the widest digit: a thread of a block has at most one digit.
const MAX_BITS: u32 = 8;

/// Up to so many blocks, each adds up what the blocks before it have counted; where there are more,
/// a launch does it for all.
const FEW_BLOCKS: u64 = 32;

/// Updates that are loaded before the first of them is combined.
const BATCH: u32 = 8;

struct Sort {
    n: u64,
    /// Updates that a thread sorts.
    each: u64,
    n_blocks: u64,
    bits: u32,
    n_passes: u32,
    /// The key of updates that go nowhere, greater than those of targets.
    nowhere: u64,
}

impl Sort {
    fn of(shape: &Shape<'_>) -> Self {
        let n = shape.n_outer;
        let threads = u64::from(THREADS);
        let each = n
            .div_ceil(threads * FEW_BLOCKS)
            .next_power_of_two()
            .clamp(1, 8);
        let bits = 64 - shape.n_targets.leading_zeros();
        let n_passes = bits.div_ceil(MAX_BITS);
        Self {
            n,
            each,
            n_blocks: n.div_ceil(threads * each),
            bits: bits.div_ceil(n_passes),
            n_passes,
            nowhere: shape.n_targets,
        }
    }

    fn n_digits(&self) -> u64 {
        1 << self.bits
    }

    fn has_offsets(&self) -> bool {
        self.n_blocks > FEW_BLOCKS
    }

    /// Words of the workspace: keys and numbers of updates, each twice; the counts of each digit and
    /// block; the sums of each digit's.
    fn words(&self) -> u64 {
        4 * self.n + self.n_digits() * (self.n_blocks + 1)
    }

    /// Names of parts of the workspace; passes read side `from`, which is 0 or 1, and write the
    /// other.
    fn names(&self, from: u32) -> String {
        let n = self.n;
        let side = |side: u32| u64::from(side) * n;
        format!(
            "unsigned* const words = (unsigned*)workspace;\n\
             unsigned* const keys = words + {}ull;\n\
             unsigned* const updates = words + {}ull;\n\
             unsigned* const keys_to = words + {}ull;\n\
             unsigned* const updates_to = words + {}ull;\n\
             unsigned* const counts = words + {}ull;\n\
             unsigned* const sums = words + {}ull;\n",
            side(from),
            2 * n + side(from),
            side(1 - from),
            2 * n + side(1 - from),
            4 * n,
            4 * n + self.n_digits() * self.n_blocks,
        )
    }

    fn digit(&self, pass: u32) -> String {
        format!("(key >> {}u & {}u)", pass * self.bits, self.n_digits() - 1)
    }
}

pub(super) fn generate(
    shape: &Shape<'_>,
    args: &[ArgSpec],
    mut extras: Extras,
    schedule: String,
) -> Result<Generated, Refused> {
    let sort = Sort::of(shape);
    extras.workspace = 4 * sort.words();
    let mut code = SUMMED.to_owned();
    let mut launches = vec![];
    let mut add = |body: &str, grid: [u32; 3]| {
        let name = match launches.len() {
            0 => "scatter".to_owned(),
            n => format!("scatter{n}"),
        };
        code.push_str(&source::function(&name, args, extras, THREADS, 0, body));
        launches.push(source::launch(&name, grid, THREADS));
    };
    let threads = u64::from(THREADS);
    let grid = blocks(sort.n_blocks * threads)?;
    for pass in 0..sort.n_passes {
        add(&counting(shape, &sort, pass), grid);
        if sort.has_offsets() {
            add(&offsets(&sort), blocks(sort.n_digits() * threads)?);
        }
        add(&placing(&sort, pass), grid);
    }
    let items = shape.n_outer * shape.n_inner;
    add(&combining(shape, &sort, items), blocks(items)?);
    Ok(source::generated(&code, launches, extras, schedule))
}

/// The sum of what the threads up to this one give, and of what all give.
const SUMMED: &str = "\
DEVICE unsigned summed(unsigned x, unsigned& total) {
    SHARED unsigned warps[8];
    const unsigned lane = threadIdx.x & 31u, warp = threadIdx.x >> 5;
    for (int distance = 1; distance < 32; distance *= 2) {
        const unsigned other = shuffle_up(x, distance);
        if (lane >= (unsigned)distance) x += other;
    }
    if (lane == 31u) warps[warp] = x;
    __syncthreads();
    unsigned before = 0;
    total = 0;
    for (unsigned w = 0; w < 8u; w++) {
        if (w < warp) before += warps[w];
        total += warps[w];
    }
    __syncthreads();
    return x + before;
}
";

/// Counts the digits of each block's updates; the first pass finds out their targets.
fn counting(shape: &Shape<'_>, sort: &Sort, pass: u32) -> String {
    let (n, each, n_digits) = (sort.n, sort.each, sort.n_digits());
    let mut body = match pass {
        0 => start(shape),
        _ => START.to_owned(),
    };
    body.push_str(&sort.names(pass % 2));
    let _ = writeln!(
        body,
        "SHARED unsigned count[{n_digits}];\n\
         if (threadIdx.x < {n_digits}u) count[threadIdx.x] = 0;\n\
         __syncthreads();\n\
         #pragma unroll\n\
         for (unsigned k = 0; k < {each}u; k++) {{\n\
         const unsigned update = (blockIdx.x * {each}u + k) * {THREADS}u + threadIdx.x;\n\
         if (update < {n}u) {{"
    );
    let _ = match pass {
        0 => writeln!(
            body,
            "const long long own = target(update);\n\
             const unsigned key = own == NOWHERE ? {}u : (unsigned)((own - ({}ll)) / {}ll);\n\
             keys[update] = key;",
            sort.nowhere, shape.low, shape.unit
        ),
        _ => writeln!(body, "const unsigned key = keys[update];"),
    };
    let _ = writeln!(
        body,
        "atomicAdd(&count[{}], 1u);\n}}\n}}\n\
         __syncthreads();\n\
         if (threadIdx.x < {n_digits}u) {{\n\
         counts[(size_t)threadIdx.x * {}u + blockIdx.x] = count[threadIdx.x];\n}}",
        sort.digit(pass),
        sort.n_blocks
    );
    body
}

/// One block for each digit: turns its counts into the sums of those of the blocks before.
fn offsets(sort: &Sort) -> String {
    let mut body = START.to_owned();
    body.push_str(&sort.names(0));
    let _ = writeln!(
        body,
        "unsigned* const row = counts + (size_t)blockIdx.x * {n}u;\n\
         unsigned before = 0;\n\
         for (unsigned first = 0; first < {n}u; first += {THREADS}u) {{\n\
         const unsigned block = first + threadIdx.x;\n\
         const unsigned count = block < {n}u ? row[block] : 0u;\n\
         unsigned total;\n\
         const unsigned sum = summed(count, total);\n\
         if (block < {n}u) row[block] = before + sum - count;\n\
         before += total;\n}}\n\
         if (threadIdx.x == 0) sums[blockIdx.x] = before;",
        n = sort.n_blocks
    );
    body
}

/// Moves updates to where their digit puts them, those of a digit in the order that they have.
fn placing(sort: &Sort, pass: u32) -> String {
    let (n, each, n_digits, n_blocks) = (sort.n, sort.each, sort.n_digits(), sort.n_blocks);
    let n_warps = THREADS / 32;
    let digit = sort.digit(pass);
    let mut body = START.to_owned();
    body.push_str(&sort.names(pass % 2));
    let number = match pass {
        0 => "at",
        _ => "updates[at]",
    };
    // Each warp has neighbours, and of those a lane every 32nd.
    let _ = writeln!(
        body,
        "SHARED unsigned places[{n_warps}][{n_digits}];\n\
         const unsigned lane = threadIdx.x & 31u, warp = threadIdx.x >> 5;\n\
         const unsigned first = (blockIdx.x * {n_warps}u + warp) * {}u + lane;\n\
         unsigned own_keys[{each}], own_updates[{each}], ranks[{each}];\n\
         #pragma unroll\n\
         for (unsigned k = 0; k < {each}u; k++) {{\n\
         const unsigned at = first + 32u * k;\n\
         own_keys[k] = at < {n}u ? keys[at] : 0u;\n\
         own_updates[k] = at < {n}u ? {number} : 0u;\n}}\n\
         unsigned before = 0, sum = 0, total;\n\
         if (threadIdx.x < {n_digits}u) {{\n\
         for (unsigned w = 0; w < {n_warps}u; w++) places[w][threadIdx.x] = 0;\n\
         const unsigned* const row = counts + (size_t)threadIdx.x * {n_blocks}u;",
        32 * each
    );
    let _ = if sort.has_offsets() {
        writeln!(
            body,
            "before = row[blockIdx.x];\nsum = sums[threadIdx.x];\n}}"
        )
    } else {
        writeln!(
            body,
            "#pragma unroll 16\n\
             for (unsigned b = 0; b < {n_blocks}u; b++) {{\n\
             const unsigned count = row[b];\n\
             if (b < blockIdx.x) before += count;\n\
             sum += count;\n}}\n}}"
        )
    };
    let _ = writeln!(
        body,
        "before += summed(sum, total) - sum;\n\
         #pragma unroll\n\
         for (unsigned k = 0; k < {each}u; k++) {{\n\
         const unsigned key = own_keys[k], digit = {digit};\n\
         const bool exists = first + 32u * k < {n}u;\n\
         unsigned peers = ballot(exists);\n\
         #pragma unroll\n\
         for (unsigned bit = 0; bit < {bits}u; bit++) {{\n\
         const bool is_set = digit >> bit & 1u;\n\
         const unsigned set = ballot(is_set);\n\
         peers &= is_set ? set : ~set;\n}}\n\
         const unsigned held = places[warp][digit];\n\
         const unsigned lesser = __popc(peers & ((1u << lane) - 1u));\n\
         ranks[k] = held + lesser;\n\
         warp_sync();\n\
         if (exists && lesser == 0) places[warp][digit] = held + __popc(peers);\n\
         warp_sync();\n}}\n\
         __syncthreads();\n\
         if (threadIdx.x < {n_digits}u) {{\n\
         for (unsigned w = 0; w < {n_warps}u; w++) {{\n\
         const unsigned count = places[w][threadIdx.x];\n\
         places[w][threadIdx.x] = before;\n\
         before += count;\n}}\n}}\n\
         __syncthreads();\n\
         #pragma unroll\n\
         for (unsigned k = 0; k < {each}u; k++) {{\n\
         if (first + 32u * k >= {n}u) continue;\n\
         const unsigned key = own_keys[k], to = places[warp][{digit}] + ranks[k];\n\
         keys_to[to] = key;\n\
         updates_to[to] = own_updates[k];\n}}",
        bits = sort.bits
    );
    body
}

/// One thread for each element of each update; those of a target's first update combine all of them.
fn combining(shape: &Shape<'_>, sort: &Sort, items: u64) -> String {
    let n = sort.n;
    let dtype = shape.spec.out.dtype;
    let mut body = start(shape);
    body.push_str(&sort.names(sort.n_passes % 2));
    body.push_str(&item(items, shape.width));
    // What is sorted stands where an update's number does elsewhere.
    body.push_str(&parts(shape));
    let update = element(shape, "updates[at]");
    let _ = writeln!(
        body,
        "const unsigned key = keys[update];\n\
         if (key == {nowhere}u || (update > 0 && keys[update - 1] == key)) return;\n\
         const long long own = {low}ll + (long long)key * {unit}ll;\n\
         {value}\
         for (unsigned first = (unsigned)update; ; first += {BATCH}u) {{\n\
         {ctype} batch[{BATCH}];\n\
         bool exists[{BATCH}];\n\
         #pragma unroll\n\
         for (unsigned k = 0; k < {BATCH}u; k++) {{\n\
         const unsigned at = first + k;\n\
         exists[k] = at < {n}u && keys[at] == key;\n}}\n\
         #pragma unroll\n\
         for (unsigned k = 0; k < {BATCH}u; k++) {{\n\
         const unsigned at = first + k;\n\
         if (exists[k]) batch[k] = {update};\n}}\n\
         #pragma unroll\n\
         for (unsigned k = 0; k < {BATCH}u; k++) {{\n\
         if (exists[k]) {combine}\n}}\n\
         if (!exists[{last}]) break;\n}}\n{store}",
        nowhere = sort.nowhere,
        low = shape.low,
        unit = shape.unit,
        value = load(shape),
        ctype = tape::compute_type(dtype),
        combine = combine(shape, "batch[k]"),
        last = BATCH - 1,
        store = store(shape),
    );
    body
}
