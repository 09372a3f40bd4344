//! Work grows with the program, not with its square.

use dlirc_passes::manager::{self, Options, PassCx};
use dlirc_passes::normalise;
use ir::ops::{Add, Identity, Mul, Relu, Reshape, Transpose};
use ir::{DType, Graph, Op, Origin, Program, Tensor, TensorType, ValueId};

/// A chain of `n` nodes of the kinds that `kind` picks, from an input of type f32[4, 6].
fn chain(n: usize, kind: impl Fn(usize) -> usize) -> Program {
    let mut program = Program::default();
    let mut graph = Graph::new("chain");
    let ty = |dims: &[usize]| TensorType::known(DType::F32, dims);
    let mut constant = |graph: &mut Graph, tensor: Tensor| -> ValueId {
        let ty = tensor.ty();
        let weight = program.weights.add(tensor);
        graph.add_weight(None, ty, weight)
    };
    let mut v = graph.add_input("x", ty(&[4, 6]));
    for i in 0..n {
        let dims = graph.ty(v).shape.dims().unwrap();
        let (op, more, dims): (Op, Option<ValueId>, Vec<usize>) = match kind(i) {
            0 => (Identity {}.into(), None, dims),
            1 => (
                Transpose { perm: None }.into(),
                None,
                dims.into_iter().rev().collect(),
            ),
            2 => {
                let c = constant(&mut graph, Tensor::scalar(1.0 + (i % 7) as f32));
                (Mul {}.into(), Some(c), dims)
            }
            3 => (Add {}.into(), Some(v), dims),
            4 => {
                let flat = if dims.len() == 2 {
                    vec![2, 3, 4]
                } else {
                    vec![4, 6]
                };
                let target: Vec<i64> = flat.iter().map(|&d| d as i64).collect();
                let c = constant(&mut graph, Tensor::from_slice(&[target.len()], &target));
                (Reshape { allowzero: false }.into(), Some(c), flat)
            }
            _ => (Relu {}.into(), None, dims),
        };
        let inputs = [Some(v)].into_iter().chain(more.map(Some)).collect();
        let node = graph.add_node(op, inputs, vec![ty(&dims)], Origin::node(&format!("n{i}")));
        v = graph.nodes[node].outputs[0];
    }
    graph.outputs.push(("y".into(), v));
    program.graphs.push(graph);
    program
}

/// Units of work of normalising, and the nodes that are left.
fn work(mut program: Program) -> (u64, usize) {
    let mut cx = PassCx::new(Options {
        verify: false,
        ..Options::default()
    });
    normalise(&mut program, &mut cx).unwrap();
    let left = program.graphs.iter().map(|(_, g)| g.order.len()).sum();
    (cx.work(), left)
}

/// Four times the nodes may take four times the work and a little.
fn linear(name: &str, kind: impl Fn(usize) -> usize + Copy) -> usize {
    let ((small, _), (big, left)) = (work(chain(5_000, kind)), work(chain(20_000, kind)));
    let ratio = big as f64 / small as f64;
    assert!(ratio < 4.4, "{name}: {small} units of work became {big}");
    left
}

#[test]
fn chains_of_twenty_thousand_nodes_normalise_in_linear_work() {
    assert_eq!(linear("identities", |_| 0), 0);
    assert_eq!(linear("transposes", |_| 1), 0);
    assert_eq!(linear("reshapes", |_| 4), 0);
    assert!(linear("reshapes and transposes", |i| [4, 1][i % 2]) <= 20_000);
    assert_eq!(linear("relus", |_| 5), 20_000);
    linear("products", |_| 2);
    linear("all", |i| (i * i + i / 3) % 6);
}

/// What the algebra holds at once and does, by the names that it notes, and the regions at the end.
fn algebra_work(mut program: Program) -> [(&'static str, u64); 4] {
    let mut cx = PassCx::new(Options {
        verify: false,
        ..Options::default()
    });
    for &(phase, _) in dlirc_passes::PIPELINE {
        manager::run(phase, &mut program, &mut cx).unwrap();
    }
    let noted = |name: &str| {
        let notes = cx.executions.iter().flat_map(|e| &e.notes);
        notes
            .filter(|(n, _)| *n == name)
            .map(|(_, count)| count)
            .sum()
    };
    let regions = program.graphs.iter().map(|(_, g)| g.regions.len() as u64);
    [
        ("e-nodes", noted("e-nodes")),
        ("e-classes", noted("e-classes")),
        ("searches", noted("regions")),
        ("regions", regions.sum()),
    ]
}

#[test]
fn chains_are_searched_and_fused_in_linear_work() {
    // Few of the last: the algebra finds much to do there.
    type Kind = fn(usize) -> usize;
    let kinds: [(&str, usize, Kind); 3] = [
        ("relus", 1_000, |_| 5),
        ("residuals", 2_000, |i| [2, 5, 3][i % 3]),
        ("all", 250, |i| (i * i + i / 3) % 6),
    ];
    for (name, n, kind) in kinds {
        let small = algebra_work(chain(n, kind));
        let big = algebra_work(chain(4 * n, kind));
        for ((what, small), (_, big)) in small.into_iter().zip(big) {
            assert!(small > 0, "{name}: no {what}");
            let ratio = big as f64 / small as f64;
            assert!(ratio < 4.4, "{name}: {small} {what} became {big}");
        }
    }
}

#[test]
fn a_chain_of_constants_folds_in_linear_work() {
    let constants = |n: usize| {
        let mut program = chain(n, |i| [2, 5, 1, 0][i % 4]);
        let id = program.graphs.ids().next().unwrap();
        let weight = program
            .weights
            .add(Tensor::from_f64(DType::F32, &[4, 6], &[0.5; 24]));
        let graph = &mut program.graphs[id];
        let input = graph.inputs.pop().unwrap();
        graph.values[input].def = ir::graph::Def::Weight(weight);
        program
    };
    let ((small, _), (big, left)) = (work(constants(5_000)), work(constants(20_000)));
    assert_eq!(left, 0);
    assert!(
        (big as f64) < 4.4 * small as f64,
        "{small} units of work became {big}"
    );
}
