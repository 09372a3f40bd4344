//! Attention: scores, softmax and weighted sums in one launch.

use super::source::{Extras, Width, generated, launch_after, offset, parameters, split};
use super::tape::{c_type, compute_type, float_literal, load, store};
use super::{Generated, Refused, Target};
use plans::DType;
use plans::spec::{AttentionSpec, Operand};
use std::fmt::Write;

/// How the queries and keys of a problem are divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Threads of a block; 16 share some queries.
    pub threads: u32,
    /// Queries that 16 threads share.
    pub rows: u32,
    /// Keys of a tile: a multiple of 16.
    pub block_kv: u32,
}

/// What a block does beside the arithmetic of its queries, in terms of the time for one of its rows.
const BLOCK_OVERHEAD: f64 = 1.5;

impl Schedule {
    fn block_q(self) -> u64 {
        u64::from(self.threads / 16 * self.rows)
    }

    fn n_blocks(self, spec: &AttentionSpec) -> u64 {
        let problems: u64 = spec.batch.iter().product();
        problems * spec.q_len.div_ceil(self.block_q())
    }

    /// Bytes of shared memory, as the source lays them out.
    fn shared_bytes(self, spec: &AttentionSpec) -> u64 {
        let number = if spec.q.dtype == DType::F64 { 8 } else { 4 };
        let keys = u64::from(self.block_kv);
        let qk_pitch = spec.qk_size.next_multiple_of(4) + 4;
        let v_pitch = spec.v_size.next_multiple_of(64);
        let numbers =
            (self.block_q() + keys) * qk_pitch + keys * v_pitch + self.block_q() * (keys + 4);
        numbers * number
    }

    /// Registers that hold a thread's scores and sums.
    fn n_accumulators(self, spec: &AttentionSpec) -> u64 {
        let number = if spec.q.dtype == DType::F64 { 2 } else { 1 };
        let columns = u64::from(self.block_kv / 16) + spec.v_size.div_ceil(64) * 4;
        u64::from(self.rows) * columns * number
    }

    /// The time of all blocks, in terms of that for a row of a block.
    fn cost(self, spec: &AttentionSpec, target: &Target) -> f64 {
        let per_sm = self.n_blocks(spec).div_ceil(u64::from(target.n_sms)) as f64;
        let threads = f64::from(self.threads) / 128.0;
        let tiles = spec.kv_len.div_ceil(u64::from(self.block_kv)) as f64;
        let keys = tiles * f64::from(self.block_kv / 16) + 0.5 * tiles;
        per_sm * threads * (BLOCK_OVERHEAD + f64::from(self.rows)) * keys
    }
}

/// Every schedule that the kernel can have on the target.
pub fn config_space(spec: &AttentionSpec, target: &Target) -> Vec<Schedule> {
    let mut space = vec![];
    for threads in [128, 256] {
        for rows in [1, 2, 4] {
            for block_kv in [64, 32, 16] {
                let schedule = Schedule {
                    threads,
                    rows,
                    block_kv,
                };
                let fits = schedule.shared_bytes(spec) <= u64::from(target.max_shared)
                    && schedule.n_accumulators(spec) <= 96;
                if fits {
                    space.push(schedule);
                }
            }
        }
    }
    space
}

/// The schedule that the cost model prefers; `None` if there is none.
pub fn choose(spec: &AttentionSpec, target: &Target) -> Option<Schedule> {
    let space = config_space(spec, target).into_iter();
    space.min_by(|a, b| a.cost(spec, target).total_cmp(&b.cost(spec, target)))
}

pub(super) fn generate(spec: &AttentionSpec, target: &Target) -> Result<Generated, Refused> {
    let schedule = choose(spec, target).ok_or_else(|| {
        Refused(format!(
            "attention over keys of {} and values of {} numbers does not fit a multiprocessor",
            spec.qk_size, spec.v_size
        ))
    })?;
    generate_with(spec, schedule)
}

