//! Several models together: what is refused, how blocks slow one another down, and forms for people.

use crate::forms::{golden, valid};
use crate::samples;
use crate::validation::refused;
use plans::co_run::{ALONE, Table, Weight, may_overlap, measured_together, slowdown};
use plans::validate::{PlanErrorCode as Code, PlanPlace as At};
use plans::{
    BlockIndex, Bound, Demand, Deploy, Device, ModelIndex, Placed, Plan, Round, StepIndex, picture,
};

fn deploy(plan: &mut Plan) -> &mut Deploy {
    plan.deploy.as_mut().unwrap()
}

fn placed(plan: &mut Plan, position: usize) -> &mut Placed {
    &mut deploy(plan).rounds[0].placed[position]
}

#[track_caller]
fn refuse(change: impl FnOnce(&mut Plan), code: Code, place: At) {
    refused(samples::deployed, change, code, place);
}

#[test]
fn pairs_are_checked() {
    let at = At::CoRun(0);
    refuse(|p| p.co_run[0].blocks.reverse(), Code::Order, at);
    refuse(|p| p.co_run.push(p.co_run[0]), Code::Order, At::CoRun(1));
    refuse(|p| p.co_run[0].blocks[1].0 = 6, Code::Missing, at);
    refuse(|p| p.co_run[0].blocks[1].0 = 1, Code::Owner, at);
    refuse(|p| p.co_run[0].slowdown[1] = 999, Code::Size, at);
    let block = At::Block(BlockIndex(2));
    refuse(|p| p.blocks[2].demand.memory = 1001, Code::Size, block);
    refuse(|p| p.blocks[2].predicted_ns = 1 << 52, Code::Size, block);
    refuse(|p| p.blocks[2].cut_ns = 1 << 51, Code::Size, block);
}

#[test]
fn services_are_checked() {
    let at = At::Service(1);
    refuse(
        |p| deploy(p).services.truncate(2),
        Code::Partition,
        At::Plan,
    );
    refuse(|p| deploy(p).services.swap(0, 1), Code::Partition, At::Plan);
    refuse(
        |p| deploy(p).services[1].rate_mhz = u64::MAX,
        Code::Size,
        at,
    );
    refuse(
        |p| deploy(p).services[1].deadline_ns = Some(0),
        Code::Size,
        at,
    );
    let bound = Some(Bound {
        wait_ns: 2,
        response_ns: 1,
    });
    refuse(|p| deploy(p).services[1].bound = bound, Code::Size, at);
}

#[test]
fn rounds_are_checked() {
    let at = |position| At::Placed(0, position);
    let round = At::Round(0);
    refuse(|p| placed(p, 3).after = vec![3], Code::Order, at(3));
    refuse(|p| placed(p, 4).after = vec![1, 0], Code::Order, at(4));
    refuse(|p| placed(p, 2).block.0 = 9, Code::Missing, at(2));
    refuse(|p| placed(p, 0).block.0 = 3, Code::Partition, at(0));
    refuse(|p| placed(p, 4).block.0 = 0, Code::Partition, at(4));
    refuse(
        |p| drop(deploy(p).rounds[0].placed.pop()),
        Code::Partition,
        round,
    );
    // Block 1 no longer waits for block 0 of the same model.
    refuse(|p| placed(p, 4).after.clear(), Code::Order, at(4));
    // The third model no longer waits for the second, whose memory it uses.
    refuse(|p| placed(p, 3).after.clear(), Code::Conflict, round);
    refuse(|p| placed(p, 2).start_ns = 2399, Code::Order, at(2));
    refuse(|p| placed(p, 5).end_ns = 6000, Code::Order, at(5));
    refuse(
        |p| deploy(p).rounds[0].makespan_ns = 7600,
        Code::Size,
        round,
    );
    refuse(
        |p| {
            deploy(p).rounds[1].placed = (0..65)
                .map(|lane| Placed {
                    block: BlockIndex(0),
                    lane,
                    after: vec![],
                    start_ns: 0,
                    end_ns: 0,
                })
                .collect();
        },
        Code::TooComplex,
        At::Placed(1, 64),
    );
    let empty = Round {
        placed: vec![],
        makespan_ns: 0,
    };
    refuse(
        |p| deploy(p).rounds = vec![empty; 1025],
        Code::TooComplex,
        At::Plan,
    );
}

#[test]
fn blocks_slow_one_another_down() {
    let mut plan = samples::deployed().plan;
    let b = BlockIndex;
    let beside = |plan: &Plan, block, others: &[u32]| {
        let others: Vec<BlockIndex> = others.iter().copied().map(BlockIndex).collect();
        slowdown(plan, b(block), &others)
    };
    assert_eq!(beside(&plan, 0, &[]), ALONE);
    // 0.7 + 0.5 of the multiprocessors.
    assert_eq!(beside(&plan, 0, &[2]), 1200);
    assert_eq!(beside(&plan, 2, &[0]), 1200);
    // 0.95 + 0.5 of the bandwidth, and 0.2 + 0.5 of the multiprocessors.
    assert_eq!(beside(&plan, 1, &[2]), 1450);
    // They fit beside each other.
    plan.blocks[2].demand.memory = 50;
    assert_eq!(beside(&plan, 1, &[2]), ALONE);
    // Measured, on both sides, and others beside.
    assert_eq!(beside(&plan, 0, &[3]), 1500);
    assert_eq!(beside(&plan, 3, &[0]), 1250);
    assert_eq!(beside(&plan, 0, &[3, 2]), 1700);
    assert_eq!(measured_together(&plan, b(3), b(0)), Some(1250));
    assert_eq!(measured_together(&plan, b(3), b(1)), None);
    // What is not known takes all; a block that needs no bandwidth does not wait for it.
    assert_eq!(beside(&plan, 5, &[0]), 1700);
    assert_eq!(beside(&plan, 5, &[4]), 2000);
    plan.blocks[0].demand.memory = 0;
    plan.blocks[2].demand.memory = 1000;
    assert_eq!(beside(&plan, 0, &[1, 2]), 1400);
    // Another device.
    let step = plan.blocks[2].first_step.index();
    plan.steps[step].device = Device::Cuda(0);
    assert_eq!(beside(&plan, 0, &[2]), ALONE);
    assert_eq!(beside(&plan, 9, &[2]), ALONE);
}

