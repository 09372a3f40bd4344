//! Runs of a plan's steps in any order that lanes and waits allow, on numbers that stand for what
//! was computed.

use plans::spec::{ArgSpec, Role};
use plans::{Place, Plan};
use std::collections::BTreeMap;

/// The contents of each byte of each arena: which computation left it there.
type Memory = BTreeMap<(u32, u64), u64>;

fn mix(a: u64, b: u64) -> u64 {
    (a ^ b.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The bytes that an argument touches, one by one.
pub(crate) fn touched_bytes(spec: &ArgSpec, start: u64) -> Vec<u64> {
    let mut elements = vec![0i64];
    for &(n, stride) in &spec.walk {
        elements = elements
            .into_iter()
            .flat_map(|e| (0..n as i64).map(move |i| e + i * stride))
            .collect();
    }
    let size = spec.dtype.size() as i64;
    elements
        .into_iter()
        .flat_map(|e| (0..size).map(move |b| (start as i64 + e * size + b) as u64))
        .collect()
}

/// Runs the steps of each model in `order` of choice, and gives what its outputs hold.
fn run(plan: &Plan, mut choose: impl FnMut(usize) -> usize) -> Vec<u64> {
    let mut results = vec![];
    for (m, model) in plan.models.iter().enumerate() {
        let mut memory = Memory::new();
        // Whatever an earlier run left behind: seen by whoever reads what was not written.
        let mut stale = choose(1 << 30) as u64;
        for port in &model.inputs {
            let buffer = &plan.buffers[port.buffer.index()];
            for i in 0..buffer.bytes {
                memory.insert((buffer.arena.0, buffer.offset + i), mix(m as u64, i));
            }
        }
        let mut left: Vec<usize> = model.steps().collect();
        while !left.is_empty() {
            let ready: Vec<usize> = left
                .iter()
                .copied()
                .filter(|&i| {
                    let step = &plan.steps[i];
                    left.iter().all(|&j| {
                        let first_in_lane = j >= i || plan.steps[j].lane != step.lane;
                        first_in_lane && !step.waits.iter().any(|w| w.index() == j)
                    })
                })
                .collect();
            let i = ready[choose(ready.len())];
            left.retain(|&j| j != i);
            let step = &plan.steps[i];
            let specs = plan.kernels[step.kernel.index()].args();
            let bytes = |n: usize| {
                let (arg, spec) = (&step.args[n], &specs[n]);
                let Place::Buffer(b) = arg.place else {
                    return (0, vec![]);
                };
                let buffer = &plan.buffers[b.index()];
                let touched = touched_bytes(spec, buffer.offset + arg.offset);
                (buffer.arena.0, touched)
            };
            let mut value = i as u64;
            for (n, spec) in specs.iter().enumerate() {
                if spec.role != Role::Write {
                    let (arena, range) = bytes(n);
                    for at in range {
                        stale += 1;
                        value = mix(value, *memory.get(&(arena, at)).unwrap_or(&stale));
                    }
                }
            }
            for (n, spec) in specs.iter().enumerate() {
                if spec.role != Role::Read {
                    let (arena, range) = bytes(n);
                    for (k, at) in range.into_iter().enumerate() {
                        memory.insert((arena, at), mix(value, k as u64));
                    }
                }
            }
        }
        for port in &model.outputs {
            let buffer = &plan.buffers[port.buffer.index()];
            for i in 0..buffer.bytes {
                stale += 1;
                let at = (buffer.arena.0, buffer.offset + i);
                results.push(*memory.get(&at).unwrap_or(&stale));
            }
        }
    }
    results
}

/// Checks that a plan gives the same in every order of steps.
pub(crate) fn agree(plan: &Plan, seed: u64) {
    let mut in_order = crate::random(seed);
    let expected = run(plan, |n| if n > 1 << 20 { in_order(n) } else { 0 });
    let mut random = crate::random(seed ^ 1);
    for _ in 0..3 {
        assert_eq!(run(plan, &mut random), expected);
    }
}
