//! Models at random: the reference on what was drawn, the reference on what the passes made of it,
//! and the compiled plan on the CPU must agree.

mod check;
mod draft;
mod found;
mod moves;

use draft::Draft;
use moves::MOVES;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// One step of building a graph; what doesn't apply to what there is so far is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    /// Which of [`MOVES`].
    kind: u8,
    /// Operands: how far back from the newest value.
    a: u8,
    b: u8,
    /// What else the move decides.
    p: [u8; 4],
}

impl std::fmt::Debug for Move {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, a, b, p } = self;
        write!(
            f,
            "{}({a}, {b}, {p:?})",
            MOVES[usize::from(*kind) % MOVES.len()].0
        )
    }
}

/// How to build one graph.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Recipe {
    inputs: Vec<Vec<usize>>,
    moves: Vec<Move>,
}

/// Shapes like those of images, sequences, tables, and any.
fn dims() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        3 => (1..=2usize, 1..=8usize, 3..=8usize, 3..=8usize).prop_map(|(n, c, h, w)| vec![n, c, h, w]),
        3 => (1..=2usize, 1..=6usize, 2..=12usize).prop_map(|(n, t, d)| vec![n, t, d]),
        2 => (1..=6usize, 1..=12usize).prop_map(|(m, k)| vec![m, k]),
        1 => vec(1..=5usize, 0..=5usize),
    ]
}

fn recipe(most: usize) -> impl Strategy<Value = Recipe> {
    let step = (any::<u8>(), any::<u8>(), any::<u8>(), any::<[u8; 4]>());
    let step = step.prop_map(|(kind, a, b, p)| Move { kind, a, b, p });
    (vec(dims(), 1..=2), vec(step, 1..=most)).prop_map(|(inputs, moves)| Recipe { inputs, moves })
}

/// One model, or two that are compiled together.
fn recipes() -> impl Strategy<Value = Vec<Recipe>> {
    prop_oneof![4 => vec(recipe(16), 1), 1 => vec(recipe(8), 2)]
}

/// Cases of each of the tests below; `DLIRC_RANDOM_MODELS` says how many instead.
const N_CASES: u32 = 200;

/// Draws cases that are the same on every run, the `part`-th share of them.
fn draw(part: u8) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u32>().ok());
    let cases = number("DLIRC_RANDOM_MODELS").unwrap_or(N_CASES);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    let mut seed = [part; 32];
    seed[..4].copy_from_slice(&number("DLIRC_SEED").unwrap_or(0).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let used: Mutex<BTreeMap<&'static str, usize>> = Mutex::default();
    let n_nodes: Mutex<usize> = Mutex::default();
    let outcome = TestRunner::new_with_rng(config, rng).run(&recipes(), |recipes| {
        let drafts: Vec<Draft> = recipes
            .iter()
            .enumerate()
            .map(|(i, r)| build(i, r))
            .collect();
        for draft in &drafts {
            for (_, node) in draft.graph.nodes.iter() {
                *used.lock().unwrap().entry(node.op.name()).or_default() += 1;
                *n_nodes.lock().unwrap() += 1;
            }
        }
        check::check(&drafts).map_err(TestCaseError::fail)
    });
    if let Err(why) = outcome {
        panic!("{why}");
    }
    let used = used.into_inner().unwrap();
    let n_nodes = n_nodes.into_inner().unwrap();
    println!("{cases} models, {n_nodes} nodes, {} operators:", used.len());
    println!("{used:?}");
    assert!(
        n_nodes > 4 * cases as usize,
        "models are small: {n_nodes} nodes"
    );
}

fn build(number: usize, recipe: &Recipe) -> Draft {
    let mut draft = Draft::new(&format!("model{number}"), number as u64);
    for dims in &recipe.inputs {
        draft.add_input(dims);
    }
    for step in &recipe.moves {
        let (_, apply) = MOVES[usize::from(step.kind) % MOVES.len()];
        // None: it doesn't apply to what there is.
        let _ = apply(&mut draft, *step);
    }
    draft.finish();
    draft
}

#[test]
fn optimised_and_compiled_models_agree_with_the_reference_1() {
    draw(1);
}

#[test]
fn optimised_and_compiled_models_agree_with_the_reference_2() {
    draw(2);
}
