//! What a plan's steps and blocks take: measured where that is known, else predicted.

use costs::database::Measured;
use costs::{Demand, Estimate, Grid, Key, Predict, Source, Work};
use plans::spec::{LibrarySpec, MapSpec, MovementSpec, Operand, Problem};
use plans::{
    BlockIndex, CoRun, Code, Device, ImageKind, KernelSpec, Launch, Place, Plan, Step, StepIndex,
};
use std::collections::BTreeMap;
use std::ops::Range;

/// What is known of the devices of a plan.
pub struct Costs<'a> {
    /// Predicts what runs on the host.
    pub host: &'a dyn Predict,
    /// Predicts what runs on a GPU.
    pub gpu: &'a dyn Predict,
    /// What was measured on the device that the plan is for.
    pub measured: Option<&'a Measured>,
    /// The GPU's architecture: 90 for sm_90.
    pub arch: u32,
}

/// What a step costs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepCost {
    /// Its time if it is timed by itself.
    pub alone: Estimate,
    /// Its time among the others of its block.
    pub in_chain: Estimate,
    /// What it takes of its device meanwhile.
    pub demand: Demand,
}

impl<'a> Costs<'a> {
    fn of(&self, step: &Step) -> &'a dyn Predict {
        match step.device {
            Device::Cpu => self.host,
            Device::Cuda(_) => self.gpu,
        }
    }

    /// What a step costs: its time is the measured one if there is one.
    pub fn step(&self, plan: &Plan, step: StepIndex) -> StepCost {
        let measured = self
            .measured
            .and_then(|m| m.kernels.get(&step_key(plan, &plan.steps[step.index()])));
        match measured {
            Some(times) => self.with(
                plan,
                step,
                Estimate {
                    ns: times.mean_ns,
                    std_ns: times.std_ns,
                    source: Source::Measured(times.n),
                },
            ),
            None => self.predicted_step(plan, step),
        }
    }

    /// What a step is predicted to cost, measured or not.
    pub fn predicted_step(&self, plan: &Plan, step: StepIndex) -> StepCost {
        let work = work(plan, &plan.steps[step.index()], self.arch);
        let alone = self.of(&plan.steps[step.index()]).alone(&work);
        self.with(plan, step, alone)
    }

    fn with(&self, plan: &Plan, step: StepIndex, alone: Estimate) -> StepCost {
        let step = &plan.steps[step.index()];
        let work = work(plan, step, self.arch);
        let predictor = self.of(step);
        StepCost {
            alone,
            in_chain: predictor.in_chain(&work, alone),
            demand: predictor.demand(&work),
        }
    }
}

/// What each step of a plan costs, in order.
///
/// Of device code, registers and shared memory count: predictions of a plan without images take
/// them for free.
pub fn steps(plan: &Plan, costs: &Costs<'_>) -> Vec<StepCost> {
    let steps = (0..plan.steps.len() as u32).map(StepIndex);
    steps.map(|step| costs.step(plan, step)).collect()
}

/// Sets the times and demands of a plan's blocks, and which of them were measured together.
pub fn predict(plan: &mut Plan, costs: &Costs<'_>) {
    let of_step = steps(plan, costs);
    let keys: Vec<Key> = plan.steps.iter().map(|s| step_key(plan, s)).collect();
    let mut block_keys = vec![];
    for block in &mut plan.blocks {
        let own = &of_step[block.steps()];
        let key = block_key(&keys[block.steps()]);
        block.predicted_ns = whole(block_ns(&plan.steps, block.steps(), own));
        block.demand = mean_demand(own);
        let measured = costs.measured.and_then(|m| m.blocks.get(&key));
        block.measured_ns = measured.map(|times| whole(times.mean_ns));
        block_keys.push(key);
    }
    plan.co_run = match costs.measured {
        Some(measured) => co_run(plan, measured, &block_keys),
        None => vec![],
    };
}

