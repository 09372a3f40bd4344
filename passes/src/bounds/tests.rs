use super::{Analysis, Options, Reason, Rule, bounds};
use crate::interleave::tests::{Given, plan, services};
use plans::{BlockIndex, Bound, CoRun, Service};

const EXACT: Options = Options {
    margin: 0.0,
    overhead_ns: 0,
    stall_ns: 0,
    lanes: 6,
    copies: 2,
    ahead: 1,
};

/// Models of one block each, with their periods in nanoseconds.
fn tasks(all: &[(u64, u64)]) -> (plans::Plan, Vec<Service>) {
    let models: Vec<Vec<Given>> = all.iter().map(|&(ns, _)| vec![(ns, 1000, 1000)]).collect();
    let mut services = services(all.len());
    for (service, &(_, period)) in services.iter_mut().zip(all) {
        service.rate_mhz = 1_000_000_000_000 / period;
    }
    (plan(&models), services)
}

fn responses(found: &Analysis) -> Vec<Option<u64>> {
    let responses = found.bounds.iter();
    responses.map(|b| b.map(|b| b.response_ns)).collect()
}

#[test]
fn in_order_of_arrival_everybody_waits_for_everybody() {
    let (plan, services) = tasks(&[(2000, 10_000), (3000, 10_000), (1000, 20_000)]);
    let found = bounds(&plan, &services, Rule::Fifo, &EXACT);
    assert_eq!(responses(&found), [Some(6000); 3]);
    let waits: Vec<u64> = found.bounds.iter().flatten().map(|b| b.wait_ns).collect();
    assert_eq!(waits, [4000, 3000, 5000]);
    assert!((found.utilisation.unwrap() - 0.55).abs() < 1e-9);
}

/// The example of Davis and others (2007), section 3: of three messages of 1 ms with periods of 2.5,
/// 3.5 and 3.5 ms, the second instance of the last one takes longer than the first.
#[test]
fn the_first_request_of_a_window_need_not_be_the_worst() {
    let (plan, services) = tasks(&[
        (1_000_000, 2_500_000),
        (1_000_000, 3_500_000),
        (1_000_000, 3_500_000),
    ]);
    let found = bounds(&plan, &services, Rule::Bnst, &EXACT);
    // Rates are whole, so that periods are some nanoseconds longer.
    let response = found.bounds[2].unwrap().response_ns;
    assert!((3_499_990..=3_500_000).contains(&response), "{response}");
}

#[test]
fn the_short_wait_for_one_long_request_only() {
    let (plan, services) = tasks(&[(100, 10_000), (2000, 10_000), (4000, 10_000)]);
    let found = bounds(&plan, &services, Rule::Bnst, &EXACT);
    assert_eq!(responses(&found), [Some(4100), Some(6100), Some(6100)]);
    // In blocks, all that came before is before it in the worst case.
    let found = bounds(&plan, &services, Rule::Oyst, &EXACT);
    assert_eq!(responses(&found), [Some(6100); 3]);
}

#[test]
fn lanes_of_their_own() {
    let models: Vec<Vec<Given>> = vec![
        vec![(1000, 400, 100), (1000, 800, 100)],
        vec![(500, 400, 100), (500, 700, 100)],
    ];
    let plan = plan(&models);
    let mut services = services(2);
    services[0].rate_mhz = 1_000_000_000_000 / 4000;
    let found = bounds(&plan, &services, Rule::Parallel, &EXACT);
    // 0.7 of the device, in kernels half as long as its own; nobody waits, whatever the other's rate
    // is.
    let slow = 1000.0 * (1.0 + 0.7 * 0.5f64.powf(9.0 / 16.0));
    let bound = Bound {
        wait_ns: 0,
        response_ns: 2 * slow.ceil() as u64,
    };
    assert_eq!(found.bounds, [Some(bound), None]);
    assert_eq!(found.reasons[1], Some(Reason::NoRate(1)));
    assert_eq!(found.utilisation, None);
}

#[test]
fn more_than_can_be_done_has_no_bound() {
    let (plan, services) = tasks(&[(6000, 10_000), (5000, 10_000)]);
    for rule in [Rule::Fifo, Rule::Dlir, Rule::Interleave] {
        let found = bounds(&plan, &services, rule, &EXACT);
        assert_eq!(found.bounds, [None, None]);
        assert_eq!(found.reasons[0], Some(Reason::Overload));
        assert!(found.utilisation.unwrap() > 1.0);
    }
    // The shorter one goes first, and waits for one longer.
    let found = bounds(&plan, &services, Rule::Bnst, &EXACT);
    assert_eq!(responses(&found), [None, Some(11_000)]);
}

