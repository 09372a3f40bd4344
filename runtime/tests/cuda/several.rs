//! Plans of several models, each a chain of sums, one a block.

use crate::plans::{Builder, CUDA};
use ::plans::{
    ArenaIndex, Block, BlockIndex, BufferIndex, CodeIndex, Demand, Device, ModelIndex, Place, Plan,
    StepIndex, WeightIndex,
};
use dlirc_runtime::Loaded;
use std::sync::Arc;

/// A model: its name, the function that it computes its sums with, the number of sums, and which of
/// them are left to the host.
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) function: &'static str,
    pub(crate) n: usize,
    pub(crate) on_host: &'static [usize],
}

/// Three models of 4, 1 and 3 blocks; the middle one of the last is left to the host.
pub(crate) fn three() -> Arc<Loaded> {
    several(&[
        chain("long", "add", 4),
        chain("short", "add", 1),
        Chain {
            on_host: &[1],
            ..chain("mixed", "add", 3)
        },
    ])
}

pub(crate) fn chain(name: &'static str, function: &'static str, n: usize) -> Chain {
    Chain {
        name,
        function,
        n,
        on_host: &[],
    }
}

/// y = x + 1 + 2 + ... + n for each of them, a block a sum; where the host has to do one, copies
/// around it are of the blocks on the device.
pub(crate) fn several(chains: &[Chain]) -> Arc<Loaded> {
    let mut merged: Option<(Plan, Vec<u8>, Vec<u8>)> = None;
    for chain in chains {
        let mut b = Builder::new();
        let (x, y) = (b.input(CUDA), b.output(CUDA));
        let code = Some(b.code(&[chain.function]));
        let mut from = x;
        // Steps in a block: the first of each.
        let mut firsts = vec![];
        for i in 0..chain.n {
            let weight = Place::Weight(b.weight((i + 1) as f32));
            if chain.on_host.contains(&i) {
                let (before, after) = (b.scratch(Device::Cpu), b.scratch(Device::Cpu));
                b.transfer(from, before);
                firsts.push(b.plan.steps.len());
                b.sum(None, Place::Buffer(before), weight, after);
                let back = b.scratch(CUDA);
                firsts.push(b.plan.steps.len());
                b.transfer(after, back);
                from = back;
                continue;
            }
            let to = if i + 1 == chain.n { y } else { b.scratch(CUDA) };
            let is_open = i > 0 && chain.on_host.contains(&(i - 1));
            if !is_open {
                firsts.push(b.plan.steps.len());
            }
            b.sum(code, Place::Buffer(from), weight, to);
            from = to;
        }
        b.plan.models[0].name = chain.name.to_owned();
        b.plan.models[0].n_steps = b.plan.steps.len() as u32;
        for (i, &first) in firsts.iter().enumerate() {
            let end = firsts.get(i + 1).copied().unwrap_or(b.plan.steps.len());
            b.plan.blocks.push(Block {
                model: ModelIndex(0),
                first_step: StepIndex(first as u32),
                n_steps: (end - first) as u32,
                predicted_ns: 10_000,
                measured_ns: None,
                demand: Demand::UNKNOWN,
                cut_ns: 0,
            });
        }
        merged = Some(match merged {
            None => (b.plan, b.weights, b.images),
            Some((plan, weights, images)) => {
                let (plan, weights) = both(plan, weights, b.plan, &b.weights);
                (plan, weights, images)
            }
        });
    }
    let (plan, weights, images) = merged.unwrap();
    match Loaded::from_parts_with_images(plan, &weights, &images) {
        Ok(loaded) => Arc::new(loaded),
        Err(error) => panic!("{error}"),
    }
}

/// One plan of two; kernels and images are those of the first, which all builders share.
fn both(mut to: Plan, mut weights: Vec<u8>, from: Plan, data: &[u8]) -> (Plan, Vec<u8>) {
    let model = ModelIndex(to.models.len() as u32);
    let at = weights
        .len()
        .next_multiple_of(::plans::BUFFER_ALIGN as usize);
    weights.resize(at, 0);
    weights.extend_from_slice(data);
    let (arenas, buffers) = (to.arenas.len() as u32, to.buffers.len() as u32);
    let (n_weights, codes) = (to.weights.len() as u32, to.codes.len() as u32);
    let steps = to.steps.len() as u32;
    let buffer = |b: BufferIndex| BufferIndex(b.0 + buffers);
    to.fingerprint.models.push([model.0 as u8; 32]);
    for mut of in from.models {
        of.first_step = StepIndex(of.first_step.0 + steps);
        for port in of.inputs.iter_mut().chain(&mut of.outputs) {
            port.buffer = buffer(port.buffer);
        }
        to.models.push(of);
    }
    for mut arena in from.arenas {
        arena.models = vec![model];
        to.arenas.push(arena);
    }
    for mut placed in from.buffers {
        placed.arena = ArenaIndex(placed.arena.0 + arenas);
        placed.model = model;
        to.buffers.push(placed);
    }
    for mut weight in from.weights {
        weight.offset += at as u64;
        weight.hash[31] = model.0 as u8;
        to.weights.push(weight);
    }
    to.codes.extend(from.codes);
    for mut step in from.steps {
        step.model = model;
        for arg in &mut step.args {
            arg.place = match arg.place {
                Place::Buffer(b) => Place::Buffer(buffer(b)),
                Place::Weight(w) => Place::Weight(WeightIndex(w.0 + n_weights)),
            };
        }
        if let Some(code) = &mut step.code {
            code.code = CodeIndex(code.code.0 + codes);
            code.workspace = code.workspace.map(buffer);
            code.counters = code.counters.map(buffer);
        }
        step.waits = step.waits.iter().map(|w| StepIndex(w.0 + steps)).collect();
        to.steps.push(step);
    }
    for mut block in from.blocks {
        block.model = model;
        block.first_step = StepIndex(block.first_step.0 + steps);
        to.blocks.push(block);
    }
    (to, weights)
}

/// The blocks of a model.
pub(crate) fn n_blocks(plan: &Plan, model: ModelIndex) -> usize {
    let blocks = (0..plan.blocks.len()).map(|b| BlockIndex(b as u32));
    blocks
        .filter(|b| plan.blocks[b.index()].model == model)
        .count()
}
