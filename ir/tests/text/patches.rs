//! Patches: what they change, what they refuse, and that they stay linear.

use dlirc_ir::ops::{Add, Mul, Relu};
use dlirc_ir::patch::PatchError;
use dlirc_ir::text::{parse, print};
use dlirc_ir::{Graph, GraphId, Patch, Program, Tensor, ValueId};

const CHAIN: &str = r#"
model m {
  input %x: f32[2]
  %a "a" = Relu(%x) @"first"
  %b "b" = Relu(%a) @"second"
  %c "c" = Add(%b, %a) @"third"
  output "y" = %c
}
"#;

fn program() -> (Program, GraphId) {
    let p = parse(CHAIN).unwrap();
    let id = p.graphs.ids().next().unwrap();
    (p, id)
}

fn named(g: &Graph, name: &str) -> ValueId {
    g.values
        .iter()
        .find(|(_, v)| v.name.as_deref() == Some(name))
        .unwrap()
        .0
}

/// The program after `f` has made its changes.
fn patched(f: impl FnOnce(&mut Patch<'_>)) -> Result<String, PatchError> {
    let (mut p, id) = program();
    let mut patch = Patch::new(&mut p.graphs[id], &mut p.weights);
    f(&mut patch);
    patch.apply()?;
    dlirc_ir::verify::program(&p).unwrap();
    Ok(print(&p))
}

#[test]
fn replaced_values_are_read_nowhere_and_their_nodes_are_gone() {
    let text = patched(|p| {
        let (a, b) = (named(p.graph(), "a"), named(p.graph(), "b"));
        p.replace(b, a);
    });
    assert_eq!(
        text.unwrap(),
        r#"model m {
  input %0 "x": f32[2]
  %1 "a": f32[2] = Relu(%0) @"first"
  %2 "c": f32[2] = Add(%1, %1) @"third"
  output "y" = %2
}
"#
    );
}

#[test]
fn new_nodes_stand_before_their_readers_and_take_name_and_origin() {
    let text = patched(|p| {
        let g = p.graph();
        let (a, b) = (named(g, "a"), named(g, "b"));
        let (na, nb) = (g.def_node(a).unwrap(), g.def_node(b).unwrap());
        let two = p.constant(Tensor::scalar(2.0f32));
        let twice = p.stands_for(&[nb, na]).node(Mul {}, &[a, two]).unwrap();
        p.replace(b, twice);
    });
    assert_eq!(
        text.unwrap(),
        r#"weight w0: f32[] = 2.0
model m {
  input %0 "x": f32[2]
  %1 "a": f32[2] = Relu(%0) @"first"
  %3 "b": f32[2] = Mul(%1, w0) @"first", "second"
  %4 "c": f32[2] = Add(%3, %1) @"third"
  output "y" = %4
}
"#
    );
}

#[test]
fn an_output_may_become_a_new_node_an_input_or_a_constant() {
    for (what, line) in [(0, "Add(%2, %2)"), (1, "= %0"), (2, "= w0")] {
        let text = patched(|p| {
            let (c, x) = (named(p.graph(), "c"), named(p.graph(), "x"));
            let new = match what {
                0 => {
                    let b = named(p.graph(), "b");
                    p.node(Add {}, &[b, b]).unwrap()
                }
                1 => x,
                _ => p.constant(Tensor::from_slice(&[2], &[1f32, 2.0])),
            };
            p.replace(c, new);
        });
        assert!(text.as_ref().unwrap().contains(line), "{}", text.unwrap());
    }
}

#[test]
fn later_changes_see_earlier_ones() {
    let text = patched(|p| {
        let (x, a, b) = (
            named(p.graph(), "x"),
            named(p.graph(), "a"),
            named(p.graph(), "b"),
        );
        p.replace(a, x);
        assert_eq!(p.resolve(a), x);
        p.replace(b, a);
        assert_eq!(p.resolve(b), x);
        let n = p.node(Relu {}, &[b]).unwrap();
        p.replace(named(p.graph(), "c"), n);
    });
    assert!(text.unwrap().contains("Relu(%0)"));
}

