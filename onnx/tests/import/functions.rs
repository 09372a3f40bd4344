//! Functions of the model's own.

use crate::make::*;
use dlirc_onnx::proto::*;
use ir::Tensor;

fn function(name: &str, inputs: &str, outputs: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    let words = |s: &str| s.split_whitespace().map(str::to_owned).collect();
    FunctionProto {
        name: Some(name.into()),
        domain: Some("own".into()),
        input: words(inputs),
        output: words(outputs),
        node: nodes,
        opset_import: vec![opset("", 13), opset("own", 1)],
        ..Default::default()
    }
}

/// y = `name`(x), with x of 4 elements.
fn calling(call: NodeProto, functions: Vec<FunctionProto>) -> ModelProto {
    let mut m = model(17, &[("x", "4")], vec![call.of("own")], &["y"]);
    m.opset_import.push(opset("own", 1));
    m.functions = functions;
    m
}

fn numbers(values: [f32; 4]) -> Tensor {
    Tensor::from_slice(&[4], &values)
}

const X: [f32; 4] = [-2.0, -1.0, 1.0, 3.0];

#[test]
fn a_call_becomes_the_nodes_of_its_function() {
    let f = function(
        "twice",
        "a",
        "b",
        vec![node("Relu", "a", "c").named("r"), node("Add", "c c", "b")],
    );
    let m = calling(node("twice", "x", "y").named("call"), vec![f]);
    assert_eq!(m.run(&[numbers(X)]), [numbers([0.0, 0.0, 2.0, 6.0])]);
    let (program, imported) = m.import().unwrap();
    let graph = &program.graphs[imported.graph];
    let origins: Vec<_> = graph
        .order
        .iter()
        .flat_map(|&n| graph.nodes[n].origin.names())
        .collect();
    assert_eq!(origins, ["call/r", "Add(y)"]);
    let relu = graph.nodes[graph.order[0]].outputs[0];
    assert_eq!(graph.values[relu].name.as_deref(), Some("call/c"));
    assert_eq!(imported.n_nodes, 2);
}

#[test]
fn calls_nest_and_each_has_values_of_its_own() {
    let inner = function(
        "plus",
        "a",
        "b",
        vec![node("Add", "a a", "t"), node("Identity", "t", "b")],
    );
    let outer = function(
        "outer",
        "a",
        "b",
        vec![
            node("plus", "a", "t").of("own"),
            node("plus", "t", "b").of("own"),
        ],
    );
    let m = calling(node("outer", "x", "y"), vec![outer, inner]);
    assert_eq!(m.run(&[numbers(X)]), [numbers(X.map(|v| 4.0 * v))]);
}

#[test]
fn attributes_come_from_the_caller_or_the_default() {
    let leaky = |to| node("LeakyRelu", "a", "b").with(refers("alpha", attribute_type::FLOAT, to));
    let mut f = function("f", "a", "b", vec![leaky("slope")]);
    f.attribute_proto = vec![float("slope", 0.5)];
    let default = calling(node("f", "x", "y"), vec![f.clone()]);
    assert_eq!(
        default.run(&[numbers(X)]),
        [numbers([-1.0, -0.5, 1.0, 3.0])]
    );
    let given = calling(node("f", "x", "y").with(float("slope", 0.25)), vec![f]);
    assert_eq!(given.run(&[numbers(X)]), [numbers([-0.5, -0.25, 1.0, 3.0])]);
    // Neither given nor with a default: the operator's own, 0.01.
    let mut bare = function("f", "a", "b", vec![leaky("slope")]);
    bare.attribute = vec!["slope".into()];
    let operators = calling(node("f", "x", "y"), vec![bare.clone()]);
    assert_eq!(
        operators.run(&[numbers(X)]),
        [numbers([-0.02, -0.01, 1.0, 3.0])]
    );
    // Through two calls, under another name each time.
    let pass = node("f", "a", "b")
        .of("own")
        .with(refers("slope", attribute_type::FLOAT, "s"));
    let m = calling(
        node("g", "x", "y").with(float("s", 0.25)),
        vec![function("g", "a", "b", vec![pass]), bare],
    );
    assert_eq!(m.run(&[numbers(X)]), [numbers([-0.5, -0.25, 1.0, 3.0])]);
}