/// Device code with the given schedule.
///
/// # Errors
///
/// If the problem has too many queries or keys.
pub fn generate_with(spec: &AttentionSpec, schedule: Schedule) -> Result<Generated, Refused> {
    let n_blocks = schedule.n_blocks(spec);
    let fits = |n: u64| n < 1 << 30;
    if !(fits(n_blocks) && fits(spec.q_len) && fits(spec.kv_len)) {
        return Err(Refused(format!(
            "attention of {} queries and {} keys, {n_blocks} blocks",
            spec.q_len, spec.kv_len
        )));
    }
    let args = spec.args();
    let extras = Extras::default();
    let code = format!(
        "{}{}",
        constants(spec, schedule),
        include_str!("attention.cuh")
            .replace("PARAMETERS", &parameters(&args, extras))
            .replace("    OFFSETS\n", &offsets(spec))
            .replace("                SOFTCAP\n", &softcap(spec))
            .replace("                    MASK\n", &mask(spec))
    );
    let Schedule {
        threads,
        rows,
        block_kv,
    } = schedule;
    let mut launch = launch_after("attention", [n_blocks as u32, 1, 1], threads);
    launch.shared_bytes = schedule.shared_bytes(spec) as u32;
    // A grid without blocks can't be launched.
    let launches = if n_blocks > 0 { vec![launch] } else { vec![] };
    let schedule = format!(r#"{{"threads":{threads},"rows":{rows},"block_kv":{block_kv}}}"#);
    Ok(generated(&code, launches, extras, schedule))
}

fn width(spec: &AttentionSpec) -> Width {
    let problems: u64 = spec.batch.iter().product();
    let longest = spec.q_len.max(spec.kv_len);
    Width::of(&spec.args(), problems.max(longest))
}

/// The constants that the source names.
fn constants(spec: &AttentionSpec, schedule: Schedule) -> String {
    let dtype = spec.q.dtype;
    let number = compute_type(dtype);
    let width = width(spec);
    let stride = |o: &Operand, from_last: usize| {
        let strides = &o.strides;
        width.literal(strides[strides.len() - from_last])
    };
    let (infinite, scale) = if dtype == DType::F64 {
        (
            "__longlong_as_double(0x7ff0000000000000ll)".to_owned(),
            format!("({:e})", f64::from(spec.scale)),
        )
    } else {
        (
            "__uint_as_float(0x7f800000u)".to_owned(),
            float_literal(spec.scale),
        )
    };
    let mut text = format!(
        "typedef {number} T;\ntypedef {} E;\ntypedef {} OFFSET;\n\
         DEVICE T element(const E* from, OFFSET i) {{ return {}; }}\n\
         DEVICE void put(E* to, OFFSET i, T x) {{ {} }}\n\
         #define INFINITE {infinite}\n#define SCALE {scale}\n",
        c_type(dtype),
        width.signed(),
        load(dtype, "from", "i"),
        store(dtype, "to", "i", "x"),
    );
    let integers = [
        ("THREADS", i64::from(schedule.threads)),
        ("ROWS", i64::from(schedule.rows)),
        ("BLOCK_KV", i64::from(schedule.block_kv)),
        ("Q_LEN", spec.q_len as i64),
        ("KV_LEN", spec.kv_len as i64),
        ("QK_SIZE", spec.qk_size as i64),
        ("V_SIZE", spec.v_size as i64),
        ("ASYNC", i64::from(dtype == DType::F32)),
        ("CAUSAL", i64::from(spec.causal.is_some())),
    ];
    // Writing to a string does not fail.
    for (name, value) in integers {
        let _ = writeln!(text, "constexpr int {name} = {value};");
    }
    let causal = spec.causal.unwrap_or(0);
    let _ = writeln!(text, "constexpr long long CAUSAL_OFFSET = {causal}ll;");
    let operands = [
        ("Q", &spec.q),
        ("K", &spec.k),
        ("V", &spec.v),
        ("OUT", &spec.out),
    ];
    for (name, o) in operands {
        let _ = writeln!(
            text,
            "constexpr OFFSET {name}_ROW = {}, {name}_STRIDE = {};",
            stride(o, 2),
            stride(o, 1)
        );
    }
    text
}

/// Where the block's problem starts in each operand.
fn offsets(spec: &AttentionSpec) -> String {
    let width = width(spec);
    let mut text = String::new();
    let flat = format!("({})problem", width.unsigned());
    let names = split(&flat, &spec.batch, "p", width, &mut text);
    let mut operands = vec![("q", &spec.q), ("k", &spec.k), ("v", &spec.v)];
    operands.extend(spec.mask.iter().map(|m| ("mask", m)));
    operands.push(("out", &spec.out));
    for (n, (name, o)) in operands.into_iter().enumerate() {
        let constant = if name == "out" { "" } else { "const " };
        let terms = names
            .iter()
            .map(String::as_str)
            .zip(o.strides.iter().copied());
        let _ = writeln!(
            text,
            "{constant}{}* const {name} = a{n} + ({});",
            c_type(o.dtype),
            offset(terms, width)
        );
    }
    text
}

fn softcap(spec: &AttentionSpec) -> String {
    spec.softcap.map_or_else(String::new, |cap| {
        let cap = format!("(T){}", float_literal(cap));
        format!("score = {cap} * hyperbolic_tangent(score / {cap});\n")
    })
}

/// What the mask does to the score of `query` and `key`.
fn mask(spec: &AttentionSpec) -> String {
    let Some(mask) = &spec.mask else {
        return String::new();
    };
    let width = width(spec);
    let rank = spec.batch.len();
    let terms = [
        ("query", mask.strides[rank]),
        ("key", mask.strides[rank + 1]),
    ];
    let element = load(mask.dtype, "mask", &offset(terms, width));
    if mask.dtype == DType::Bool {
        format!("if (!{element}) score = -INFINITE;\n")
    } else {
        format!("score += (T){element};\n")
    }
}