#[test]
fn types_must_match() {
    let wrong = patched(|p| {
        let c = named(p.graph(), "c");
        let new = p.constant(Tensor::from_slice(&[3], &[1f32, 2.0, 3.0]));
        p.replace(c, new);
    });
    assert!(matches!(wrong, Err(PatchError::Type { .. })), "{wrong:?}");
    let (mut p, id) = program();
    let mut patch = Patch::new(&mut p.graphs[id], &mut p.weights);
    let odd = patch.constant(Tensor::from_slice(&[3], &[1f32, 2.0, 3.0]));
    let x = named(patch.graph(), "x");
    assert!(matches!(
        patch.node(Add {}, &[x, odd]),
        Err(PatchError::Node { op: "Add", .. })
    ));
}

#[test]
fn cycles_are_refused() {
    let through_a_node = patched(|p| {
        let b = named(p.graph(), "b");
        let again = p.node(Relu {}, &[b]).unwrap();
        p.replace(b, again);
    });
    assert!(
        matches!(through_a_node, Err(PatchError::Cycle(_))),
        "{through_a_node:?}"
    );
    let direct = patched(|p| {
        let (a, b) = (named(p.graph(), "a"), named(p.graph(), "b"));
        p.replace(a, b);
        p.replace(b, a);
    });
    assert!(matches!(direct, Err(PatchError::Cycle(_))), "{direct:?}");
}

#[test]
fn sizes_that_become_known_are_kept_on_either_side() {
    let text = r#"
model m {
  input %x: f32[N, 2]
  input %y: f32[3, M]
  %a = Relu(%x)
  %b = Relu(%y)
  output "a" = %a
  output "b" = %b
}
"#;
    let mut p = parse(text).unwrap();
    let id = p.graphs.ids().next().unwrap();
    let mut patch = Patch::new(&mut p.graphs[id], &mut p.weights);
    let results: Vec<ValueId> = patch.graph().outputs.iter().map(|o| o.1).collect();
    patch.replace(results[1], results[0]);
    patch.apply().unwrap();
    assert_eq!(p.graphs[id].ty(results[0]).to_string(), "f32[3, 2]");
}

#[test]
fn sizes_known_only_at_run_time_get_names_of_their_own() {
    let text = r#"
model m {
  input %x: f32[4]
  input %s: i64[2]
  %a = Expand(%x, %s)
  %b = Expand(%x, %s)
  output "a" = %a
  output "b" = %b
}
"#;
    let p = parse(text).unwrap();
    let printed = print(&p);
    assert!(printed.contains("%2: f32[_2_0, 4]"), "{printed}");
    assert!(printed.contains("%3: f32[_3_0, 4]"), "{printed}");
}

#[test]
fn a_long_chain_of_replacements_is_applied_in_one_go() {
    let mut p = Program::default();
    let mut g = Graph::new("m");
    let mut v = g.add_input("x", dlirc_ir::TensorType::known(dlirc_ir::DType::F32, &[1]));
    for _ in 0..200_000 {
        let ty = g.ty(v).clone();
        let n = g.add_node(Relu {}.into(), vec![Some(v)], vec![ty], Default::default());
        v = g.nodes[n].outputs[0];
    }
    g.outputs.push(("y".into(), v));
    let id = p.graphs.push(g);
    let mut patch = Patch::new(&mut p.graphs[id], &mut p.weights);
    for n in patch.graph().order.clone().into_iter().rev() {
        let node = &patch.graph().nodes[n];
        let (x, y) = (node.inputs[0].unwrap(), node.outputs[0]);
        patch.replace(y, x);
    }
    patch.apply().unwrap();
    assert!(p.graphs[id].order.is_empty());
    assert_eq!(p.graphs[id].outputs[0].1, p.graphs[id].inputs[0]);
}