#[test]
fn operands_and_results_may_be_left_out() {
    let clip = function(
        "clip",
        "a lo hi",
        "b unused",
        vec![node("Clip", "a lo hi", "b"), node("Relu", "a", "unused")],
    );
    let m = calling(node("clip", "x - h", "y"), vec![clip]).constant("h", Tensor::scalar(1.0f32));
    assert_eq!(m.run(&[numbers(X)]), [numbers([-2.0, -1.0, 1.0, 1.0])]);
}

#[test]
fn a_result_may_be_an_operand() {
    let f = function("same", "a", "a", vec![]);
    let m = calling(node("same", "x", "y"), vec![f]);
    assert_eq!(m.run(&[numbers(X)]), [numbers(X)]);
    let f = function("both", "a", "b b", vec![node("Relu", "a", "b")]);
    let mut m = calling(node("both", "x", "y z"), vec![f]);
    m.graph().output.push(untyped("z"));
    let relu = numbers([0.0, 0.0, 1.0, 3.0]);
    assert_eq!(m.run(&[numbers(X)]), [relu.clone(), relu]);
}

#[test]
fn a_function_means_its_own_opset() {
    // Opset 12 in the function, 17 around it.
    let mut f = function(
        "f",
        "a",
        "b",
        vec![node("Unsqueeze", "a", "b").with(ints("axes", &[0]))],
    );
    f.opset_import = vec![opset("", 12)];
    let m = calling(node("f", "x", "y"), vec![f]);
    assert_eq!(m.run(&[numbers(X)])[0].dims(), [1, 4]);
}

#[test]
fn overloads_are_told_apart() {
    let mut one = function("f", "a", "b", vec![node("Relu", "a", "b")]);
    one.overload = Some("relu".into());
    let mut two = function("f", "a", "b", vec![node("Neg", "a", "b")]);
    two.overload = Some("neg".into());
    let mut call = node("f", "x", "y");
    call.overload = Some("neg".into());
    let m = calling(call, vec![one.clone(), two]);
    assert_eq!(m.run(&[numbers(X)]), [numbers(X.map(|v| -v))]);
    let m = calling(node("f", "x", "y"), vec![one.clone(), one]);
    assert!(m.error().contains("\"f\" is defined twice"));
}

#[test]
fn recursion_is_refused() {
    let f = function("f", "a", "b", vec![node("g", "a", "b").of("own")]);
    let g = function("g", "a", "b", vec![node("f", "a", "b").of("own")]);
    let error = calling(node("f", "x", "y"), vec![f, g]).error();
    assert!(error.contains("calls itself"), "{error}");
}

#[test]
fn depth_and_growth_are_limited() {
    let chain = |n: usize, calls: usize| -> Vec<FunctionProto> {
        let last = function(&format!("f{n}"), "a", "b", vec![node("Relu", "a", "b")]);
        let step = |i: usize| {
            let next = format!("f{}", i + 1);
            let call = |k: usize| node(&next, "a", &format!("t{k}")).of("own");
            let mut nodes: Vec<_> = (1..calls).map(call).collect();
            nodes.push(node(&next, "a", "b").of("own"));
            function(&format!("f{i}"), "a", "b", nodes)
        };
        (0..n).map(step).chain([last]).collect()
    };
    assert!(calling(node("f0", "x", "y"), chain(60, 1)).import().is_ok());
    let error = calling(node("f0", "x", "y"), chain(100, 1)).error();
    assert!(error.contains("deeper than the limit of 64"), "{error}");
    // 2^60 nodes from sixty functions of two calls each.
    let start = std::time::Instant::now();
    let error = calling(node("f0", "x", "y"), chain(60, 2)).error();
    assert!(
        error.contains("nodes, operands and attributes without calls"),
        "{error}"
    );
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn wrong_calls_are_refused() {
    let f = function("f", "a", "b", vec![node("Relu", "a", "b")]);
    let error = calling(node("f", "x x", "y").named("n"), vec![f.clone()]).error();
    assert!(
        error.contains("node \"n\" gives function \"f\" more operands"),
        "{error}"
    );
    // A result that the function doesn't make.
    let empty = function("f", "a", "b", vec![node("Relu", "a", "c")]);
    let error = calling(node("f", "x", "y"), vec![empty]).error();
    assert!(error.contains("value \"y\" is not defined"), "{error}");
    // An operator that doesn't exist, by the name of the node inside the call.
    let unknown = function("f", "a", "b", vec![node("Wavelet", "a", "b").named("w")]);
    let error = calling(node("f", "x", "y").named("call"), vec![unknown]).error();
    assert!(error.contains("Wavelet (opset 13): node call/w"), "{error}");
}