#[test]
fn more_beside_is_never_faster() {
    let plan = samples::deployed().plan;
    let all: Vec<BlockIndex> = (0..6).map(BlockIndex).collect();
    let table = Table::new(&plan, &all);
    for &block in &all {
        for mask in 0..64u32 {
            let picked = |mask: u32| -> Vec<BlockIndex> {
                let is_other = |b: &&BlockIndex| **b != block && mask >> b.0 & 1 == 1;
                all.iter().filter(is_other).copied().collect()
            };
            let others = picked(mask);
            assert_eq!(
                table.slowdown(block.index(), others.iter().map(|b| b.index())),
                slowdown(&plan, block, &others)
            );
            for more in all.iter().map(|b| mask | 1 << b.0) {
                assert!(
                    slowdown(&plan, block, &picked(mask)) <= slowdown(&plan, block, &picked(more))
                );
            }
        }
    }
}

#[test]
fn long_kernels_hold_up_short_ones() {
    let of =
        |compute, memory, ns, n_kernels| Weight::new(Demand { compute, memory }, ns, n_kernels);
    // 65,536 to the power of 9/16 is 512.
    let (long, short) = (of(500, 250, 65_536, 1), of(1000, 500, 100, 100));
    assert_eq!(short.excess_beside(long), 256.0);
    assert_eq!(long.excess_beside(short), 1.0 / 512.0);
    // What is not known counts as all of the device.
    assert_eq!(long.excess_beside(of(0, 0, 65_536, 1)), 1.0);
    let unknown = Weight::fair(Demand::UNKNOWN);
    assert_eq!(unknown.excess_beside(unknown), 1.0);
    // The resource counts of which it needs most.
    assert_eq!(long.excess_beside(of(100, 700, 65_536, 1)), 0.7);
}

/// However many blocks run at once, the device does as much as one after another, and has enough of
/// what each needs most.
#[test]
fn taking_turns_loses_no_work() {
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..2000 {
        let mut block = || {
            let demand = Demand {
                compute: random(1001) as u16,
                memory: random(1001) as u16,
            };
            let share = match demand.compute.max(demand.memory) {
                0 => 1.0,
                most => f64::from(most) / 1e3,
            };
            let weight = Weight::new(demand, 1 + random(300_000), 1 + random(40) as u32);
            (share, weight)
        };
        let blocks: Vec<(f64, Weight)> = (0..8).map(|_| block()).collect();
        for n in 1..=blocks.len() {
            let blocks = &blocks[..n];
            let speed = |i: usize| {
                let beside = |j: usize| blocks[i].1.excess_beside(blocks[j].1);
                let others = (0..n).filter(|&j| j != i);
                1.0 / (1.0 + others.map(beside).sum::<f64>())
            };
            let work: f64 = (0..n).map(speed).sum();
            let used: f64 = (0..n).map(|i| blocks[i].0 * speed(i)).sum();
            assert!(used < 1.0 + 1e-9, "{used}: {blocks:?}");
            assert!(work > 1.0 - 1e-9, "{work}: {blocks:?}");
        }
    }
}

#[test]
fn models_with_memory_in_common_never_overlap() {
    let plan = samples::deployed().plan;
    let overlap = |a, b| may_overlap(&plan, ModelIndex(a), ModelIndex(b));
    assert!(overlap(0, 1) && overlap(2, 0));
    assert!(!overlap(1, 2) && !overlap(2, 1) && !overlap(0, 0));
}

#[test]
fn times_of_blocks_and_periods() {
    let plan = samples::deployed().plan;
    assert_eq!(plan.blocks[3].ns(), 3800);
    assert_eq!(plan.blocks[2].ns(), 2000);
    assert_eq!(plan.blocks[3].steps(), 5..6);
    let periods = plan.deploy.unwrap().services;
    let periods: Vec<_> = periods.iter().map(|s| s.period_ns()).collect();
    assert_eq!(periods, [Some(8_298_755), Some(11_111_111), None]);
}

#[test]
fn forms() {
    let sample = valid(samples::deployed());
    golden("deployed.txt", &plans::text::text(&sample));
}

#[test]
fn pages_show_rounds_and_when_their_steps_ran() {
    let plan = valid(samples::deployed());
    let time = |step, start_ns, duration_ns| picture::StepTime {
        step: StepIndex(step),
        start_ns,
        duration_ns,
    };
    let trace = [time(0, 5000, 1200), time(1, 6200, 900), time(3, 5100, 2600)];
    let page = picture::html_with_trace(&plan, &trace);
    assert!(page.contains(r#""measured":[[0,5000,1200],[1,6200,900],[3,5100,2600]]"#));
    assert!(picture::html(&plan).contains(r#""measured":[]"#));
    assert!(page.contains(r#""makespan_ns":7700"#));
}
