#![allow(clippy::unwrap_used, reason = "in a test a panic is a finding")]

use super::*;
use crate::lower::{LowerOptions, lower};
use plans::blocks::{Figures, Live, figures, live};
use plans::{Place, spec::Role};
use proptest::prelude::*;
use std::ops::Range;

fn plain(step_ns: &[u64], cut: u64) -> Chain {
    let n = step_ns.len();
    Chain::in_order(step_ns, &vec![cut; n], &[], &vec![Live::default(); n])
}

fn starts(chain: &Chain, splitter: Splitter) -> Vec<usize> {
    split(chain, &splitter).starts
}

/// All splits of a chain.
fn all(chain: &Chain) -> Vec<Vec<usize>> {
    let (free, forced) = (chain.free(), chain.forced());
    (0..1usize << free.len())
        .map(|set| {
            let chosen = (0..free.len())
                .filter(|i| set >> i & 1 == 1)
                .map(|i| free[i]);
            let mut starts: Vec<usize> = chosen.chain(forced.iter().copied()).collect();
            starts.sort_unstable();
            starts
        })
        .collect()
}

/// How far the blocks are from equal shares.
fn squares(chain: &Chain, starts: &[usize]) -> i128 {
    let n = starts.len() as i128;
    let far = |t: u64| (i128::from(t) * n - i128::from(chain.whole_ns())).pow(2);
    chain.times(starts).into_iter().map(far).sum()
}

/// Chains of up to ten steps, cuts of any cost, and some that are forced.
fn chains() -> impl Strategy<Value = Chain> {
    let step = (0u64..50, 0u64..30, prop::bool::weighted(0.15), 0u32..4);
    prop::collection::vec(step, 1..=10).prop_map(|steps| {
        let forced: Vec<usize> = (0..steps.len()).filter(|&i| steps[i].2).collect();
        let live: Vec<Live> = steps
            .iter()
            .map(|s| Live {
                tensors: s.3,
                bytes: 0,
            })
            .collect();
        let times: Vec<u64> = steps.iter().map(|s| s.0).collect();
        let cuts: Vec<u64> = steps.iter().map(|s| s.1).collect();
        Chain::in_order(&times, &cuts, &forced, &live)
    })
}

fn check_form(chain: &Chain, starts: &[usize]) {
    assert_eq!(starts[0], 0);
    assert!(starts.windows(2).all(|w| w[0] < w[1]));
    assert!(*starts.last().unwrap() < chain.n_steps());
    assert!(chain.forced().iter().all(|f| starts.contains(f)));
}

proptest! {
    #[test]
    fn even_splits_are_the_best_of_all(chain in chains(), n in 1usize..12) {
        let found = starts(&chain, Splitter::Dp(Goal::Blocks(n)));
        check_form(&chain, &found);
        let n = n.clamp(chain.forced().len(), chain.n_steps());
        let best = all(&chain).into_iter().filter(|s| s.len() == n);
        let best = best.map(|s| squares(&chain, &s)).min().unwrap();
        prop_assert_eq!((found.len(), squares(&chain, &found)), (n, best));
    }

    #[test]
    fn limits_take_the_fewest_blocks(chain in chains(), max_ns in 0u64..150) {
        let found = starts(&chain, Splitter::Dp(Goal::Within(max_ns)));
        check_form(&chain, &found);
        let meets = |s: &[usize]| {
            chain.blocks(s).all(|b: Range<usize>| b.len() == 1 || chain.block_ns(b) <= max_ns)
        };
        prop_assert!(meets(&found));
        let fewest = all(&chain).into_iter().filter(|s| meets(s)).map(|s| s.len()).min().unwrap();
        prop_assert_eq!(found.len(), fewest);
    }

    #[test]
    fn others_keep_to_the_rules(chain in chains(), n in 1usize..12, max_ns in 0u64..150) {
        let greedy = starts(&chain, Splitter::Greedy(Goal::Blocks(n)));
        check_form(&chain, &greedy);
        prop_assert!(greedy.len() < n + 2 * chain.forced().len());
        let filled = starts(&chain, Splitter::Greedy(Goal::Within(max_ns)));
        check_form(&chain, &filled);
        prop_assert!(chain.blocks(&filled).all(|b| b.len() == 1 || chain.block_ns(b) <= max_ns));
        let genetic = starts(&chain, Splitter::Genetic(n, GeneticOptions::default()));
        check_form(&chain, &genetic);
        prop_assert_eq!(genetic.len(), n.clamp(chain.forced().len(), chain.n_steps()));
        let converge = starts(&chain, Splitter::Converge);
        check_form(&chain, &converge);
        for b in chain.free() {
            prop_assert_eq!(converge.contains(&b), chain.live(b).tensors < 2);
        }
        prop_assert_eq!(starts(&chain, Splitter::Every).len(), chain.n_steps());
        prop_assert_eq!(starts(&chain, Splitter::Whole), chain.forced());
    }
}

