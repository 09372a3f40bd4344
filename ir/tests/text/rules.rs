//! Every rule of the verifier, broken on purpose.

use dlirc_ir::graph::Def;
use dlirc_ir::id::EntityId;
use dlirc_ir::text::parse;
use dlirc_ir::verify::{Rule, program};
use dlirc_ir::{Dim, NodeId, Program, Region, RegionId, RegionKind, ValueId, WeightId};

const MODEL: &str = r#"
weight w: f32[2] = [1, 2]
model m {
  input %x "x": f32[N, 2]
  %a = Add(%x, w)
  %b = Relu(%a)
  %c = Add(%b, %a)
  output "y" = %c
}
"#;

fn sound() -> Program {
    let p = parse(MODEL).unwrap();
    program(&p).unwrap();
    p
}

/// The rules that `p` breaks, and all that is said about it.
fn broken(p: &Program) -> (Vec<Rule>, String) {
    let violations = program(p).expect_err("a violation");
    let text = violations.iter().map(|v| format!("{v}\n")).collect();
    (violations.iter().map(|v| v.rule).collect(), text)
}

fn value(i: usize) -> ValueId {
    ValueId::from_index(i)
}

fn node(i: usize) -> NodeId {
    NodeId::from_index(i)
}

/// Breaks the only graph of the sound program by `f`; exactly `rules` are reported.
fn check(f: impl Fn(&mut dlirc_ir::Graph), rules: &[Rule], mentions: &str) {
    let mut p = sound();
    let id = p.graphs.ids().next().unwrap();
    f(&mut p.graphs[id]);
    let (found, text) = broken(&p);
    assert_eq!(found, rules, "{text}");
    assert!(text.contains(mentions), "{text}");
}

#[test]
fn ids_out_of_bounds() {
    check(
        |g| g.nodes[node(1)].inputs[0] = Some(value(99)),
        &[Rule::InBounds],
        "node n1, value %99",
    );
    check(|g| g.order.push(node(7)), &[Rule::InBounds], "node n7");
    check(
        |g| g.outputs[0].1 = value(50),
        &[Rule::InBounds],
        "value %50",
    );
    check(
        |g| g.values[value(1)].def = Def::Weight(WeightId::from_index(4)),
        &[Rule::InBounds],
        "no weight w4",
    );
}

#[test]
fn order() {
    check(
        |g| g.order.swap(0, 1),
        &[Rule::DefinedBeforeUse],
        "the result of n0, which comes later",
    );
    check(|g| g.order.push(node(0)), &[Rule::NodeOnce], "node n0");
    check(
        |g| g.order.truncate(2),
        &[Rule::DefinedBeforeUse],
        "value %4",
    );
}

#[test]
fn definitions() {
    check(
        |g| g.nodes[node(1)].outputs[0] = value(2),
        &[Rule::Definition, Rule::DefinedBeforeUse],
        "result 0 is defined as",
    );
    check(
        |g| g.values[value(0)].def = Def::Input(3),
        &[Rule::Definition, Rule::DefinedBeforeUse],
        "input 0 is defined as Input(3)",
    );
}

#[test]
fn operands_and_types() {
    check(
        |g| g.nodes[node(1)].inputs.clear(),
        &[Rule::Arity],
        "Relu with 0 operands, not 1..=1",
    );
    check(
        |g| g.values[value(3)].ty.shape.0[1] = Dim::Known(5),
        &[Rule::Type, Rule::Type],
        "Relu is f32[N, 2], not f32[N, 5]",
    );
    check(
        |g| g.values[value(1)].ty.dtype = dlirc_ir::DType::F16,
        &[Rule::WeightType, Rule::Type],
        "f16[2] for a weight of f32[2]",
    );
}

#[test]
fn a_symbol_agrees_with_any_size() {
    let mut p = sound();
    let id = p.graphs.ids().next().unwrap();
    for (_, v) in p.graphs[id].values.iter_mut() {
        if v.ty.shape.rank() == 2 {
            v.ty.shape.0[0] = Dim::Known(7);
        }
    }
    program(&p).unwrap();
    p.graphs[id].values[value(3)].ty.shape.0[0] = Dim::Symbol(dlirc_ir::Symbol::new("N"));
    program(&p).unwrap();
}

#[test]
fn names() {
    check(
        |g| g.values[value(0)].name = None,
        &[Rule::InputName],
        "input 0 has no name",
    );
    check(
        |g| g.outputs.push(("y".into(), value(0))),
        &[Rule::OutputName],
        "a second output is called `y`",
    );
    check(|g| g.name = String::new(), &[Rule::ModelName], "no name");
    let mut p = sound();
    let copy = p.graphs.iter().next().unwrap().1.clone();
    p.graphs.push(copy);
    assert_eq!(broken(&p).0, [Rule::ModelName]);
}

#[test]
fn regions() {
    let place = |g: &mut dlirc_ir::Graph, regions: [Option<usize>; 3]| {
        for _ in 0..2 {
            g.regions.push(Region {
                kind: RegionKind::Map,
            });
        }
        for (i, r) in regions.into_iter().enumerate() {
            g.nodes[node(i)].region = r.map(RegionId::from_index);
        }
    };
    let mut p = sound();
    let id = p.graphs.ids().next().unwrap();
    place(&mut p.graphs[id], [Some(0), Some(0), Some(1)]);
    program(&p).unwrap();
    check(
        |g| place(g, [Some(0), Some(1), Some(0)]),
        &[Rule::RegionContiguous],
        "node n2",
    );
    check(
        |g| place(g, [Some(0), Some(0), None]),
        &[Rule::RegionComplete],
        "node n2",
    );
    check(
        |g| place(g, [Some(0), Some(0), Some(9)]),
        &[Rule::InBounds],
        "no region r9",
    );
}

#[test]
fn all_violations_are_reported_at_once() {
    let mut p = sound();
    let id = p.graphs.ids().next().unwrap();
    let g = &mut p.graphs[id];
    g.values[value(0)].name = None;
    g.nodes[node(1)].inputs.clear();
    g.outputs[0].1 = value(50);
    assert_eq!(broken(&p).0, [Rule::InputName, Rule::Arity, Rule::InBounds]);
}
