//! What a plan's steps and blocks take: measured where that is known, else predicted.

use costs::database::Measured;
use costs::{Demand, Estimate, Grid, Key, Predict, Source, Work};
use kernels::cuda::{Precision, contract};
use plans::spec::{LibrarySpec, MapSpec, MovementSpec, Operand, Problem};
use plans::{
    BlockIndex, CoRun, Code, Device, ImageKind, KernelSpec, Launch, Place, Plan, Resources, Step,
    StepIndex,
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
    let code = step.code.as_ref().map(|c| &plan.codes[c.code.index()]);
    let launches = code.map_or(vec![], |code| {
        let grid = |launch| grid(launch, &resources(plan, code, launch, arch), arch);
        code.launches.iter().map(grid).collect()
    });
    let run = Run {
        spec: &plan.kernels[step.kernel.index()],
        schedule: code.map(|code| code.schedule.as_str()),
        flop: step.flop,
        bytes_read: step.bytes_read,
        bytes_written: step.bytes_written,
        leaves_on: match step.args.last().map(|a| a.place) {
            Some(Place::Buffer(b)) => plan.arenas[plan.buffers[b.index()].arena.index()].device,
            Some(Place::Weight(_)) => Device::Cpu,
            None => step.device,
        },
        launches,
    };
    run.work()
}

/// A step, in a plan or before there is one.
pub(crate) struct Run<'a> {
    pub spec: &'a KernelSpec,
    /// Of its device code, if it has one.
    pub schedule: Option<&'a str>,
    pub flop: u64,
    /// Each operand once.
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// Where its last argument lies.
    pub leaves_on: Device,
    pub launches: Vec<Grid>,
}

impl Run<'_> {
    /// What of it matters for its time.
    pub(crate) fn work(self) -> Work {
        let spec = self.spec;
        Work {
            class: class(spec, self.leaves_on),
            dtype: dtype(spec, self.schedule),
            flop: self.flop,
            bytes_read: self.bytes_read.saturating_sub(not_read(spec)),
            bytes_written: self.bytes_written,
            launches: self.launches,
            rounds: match spec {
                KernelSpec::Recurrent(s) => s.time.max(1),
                _ => 1,
            },
        }
    }
}

/// The type as device files name it: the first argument's, or what tensor cores multiply.
fn dtype(spec: &KernelSpec, schedule: Option<&str>) -> String {
    match (spec, schedule.map(contract::precision)) {
        (KernelSpec::Contract(_), Some(precision @ (Precision::Tf32x3 | Precision::Tf32))) => {
            precision.to_string()
        }
        _ => {
            let args = spec.args();
            args.first().map_or("f32", |arg| arg.dtype.name()).into()
        }
    }
}

/// The class as device files name it: the kernel's, and what else sets times of its kernels apart.
fn class(spec: &KernelSpec, leaves_on: Device) -> String {
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
        KernelSpec::Transfer(_) => match leaves_on {
            Device::Cpu => "from",
            Device::Cuda(_) => "to",
        },
    };
    format!("{}.{more}", spec.class())
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

/// What a launch takes of a multiprocessor, if there is an image to tell.
fn resources(plan: &Plan, code: &Code, launch: &Launch, arch: u32) -> Resources {
    // Machine code for the architecture, else that of an older one of the same major number, which
    // runs on it.
    let images = code.images.iter().map(|i| &plan.images[i.index()]);
    let fits = images.filter_map(|image| match image.kind {
        ImageKind::Cubin(of) if of / 10 == arch / 10 && of <= arch => Some((of, image)),
        _ => None,
    });
    let found = fits.max_by_key(|(of, _)| *of).and_then(|(_, image)| {
        image
            .resources
            .iter()
            .find(|r| r.function == launch.function)
    });
    found.cloned().unwrap_or_default()
}