#[test]
fn the_cost_of_cuts_counts() {
    // Even halves would be 10 and 10, but that cut costs 5; the next one costs nothing.
    let chain = Chain::in_order(&[5, 5, 2, 8], &[0, 0, 5, 0], &[], &[Live::default(); 4]);
    assert_eq!(starts(&chain, Splitter::Dp(Goal::Blocks(2))), [0, 3]);
    let figures = Figures::of(&chain.times(&[0, 3]), chain.whole_ns());
    assert_eq!((figures.total_ns, figures.overhead()), (20, 0.0));
    assert_eq!(figures.std_ns, 2.0);
}

#[test]
fn of_the_fewest_blocks_the_most_even() {
    let chain = plain(&[10; 12], 0);
    assert_eq!(starts(&chain, Splitter::Dp(Goal::Within(50))), [0, 4, 8]);
    assert_eq!(
        starts(&chain, Splitter::Greedy(Goal::Within(50))),
        [0, 5, 10]
    );
    assert_eq!(starts(&chain, Splitter::Greedy(Goal::Blocks(3))), [0, 4, 8]);
}

#[test]
fn long_chains_take_time_in_proportion() {
    let times: Vec<u64> = (0..200_000u64).map(|i| 500 + i * 7919 % 1000).collect();
    let chain = plain(&times, 300);
    for splitter in [Goal::Blocks(8), Goal::Within(200_000)].map(Splitter::Dp) {
        let found = starts(&chain, splitter);
        let blocks = chain.times(&found);
        let figures = Figures::of(&blocks, chain.whole_ns());
        let mean = figures.total_ns as f64 / blocks.len() as f64;
        assert!(figures.std_ns < 0.01 * mean, "{splitter:?}: {figures:?}");
    }
    assert_eq!(starts(&chain, Splitter::Dp(Goal::Blocks(8))).len(), 8);
}

#[test]
fn thinned_chains_keep_what_is_cheap_and_forced() {
    // 9,000 boundaries and 1,000 blocks are more than the table holds; every tenth cut is cheap.
    let cut: Vec<u64> = (0..9000)
        .map(|b| if b % 10 == 5 { 1 } else { 900 })
        .collect();
    let chain = Chain::in_order(&[100; 9000], &cut, &[4321], &[Live::default(); 9000]);
    let found = starts(&chain, Splitter::Dp(Goal::Blocks(1000)));
    check_form(&chain, &found);
    assert_eq!(found.len(), 1000);
    let cheap = found.iter().filter(|&&b| b % 10 == 5).count();
    assert!(cheap > 850, "{cheap}");
}

#[test]
fn the_fitness_is_the_published_one() {
    let figures = Figures::of(&[60, 70], 100);
    let overhead: f64 = 0.3;
    let expected = (3.0 * (overhead / 0.16 - 1.0)).exp() + (5.0f64 / 3.0 - 1.0).exp();
    assert!((fitness(&figures) - expected).abs() < 1e-12 * expected);
    assert_eq!((figures.n_blocks, figures.longest_ns), (2, 70));
}

