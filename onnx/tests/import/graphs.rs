//! The rules of a graph, and what is refused.

use crate::make::*;
use dlirc_onnx::import::{GraphProblem, Reason};
use dlirc_onnx::proto::*;
use dlirc_onnx::{OnnxError, ReadOptions, read};
use ir::{DType, Def, Program, Tensor};
use prost::Message;

fn problems(m: &ModelProto) -> Vec<GraphProblem> {
    match m.import() {
        Err(OnnxError::Graph { problems, .. }) => problems,
        other => panic!("{:?}", other.map(|(_, i)| i)),
    }
}

#[test]
fn names_are_kept() {
    let nodes = vec![node("Add", "x w", "s").named("sum"), node("Relu", "s", "y")];
    let m = model(13, &[("x", "2")], nodes, &["y"]).constant("w", ramp(&[2]));
    let options = ReadOptions {
        name: Some("small".into()),
        ..Default::default()
    };
    let (program, imported) = m.import_with(&options).unwrap();
    let graph = &program.graphs[imported.graph];
    assert_eq!(graph.name, "small");
    let names: Vec<_> = graph
        .values
        .iter()
        .map(|(_, v)| v.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["x", "w", "s", "y"]);
    let origins: Vec<_> = graph
        .order
        .iter()
        .flat_map(|&n| graph.nodes[n].origin.names())
        .collect();
    assert_eq!(origins, ["sum", "Relu(y)"]);
    assert_eq!(&*graph.outputs[0].0, "y");
    assert_eq!(imported.opset, Some(13));
}

#[test]
fn initializers_among_the_inputs_are_constants() {
    let mut m = model(
        9,
        &[("w", "2"), ("x", "2")],
        vec![node("Add", "x w", "y")],
        &["y"],
    )
    .constant("w", ramp(&[2]));
    m.ir_version = Some(3);
    let (program, imported) = m.import().unwrap();
    let graph = &program.graphs[imported.graph];
    assert_eq!(graph.inputs.len(), 1);
    assert_eq!(graph.values[graph.inputs[0]].name.as_deref(), Some("x"));
}

#[test]
fn inputs_and_constants_may_be_outputs() {
    let m = model(13, &[("x", "2")], vec![], &["x", "w"]).constant("w", ramp(&[3]));
    assert_eq!(m.run(&[ramp(&[2])]), [ramp(&[2]), ramp(&[3])]);
}

#[test]
fn nodes_are_sorted_if_they_have_to_be() {
    let nodes = vec![
        node("Neg", "c", "y"),
        node("Relu", "a", "b"),
        node("Exp", "b", "c"),
        node("Abs", "x", "a"),
    ];
    let m = model(13, &[("x", "2")], nodes, &["y"]);
    let (program, imported) = m.import().unwrap();
    let graph = &program.graphs[imported.graph];
    let ops: Vec<_> = graph
        .order
        .iter()
        .map(|&n| graph.nodes[n].op.name())
        .collect();
    assert_eq!(ops, ["Abs", "Relu", "Exp", "Neg"]);
}

#[test]
fn sorted_nodes_keep_their_order() {
    let nodes = vec![
        node("Relu", "x", "a"),
        node("Abs", "x", "b"),
        node("Neg", "a", "c"),
        node("Exp", "b", "d"),
        node("Sum", "c d", "y"),
    ];
    let (program, imported) = model(13, &[("x", "2")], nodes, &["y"]).import().unwrap();
    let graph = &program.graphs[imported.graph];
    let ops: Vec<_> = graph
        .order
        .iter()
        .map(|&n| graph.nodes[n].op.name())
        .collect();
    assert_eq!(ops, ["Relu", "Abs", "Neg", "Exp", "Sum"]);
}

#[test]
fn circles_are_refused_by_name() {
    let nodes = vec![
        node("Relu", "x", "p"),
        node("Add", "p c", "a").named("one"),
        node("Relu", "a", "b").named("two"),
        node("Neg", "b", "c").named("three"),
        node("Abs", "c", "y").named("after"),
    ];
    let found = problems(&model(13, &[("x", "2")], nodes, &["y"]));
    let [GraphProblem::Cycle { nodes }] = &found[..] else {
        panic!("{found:?}")
    };
    let mut nodes = nodes.clone();
    nodes.sort();
    assert_eq!(nodes, ["one", "three", "two"]);
}