/// The blocks of a launch, and how many of them a multiprocessor of architecture `arch` holds.
pub(crate) fn grid(launch: &Launch, resources: &Resources, arch: u32) -> Grid {
    let held = plans::occupancy::occupancy(arch, resources, launch);
    let threads = |n: [u32; 3]| n.iter().fold(1u64, |all, &n| all.saturating_mul(n.into()));
    Grid {
        blocks: threads(launch.grid),
        threads: u32::try_from(threads(launch.block)).unwrap_or(u32::MAX),
        resident: held.map_or(0, |o| o.blocks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::{LowerOptions, Lowered, lower};
    use crate::{PassCx, manager};
    use costs::{Roofline, Times};
    use std::time::Duration;

    /// The plan of a program for a GPU, without images.
    fn plan(text: &str) -> Plan {
        let mut program = ir::text::parse(text).unwrap();
        let mut cx = PassCx::new(crate::Options::default());
        for &(phase, _) in crate::PIPELINE {
            manager::run(phase, &mut program, &mut cx).unwrap();
        }
        let options = LowerOptions {
            gpu: Some(kernels::cuda::Target::of_arch(90).unwrap()),
            hashes: vec![[0; 32]; program.graphs.iter().count()],
            ..LowerOptions::default()
        };
        let Lowered { plan, .. } = lower(&program, &options).unwrap();
        plan
    }

    const TEXT: &str = "\
weight table: f32[5000, 64] = random 1
weight w: f32[64, 256] = random 2
weight k: f32[8, 4, 3, 3] = random 3
weight p: f32[4, 8, 1, 1] = random 4
model a {
  input %positions: i64[16]
  %rows = Gather(table, %positions) {axis = 0}
  %product = MatMul(%rows, w)
  %s = Softmax(%product)
  output \"s\" = %s
}
model b {
  input %x: f32[1, 4, 32, 32]
  %c = Conv(%x, k)
  %d = Conv(%c, p)
  output \"d\" = %d
}
";

    fn with<T>(measured: Option<&Measured>, use_it: impl FnOnce(&Costs<'_>) -> T) -> T {
        let device = |name| Roofline::new(costs::Device::find(name).unwrap());
        let (host, gpu) = (device("cpu"), device("h200"));
        use_it(&Costs {
            host: &host,
            gpu: &gpu,
            measured,
            arch: 90,
        })
    }

    #[test]
    fn work_says_what_matters() {
        let plan = plan(TEXT);
        let works: Vec<Work> = plan.steps.iter().map(|s| work(&plan, s, 90)).collect();
        let classes: Vec<&str> = works.iter().map(|w| w.class.as_str()).collect();
        assert_eq!(
            classes,
            [
                "map",
                "contract.matmul",
                "row",
                "contract.conv",
                "contract.pointwise"
            ]
        );
        for work in &works {
            assert!(!work.launches.is_empty(), "{work:?}");
            let grid = work.main_launch().unwrap();
            assert!(
                grid.blocks > 0 && grid.threads > 0 && grid.resident > 0,
                "{work:?}"
            );
        }
        // Of the table, 16 rows of 64 are read, and 16 positions.
        assert_eq!(works[0].bytes_read, 16 * 64 * 4 + 16 * 8);
        assert_eq!(works[1].flop, plan.steps[1].flop);
    }

    #[test]
    fn measured_times_come_before_predicted_ones() {
        let mut plan = plan(TEXT);
        with(None, |costs| predict(&mut plan, costs));
        assert!(
            plan.blocks
                .iter()
                .all(|b| b.predicted_ns > 0 && b.measured_ns.is_none())
        );
        assert!(plan.blocks.iter().all(|b| b.demand.is_known()));
        let predicted = plan.clone();
        with(None, |costs| predict(&mut plan, costs));
        assert_eq!(plan, predicted);

        let times = |us| Times::of(&[Duration::from_micros(us)]).unwrap();
        let keys: Vec<Key> = plan.steps.iter().map(|s| step_key(&plan, s)).collect();
        let of_blocks: Vec<Key> = plan
            .blocks
            .iter()
            .map(|b| block_key(&keys[b.steps()]))
            .collect();
        let pair = (
            of_blocks[0].min(of_blocks[1]),
            of_blocks[0].max(of_blocks[1]),
        );
        let measured = Measured::new(
            [(keys[1], times(5000))].into(),
            [(of_blocks[1], times(70))].into(),
            [(pair, [1.5, 1.5])].into(),
        );
        with(Some(&measured), |costs| predict(&mut plan, costs));
        assert!(plan.blocks[0].predicted_ns > 4_000_000);
        assert_eq!(plan.blocks[0].measured_ns, None);
        assert_eq!(
            plan.blocks[1].predicted_ns,
            predicted.blocks[1].predicted_ns
        );
        assert_eq!(plan.blocks[1].measured_ns, Some(70_000));
        let together = plan.co_run.first().expect("a pair was measured");
        assert_eq!(
            (together.blocks, together.slowdown),
            ([BlockIndex(0), BlockIndex(1)], [1500; 2])
        );
    }

    #[test]
    fn keys_tell_kernels_and_schedules_apart() {
        let mut plan = plan(TEXT);
        let keys: Vec<Key> = plan.steps.iter().map(|s| step_key(&plan, s)).collect();
        let mut distinct = keys.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), keys.len());
        plan.codes[0].launches[0].grid[0] += 1;
        let code = |s: &Step| s.code.as_ref().map(|c| c.code.index());
        for (step, key) in plan.steps.iter().zip(&keys) {
            assert_eq!(step_key(&plan, step) != *key, code(step) == Some(0));
        }
    }

    #[test]
    fn lanes_run_at_once_as_far_as_there_is_room() {
        let plan = plan(TEXT);
        let mut steps = plan.steps[..3].to_vec();
        let costs = |share: f64| {
            let time = Estimate {
                ns: 100.0,
                std_ns: 0.0,
                source: Source::Predicted,
            };
            let demand = Demand {
                compute: share,
                memory: 0.0,
            };
            vec![
                StepCost {
                    alone: time,
                    in_chain: time,
                    demand,
                };
                3
            ]
        };
        assert_eq!(block_ns(&steps, 0..3, &costs(0.1)), 300.0);
        steps[1].lane = 1;
        assert_eq!(block_ns(&steps, 0..3, &costs(0.1)), 200.0);
        assert_eq!(block_ns(&steps, 0..3, &costs(0.9)), 270.0);
        steps[2].waits = vec![StepIndex(1)];
        steps[1].waits = vec![StepIndex(0)];
        assert_eq!(block_ns(&steps, 0..3, &costs(0.1)), 300.0);
    }
}