#[test]
fn genetic_search_comes_near_the_best_and_is_repeatable() {
    let times: Vec<u64> = (0..60u64).map(|i| 100 + i * 37 % 90).collect();
    let cut: Vec<u64> = (0..60u64).map(|i| 20 + i * 53 % 40).collect();
    let chain = Chain::in_order(&times, &cut, &[], &[Live::default(); 60]);
    let fitness = |s: &[usize]| fitness(&Figures::of(&chain.times(s), chain.whole_ns()));
    let two = (1..60).map(|a| fitness(&[0, a]));
    let three = (1..60).flat_map(|a| (a + 1..60).map(move |b| [0, a, b]));
    let best = [
        two.fold(f64::INFINITY, f64::min),
        three.map(|s| fitness(&s)).fold(f64::INFINITY, f64::min),
    ];
    for (n, best) in [(2, best[0]), (3, best[1])] {
        for seed in 0..20 {
            let options = GeneticOptions {
                seed,
                ..Default::default()
            };
            let found = split(&chain, &Splitter::Genetic(n, options));
            assert_eq!(found, split(&chain, &Splitter::Genetic(n, options)));
            let ratio = fitness(&found.starts) / best;
            assert!(ratio < 1.5, "{n} blocks, seed {seed}: {ratio} of the best");
            let patient = GeneticOptions {
                population: 60,
                stall: 30,
                ..options
            };
            let ratio = fitness(&starts(&chain, Splitter::Genetic(n, patient))) / best;
            assert!(
                ratio < 1.05,
                "{n} blocks, seed {seed}, patient: {ratio} of the best"
            );
            let log = &found.generations;
            assert!(log.windows(2).all(|w| w[1].fitness <= w[0].fitness));
            assert_eq!(log.last().unwrap().cuts, found.starts[1..]);
            assert!(log.len() <= options.generations + 1);
        }
        // The exact splitter has another aim, and is near the best at this one too.
        let exact = fitness(&starts(&chain, Splitter::Dp(Goal::Blocks(n))));
        assert!(exact / best < 1.1, "{exact} {best}");
    }
    let stall = GeneticOptions {
        stall: 1,
        ..Default::default()
    };
    let long = split(&chain, &Splitter::Genetic(3, GeneticOptions::default()))
        .generations
        .len();
    assert!(
        split(&chain, &Splitter::Genetic(3, stall))
            .generations
            .len()
            < long
    );
}

/// A model with a branch and a concatenation, lowered for the host.
fn branched() -> plans::Plan {
    let text = "
weight w: f32[8, 8] = random 1
model m {
  input %x: f32[4, 8]
  input %late: f32[4, 8]
  %1 = MatMul(%x, w) @\"first\"
  %2 = MatMul(%1, w) @\"left\"
  %3 = Exp(%1) @\"right\"
  %4 = Softmax(%3) {axis = 1} @\"right\"
  %5 = Concat(%2, %4) {axis = 1} @\"join\"
  %6 = ReduceSum(%5) {keepdims = 1} @\"sum\"
  %7 = MatMul(%late, w) @\"end\"
  %8 = Add(%7, %6) @\"end\"
  output \"early\" = %2
  output \"y\" = %8
}";
    let mut program = ir::text::parse(text).unwrap();
    let mut cx = crate::PassCx::new(crate::Options::default());
    for &(phase, _) in crate::PIPELINE {
        crate::manager::run(phase, &mut program, &mut cx).unwrap();
    }
    let options = LowerOptions {
        hashes: vec![[0; 32]],
        ..LowerOptions::default()
    };
    lower(&program, &options).unwrap().plan
}

/// What is alive, step by step from the definition.
fn by_hand(plan: &plans::Plan, boundary: usize) -> Vec<&str> {
    let model = &plan.models[0];
    let ports = |list: &[plans::Port], b: usize| list.iter().any(|p| p.buffer.index() == b);
    let touches = |range: Range<usize>, b: usize, only_writes: bool| {
        plan.steps[range].iter().any(|step| {
            let specs = plan.kernels[step.kernel.index()].args();
            step.args.iter().zip(&specs).any(|(arg, spec)| {
                let is_it = matches!(arg.place, Place::Buffer(i) if i.index() == b);
                is_it && (!only_writes || spec.role != Role::Read)
            })
        })
    };
    let n = plan.steps.len();
    (0..plan.buffers.len())
        .filter(|&b| ports(&model.inputs, b) || touches(0..boundary, b, true))
        .filter(|&b| ports(&model.outputs, b) || touches(boundary..n, b, false))
        .map(|b| plan.buffers[b].name.as_str())
        .collect()
}

#[test]
fn what_is_alive_is_as_by_definition() {
    let plan = branched();
    let found = live(&plan, &plan.models[0]);
    assert_eq!(found.len(), plan.steps.len() + 1);
    let mut narrow = 0;
    for (b, live) in found.iter().enumerate() {
        let names = by_hand(&plan, b);
        let bytes = |name: &&str| {
            plan.buffers
                .iter()
                .find(|x| x.name == **name)
                .unwrap()
                .bytes
        };
        assert_eq!(
            live.tensors as usize,
            names.len(),
            "boundary {b}: {names:?}"
        );
        assert_eq!(
            live.bytes,
            names.iter().map(bytes).sum::<u64>(),
            "boundary {b}: {names:?}"
        );
        narrow += usize::from(live.converges());
    }
    assert_eq!(found[0].tensors, 2, "the inputs");
    assert_eq!(found[plan.steps.len()].tensors, 2, "the outputs");
    assert_eq!(narrow, 0, "the late input is there all along");
}

