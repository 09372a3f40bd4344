//! Old forms of operators against their newest form: the same numbers for the same input.

use crate::make::*;
use dlirc_onnx::proto::ModelProto;
use ir::Tensor;

/// Both models give the same for `x`, and it isn't trivial.
#[track_caller]
fn same(x: Tensor, old: ModelProto, new: ModelProto) {
    let (a, b) = (old.run(std::slice::from_ref(&x)), new.run(&[x]));
    assert_eq!(a, b);
    assert!(a[0].n_elements() > 0);
}

/// A model with input x and output y, of one node.
fn one(version: i64, dims: &str, node: dlirc_onnx::proto::NodeProto) -> ModelProto {
    model(version, &[("x", dims)], vec![node], &["y"])
}

#[test]
fn axes_of_reductions() {
    for op in [
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
    ] {
        let old = one(
            12,
            "2 3 4",
            node(op, "x", "y")
                .with(ints("axes", &[1]))
                .with(int("keepdims", 0)),
        );
        let new = one(18, "2 3 4", node(op, "x a", "y").with(int("keepdims", 0)))
            .constant("a", list(&[1]));
        same(ramp(&[2, 3, 4]), old, new);
        let old = one(12, "2 3 4", node(op, "x", "y"));
        let new = one(18, "2 3 4", node(op, "x", "y"));
        same(ramp(&[2, 3, 4]), old, new);
    }
    // Between the two forms: ReduceSum changed first.
    let mean = one(
        13,
        "2 3",
        node("ReduceMean", "x", "y").with(ints("axes", &[-1])),
    );
    assert_eq!(mean.run(&[ramp(&[2, 3])])[0].dims(), [2, 1]);
    let sum = one(13, "2 3", node("ReduceSum", "x a", "y")).constant("a", list(&[-1]));
    assert_eq!(sum.run(&[ramp(&[2, 3])])[0].dims(), [2, 1]);
    let sum = one(
        13,
        "2 3",
        node("ReduceSum", "x", "y").with(ints("axes", &[0])),
    );
    assert!(
        sum.error().contains("unknown attributes: axes"),
        "{}",
        sum.error()
    );
}

#[test]
fn squeeze_and_unsqueeze() {
    let old = one(
        11,
        "2 1 3 1",
        node("Squeeze", "x", "y").with(ints("axes", &[1, -1])),
    );
    let new = one(13, "2 1 3 1", node("Squeeze", "x a", "y")).constant("a", list(&[1, -1]));
    same(ramp(&[2, 1, 3, 1]), old, new);
    let old = one(
        7,
        "2 3",
        node("Unsqueeze", "x", "y").with(ints("axes", &[0, 3])),
    );
    let new = one(13, "2 3", node("Unsqueeze", "x a", "y")).constant("a", list(&[0, 3]));
    same(ramp(&[2, 3]), old, new);
}

#[test]
fn slice() {
    let old = node("Slice", "x", "y")
        .with(ints("starts", &[1, -3]))
        .with(ints("ends", &[9, -1]))
        .with(ints("axes", &[0, 2]));
    let new = one(10, "3 2 5", node("Slice", "x s e a", "y"))
        .constant("s", list(&[1, -3]))
        .constant("e", list(&[9, -1]))
        .constant("a", list(&[0, 2]));
    same(ramp(&[3, 2, 5]), one(9, "3 2 5", old), new);
    let old = node("Slice", "x", "y")
        .with(ints("starts", &[1]))
        .with(ints("ends", &[2]));
    assert_eq!(one(7, "3 2", old).run(&[ramp(&[3, 2])])[0].dims(), [1, 2]);
}

#[test]
fn split() {
    let x = ramp(&[2, 5]);
    let parts = |version, node: dlirc_onnx::proto::NodeProto| {
        model(version, &[("x", "2 5")], vec![node], &["y", "z"])
    };
    let old = node("Split", "x", "y z")
        .with(int("axis", 1))
        .with(ints("split", &[2, 3]));
    let new =
        parts(13, node("Split", "x s", "y z").with(int("axis", 1))).constant("s", list(&[2, 3]));
    same(x.clone(), parts(11, old), new);
    let old = parts(7, node("Split", "x", "y z"));
    let new = parts(18, node("Split", "x", "y z").with(int("num_outputs", 2)));
    same(x, old, new);
}

