//! Rounds on plans of nothing but blocks.

use super::exact;
use super::heuristic;
use super::problem::{Problem, is_less};
use super::timeline::{State, placed};
use super::{Options, round, sets, share_arenas};
use plans::{
    Arena, ArenaIndex, ArenaKind, Block, BlockIndex, Buffer, CoRun, Demand, Device, Fingerprint,
    KernelIndex, Model, ModelIndex, Plan, Round, Service, Step, StepIndex,
};

const GPU: Device = Device::Cuda(0);

/// The time of a block, and what it needs of multiprocessors and bandwidth.
pub(crate) type Given = (u64, u16, u16);

pub(crate) fn plan(models: &[Vec<Given>]) -> Plan {
    let mut plan = Plan {
        fingerprint: Fingerprint {
            compiler: "test".into(),
            target: "cuda:sm_90".into(),
            models: vec![[0; 32]; models.len()],
            ..Fingerprint::default()
        },
        ..Plan::default()
    };
    for (m, blocks) in models.iter().enumerate() {
        let model = ModelIndex(m as u32);
        let first_step = StepIndex(plan.steps.len() as u32);
        for &(ns, compute, memory) in blocks {
            plan.blocks.push(Block {
                model,
                first_step: StepIndex(plan.steps.len() as u32),
                n_steps: 1,
                predicted_ns: ns,
                cut_ns: 0,
                measured_ns: None,
                demand: Demand { compute, memory },
            });
            plan.steps.push(Step {
                kernel: KernelIndex(0),
                args: vec![],
                model,
                device: GPU,
                code: None,
                lane: 0,
                waits: vec![],
                label: String::new(),
                origin: vec![],
                flop: 0,
                bytes_read: 0,
                bytes_written: 0,
            });
        }
        plan.models.push(Model {
            name: format!("model{m}"),
            inputs: vec![],
            outputs: vec![],
            first_step,
            n_steps: blocks.len() as u32,
            n_nodes: 0,
        });
        for kind in [ArenaKind::Io, ArenaKind::Scratch] {
            plan.arenas.push(Arena {
                device: GPU,
                bytes: 256 * (m as u64 + 1),
                kind,
                models: vec![model],
            });
        }
        plan.buffers.push(Buffer {
            arena: ArenaIndex(2 * m as u32 + 1),
            offset: 0,
            bytes: 256,
            model,
            name: String::new(),
        });
    }
    plan
}