#[test]
fn any_split_makes_a_valid_plan() {
    let pattern = branched();
    let times: Vec<StepTime> = (0..pattern.steps.len() as u64)
        .map(|i| StepTime {
            ns: 1000 + 100 * i,
            first_ns: 1010 + 100 * i,
            busy_ns: 0,
        })
        .collect();
    let costs = |_| CutCosts {
        launch_ns: 100.0,
        reload_ns_per_byte: 0.5,
        cache_bytes: 100,
    };
    for splitter in [
        Splitter::Whole,
        Splitter::Dp(Goal::Blocks(2)),
        Splitter::Dp(Goal::Within(3000)),
        Splitter::Greedy(Goal::Blocks(3)),
        Splitter::Genetic(3, GeneticOptions::default()),
        Splitter::Every,
        Splitter::Converge,
    ] {
        let mut plan = pattern.clone();
        partition(&mut plan, &times, &costs, &splitter);
        set_times(&mut plan, &times, &costs);
        let figures = figures(&plan, plans::ModelIndex(0));
        assert_eq!(figures.n_blocks, plan.blocks.len());
        let whole = Chain::of(&plan, &plan.models[0], &times, &costs).whole_ns();
        assert_eq!(figures.whole_ns, whole, "{splitter:?}");
        let sum = figures.total_ns;
        // A launch and 10 ns for each block, and at most 50 ns for each cut.
        let n = plan.blocks.len() as u64;
        let steps: u64 = times.iter().map(|t| t.ns).sum();
        assert!(
            sum >= steps + 110 * n && sum <= steps + 160 * n,
            "{splitter:?}"
        );
        let lengths = plans::Lengths::needed(&plan);
        plans::validate(plan, lengths).unwrap();
    }
}

#[test]
fn what_could_not_be_done_is_said() {
    let pattern = branched();
    let time = StepTime {
        ns: 1000,
        first_ns: 1000,
        busy_ns: 1000,
    };
    let times = vec![time; pattern.steps.len()];
    let costs = |_| CutCosts::default();
    let warnings = |splitter| {
        let mut plan = pattern.clone();
        partition(&mut plan, &times, &costs, &splitter);
        plan.warnings.join("\n")
    };
    let many = warnings(Splitter::Dp(Goal::Blocks(1000)));
    assert!(
        many.contains(&format!("{} blocks, not 1000", pattern.steps.len())),
        "{many}"
    );
    let short = warnings(Splitter::Dp(Goal::Within(999)));
    assert!(short.contains("a single step is never cut"), "{short}");
    assert_eq!(warnings(Splitter::Dp(Goal::Within(1000))), "");
}

#[test]
fn lanes_overlap_as_far_as_there_is_room_and_cuts_wait_for_them() {
    let mut plan = branched();
    plan.models[0].n_steps = 4;
    plan.steps.truncate(4);
    let lane = |plan: &mut plans::Plan, i: usize, lane, waits: &[u32]| {
        plan.steps[i].lane = lane;
        plan.steps[i].waits = waits.iter().map(|&w| plans::StepIndex(w)).collect();
    };
    for (i, n, waits) in [(0, 0, &[][..]), (1, 0, &[]), (2, 1, &[0]), (3, 0, &[2])] {
        lane(&mut plan, i, n, waits);
    }
    let times = |busy_ns| {
        [100, 500, 300, 100].map(|ns| StepTime {
            ns,
            first_ns: ns,
            busy_ns,
        })
    };
    let costs = |_| CutCosts::default();
    let chain = Chain::of(&plan, &plan.models[0], &times(0), &costs);
    // 100, then 500 beside 300, then 100.
    assert_eq!(chain.whole_ns(), 700);
    assert_eq!(chain.block_ns(0..2), 600);
    // A cut between the lanes gives their overlap up.
    assert_eq!(chain.extra_ns(2), 500);
    assert_eq!((chain.extra_ns(1), chain.extra_ns(3)), (0, 0));
    let full = Chain::of(&plan, &plan.models[0], &times(200), &costs);
    assert_eq!(full.whole_ns(), 800);
}
