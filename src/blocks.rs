//! Models cut into blocks, by what is known of their device.

use crate::device_model::DeviceModel;
use costs::Kind;
use passes::partition::{CutCosts, Generation, Goal, Splitter, StepTime, partition, set_times};
use passes::predict::{predict, work};
use plans::{Device, Plan, StepIndex};

/// Cuts the models of `plan` as `splitter` says, and sets what is known of the blocks. Returns the
/// generations of a genetic search, by model.
pub fn cut(plan: &mut Plan, device: &DeviceModel, splitter: &Splitter) -> Vec<Vec<Generation>> {
    let times = step_times(plan, device);
    let costs = |d: Device| cut_costs(device.description(d));
    let generations = partition(plan, &times, &costs, splitter);
    predict(plan, &device.costs());
    set_times(plan, &times, &costs);
    generations
}

/// What each step takes, in the order of the plan.
fn step_times(plan: &Plan, device: &DeviceModel) -> Vec<StepTime> {
    let costs = device.costs();
    let ns = |ns: f64| ns.max(0.0).round() as u64;
    let step = |index: StepIndex| {
        let step = &plan.steps[index.index()];
        let cost = costs.step(plan, index);
        let class = work(plan, step, costs.arch).class;
        let efficiency = device.description(step.device).efficiency_of(&class);
        // What hides behind its neighbours in a chain does not as the first of a block.
        let first = (cost.alone.ns * efficiency.in_chain).max(cost.in_chain.ns);
        let share = cost.demand.compute.max(cost.demand.memory);
        StepTime {
            ns: ns(cost.in_chain.ns).max(1),
            first_ns: ns(first).max(1),
            busy_ns: ns(cost.in_chain.ns * share),
        }
    };
    (0..plan.steps.len() as u32)
        .map(|i| step(StepIndex(i)))
        .collect()
}

/// What a cut costs on a device.
fn cut_costs(device: &costs::Device) -> CutCosts {
    let ns_per_byte = |bytes_per_s: f64| 1e9 / bytes_per_s;
    let reload = ns_per_byte(device.bytes_per_s) - ns_per_byte(device.cache_bytes_per_s);
    CutCosts {
        launch_ns: match device.kind {
            // A block is a graph that is started while the one before runs.
            Kind::Cuda => device.launch.graph_ns,
            Kind::Cpu => device.launch.alone_ns,
        },
        reload_ns_per_byte: reload.max(0.0),
        cache_bytes: device.cache_bytes,
    }
}

/// The splitter as text for a plan's fingerprint: nothing where there is none, or ` blocks=3
/// splitter=dp`.
pub fn options(splitter: &Splitter) -> String {
    let goal = |goal: Goal| match goal {
        Goal::Blocks(n) => format!(" blocks={n}"),
        Goal::Within(ns) => format!(" max-block={ns}ns"),
    };
    match *splitter {
        Splitter::Whole => String::new(),
        Splitter::Dp(to) => goal(to) + " splitter=dp",
        Splitter::Greedy(to) => goal(to) + " splitter=greedy",
        Splitter::Genetic(n, o) => format!(
            "{} splitter=ga population={} generations={} stall={} splitter-seed={}",
            goal(Goal::Blocks(n)),
            o.population,
            o.generations,
            o.stall,
            o.seed
        ),
        Splitter::Every => " splitter=every".into(),
        Splitter::Converge => " splitter=converge".into(),
    }
}

/// The log of a genetic search as CSV: a line for the best split of each generation, in the columns of
/// SPLIT's. Times are milliseconds; `solution-best` lists the first steps of all blocks but the first,
/// and `overhead` is a share of the uncut model's time, which is `runtime-bench (ms)`.
pub fn generation_log(plan: &Plan, generations: &[Vec<Generation>]) -> String {
    let mut csv = String::from(
        "step,model-name,std,solution-best,runtime-bench (ms),overhead,total cost (ms)\n",
    );
    let ms = |ns: f64| ns / 1e6;
    for (model, generations) in plan.models.iter().zip(generations) {
        let name = field(&model.name);
        for g in generations {
            let cuts: Vec<String> = g.cuts.iter().map(ToString::to_string).collect();
            csv += &format!(
                "{},{name},{:.6},{},{:.6},{:.6},{:.6}\n",
                g.step,
                ms(g.figures.std_ns),
                cuts.join(" "),
                ms(g.figures.whole_ns as f64),
                g.figures.overhead(),
                ms(g.figures.total_ns as f64)
            );
        }
    }
    csv
}

/// A field of a CSV file (RFC 4180), in quotes where it has to be.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