#[test]
fn clip() {
    let old = one(
        6 + 1,
        "6",
        node("Clip", "x", "y")
            .with(float("min", -0.2))
            .with(float("max", 0.1)),
    );
    let new = one(11, "6", node("Clip", "x a b", "y"))
        .constant("a", Tensor::scalar(-0.2f32))
        .constant("b", Tensor::scalar(0.1f32));
    same(ramp(&[6]), old, new);
    let old = one(10, "6", node("Clip", "x", "y").with(float("max", 0.1)));
    let new = one(13, "6", node("Clip", "x - b", "y")).constant("b", Tensor::scalar(0.1f32));
    same(ramp(&[6]), old, new);
}

#[test]
fn pad() {
    let old = node("Pad", "x", "y")
        .with(ints("pads", &[1, 0, 0, 2]))
        .with(float("value", 7.0))
        .with(string("mode", "constant"));
    let new = one(13, "2 2", node("Pad", "x p v", "y"))
        .constant("p", list(&[1, 0, 0, 2]))
        .constant("v", Tensor::scalar(7.0f32));
    same(ramp(&[2, 2]), one(10, "2 2", old), new);
}

#[test]
fn top_k() {
    let two = |version, node: dlirc_onnx::proto::NodeProto| {
        model(version, &[("x", "2 5")], vec![node], &["y", "i"])
    };
    let old = two(9, node("TopK", "x", "y i").with(int("k", 3)));
    let new = two(11, node("TopK", "x k", "y i")).constant("k", list(&[3]));
    same(ramp(&[2, 5]), old, new);
}

#[test]
fn batch_normalization() {
    let with_constants = |m: ModelProto| {
        m.constant("s", ramp(&[3]))
            .constant("b", ramp(&[3]))
            .constant("m", ramp(&[3]))
            .constant("v", Tensor::from_slice(&[3], &[1.0f32, 2.0, 3.0]))
    };
    let old = node("BatchNormalization", "x s b m v", "y").with(int("spatial", 1));
    let new = node("BatchNormalization", "x s b m v", "y");
    let dims = "2 3 4";
    same(
        ramp(&[2, 3, 4]),
        with_constants(one(7, dims, old)),
        with_constants(one(15, dims, new)),
    );
    let other = node("BatchNormalization", "x s b m v", "y").with(int("spatial", 0));
    let error = with_constants(one(7, dims, other)).error();
    assert!(
        error.contains("attribute `spatial` other than 1"),
        "{error}"
    );
}

#[test]
fn results_that_nothing_reads_are_left_out() {
    // Old exporters list the results that training has.
    let old = node("BatchNormalization", "x s b m v", "y m1 v1 m2 v2");
    let m = one(9, "2 3 4", old)
        .constant("s", ramp(&[3]))
        .constant("b", ramp(&[3]))
        .constant("m", ramp(&[3]))
        .constant("v", Tensor::from_slice(&[3], &[1.0f32, 2.0, 3.0]));
    assert_eq!(m.run(&[ramp(&[2, 3, 4])])[0].dims(), [2, 3, 4]);
    let mut read = m.clone();
    read.graph().output.push(untyped("v1"));
    assert!(read.error().contains("training"), "{}", read.error());
    // The number of parts says how large they are, read or not.
    let parts = one(
        18,
        "6",
        node("Split", "x", "y z w").with(int("num_outputs", 3)),
    );
    assert_eq!(parts.run(&[ramp(&[6])])[0].dims(), [2]);
}

#[test]
fn dropout() {
    let old = one(7, "4", node("Dropout", "x", "y").with(float("ratio", 0.3)));
    let new = one(13, "4", node("Dropout", "x", "y"));
    same(ramp(&[4]), old, new);
    let trained = one(13, "4", node("Dropout", "x r t", "y").named("drop"))
        .constant("r", Tensor::scalar(0.3f32))
        .constant("t", Tensor::scalar(true));
    let (_, imported) = trained.import().unwrap();
    assert_eq!(imported.notes.len(), 1);
    assert!(
        imported.notes[0]
            .to_string()
            .contains("1 Dropout nodes, the first of them \"drop\"")
    );
    assert_eq!(trained.run(&[ramp(&[4])]), [ramp(&[4])]);
    let asleep = one(13, "4", node("Dropout", "x r t", "y"))
        .constant("r", Tensor::scalar(0.3f32))
        .constant("t", Tensor::scalar(false));
    assert_eq!(asleep.import().unwrap().1.notes, []);
}

