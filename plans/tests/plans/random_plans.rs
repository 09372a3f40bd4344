//! Random plans that are valid by construction.

use crate::samples::{self, Sample, at, f32s, port, strided, tape};
use plans::spec::{MapInput, MapSpec, WindowFold};
use plans::tape::{BinaryFn, Reg, TapeOp};
use plans::{
    ArenaKind, Arg, BUFFER_ALIGN, BufferIndex, DType, KernelSpec, Place, StepIndex, WeightIndex,
};
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

/// A few steps that read and write slices of a few small buffers, whether that makes sense or not;
/// over several lanes if asked for, in buffers that share bytes if asked for.
pub(crate) fn slices(seed: u64, has_lanes: bool, is_shared: bool) -> Sample {
    let mut random = crate::random(seed);
    let mut s = Sample::new();
    let io = s.arena(ArenaKind::Io, &[0]);
    let scratch = s.arena(ArenaKind::Scratch, &[0]);
    // 64 elements are as many as an alignment of buffers leaves room for.
    let len = 64;
    let x = s.buffer(io, "x", len * 4);
    let y = s.buffer(io, "y", len * 4);
    let middle: Vec<BufferIndex> = (0..3)
        .map(|i| {
            let offset = if is_shared {
                random(2) as u64 * 256
            } else {
                i * 256
            };
            s.buffer_at(scratch, &format!("b{i}"), len * 4, Some(offset))
        })
        .collect();
    let shapes: [&[(u64, i64)]; 6] = [
        &[(64, 1)],
        &[(32, 1)],
        &[(16, 1)],
        &[(4, 16), (8, 1)],
        &[(32, 2)],
        &[(2, 32), (4, 8), (4, 1)],
    ];
    let n_steps = 2 + random(4);
    for i in 0..n_steps {
        let is_last = i + 1 == n_steps;
        let shape = if is_last && random(4) > 0 {
            0
        } else {
            random(shapes.len())
        };
        let walk = shapes[shape];
        let domain: Vec<u64> = walk.iter().map(|w| w.0).collect();
        let strides = |shape: usize| -> Vec<i64> { shapes[shape].iter().map(|w| w.1).collect() };
        // Other shapes with the same extents, so that what is read may lie elsewhere.
        let n_inputs = 1 + random(2);
        let spec = KernelSpec::Map(MapSpec {
            inputs: vec![MapInput::affine(strided(&strides(shape))); n_inputs],
            tape: tape(&[TapeOp::Input(0)]),
            outputs: vec![strided(&strides(shape))],
            domain,
        });
        let reach: i64 = walk.iter().map(|&(n, s)| (n as i64 - 1) * s).sum::<i64>() + 1;
        let mut place = |b: BufferIndex| {
            let room = (len as i64 - reach) as usize / 8;
            let offset = (random(room + 1) * 8 / if shape == 4 { 8 } else { 1 }) as u64;
            (
                Place::Buffer(b),
                if random(2) == 0 { 0 } else { offset * 4 },
            )
        };
        let mut places = vec![];
        for k in 0..n_inputs {
            let from = if i == 0 {
                x
            } else {
                [x, middle[0], middle[1], middle[2]][(seed as usize >> (2 * i + k)) & 3]
            };
            places.push(place(from));
        }
        places.push(place(if is_last {
            y
        } else {
            middle[(seed as usize >> (20 + 2 * i)) % 3]
        }));
        let first = s.first_step();
        let lane = if has_lanes { random(2) as u16 } else { 0 };
        let waits: Vec<StepIndex> = (0..i)
            .filter(|_| has_lanes && random(3) > 0)
            .map(|j| StepIndex(first + j as u32))
            .collect();
        let step = s.step("Copy", spec, &places);
        (step.lane, step.waits) = (lane, waits);
    }
    let inputs = vec![port("x", DType::F32, &[len], x)];
    let outputs = vec![port("y", DType::F32, &[len], y)];
    s.finish_model("slices", inputs, outputs, &[n_steps as u32]);
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

/// A step of a network: its operators, and a kernel from feature maps of `c` channels of 8 x 8, with
/// or without a weight, to one more.
fn layer(kind: usize, c: u64) -> (&'static str, KernelSpec, usize, Vec<u64>) {
    let n = c * 64;
    let flat = |inputs: usize| {
        let mut ops: Vec<TapeOp> = (0..inputs as u16).map(TapeOp::Input).collect();
        if inputs == 2 {
            ops.push(TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1)));
        }
        KernelSpec::Map(MapSpec {
            domain: vec![n],
            inputs: vec![MapInput::affine(f32s(&[n])); inputs],
            tape: tape(&ops),
            outputs: vec![f32s(&[n])],
        })
    };
    match kind {
        0 => (
            "Conv+BatchNormalization+Relu",
            samples::conv_layer(c, false),
            1,
            vec![c, c, 3, 3],
        ),
        1 => (
            "Conv+BatchNormalization+Add+Relu",
            samples::conv_layer(c, true),
            2,
            vec![c, c, 3, 3],
        ),
        2 => (
            "MaxPool",
            samples::pool(1, c, WindowFold::Max, f32s(&[1, c, 8, 8])),
            1,
            vec![],
        ),
        3 => ("Add", flat(2), 2, vec![]),
        4 => ("Softmax", samples::softmax(c, 64), 1, vec![]),
        5 => ("Transpose", flat(1), 1, vec![]),
        _ => ("Attention", samples::self_attention(c), 3, vec![]),
    }
}

