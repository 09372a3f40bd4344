//! Random plans that are valid by construction.

use crate::samples::{Sample, at, f32s, port, tape};
use plans::spec::{MapInput, MapSpec};
use plans::tape::{BinaryFn, Reg, TapeOp};
use plans::{ArenaKind, Arg, BUFFER_ALIGN, BufferIndex, DType, KernelSpec, Place, StepIndex};
use std::ops::Range;

/// A few models of sums of earlier results, with memory reused as soon as it is dead, over one or
/// several lanes.
pub(crate) fn plan(seed: u64) -> Sample {
    let mut random = crate::random(seed);
    let mut s = Sample::new();
    let n_models = 1 + random(3) as u32;
    let all: Vec<u32> = (0..n_models).collect();
    let shared = (random(2) == 0).then(|| s.arena(ArenaKind::Scratch, &all));
    for model in 0..n_models {
        let io = s.arena(ArenaKind::Io, &[model]);
        let scratch = match shared {
            Some(shared) => shared,
            None => s.arena(ArenaKind::Scratch, &[model]),
        };
        let width = 1 + random(200) as u64;
        let bytes = width * 4;
        let n_steps = 1 + random(30);
        let n_lanes = 1 + random(4);
        let x = s.buffer(io, "x", bytes);
        let y = s.buffer(io, "y", bytes);
        let weight = s.weight(&[width]);
        // What each step reads: results of earlier steps, by number; 0 is the input.
        let reads: Vec<Vec<usize>> = (0..n_steps)
            .map(|i| (0..1 + random(3)).map(|_| random(i + 1)).collect())
            .collect();
        let last_use = |result: usize| {
            let uses = (0..n_steps).filter(|&i| reads[i].contains(&result));
            uses.max().unwrap_or(result.saturating_sub(1))
        };
        let first_step = s.first_step();
        let mut results = vec![x];
        // Live intermediate results, and what every step so far has touched in the arena.
        let mut live: Vec<(usize, Range<u64>)> = vec![];
        let mut touched: Vec<Vec<(Range<u64>, bool)>> = vec![];
        for (i, read) in reads.iter().enumerate() {
            let out = if i + 1 == n_steps {
                y
            } else {
                live.retain(|(result, _)| last_use(*result) >= i);
                live.sort_by_key(|(_, range)| range.start);
                let mut offset = 0;
                for (_, range) in &live {
                    if offset + bytes <= range.start {
                        break;
                    }
                    offset = range.end.next_multiple_of(BUFFER_ALIGN);
                }
                live.push((i + 1, offset..offset + bytes));
                s.buffer_at(scratch, &format!("v{i}"), bytes, Some(offset))
            };
            let place_of = |s: &Sample, b: BufferIndex| {
                let buffer = &s.plan.buffers[b.index()];
                // Arenas apart from each other.
                let base = u64::from(buffer.arena.0) << 40;
                base + buffer.offset..base + buffer.offset + buffer.bytes
            };
            let mut touches: Vec<_> = read
                .iter()
                .map(|&r| (place_of(&s, results[r]), false))
                .collect();
            touches.push((place_of(&s, out), true));
            let waits: Vec<StepIndex> = (0..i)
                .filter(|&j| {
                    touches.iter().any(|(a, writes)| {
                        touched[j].iter().any(|(b, wrote)| {
                            (*writes || *wrote) && a.start < b.end && b.start < a.end
                        })
                    })
                })
                .map(|j| StepIndex(first_step + j as u32))
                .collect();
            let n = read.len() as u16;
            let mut ops: Vec<TapeOp> = (0..=n).map(TapeOp::Input).collect();
            for k in 0..n {
                let sum = if k == 0 { Reg(0) } else { Reg(n + k) };
                ops.push(TapeOp::Binary(BinaryFn::Add, sum, Reg(k + 1)));
            }
            let spec = KernelSpec::Map(MapSpec {
                domain: vec![width],
                inputs: vec![MapInput::affine(f32s(&[width])); read.len() + 1],
                tape: tape(&ops),
                outputs: vec![f32s(&[width])],
            });
            let mut places: Vec<_> = read.iter().map(|&r| at(results[r])).collect();
            places.extend([(weight, 0), at(out)]);
            let lane = random(n_lanes) as u16;
            let step = s.step("Sum", spec, &places);
            step.lane = lane;
            step.waits = waits;
            touched.push(touches);
            results.push(out);
        }
        let inputs = vec![port("x", DType::F32, &[width], x)];
        let outputs = vec![port("y", DType::F32, &[width], y)];
        let head = 1 + random(n_steps) as u32;
        let mut blocks = vec![head, n_steps as u32 - head];
        blocks.retain(|&n| n > 0);
        s.finish_model(&format!("model {model}"), inputs, outputs, &blocks);
    }
    s
}

/// Leaves one wait out, or takes one argument from elsewhere: what a compiler's bug would do.
pub(crate) fn spoil(sample: &mut Sample, seed: u64) {
    let mut random = crate::random(seed);
    let n = sample.plan.steps.len();
    let n_buffers = sample.plan.buffers.len();
    let step = &mut sample.plan.steps[random(n)];
    if random(2) == 0 && !step.waits.is_empty() {
        let which = random(step.waits.len());
        step.waits.remove(which);
    } else {
        let which = random(step.args.len());
        step.args[which] = Arg {
            place: Place::Buffer(BufferIndex(random(n_buffers) as u32)),
            offset: 0,
        };
    }
}