#[test]
fn softmax_over_several_axes() {
    let x = ramp(&[2, 3, 4]);
    // The default was axis 1 and all after it.
    let y = one(11, "2 3 4", node("Softmax", "x", "y")).run(std::slice::from_ref(&x));
    let values = y[0].to_vec::<f32>().unwrap();
    assert_eq!(y[0].dims(), [2, 3, 4]);
    for half in values.chunks(12) {
        assert!((half.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let step = half[1] / half[0];
        assert!((step - 0.125f32.exp()).abs() < 1e-5);
    }
    let flat = model(
        13,
        &[("x", "2 3 4")],
        vec![
            node("Flatten", "x", "f"),
            node("LogSoftmax", "f", "g").with(int("axis", -1)),
            node("Reshape", "g s", "y"),
        ],
        &["y"],
    )
    .constant("s", list(&[2, 3, 4]));
    same(
        x,
        one(
            12,
            "2 3 4",
            node("LogSoftmax", "x", "y").with(int("axis", 1)),
        ),
        flat,
    );
}

#[test]
fn softmax_over_one_axis_stays_one_node() {
    for (dims, axis, expected) in [
        ("2 5", 1, 1),
        ("2 5 1 1", 1, 1),
        ("2 1 5", -2, 2),
        ("n 5", 1, 1),
    ] {
        let m = one(9, dims, node("Softmax", "x", "y").with(int("axis", axis)));
        let (program, imported) = m.import().unwrap();
        let graph = &program.graphs[imported.graph];
        assert_eq!(graph.order.len(), 1);
        let ir::Op::Softmax(softmax) = &graph.nodes[graph.order[0]].op else {
            panic!()
        };
        let rank = dims.split(' ').count() as i64;
        assert_eq!(softmax.axis.rem_euclid(rank), expected, "{dims}");
    }
    let unknown = one(9, "2 n m", node("Softmax", "x", "y"));
    assert!(unknown.error().contains("a dimension is unknown"));
    // From opset 13 on, one axis, by default the last.
    let y = one(13, "2 3 4", node("Softmax", "x", "y")).run(&[ramp(&[2, 3, 4])]);
    assert!((y[0].to_vec::<f32>().unwrap()[..4].iter().sum::<f32>() - 1.0).abs() < 1e-6);
}

#[test]
fn upsample_and_resize() {
    let x = Tensor::from_slice(&[1, 1, 2, 2], &[1.0f32, 2.0, 3.0, 4.0]);
    let expected: Vec<f32> = [1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]
        .map(|v| v as f32)
        .into();
    let scales = Tensor::from_slice(&[4], &[1.0f32, 1.0, 2.0, 2.0]);
    let upsample_7 = one(
        7,
        "1 1 2 2",
        node("Upsample", "x", "y")
            .with(floats("scales", &[1.0, 1.0, 2.0, 2.0]))
            .with(string("mode", "nearest")),
    );
    let upsample_9 = one(9, "1 1 2 2", node("Upsample", "x s", "y")).constant("s", scales.clone());
    let resize_10 = one(10, "1 1 2 2", node("Resize", "x s", "y")).constant("s", scales.clone());
    let resize_11 = one(
        11,
        "1 1 2 2",
        node("Resize", "x r s", "y")
            .with(string("coordinate_transformation_mode", "asymmetric"))
            .with(string("nearest_mode", "floor")),
    )
    .constant("r", Tensor::from_slice::<f32>(&[0], &[]))
    .constant("s", scales);
    for m in [upsample_7, upsample_9, resize_10, resize_11] {
        assert_eq!(
            m.run(std::slice::from_ref(&x))[0].to_vec::<f32>().unwrap(),
            expected
        );
    }
    // Shrinking rounds up: positions 0, 5/3 and 10/3 of 5 become 0, 2 and 4.
    let shrink = one(10, "1 1 1 5", node("Resize", "x s", "y"))
        .constant("s", Tensor::from_slice(&[4], &[1.0f32, 1.0, 1.0, 0.6]));
    let y = shrink.run(&[Tensor::from_slice(
        &[1, 1, 1, 5],
        &[0.0f32, 1.0, 2.0, 3.0, 4.0],
    )]);
    assert_eq!(y[0].to_vec::<f32>().unwrap(), [0.0, 2.0, 4.0]);
    // Linear: the position is output / scale, whatever lies between.
    let linear = one(
        9,
        "1 1 1 2",
        node("Upsample", "x s", "y").with(string("mode", "linear")),
    )
    .constant("s", Tensor::from_slice(&[4], &[1.0f32, 1.0, 1.0, 2.0]));
    let y = linear.run(&[Tensor::from_slice(&[1, 1, 1, 2], &[0.0f32, 1.0])]);
    assert_eq!(y[0].to_vec::<f32>().unwrap(), [0.0, 0.5, 1.0, 1.0]);
}

#[test]
fn scatter() {
    let with_constants = |m: ModelProto| {
        m.constant("i", Tensor::from_slice(&[1, 2], &[1i64, 0]))
            .constant("u", ramp(&[1, 2]))
    };
    let old = with_constants(one(9, "2 3", node("Scatter", "x i u", "y")));
    let new = with_constants(one(18, "2 3", node("ScatterElements", "x i u", "y")));
    same(ramp(&[2, 3]), old, new);
}

#[test]
fn group_normalization() {
    let groups = |n| int("num_groups", n);
    let old = one(
        18,
        "2 4 3",
        node("GroupNormalization", "x s b", "y").with(groups(2)),
    )
    .constant("s", Tensor::from_slice(&[2], &[1.0f32, 3.0]))
    .constant("b", Tensor::from_slice(&[2], &[0.5f32, -1.0]));
    let new = one(
        21,
        "2 4 3",
        node("GroupNormalization", "x s b", "y").with(groups(2)),
    )
    .constant("s", Tensor::from_slice(&[4], &[1.0f32, 1.0, 3.0, 3.0]))
    .constant("b", Tensor::from_slice(&[4], &[0.5f32, 0.5, -1.0, -1.0]));
    same(ramp(&[2, 4, 3]), old, new);
}

#[test]
fn grid_sample() {
    let grid = Tensor::from_slice(&[1, 1, 2, 2], &[-0.5f32, 0.0, 0.25, 1.0]);
    let m = |version, mode| {
        one(
            version,
            "1 1 3 3",
            node("GridSample", "x g", "y").with(string("mode", mode)),
        )
        .constant("g", grid.clone())
    };
    same(ramp(&[1, 1, 3, 3]), m(16, "bilinear"), m(20, "linear"));
    same(ramp(&[1, 1, 3, 3]), m(16, "bicubic"), m(20, "cubic"));
}

#[test]
fn constants_of_every_kind() {
    let value = Tensor::from_slice(&[2], &[1.5f32, 2.5]);
    for (attribute, expected) in [
        (tensor_attr("value", constant("", &value)), value.clone()),
        (float("value_float", 1.5), Tensor::scalar(1.5f32)),
        (
            floats("value_floats", &[1.5]),
            Tensor::from_slice(&[1], &[1.5f32]),
        ),
        (int("value_int", 3), Tensor::scalar(3i64)),
        (ints("value_ints", &[3, 4]), list(&[3, 4])),
    ] {
        let m = model(
            13,
            &[],
            vec![node("Constant", "", "y").with(attribute)],
            &["y"],
        );
        assert_eq!(m.run(&[]), [expected]);
    }
    let none = model(13, &[], vec![node("Constant", "", "y")], &["y"]);
    assert!(none.error().contains("exactly one value"));
    let text = node("Constant", "", "y").with(string("value_string", "a"));
    assert!(
        model(13, &[], vec![text], &["y"])
            .error()
            .contains("`value_string`")
    );
}

#[test]
fn constant_of_shape() {
    let seven = constant("", &Tensor::from_slice(&[1], &[7i64]));
    let m = model(
        9,
        &[],
        vec![node("ConstantOfShape", "s", "y").with(tensor_attr("value", seven))],
        &["y"],
    )
    .constant("s", list(&[2, 2]));
    assert_eq!(m.run(&[]), [Tensor::from_slice(&[2, 2], &[7i64; 4])]);
    let zeros =
        model(9, &[], vec![node("ConstantOfShape", "s", "y")], &["y"]).constant("s", list(&[3]));
    assert_eq!(zeros.run(&[]), [Tensor::from_slice(&[3], &[0.0f32; 3])]);
}

#[test]
fn opsets_outside_the_range_are_refused() {
    for version in [1, 6, 28, i64::MAX, -1] {
        let error = one(version, "2", node("Relu", "x", "y")).error();
        assert!(
            error.contains(&format!(
                "Relu (opset {version}), of an opset outside 7 to 27"
            )),
            "{error}"
        );
    }
    for version in 7..=27 {
        assert!(one(version, "2", node("Relu", "x", "y")).import().is_ok());
    }
    let mut none = one(13, "2", node("Relu", "x", "y"));
    none.opset_import.clear();
    assert!(
        none.error()
            .contains("Relu, of an opset that the model doesn't import")
    );
    // ONNX's own namespace may be spelt out.
    let mut spelt = one(13, "2", node("Relu", "x", "y").of("ai.onnx"));
    spelt.opset_import[0].domain = None;
    assert!(spelt.import().is_ok());
    let early = one(16, "2 2", node("LayerNormalization", "x s", "y")).constant("s", ramp(&[2]));
    assert!(early.error().contains("which ONNX has from opset 17 on"));
}