/// Networks with skips and branches, in memory that is reused, beside each other.
pub(crate) fn networks(sizes: &[(&str, usize)]) -> Sample {
    let mut s = Sample::new();
    let all: Vec<u32> = (0..sizes.len() as u32).collect();
    let io = s.arena(ArenaKind::Io, &all);
    let scratch = s.arena(ArenaKind::Scratch, &all);
    for (m, &(name, n)) in sizes.iter().enumerate() {
        let mut random = crate::random(m as u64 + 3);
        // What each step reads; 0 is the input. Channels grow by stages.
        let mut kinds: Vec<(usize, Vec<usize>)> = vec![];
        while kinds.len() < n {
            let last = kinds.len();
            match random(6) {
                0 if last > 0 => {
                    // Branches that meet again.
                    let width = 2 + random(2);
                    (0..width).for_each(|k| kinds.push(([0, 2, 5][k], vec![last])));
                    for k in 1..width {
                        let left = if k == 1 { last + 1 } else { kinds.len() };
                        kinds.push((3, vec![left, last + k + 1]));
                    }
                }
                1 => {
                    kinds.push((5, vec![last]));
                    kinds.push((5, vec![last]));
                    kinds.push((6, vec![last + 1, last + 2, last]));
                    kinds.push((3, vec![last + 3, last]));
                }
                2 => kinds.push((4, vec![last])),
                _ => {
                    kinds.push((0, vec![last]));
                    kinds.push((1, vec![last + 1, last]));
                }
            }
        }
        kinds.truncate(n);
        let c = 8 << m;
        let bytes = c * 64 * 4;
        let x = s.buffer(io, "pixels", bytes);
        let y = s.buffer(io, "scores", bytes);
        let mut last_use: Vec<usize> = (0..=n).collect();
        for (i, (_, reads)) in kinds.iter().enumerate() {
            reads.iter().for_each(|&r| last_use[r] = last_use[r].max(i));
        }
        let mut results = vec![x];
        let mut live: Vec<(usize, u64)> = vec![];
        for (i, (kind, reads)) in kinds.iter().enumerate() {
            let out = if i + 1 == n {
                y
            } else {
                live.retain(|&(r, _)| last_use[r] >= i);
                live.sort_by_key(|&(_, offset)| offset);
                let mut offset = 0;
                for &(_, taken) in &live {
                    if offset + bytes <= taken {
                        break;
                    }
                    offset = taken + bytes;
                }
                live.push((i + 1, offset));
                let name = format!("/stage{}/block{}/output_{i}", i / 40, i / 6);
                s.buffer_at(scratch, &name, bytes, Some(offset))
            };
            let (label, spec, _, dims) = layer(*kind, c);
            let mut places: Vec<_> = reads.iter().map(|&r| at(results[r])).collect();
            if !dims.is_empty() {
                let weight = if i < 12 {
                    s.weight(&dims)
                } else {
                    Place::Weight(WeightIndex(0))
                };
                let shared = s.plan.weights.iter().position(|w| w.dims == dims);
                let shared = shared.map_or(weight, |w| Place::Weight(WeightIndex(w as u32)));
                places.insert(1, (if i < 12 { weight } else { shared }, 0));
            }
            places.push(at(out));
            let step = s.step(label, spec, &places);
            step.origin = label
                .split('+')
                .map(|op| format!("/stage{}/block{}/{}_{i}", i / 40, i / 6, op.to_lowercase()))
                .collect();
            results.push(out);
        }
        let dims = [1, c, 8, 8];
        let inputs = vec![port("pixels", DType::F32, &dims, x)];
        let outputs = vec![port("scores", DType::F32, &dims, y)];
        let blocks: Vec<u32> = (0..n).step_by(25).map(|i| (n - i).min(25) as u32).collect();
        s.finish_model(name, inputs, outputs, &blocks);
    }
    s.plan.warnings = vec!["the models share scratch memory and never run at once".into()];
    s
}