/// What the steps of a block take together: those of a lane one after the other, those of different
/// lanes at once, as far as they wait for each other and as the device has room for them.
fn block_ns(steps: &[Step], block: Range<usize>, costs: &[StepCost]) -> f64 {
    let mut ends = vec![0.0f64; block.len()];
    let mut lanes: BTreeMap<u16, f64> = BTreeMap::new();
    let mut least = 0.0;
    for (i, (step, cost)) in steps[block.clone()].iter().zip(costs).enumerate() {
        let waits = step.waits.iter().filter(|w| block.contains(&w.index()));
        let ready = waits.map(|w| ends[w.index() - block.start]);
        let lane = lanes.entry(step.lane).or_default();
        ends[i] = ready.fold(*lane, f64::max) + cost.in_chain.ns;
        *lane = ends[i];
        least += cost.in_chain.ns * cost.demand.compute.max(cost.demand.memory);
    }
    ends.into_iter().fold(least, f64::max)
}

/// Nanoseconds of a plan: at least 1, so that they are something.
fn whole(ns: f64) -> u64 {
    (ns.round() as u64).max(1)
}

/// What steps take of their device on average over their time.
fn mean_demand(steps: &[StepCost]) -> plans::Demand {
    let ns: f64 = steps.iter().map(|s| s.in_chain.ns).sum();
    let mean = |share: fn(&Demand) -> f64| {
        let sum: f64 = steps.iter().map(|s| s.in_chain.ns * share(&s.demand)).sum();
        let share = if ns > 0.0 { sum / ns } else { 0.0 };
        // Never nothing, which would mean that nothing is known.
        ((share * 1000.0).round() as u16).clamp(1, plans::Demand::ALL)
    };
    plans::Demand {
        compute: mean(|d| d.compute),
        memory: mean(|d| d.memory),
    }
}

/// The pairs of blocks of different models that were measured together, in order.
fn co_run(plan: &Plan, measured: &Measured, keys: &[Key]) -> Vec<CoRun> {
    let mut found = vec![];
    for a in 0..keys.len() {
        for b in a + 1..keys.len() {
            if plan.blocks[a].model == plan.blocks[b].model {
                continue;
            }
            if let Some(slowdown) = measured.together(&keys[a], &keys[b]) {
                found.push(CoRun {
                    blocks: [BlockIndex(a as u32), BlockIndex(b as u32)],
                    slowdown: slowdown.map(|s| ((s * 1000.0).round() as u32).max(1000)),
                });
            }
        }
    }
    found
}

/// What a measurement of a step is kept under: all that its time depends on but the device: its
/// kernel with its types, its device code and schedule if it has one, and where its operands lie.
pub fn step_key(plan: &Plan, step: &Step) -> Key {
    let mut text = vec![];
    let kernel = &plan.kernels[step.kernel.index()];
    let code = step.code.as_ref().map(|c| &plan.codes[c.code.index()]);
    let code = code.map(|c| (&c.schedule, &c.launches, c.workspace, c.counters));
    // Weights that are packed at bind are read in another order than buffers.
    let is_weight = |place: Place| matches!(place, Place::Weight(_));
    let places: Vec<bool> = step.args.iter().map(|a| is_weight(a.place)).collect();
    for part in [
        postcard::to_allocvec(kernel),
        postcard::to_allocvec(&code),
        postcard::to_allocvec(&places),
    ] {
        let part = part.expect("plain data has an encoding");
        text.extend((part.len() as u64).to_le_bytes());
        text.extend(part);
    }
    Key::of(&text)
}

/// What a measurement of a block is kept under, given the keys of its steps.
pub fn block_key(steps: &[Key]) -> Key {
    let text: Vec<u8> = steps.iter().flat_map(|k| k.0).collect();
    Key::of(&text)
}

/// What of a step matters for its time on a GPU of architecture `arch`, or on the host.
pub fn work(plan: &Plan, step: &Step, arch: u32) -> Work {
    let spec = &plan.kernels[step.kernel.index()];
    let code = step.code.as_ref().map(|c| &plan.codes[c.code.index()]);
    let launches = code.map_or(vec![], |code| {
        let grid = |launch| grid(plan, code, launch, arch);
        code.launches.iter().map(grid).collect()
    });
    Work {
        class: class(plan, step, spec),
        dtype: spec
            .args()
            .first()
            .map_or("f32", |arg| arg.dtype.name())
            .into(),
        flop: step.flop,
        bytes_read: step.bytes_read.saturating_sub(not_read(spec)),
        bytes_written: step.bytes_written,
        launches,
        rounds: match spec {
            KernelSpec::Recurrent(s) => s.time.max(1),
            _ => 1,
        },
    }
}

