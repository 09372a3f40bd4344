//! Branches of models on a GPU: which steps run at once, and what that costs in memory.

use dlirc::driver::{self, Request, Summary};
use dlirc::inputs;
use ir::Program;
use kernels::cuda::Target;
use passes::PassCx;
use passes::lower::DEFAULT_LANES;
use plans::{ArenaKind, ModelIndex, Plan};
use runtime::{Engine, Loaded, Options, RunOn};
use std::sync::Arc;

/// An example model, optimised.
pub(crate) fn optimised(name: &str) -> Program {
    let request = Request {
        models: vec![crate::models::filled(models::find(name).unwrap())],
        ..Request::default()
    };
    let mut program =
        driver::read(&request, &mut Summary::default()).unwrap_or_else(|e| panic!("{}", e.text()));
    let mut cx = PassCx::new(passes::Options::default());
    driver::optimise(&mut program, &mut cx, &[]).unwrap_or_else(|e| panic!("{}", e.text()));
    program
}

/// A plan for sm_90 with at most so many lanes.
fn plan(program: &Program, lanes: u16) -> Plan {
    let target = Target::of_arch(90).unwrap();
    crate::plan::lowered_with(program, Some(target), &[], lanes)
        .unwrap()
        .plan
}

/// Bytes of intermediate results.
fn scratch(plan: &Plan) -> u64 {
    let scratch = plan.arenas.iter().filter(|a| a.kind == ArenaKind::Scratch);
    scratch.map(|a| a.bytes).sum()
}

/// Steps of each lane.
fn per_lane(plan: &Plan) -> Vec<usize> {
    let n_lanes = plan.steps.iter().map(|s| s.lane + 1).max().unwrap_or(0);
    (0..n_lanes)
        .map(|lane| plan.steps.iter().filter(|s| s.lane == lane).count())
        .collect()
}

#[test]
fn branches_get_lanes_and_chains_do_not() {
    for (name, expected) in [
        ("googlenet", 4..=8),
        ("squeezenet1_1", 2..=8),
        // The branches that change the size.
        ("resnet18", 2..=2),
        ("mobilenet_v2", 1..=1),
        ("lstm", 1..=1),
    ] {
        let program = optimised(name);
        let (alone, spread) = (plan(&program, 1), plan(&program, DEFAULT_LANES));
        assert_eq!(per_lane(&alone).len(), 1);
        assert_eq!(alone.steps.len(), spread.steps.len());
        let lanes = per_lane(&spread);
        println!(
            "{name}: steps of each lane {lanes:?}, intermediate results {} -> {} KiB",
            scratch(&alone) >> 10,
            scratch(&spread) >> 10
        );
        assert!(expected.contains(&lanes.len()), "{name}: {lanes:?}");
        assert!(scratch(&spread) <= 3 * scratch(&alone) / 2, "{name}");
        if lanes.len() == 1 {
            // Where nothing is gained, nothing changes.
            assert_eq!(alone, spread, "{name}");
        }
        if name == "resnet18" {
            let (in_line, beside) = (lanes[0], lanes[1]);
            assert!((1..=3).contains(&beside) && in_line > 15, "{lanes:?}");
        }
    }
}

/// Numbers from a linear congruential generator.
fn numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |n| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        (seed >> 33) as usize % n
    }
}

/// The bits that a plan gives on the host.
fn results(loaded: Loaded, values: &[ir::Tensor]) -> Vec<bytes::Bytes> {
    let options = Options {
        threads: 1,
        device: RunOn::Cpu,
        ..Options::default()
    };
    let engine = Arc::new(Engine::bind(Arc::new(loaded), &options).unwrap());
    let mut session = engine.session().unwrap();
    let model = ModelIndex(0);
    inputs::set(&mut session, model, values).unwrap_or_else(|e| panic!("{}", e.text()));
    session.run(model).unwrap();
    let outputs = inputs::outputs(&session, model).unwrap_or_else(|e| panic!("{}", e.text()));
    outputs.iter().map(|t| t.bytes().clone()).collect()
}

#[test]
fn every_order_that_lanes_allow_gives_the_same() {
    let program = optimised("googlenet");
    let architecture = models::find("googlenet").unwrap();
    let named = models::random_inputs(architecture, 1);
    let values: Vec<ir::Tensor> = named.into_iter().map(|(_, t)| t).collect();
    let expected = results(crate::plan::loaded(&program).unwrap(), &values);
    for host_classes in [vec![], vec!["window".to_string()]] {
        let loaded = crate::plan::loaded_for_no_gpu(&program, &host_classes).unwrap();
        assert!(results(loaded, &values) == expected, "{host_classes:?}");
        for seed in 0..4 {
            let random = &mut numbers(seed);
            let loaded = crate::plan::loaded_in_any_order(&program, &host_classes, random).unwrap();
            assert!(
                results(loaded, &values) == expected,
                "{host_classes:?} {seed}"
            );
        }
    }
}

/// Modules of four branches each, which write slices of one concatenation that lie in turns, one after
/// the other.
fn modules(n: usize) -> Program {
    let mut text = "weight reduce: f32[8, 32, 1, 1] = random 1
weight small: f32[8, 8, 3, 3] = random 2
weight large: f32[8, 8, 5, 5] = random 3
model modules {
  input %x0: f32[1, 32, 14, 14]
"
    .to_string();
    for i in 0..n {
        text += &format!(
            "  %r{i} = Conv(%x{i}, reduce)
  %a{i} = MaxPool(%r{i}) {{kernel_shape = [3, 3], pads = [1, 1, 1, 1]}}
  %b{i} = AveragePool(%r{i}) {{kernel_shape = [3, 3], pads = [1, 1, 1, 1]}}
  %c{i} = Conv(%r{i}, small) {{pads = [1, 1, 1, 1]}}
  %d{i} = Conv(%r{i}, large) {{pads = [2, 2, 2, 2]}}
  %x{} = Concat(%a{i}, %b{i}, %c{i}, %d{i}) {{axis = 1}}
",
            i + 1
        );
    }
    text += &format!("  output \"y\" = %x{n}\n}}\n");
    let mut program = ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    crate::plan::optimise(&mut program).unwrap();
    program
}

/// As deep as that, what earlier modules did with the same memory is more than validation keeps.
#[test]
fn deep_models_with_branches_are_valid() {
    let program = modules(60);
    let lanes = per_lane(&plan(&program, DEFAULT_LANES));
    println!("steps of each lane {lanes:?}");
    assert!(lanes.len() > 2, "{lanes:?}");
    let random = &mut numbers(7);
    crate::plan::loaded_in_any_order(&program, &[], random).unwrap_or_else(|e| panic!("{e}"));
}
