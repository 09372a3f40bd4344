//! Whole networks: what is found, what it costs to find it, and that shared nodes count once.

use super::support::{error, first, operators, program, rewritten};
use std::fmt::Write;

/// `n` residual blocks of two convolutions, each with a scale and an offset as batch normalisation
/// leaves them.
fn residual_network(n: usize) -> String {
    let mut text = String::new();
    for (i, content) in ["random 1", "random 2"].iter().enumerate() {
        writeln!(text, "weight w{i}: f32[8, 8, 3, 3] = {content}").unwrap();
    }
    writeln!(text, "weight w2: f32[8, 1, 1] = uniform 3 0.01 0.1").unwrap();
    writeln!(text, "weight w3: f32[1, 8, 1, 1] = random 4").unwrap();
    writeln!(text, "model residual {{\n input %x0 \"x\": f32[1, 8, 6, 6]").unwrap();
    for i in 0..n {
        let j = i + 1;
        let conv = "{pads = [1, 1, 1, 1]}";
        write!(
            text,
            " %a{i} = Conv(%x{i}, w0) {conv}
 %b{i} = Mul(%a{i}, w2)
 %c{i} = Add(%b{i}, w3)
 %d{i} = Relu(%c{i})
 %e{i} = Conv(%d{i}, w1) {conv}
 %f{i} = Mul(%e{i}, w2)
 %g{i} = Add(%f{i}, w3)
 %h{i} = Add(%g{i}, %x{i})
 %x{j} = Relu(%h{i})
"
        )
        .unwrap();
    }
    writeln!(text, " output \"y\" = %x{n}\n}}").unwrap();
    text
}

#[test]
fn every_block_of_a_deep_residual_network_is_optimised() {
    let program = program(&residual_network(128));
    let (after, statistics) = rewritten(&program);
    let graph = first(&after);
    let block = ["Conv", "Relu", "Conv", "Add", "Relu"];
    assert_eq!(operators(graph), block.repeat(128));
    for &n in &graph.order {
        let node = &graph.nodes[n];
        if node.op.name() == "Conv" {
            assert_eq!(node.inputs.len(), 3, "a convolution without bias");
        }
    }
    assert_eq!(statistics.n_rewritten, statistics.n_regions);
    assert_eq!(
        statistics.stopped.keys().copied().collect::<Vec<_>>(),
        ["searches saturated"]
    );
}

#[test]
fn a_short_residual_network_computes_the_same() {
    let program = program(&residual_network(3));
    let (after, _) = rewritten(&program);
    let error = error(
        (first(&program), &program.weights),
        (first(&after), &after.weights),
        1,
    );
    assert!(error < 1e-5, "error {error}");
}

#[test]
fn the_same_graph_gives_the_same_text() {
    let program = program(&residual_network(20));
    let text = |p| ir::text::print(&rewritten(p).0);
    assert_eq!(text(&program), text(&program));
}

/// What a contraction's result costs is counted once however many read it: a scale that could only be
/// folded by computing the contraction twice stays.
#[test]
fn shared_nodes_count_once() {
    let shared = program(
        "weight w0: f32[256, 256] = random 1
         weight w1: f32[256] = random 2
         model m {
           input %x \"x\": f32[64, 256]
           %a = MatMul(%x, w0)
           %b = Mul(%a, w1)
           %c = Tanh(%a)
           %d = Sigmoid(%a)
           %e = Add(%c, %d)
           %y = Add(%e, %b)
           output \"y\" = %y
         }",
    );
    let (after, _) = rewritten(&shared);
    let n = operators(first(&after))
        .iter()
        .filter(|o| **o == "MatMul")
        .count();
    assert_eq!(n, 1, "{after}");
}