#[test]
fn priority_keeps_others_away() {
    let models: Vec<Vec<Given>> = vec![
        vec![(1000, 300, 100)],
        vec![(20_000, 500, 900); 4],
        vec![(30_000, 600, 900); 4],
    ];
    let plan = plan(&models);
    let mut services = services(3);
    for (service, period) in services.iter_mut().zip([40_000, 400_000, 600_000]) {
        service.rate_mhz = 1_000_000_000_000 / period;
    }
    services[0].priority = 1;
    let found = bounds(&plan, &services, Rule::Interleave, &EXACT);
    let [urgent, other, _] = found.bounds[..] else {
        unreachable!("one for each service")
    };
    // Beside two of each of the others, whose kernels are longer, and one of its own.
    let turns = 2.0 * (20f64.powf(9.0 / 16.0) + 30f64.powf(9.0 / 16.0));
    let slow = 1000.0 * (1.0 + 0.3 + 0.9 * turns);
    assert_eq!(urgent.unwrap().response_ns, slow.ceil() as u64);
    assert_eq!(urgent.unwrap().wait_ns, 0);
    assert!(other.unwrap().response_ns > 80_000);
    // All lanes may be taken when it comes.
    let two = Options { lanes: 2, ..EXACT };
    let found = bounds(&plan, &services, Rule::Interleave, &two);
    assert!(found.bounds[0].unwrap().wait_ns >= 2 * 60_000);
    // Without a rate of the others it still holds.
    services[2].rate_mhz = 0;
    let found = bounds(&plan, &services, Rule::Interleave, &EXACT);
    assert_eq!(found.bounds[0], urgent);
    assert_eq!(found.reasons[1], Some(Reason::NoRate(2)));
    // Where room is kept for somebody above, it may wait while others run.
    services[1].priority = 2;
    services[1].deadline_ns = Some(1);
    let found = bounds(&plan, &services, Rule::Interleave, &EXACT);
    assert_eq!(found.bounds[0], None);
}

#[test]
fn pairs_that_are_worse_together_make_windows_longer() {
    let (mut plan, services) = tasks(&[(1000, 10_000), (1000, 10_000)]);
    let before = bounds(&plan, &services, Rule::Interleave, &EXACT);
    assert_eq!(responses(&before), [Some(2000); 2]);
    plan.co_run.push(CoRun {
        blocks: [BlockIndex(0), BlockIndex(1)],
        slowdown: [3000, 2000],
    });
    let after = bounds(&plan, &services, Rule::Interleave, &EXACT);
    assert!(responses(&after)[0] > Some(2000));
}

#[test]
fn margins_and_overheads_count() {
    let (plan, services) = tasks(&[(1000, 10_000), (2000, 10_000)]);
    let options = Options {
        margin: 0.5,
        overhead_ns: 10,
        ..EXACT
    };
    let found = bounds(&plan, &services, Rule::Fifo, &options);
    assert_eq!(responses(&found), [Some(4520); 2]);
    assert_eq!(found.bounds[0].unwrap().wait_ns, 3020);
}

/// Whatever the rule, the server may stand still once, and what comes meanwhile waits too.
#[test]
fn stalls_count() {
    let (plan, services) = tasks(&[(1000, 10_000), (2000, 10_000)]);
    let with_stall = |rule, stall_ns| {
        let options = Options { stall_ns, ..EXACT };
        responses(&bounds(&plan, &services, rule, &options))
    };
    assert_eq!(with_stall(Rule::Fifo, 500), [Some(3500); 2]);
    assert_eq!(with_stall(Rule::Fifo, 9000), [Some(12_000); 2]);
    for rule in [
        Rule::Bnst,
        Rule::Oyst,
        Rule::Dlir,
        Rule::Parallel,
        Rule::Interleave,
    ] {
        let calm = with_stall(rule, 0);
        let later = calm
            .iter()
            .map(|r| r.map(|ns| ns + 500))
            .collect::<Vec<_>>();
        assert_eq!(with_stall(rule, 500), later, "{rule:?}");
    }
}

#[test]
fn what_is_not_known_has_no_bound() {
    let (plan, services) = tasks(&[(1000, 10_000), (0, 10_000)]);
    let found = bounds(&plan, &services, Rule::Fifo, &EXACT);
    assert_eq!(
        found.reasons,
        [Some(Reason::NoTimes), Some(Reason::NoTimes)]
    );
}