#[test]
fn every_undefined_and_duplicate_value_is_named() {
    let nodes = vec![
        node("Add", "x lost", "a").named("one"),
        node("Add", "lost gone", "b").named("two"),
        node("Relu", "x", "a").named("three"),
        node("Relu", "x", "w").named("four"),
    ];
    let m = model(13, &[("x", "2")], nodes, &["a", "never"]).constant("w", ramp(&[2]));
    let mut found: Vec<String> = problems(&m).iter().map(|p| p.to_string()).collect();
    found.sort();
    assert_eq!(
        found,
        [
            "value \"a\" is defined 2 times: \"one\", \"three\"",
            "value \"gone\" is not defined: \"two\"",
            "value \"lost\" is not defined: \"one\", \"two\"",
            "value \"never\" is not defined: \"the graph's outputs\"",
            "value \"w\" is defined 2 times: \"four\"",
        ]
    );
    let text = m.error();
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn inputs_and_initializers_are_defined_once() {
    let m = model(
        13,
        &[("x", "2"), ("x", "2")],
        vec![node("Relu", "x", "y")],
        &["y"],
    );
    assert!(
        m.error().contains("value \"x\" is defined 2 times"),
        "{}",
        m.error()
    );
    let m = model(13, &[("x", "2")], vec![node("Add", "x w", "y")], &["y"])
        .constant("w", ramp(&[2]))
        .constant("w", ramp(&[2]));
    assert!(
        m.error().contains("value \"w\" is defined 2 times"),
        "{}",
        m.error()
    );
}

#[test]
fn graphs_without_outputs_or_names_are_refused() {
    let m = model(13, &[("x", "2")], vec![node("Relu", "x", "y")], &[]);
    assert_eq!(problems(&m), [GraphProblem::NoOutputs]);
    let m = model(13, &[("", "2")], vec![node("Relu", "x", "y")], &["y"]);
    assert_eq!(problems(&m), [GraphProblem::Nameless { what: "input" }]);
}

#[test]
fn outputs_of_one_name_are_refused() {
    let split = node("Split", "x", "y y2").with(int("axis", 1));
    let m = model(13, &[("x", "2 6")], vec![split], &["y", "y"]);
    let repeated = GraphProblem::RepeatedOutput { name: "y".into() };
    assert_eq!(problems(&m), [repeated]);
}

#[test]
fn sparse_initializers_are_refused_by_name() {
    let mut m = model(13, &[("x", "2")], vec![node("Relu", "x", "y")], &["y"]);
    let values = Some(Box::new(constant("thin", &ramp(&[2]))));
    m.graph()
        .sparse_initializer
        .push(SparseTensorProto { values });
    assert!(m.error().contains("initializer \"thin\" is sparse"));
}

#[test]
fn all_unsupported_operators_are_listed_at_once() {
    let mut m = model(
        13,
        &[("x", "2")],
        vec![
            node("Wavelet", "x", "a").named("w1"),
            node("If", "x", "b").named("branch"),
            node("Relu", "x", "c"),
            node("Wavelet", "x", "d").named("w2"),
            node("FusedThing", "x", "e").of("com.acme").named("f"),
            node("HardSwish", "x", "g").named("early"),
            node("Gelu", "x", "h").named("late"),
        ],
        &["c"],
    );
    m.opset_import.push(opset("com.acme", 2));
    let Err(OnnxError::Unsupported { operators, .. }) = m.import() else {
        panic!()
    };
    let list: Vec<_> = operators
        .iter()
        .map(|o| {
            (
                o.domain.as_str(),
                o.name.as_str(),
                o.opset,
                o.reason,
                o.nodes.join(" "),
            )
        })
        .collect();
    let own = Some(13);
    assert_eq!(
        list,
        [
            ("", "Gelu", own, Reason::Later(20), "late".to_owned()),
            ("", "HardSwish", own, Reason::Later(14), "early".to_owned()),
            ("", "If", own, Reason::ControlFlow, "branch".to_owned()),
            ("", "Wavelet", own, Reason::Unknown, "w1 w2".to_owned()),
            (
                "com.acme",
                "FusedThing",
                Some(2),
                Reason::Unknown,
                "f".to_owned()
            ),
        ]
    );
    let text = m.error();
    assert!(
        text.contains("com.acme.FusedThing (opset 2): node f"),
        "{text}"
    );
    assert!(
        text.contains("If (opset 13), control flow: node branch"),
        "{text}"
    );
    assert!(text.contains("Wavelet (opset 13): nodes w1, w2"), "{text}");
}

#[test]
fn refused_nodes_say_why() {
    for (bad, expected) in [
        (
            node("Relu", "x", "y").with(int("speed", 9)),
            "unknown attributes: speed",
        ),
        (
            node("Relu", "x", "y").with(tensor_attr("t", constant("", &ramp(&[1])))),
            "unknown attributes: t",
        ),
        (
            node("LeakyRelu", "x", "y").with(string("alpha", "high")),
            "attribute `alpha` must be a number",
        ),
        (
            node("LeakyRelu", "x", "y").with(AttributeProto {
                name: Some("alpha".into()),
                ..Default::default()
            }),
            "\"alpha\" has no value of its type",
        ),
        (
            node("LeakyRelu", "x", "y")
                .with(float("alpha", 1.0))
                .with(float("alpha", 2.0)),
            "\"alpha\" is given twice",
        ),
        (node("Relu", "", "y"), "0 inputs, expected 1"),
        (node("Relu", "-", "y"), "0 inputs, expected 1"),
        (node("Relu", "x x", "y"), "2 inputs, expected 1"),
        (node("Relu", "x", "y z"), "2 outputs, expected 1"),
        (node("Concat", "x", "y"), "attribute `axis` is missing"),
        (
            node("Cast", "x", "y").with(int("to", 8)),
            "element type string is not supported",
        ),
        (
            node("Cast", "x", "y").with(int("to", i64::MAX)),
            "element type number -1 is not supported",
        ),
        (node("MatMul", "x w", "y"), "is refused"),
    ] {
        let m =
            model(13, &[("x", "2")], vec![bad.named("bad")], &["y"]).constant("w", ramp(&[5, 5]));
        let error = m.error();
        assert!(
            error.contains("node \"bad\"") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn wrong_output_types_are_refused() {
    let mut m = model(13, &[("x", "2")], vec![node("Relu", "x", "y")], &[]);
    m.graph().output.push(value("y", DType::I64, "2"));
    assert!(
        m.error()
            .contains("output \"y\" is of f32, and the file says i64"),
        "{}",
        m.error()
    );
}

#[test]
fn missing_weights_say_how_to_fill_them() {
    let mut m =
        model(13, &[("x", "2")], vec![node("Add", "x w", "y")], &["y"]).constant("w", ramp(&[2]));
    m.graph().initializer[0].raw_data = None;
    let error = m.import().map(|(_, i)| i).unwrap_err();
    assert!(chain(&error).contains("tensor \"w\" is refused\nit has dimensions [2] but no data"));
    assert!(error.help().unwrap().contains("dlirc fill"));
}

#[test]
fn several_models_share_weights() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::default();
    for (file, op) in [("a.onnx", "Add"), ("b.onnx", "Mul")] {
        let m =
            model(13, &[("x", "2")], vec![node(op, "x w", "y")], &["y"]).constant("w", ramp(&[2]));
        let path = dir.path().join(file);
        std::fs::write(&path, m.encode_to_vec()).unwrap();
        read(&path, &ReadOptions::default(), &mut program).unwrap();
    }
    let names: Vec<_> = program
        .graphs
        .iter()
        .map(|(_, g)| g.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(program.weights.len(), 1);
}

#[test]
fn external_weights_stay_in_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..3000).map(|i| i as f32).collect();
    let tensor = Tensor::from_slice(&[3000], &values);
    std::fs::write(
        dir.path().join("m.onnx.data"),
        [&[0u8; 64][..], tensor.bytes()].concat(),
    )
    .unwrap();
    let mut m = model(13, &[("x", "3000")], vec![node("Add", "x w", "y")], &["y"]);
    let entry = |k: &str, v: &str| StringStringEntryProto {
        key: Some(k.into()),
        value: Some(v.into()),
    };
    m.graph().initializer.push(TensorProto {
        name: Some("w".into()),
        dims: vec![3000],
        data_type: Some(data_type::FLOAT),
        data_location: Some(DATA_LOCATION_EXTERNAL),
        external_data: vec![
            entry("location", "m.onnx.data"),
            entry("offset", "64"),
            entry("length", "12000"),
        ],
        ..Default::default()
    });
    let path = dir.path().join("m.onnx");
    std::fs::write(&path, m.encode_to_vec()).unwrap();
    let mut program = Program::default();
    let imported = read(&path, &ReadOptions::default(), &mut program).unwrap();
    let graph = &program.graphs[imported.graph];
    let weight = graph.values.iter().find_map(|(_, v)| match v.def {
        Def::Weight(w) => Some(w),
        _ => None,
    });
    assert_eq!(program.weights[weight.unwrap()], tensor);
    // Without its folder, or its data, the model is refused by name.
    assert!(m.error().contains("tensor \"w\" is refused"));
    std::fs::write(dir.path().join("m.onnx.data"), [0; 100]).unwrap();
    let error = read(&path, &ReadOptions::default(), &mut program)
        .map(|_| ())
        .unwrap_err();
    assert!(
        chain(&error).contains("which has 100 bytes"),
        "{}",
        chain(&error)
    );
}

#[test]
fn shape_arithmetic_becomes_constants() {
    // Flattens by Shape, Gather, Unsqueeze and Concat, as exporters do.
    let nodes = vec![
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "target").with(int("axis", 0)),
        node("Reshape", "x target", "y"),
    ];
    let m = model(13, &[("x", "2 3 4")], nodes, &["y"])
        .constant("zero", Tensor::scalar(0i64))
        .constant("axes", list(&[0]))
        .constant("rest", list(&[-1]));
    let (program, imported) = m.import().unwrap();
    assert_eq!((imported.n_nodes, imported.n_folded), (5, 4));
    let graph = &program.graphs[imported.graph];
    assert_eq!(graph.order.len(), 1);
    assert_eq!(graph.ty(graph.outputs[0].1).to_string(), "f32[2, 12]");
}