pub(crate) fn services(n: usize) -> Vec<Service> {
    let service = |m| Service {
        model: ModelIndex(m),
        rate_mhz: 0,
        deadline_ns: None,
        priority: 0,
        bound: None,
    };
    (0..n as u32).map(service).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// A few models of a few blocks, some with deadlines, some apart, some measured together.
fn small(seed: u64) -> (Plan, Vec<Service>) {
    let mut random = Random(seed);
    for _ in 0..4 {
        random.below(2);
    }
    let n_models = 2 + random.below(3) as usize;
    let most = [5, 3, 2][n_models - 2];
    let models: Vec<Vec<Given>> = (0..n_models)
        .map(|_| {
            (0..1 + random.below(most))
                .map(|_| {
                    let need = |random: &mut Random| match random.below(3) {
                        0 => 1 + random.below(200),
                        1 => 200 + random.below(600),
                        _ => 800 + random.below(201),
                    } as u16;
                    (
                        100 + random.below(900),
                        need(&mut random),
                        need(&mut random),
                    )
                })
                .collect()
        })
        .collect();
    let mut plan = plan(&models);
    let mut services = services(n_models);
    for service in &mut services {
        service.priority = random.below(3) as u8;
        service.deadline_ns = (random.below(3) == 0).then(|| 200 + random.below(3000));
    }
    if random.below(4) == 0 {
        plan.arenas[1].models.push(ModelIndex(1));
    }
    if random.below(3) == 0 {
        let b = models[0].len() as u32;
        plan.co_run.push(CoRun {
            blocks: [BlockIndex(0), BlockIndex(b)],
            slowdown: [
                1000 + random.below(1500) as u32,
                1000 + random.below(1500) as u32,
            ],
        });
    }
    (plan, services)
}

/// Checks a round as the plan's validation does, and that its times are those of the blocks.
fn check(plan: &Plan, round: &Round) {
    let spans = |m: u32| {
        let of = |p: &&plans::Placed| plan.blocks[p.block.index()].model == ModelIndex(m);
        let own: Vec<&plans::Placed> = round.placed.iter().filter(of).collect();
        own
    };
    for m in 0..plan.models.len() as u32 {
        let own = spans(m);
        assert!(own.is_sorted_by(|a, b| a.block < b.block && a.end_ns <= b.start_ns));
        assert_eq!(own.len(), plan.models[m as usize].n_steps as usize);
    }
    for (p, placed) in round.placed.iter().enumerate() {
        assert!(placed.after.iter().all(|&a| (a as usize) < p));
        let alone = plan.blocks[placed.block.index()].ns();
        assert!(placed.end_ns - placed.start_ns + 1 >= alone);
        for a in &placed.after {
            assert!(round.placed[*a as usize].end_ns <= placed.start_ns);
        }
        for before in round.placed[..p].iter().filter(|b| b.lane == placed.lane) {
            assert!(before.end_ns <= placed.start_ns);
        }
    }
    for arena in plan.arenas.iter().filter(|a| a.models.len() > 1) {
        for &a in &arena.models {
            for &b in arena.models.iter().filter(|&&b| b != a) {
                let (a, b) = (spans(a.0), spans(b.0));
                let ends = |s: &[&plans::Placed]| s.last().map_or(0, |p| p.end_ns);
                let starts = |s: &[&plans::Placed]| s.first().map_or(0, |p| p.start_ns);
                assert!(ends(&a) <= starts(&b) || ends(&b) <= starts(&a));
            }
        }
    }
}

#[test]
fn the_heuristic_comes_close_to_the_best() {
    let (mut n_proved, mut n_best, mut sum) = (0, 0, 0.0);
    for seed in 0..400 {
        let (plan, services) = small(seed);
        let problem = Problem::new(&plan, &services, 8);
        let found = heuristic::search(&problem, 100_000);
        check(&plan, &placed(&problem, &found));
        let (best, is_best) = exact::search(&problem, found.clone(), 2_000_000);
        check(&plan, &placed(&problem, &best));
        let (found, best) = (found.cost(&problem), best.cost(&problem));
        assert!(!is_less(found, best), "seed {seed}");
        assert!(is_best, "seed {seed}: too many schedules");
        n_proved += 1;
        n_best += u32::from(!is_less(best, found));
        let ratio = (found.0 + found.1) / (best.0 + best.1);
        sum += ratio;
        assert!(ratio < 1.05, "seed {seed}: {found:?}, best {best:?}");
    }
    assert!(n_best >= n_proved * 95 / 100, "{n_best} of {n_proved}");
    assert!(
        sum / f64::from(n_proved) < 1.002,
        "{}",
        sum / f64::from(n_proved)
    );
}

/// Every way to start blocks, without any bound.
fn every(problem: &Problem, state: State, best: &mut Option<(f64, f64, f64)>) {
    let ready: Vec<usize> = (0..problem.n_models())
        .filter_map(|m| state.ready(problem, m))
        .collect();
    for mask in 0..1u32 << ready.len() {
        let mut next = state.clone();
        let picked = ready.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
        let all = picked.map(|(_, &job)| job).all(|job| {
            let can = next.ready(problem, problem.jobs[job].model) == Some(job);
            if can {
                next.start(problem, job);
            }
            can
        });
        if !all {
            continue;
        }
        if next.is_done(problem) {
            let cost = next.timeline.cost(problem);
            if best.is_none_or(|b| is_less(cost, b)) {
                *best = Some(cost);
            }
        } else if !next.running.is_empty() {
            next.advance(problem);
            next.settle(problem);
            every(problem, next, best);
        }
    }
}

#[test]
fn bounds_cut_off_nothing_that_is_better() {
    for seed in 1000..1100 {
        let (mut plan, services) = small(seed);
        if plan.blocks.len() > 6 {
            continue;
        }
        plan.co_run.truncate((seed % 2) as usize);
        let problem = Problem::new(&plan, &services, 8);
        let mut best = None;
        every(&problem, State::new(&problem), &mut best);
        let known = heuristic::search(&problem, 50);
        let (found, is_best) = exact::search(&problem, known, u32::MAX);
        assert!(is_best);
        let (found, best) = (found.cost(&problem), best.unwrap());
        assert!(
            !is_less(best, found) && !is_less(found, best),
            "seed {seed}"
        );
    }
}

#[test]
fn complementary_blocks_run_side_by_side() {
    // Each alternates between multiprocessors and bandwidth, in phase: side by side from the start,
    // they would be in each other's way all the time.
    let blocks: Vec<Given> = (0..6)
        .map(|i| {
            if i % 2 == 0 {
                (1000, 950, 50)
            } else {
                (1000, 50, 950)
            }
        })
        .collect();
    let plan = plan(&[blocks.clone(), blocks]);
    let found = round(&plan, &services(2), &Options::default());
    assert!(found.is_best);
    assert_eq!(found.serial_ns, 12_000);
    assert_eq!(found.round.makespan_ns, 7000);
    check(&plan, &found.round);
}

#[test]
fn small_grids_run_together_and_large_ones_apart() {
    let small = plan(&[
        vec![(1000, 250, 100)],
        vec![(900, 250, 100)],
        vec![(800, 250, 100)],
    ]);
    let found = round(&small, &services(3), &Options::default());
    assert_eq!((found.round.makespan_ns, found.serial_ns), (1000, 2700));
    assert!(
        found
            .round
            .placed
            .iter()
            .all(|p| p.start_ns == 0 && p.after.is_empty())
    );
    // Measured to be worse together than one after another.
    let mut large = plan(&[vec![(1000, 900, 100)], vec![(1000, 900, 100)]]);
    large.co_run.push(CoRun {
        blocks: [BlockIndex(0), BlockIndex(1)],
        slowdown: [2500, 2500],
    });
    let found = round(&large, &services(2), &Options::default());
    assert_eq!(found.round.makespan_ns, 2000);
}

#[test]
fn deadlines_come_before_makespan() {
    let plan = plan(&[vec![(1000, 1000, 100)], vec![(500, 1000, 100)]]);
    let mut services = services(2);
    services[0].deadline_ns = Some(1000);
    let found = round(&plan, &services, &Options::default());
    assert_eq!(found.late_ns, [0, 0]);
    assert_eq!(found.round.placed[0].block, BlockIndex(0));
    assert_eq!(found.round.placed[1].start_ns, 1000);
    // Of two that can't both be met, the one of high priority is.
    services[1].deadline_ns = Some(500);
    services[1].priority = 9;
    let found = round(&plan, &services, &Options::default());
    assert_eq!(found.late_ns, [500, 0]);
}

#[test]
fn models_with_memory_in_common_run_one_after_another() {
    let blocks = vec![(500, 100, 100), (500, 100, 100)];
    let mut plan = plan(&[blocks.clone(), blocks.clone(), blocks]);
    plan.arenas[1].models.push(ModelIndex(2));
    let found = round(&plan, &services(3), &Options::default());
    check(&plan, &found.round);
    assert_eq!(found.round.makespan_ns, 2000);
}

#[test]
fn lanes_are_not_exceeded() {
    let plan = plan(&vec![vec![(100, 10, 10), (100, 10, 10)]; 6]);
    let options = Options {
        lanes: 2,
        ..Options::default()
    };
    let found = round(&plan, &services(6), &options);
    check(&plan, &found.round);
    assert!(found.round.placed.iter().all(|p| p.lane < 2));
    assert_eq!(found.round.makespan_ns, 600);
}

#[test]
fn six_models_take_no_longer_than_they_should() {
    let mut random = Random(7);
    let models: Vec<Vec<Given>> = (0..6)
        .map(|_| {
            (0..16)
                .map(|_| {
                    (
                        10_000 + random.below(90_000),
                        100 + random.below(901) as u16,
                        50 + random.below(951) as u16,
                    )
                })
                .collect()
        })
        .collect();
    let plan = plan(&models);
    let found = round(&plan, &services(6), &Options::default());
    check(&plan, &found.round);
    let again = round(&plan, &services(6), &Options::default());
    assert_eq!(found, again);
    // No resource can do more than all of it.
    let work = |need: &dyn Fn(&Given) -> u16| -> u64 {
        models
            .iter()
            .flatten()
            .map(|b| b.0 * u64::from(need(b)) / 1000)
            .sum()
    };
    let least = work(&|b| b.1).max(work(&|b| b.2));
    assert!(found.round.makespan_ns >= least);
    assert!(
        found.round.makespan_ns <= least * 115 / 100,
        "{} of {least}",
        found.round.makespan_ns
    );
}

#[test]
fn arenas_of_models_that_never_run_at_once_become_one() {
    let mut plan = plan(&[vec![(1, 1, 1)], vec![(1, 1, 1)], vec![(1, 1, 1)]]);
    let saved = share_arenas(&mut plan, &[ModelIndex(0), ModelIndex(2)]);
    assert_eq!(saved, 256);
    assert_eq!(plan.arenas.len(), 5);
    assert_eq!(plan.arenas[1].models, [ModelIndex(0), ModelIndex(2)]);
    assert_eq!(plan.arenas[1].bytes, 768);
    let arenas: Vec<u32> = plan.buffers.iter().map(|b| b.arena.0).collect();
    assert_eq!(arenas, [1, 3, 1]);
    assert!(!plans::co_run::may_overlap(
        &plan,
        ModelIndex(0),
        ModelIndex(2)
    ));
    assert!(plans::co_run::may_overlap(
        &plan,
        ModelIndex(0),
        ModelIndex(1)
    ));
}

#[test]
fn rounds_are_made_for_those_that_are_asked_for_more_often() {
    let mut services = services(3);
    let sets_of = |services: &[Service]| -> Vec<Vec<u32>> {
        sets(services)
            .iter()
            .map(|s| s.iter().map(|m| m.0).collect())
            .collect()
    };
    assert_eq!(sets_of(&services), [vec![0, 1, 2]]);
    services[1].rate_mhz = 5;
    services[2].rate_mhz = 5;
    assert_eq!(sets_of(&services), [vec![0, 1, 2], vec![1, 2]]);
    services[0].rate_mhz = 9;
    assert_eq!(sets_of(&services), [vec![0, 1, 2]]);
    assert_eq!(sets_of(&services[..1]), [vec![0]]);
}