/// The estimate of a chain in which every value is read twice grows with its length, not with two to
/// its power.
#[test]
fn costs_grow_linearly_along_shared_values() {
    let cost = |n: usize| {
        let mut text = String::from("model m {\n input %x0 \"x\": f32[16]\n");
        for i in 0..n {
            let j = i + 1;
            writeln!(text, " %a{i} = Tanh(%x{i})\n %x{j} = Add(%a{i}, %x{i})").unwrap();
        }
        writeln!(text, " output \"y\" = %x{n}\n}}").unwrap();
        rewritten(&program(&text)).1.ps_before
    };
    assert_eq!(cost(60), 6 * cost(10));
}

/// Long chains of constants, in which every pair could meet, end at the limit of terms, region by
/// region, and never at an inaccurate constant.
#[test]
fn long_chains_take_bounded_work() {
    let chain = |n: usize| {
        let mut text = String::from("weight w0: f32[4] = uniform 1 0.5 1.5\n");
        text += "model m {\n input %x0 \"x\": f32[4]\n";
        for i in 0..n {
            let j = i + 1;
            writeln!(text, " %x{j} = Mul(%x{i}, w0)").unwrap();
        }
        writeln!(text, " output \"y\" = %x{n}\n}}").unwrap();
        program(&text)
    };
    let (after, statistics) = rewritten(&chain(2000));
    assert!(
        statistics.n_terms < 2000 * 100,
        "{} terms",
        statistics.n_terms
    );
    for (_, weight) in after.weights.iter() {
        let numbers = weight.to_f64().unwrap();
        assert!(numbers.iter().all(|v| v.is_normal()), "{numbers:?}");
    }
    let short = chain(40);
    let (after, _) = rewritten(&short);
    let graph = first(&after);
    assert!(graph.order.len() < 5, "{after}");
    let error = error((first(&short), &short.weights), (graph, &after.weights), 1);
    assert!(error < 1e-4, "error {error}");
}

/// Queries, keys and values come from one wide product, and the scale of the scores moves through the
/// views into the weights of the queries.
#[test]
fn attention_projections_become_one_product() {
    let mut text = String::new();
    for i in 0..3 {
        writeln!(text, "weight w{i}: f32[64, 64] = random {i}").unwrap();
        writeln!(text, "weight w{}: f32[64] = random 1{i}", i + 3).unwrap();
    }
    let program = program(&format!(
        "{text}weight w6: i64[4] = [2, 16, 4, 16]
         weight w7: f32[] = splat 0.25
         weight w8: i64[3] = [2, 16, 64]
         model m {{
           input %x \"x\": f32[2, 16, 64]
           %q0 = MatMul(%x, w0)
           %q1 = Add(%q0, w3)
           %k0 = MatMul(%x, w1)
           %k1 = Add(%k0, w4)
           %v0 = MatMul(%x, w2)
           %v1 = Add(%v0, w5)
           %q2 = Reshape(%q1, w6)
           %q3 = Transpose(%q2) {{perm = [0, 2, 1, 3]}}
           %k2 = Reshape(%k1, w6)
           %k3 = Transpose(%k2) {{perm = [0, 2, 3, 1]}}
           %v2 = Reshape(%v1, w6)
           %v3 = Transpose(%v2) {{perm = [0, 2, 1, 3]}}
           %s0 = MatMul(%q3, %k3)
           %s1 = Mul(%s0, w7)
           %p = Softmax(%s1)
           %o0 = MatMul(%p, %v3)
           %o1 = Transpose(%o0) {{perm = [0, 2, 1, 3]}}
           %y = Reshape(%o1, w8)
           output \"y\" = %y
         }}"
    ));
    let (after, _) = rewritten(&program);
    let names = operators(first(&after));
    let count = |name| names.iter().filter(|n| **n == name).count();
    assert_eq!(
        (count("MatMul"), count("Split"), count("Mul"), count("Add")),
        (3, 1, 0, 1),
        "{after}"
    );
    let error = error(
        (first(&program), &program.weights),
        (first(&after), &after.weights),
        1,
    );
    assert!(error < 1e-5, "error {error}");
}
