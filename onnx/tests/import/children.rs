//! Parts of a model as models of their own.

use crate::make::*;
use dlirc_onnx::children::{ChildError, Children};
use dlirc_onnx::proto::*;
use dlirc_onnx::{ReadOptions, Source};
use ir::Tensor;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// A model with a shortcut, a call, shape arithmetic, a constant that leaves, a node that nothing
/// needs, nodes without names, and nodes out of order.
fn branched() -> ModelProto {
    let mut m = model(
        17,
        &[("x", "2 4"), ("late", "2 4")],
        vec![
            node("Relu", "x", "a").named("first"),
            node("Shape", "a", "shape").named("shape"),
            node("Add", "b late", "c"),
            node("twice", "a", "b").of("own").named("call"),
            node("Gather", "shape zero", "rows").named("rows"),
            node("Concat", "rows minus", "sizes")
                .with(int("axis", 0))
                .named("sizes"),
            node("Exp", "a", "nobody").named("unused"),
            node("Reshape", "c sizes", "flat").named("view"),
            node("Mul", "flat w", "scaled").named("scale"),
            node("Add", "scaled a", "y").named("shortcut"),
            node("Identity", "w", "given").named("given"),
        ],
        &["y", "b", "given"],
    )
    .constant("zero", list(&[0]))
    .constant("minus", list(&[-1]))
    .constant("w", ramp(&[2, 4]));
    m.opset_import.push(opset("own", 1));
    m.functions = vec![FunctionProto {
        name: Some("twice".into()),
        domain: Some("own".into()),
        input: vec!["p".into()],
        output: vec!["r".into()],
        node: vec![
            node("Neg", "p", "q").named("inner"),
            node("Sub", "p q", "r"),
        ],
        opset_import: vec![opset("", 17)],
        ..Default::default()
    }];
    m
}

fn children(m: &ModelProto, origins: &[&[&str]]) -> Children {
    let source = Source::from_bytes("test.onnx", m.encode_to_vec());
    let origins: Vec<BTreeSet<&str>> = origins
        .iter()
        .map(|o| o.iter().copied().collect())
        .collect();
    Children::of(&source, &ReadOptions::default(), &origins).unwrap()
}

/// The model of part `part`, read again.
fn written(children: &Children, part: usize) -> ModelProto {
    let mut bytes = vec![];
    let n = children.write(part, "part", &mut bytes).unwrap();
    assert_eq!(n, bytes.len() as u64);
    ModelProto::decode(bytes.as_slice()).unwrap()
}

/// The outputs of the parts run one after the other.
fn chained(children: &Children, inputs: &[(&str, Tensor)]) -> BTreeMap<String, Tensor> {
    let mut env: BTreeMap<String, Tensor> = inputs
        .iter()
        .map(|(n, t)| (n.to_string(), t.clone()))
        .collect();
    let mut next = 0;
    for (i, part) in children.parts.iter().enumerate() {
        assert_eq!(part.first, next);
        next += part.n_nodes();
        if part.n_nodes() == 0 {
            continue;
        }
        let given: Vec<Tensor> = part.inputs.iter().map(|p| env[&p.name].clone()).collect();
        let found = written(children, i).run(&given);
        assert_eq!(found.len(), part.outputs.len());
        for (port, tensor) in part.outputs.iter().zip(found) {
            assert_eq!(port.ty, tensor.ty(), "{}", port.name);
            env.insert(port.name.clone(), tensor);
        }
    }
    assert_eq!(next, children.n_nodes);
    env
}

fn values() -> [(&'static str, Tensor); 2] {
    [("x", ramp(&[2, 4])), ("late", ramp(&[2, 4]))]
}

#[test]
fn nodes_go_where_origins_say_and_folded_ones_where_they_are_needed() {
    let m = branched();
    let c = children(
        &m,
        &[
            &["first"],
            &["call/inner", "Add(c)"],
            &["scale", "shortcut"],
        ],
    );
    let names: Vec<Vec<String>> = (0..3).map(|i| c.node_names(i)).collect();
    assert_eq!(names[0], ["first"]);
    assert_eq!(names[1], ["call", "Add(c)"]);
    // The view goes to the node that needs it; shapes are constants, and unused nodes left out.
    assert_eq!(names[2], ["view", "scale", "shortcut"]);
    let ports = |list: &[dlirc_onnx::children::Port]| {
        list.iter().map(|p| p.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ports(&c.parts[1].inputs), ["a", "late"]);
    assert_eq!(ports(&c.parts[1].outputs), ["b", "c"]);
    assert_eq!(ports(&c.parts[2].inputs), ["c", "a"]);
    assert_eq!(ports(&c.parts[2].outputs), ["y", "given"]);
    assert_eq!(ports(&c.inputs), ["x", "late"]);
    assert_eq!(ports(&c.outputs), ["y", "b", "given"]);
    let last = written(&c, 2).graph.unwrap();
    let held: Vec<&str> = last
        .initializer
        .iter()
        .filter_map(|t| t.name.as_deref())
        .collect();
    assert_eq!(held, ["sizes", "w", "given/constant"]);
    let expected = m.run(&values().map(|(_, t)| t));
    let found = chained(&c, &values());
    for (name, expected) in ["y", "b", "given"].iter().zip(&expected) {
        assert!(found[*name] == *expected, "{name}");
    }
}

#[test]
fn parts_in_a_chain_are_the_model_however_nodes_are_shared_out() {
    let m = branched();
    let expected = m.run(&values().map(|(_, t)| t));
    let names = [
        "first",
        "call/inner",
        "Add(c)",
        "view",
        "scale",
        "shortcut",
        "sizes",
        "given",
    ];
    let mut seed = 1u64;
    for n_parts in [1, 2, 3, 5] {
        for _ in 0..40 {
            let mut origins: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); n_parts];
            for name in names {
                // To no part, to one, or to two.
                for _ in 0..2 {
                    seed = seed
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    if let Some(part) = origins.get_mut((seed >> 33) as usize % (n_parts + 2)) {
                        part.insert(name);
                    }
                }
            }
            let source = Source::from_bytes("test.onnx", m.encode_to_vec());
            let c = Children::of(&source, &ReadOptions::default(), &origins).unwrap();
            // Six nodes and a constant that leaves.
            assert_eq!(c.n_nodes, 7);
            let found = chained(&c, &values());
            for (name, expected) in ["y", "b", "given"].iter().zip(&expected) {
                assert!(found[*name] == *expected, "{name}: {origins:?}");
            }
        }
    }
}

#[test]
fn models_that_cannot_be_read_have_no_parts() {
    let mut m = branched();
    m.graph().node.push(node("NoSuchOperator", "x", "z"));
    let source = Source::from_bytes("test.onnx", m.encode_to_vec());
    let error = Children::of(&source, &ReadOptions::default(), &[]).unwrap_err();
    assert!(matches!(error, ChildError::Model(_)), "{error}");
}