/// The class as device files name it: the kernel's, and what else sets times of its kernels apart.
fn class(plan: &Plan, step: &Step, spec: &KernelSpec) -> String {
    let more = match spec {
        KernelSpec::Contract(s) => match &s.problem {
            Problem::MatMul { m, n, .. } if (*m).min(*n) <= 1 => "vector",
            Problem::MatMul { .. } => "matmul",
            Problem::Conv { window, .. } if window.kernel.iter().all(|&t| t == 1) => "pointwise",
            Problem::Conv { .. } => "conv",
            Problem::ConvTranspose { .. } => "transposed",
        },
        KernelSpec::Movement(MovementSpec::Scatter(_)) => "scatter",
        KernelSpec::Movement(MovementSpec::Pad(_)) => "pad",
        KernelSpec::Movement(MovementSpec::Resize(_)) => "resize",
        KernelSpec::Library(LibrarySpec::TopK(_)) => "top_k",
        KernelSpec::Library(LibrarySpec::NonMaxSuppression(_)) => "suppression",
        KernelSpec::Library(_)
        | KernelSpec::Map(_)
        | KernelSpec::Row(_)
        | KernelSpec::Attention(_)
        | KernelSpec::Window(_)
        | KernelSpec::Recurrent(_) => return spec.class().into(),
        KernelSpec::Transfer(_) => match step.args.last().map(|a| on_device(plan, a.place)) {
            Some(false) => "from",
            _ => "to",
        },
    };
    format!("{}.{more}", spec.class())
}

fn on_device(plan: &Plan, place: Place) -> bool {
    match place {
        Place::Buffer(b) => {
            let arena = plan.buffers[b.index()].arena;
            plan.arenas[arena.index()].device != Device::Cpu
        }
        Place::Weight(_) => false,
    }
}

/// Bytes that count as read, each operand once, though a gather picks only some of them.
fn not_read(spec: &KernelSpec) -> u64 {
    let KernelSpec::Map(MapSpec { domain, inputs, .. }) = spec else {
        return 0;
    };
    let picked = |operand: &Operand| {
        let n: u64 = domain
            .iter()
            .zip(&operand.strides)
            .fold(1u64, |n, (&d, _)| n.saturating_mul(d));
        n.saturating_mul(operand.dtype.size() as u64)
    };
    let args = spec.args();
    inputs
        .iter()
        .zip(&args)
        .filter(|(input, _)| !input.gather.is_empty())
        .map(|(input, arg)| {
            let all = arg.touched(0).map_or(0, |range| range.end - range.start);
            all.saturating_sub(picked(&input.operand))
        })
        .fold(0, u64::saturating_add)
}

/// The blocks of a launch, and how many of them a multiprocessor holds.
fn grid(plan: &Plan, code: &Code, launch: &Launch, arch: u32) -> Grid {
    // Machine code for the architecture, else that of an older one of the same major number, which
    // runs on it.
    let images = code.images.iter().map(|i| &plan.images[i.index()]);
    let fits = images.filter_map(|image| match image.kind {
        ImageKind::Cubin(of) if of / 10 == arch / 10 && of <= arch => Some((of, image)),
        _ => None,
    });
    let resources = fits.max_by_key(|(of, _)| *of).and_then(|(_, image)| {
        image
            .resources
            .iter()
            .find(|r| r.function == launch.function)
    });
    let resources = resources.cloned().unwrap_or_default();
    let held = plans::occupancy::occupancy(arch, &resources, launch);
    let threads = |n: [u32; 3]| n.iter().fold(1u64, |all, &n| all.saturating_mul(n.into()));
    Grid {
        blocks: threads(launch.grid),
        threads: u32::try_from(threads(launch.block)).unwrap_or(u32::MAX),
        resident: held.map_or(0, |o| o.blocks),
    }
}
