//! Inputs' types, and the sizes that the user gives.

use crate::make::*;
use dlirc_onnx::proto::*;
use dlirc_onnx::{OnnxError, ReadOptions};
use ir::DType;
use std::collections::BTreeMap;

fn bind(pairs: &[(&str, &[usize])]) -> ReadOptions {
    let bind: BTreeMap<_, _> = pairs
        .iter()
        .map(|(n, d)| ((*n).to_owned(), d.to_vec()))
        .collect();
    ReadOptions {
        bind,
        ..Default::default()
    }
}

/// y = relu(x), z = relu(w).
fn two(x: &str, w: &str) -> ModelProto {
    let nodes = vec![node("Relu", "x", "y"), node("Relu", "w", "z")];
    model(13, &[("x", x), ("w", w)], nodes, &["y", "z"])
}

fn types(m: &ModelProto, options: &ReadOptions) -> Result<Vec<String>, OnnxError> {
    let (program, imported) = m.import_with(options)?;
    let graph = &program.graphs[imported.graph];
    Ok(graph
        .outputs
        .iter()
        .map(|&(_, v)| graph.ty(v).to_string())
        .collect())
}

fn refused(m: &ModelProto, options: &ReadOptions) -> String {
    chain(&types(m, options).unwrap_err())
}

#[test]
fn unknown_dimensions_have_names() {
    let m = two("n 3", "? n");
    assert_eq!(types(&m, &bind(&[])).unwrap(), ["f32[n, 3]", "f32[w_0, n]"]);
    let clash = two("w_0 3", "? 3");
    assert_eq!(
        types(&clash, &bind(&[])).unwrap(),
        ["f32[w_0, 3]", "f32[dimw_0, 3]"]
    );
    let negative = two("-1 3", "3");
    assert_eq!(types(&negative, &bind(&[])).unwrap()[0], "f32[x_0, 3]");
    // Names that look like inference's own get another.
    let m = two("_0_0 2", "3");
    assert_eq!(types(&m, &bind(&[])).unwrap()[0], "f32[dim_0_0, 2]");
}

#[test]
fn dimensions_are_bound_by_their_name_or_by_an_input() {
    let m = two("n 3", "m n");
    assert_eq!(
        types(&m, &bind(&[("n", &[5])])).unwrap(),
        ["f32[5, 3]", "f32[m, 5]"]
    );
    assert_eq!(
        types(&m, &bind(&[("x", &[5, 3])])).unwrap(),
        ["f32[5, 3]", "f32[m, 5]"]
    );
    let both = bind(&[("x", &[5, 3]), ("w", &[2, 5]), ("m", &[2])]);
    assert_eq!(types(&m, &both).unwrap(), ["f32[5, 3]", "f32[2, 5]"]);
    let unnamed = two("? ?", "3");
    assert_eq!(
        types(&unnamed, &bind(&[("x_1", &[7])])).unwrap()[0],
        "f32[x_0, 7]"
    );
}

#[test]
fn wrong_bindings_are_refused() {
    let m = two("n 3", "m n");
    let error = refused(&m, &bind(&[("batch", &[5])]));
    assert!(
        error.contains("the shape given for \"batch\" is refused"),
        "{error}"
    );
    assert!(
        error.contains("inputs are x, w; unknown dimensions are m, n"),
        "{error}"
    );
    assert!(refused(&two("2", "3"), &bind(&[("n", &[2])])).contains("all of known shapes"));
    assert!(refused(&m, &bind(&[("n", &[5, 6])])).contains("takes one size, not 2"));
    assert!(refused(&m, &bind(&[("x", &[5])])).contains("has 2 dimensions, not 1"));
    assert!(refused(&m, &bind(&[("x", &[5, 4])])).contains("dimension 1 of the input is 3, not 4"));
    let conflict = bind(&[("n", &[4]), ("x", &[5, 3])]);
    assert!(refused(&m, &conflict).contains("dimension \"n\" would be both 4 and 5"));
}

#[test]
fn inputs_without_a_shape_need_one() {
    let mut m = two("2", "3");
    m.graph().input[0] = ValueInfoProto {
        name: Some("x".into()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(1),
                shape: None,
            }),
            ..Default::default()
        }),
    };
    let error = types(&m, &bind(&[])).unwrap_err();
    assert!(chain(&error).contains("input \"x\" is refused\nits shape is not given"));
    assert!(error.help().unwrap().contains("--shape"));
    assert_eq!(types(&m, &bind(&[("x", &[2, 2])])).unwrap()[0], "f32[2, 2]");
}

#[test]
fn other_inputs_are_refused_by_name() {
    let other = Some(OtherTypeProto {});
    for (ty, expected) in [
        (
            Some(TypeProto {
                sequence_type: other,
                ..Default::default()
            }),
            "it is a sequence",
        ),
        (
            Some(TypeProto {
                map_type: other,
                ..Default::default()
            }),
            "it is a map",
        ),
        (
            Some(TypeProto {
                optional_type: other,
                ..Default::default()
            }),
            "it is an optional value",
        ),
        (
            Some(TypeProto {
                sparse_tensor_type: other,
                ..Default::default()
            }),
            "it is a sparse tensor",
        ),
        (Some(TypeProto::default()), "its type is not given"),
        (None, "its type is not given"),
        (
            Some(TypeProto {
                tensor_type: Some(TensorTypeProto {
                    elem_type: Some(data_type::STRING),
                    shape: Some(TensorShapeProto::default()),
                }),
                ..Default::default()
            }),
            "element type, string, is not supported",
        ),
    ] {
        let mut m = two("2", "3");
        m.graph().input[1].r#type = ty;
        let error = m.error();
        assert!(
            error.contains("input \"w\" is refused") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn shapes_that_must_be_known_say_how_to_bind_them() {
    let nodes = vec![
        node("Shape", "x", "s"),
        node("Neg", "x", "q"),
        node("Gather", "s first", "k"),
        node("TopK", "q k", "y").with(int("axis", 0)).named("sort"),
    ];
    let mut m = model(13, &[("x", "n 3")], nodes, &["y"]).constant("first", list(&[0]));
    m.graph().output[0] = value("y", DType::F32, "n 3");
    assert_eq!(types(&m, &bind(&[("n", &[4])])).unwrap(), ["f32[4, 3]"]);
    let error = types(&m, &bind(&[])).unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("node \"sort\"") && text.contains("dimensions open: n"),
        "{text}"
    );
    assert!(error.help().unwrap().contains("--shape"));
}

#[test]
fn unknown_sizes_of_different_nodes_are_different() {
    let nodes = vec![
        node("NonZero", "x", "a"),
        node("NonZero", "w", "b"),
        node("Concat", "a b", "y").with(int("axis", 0)),
    ];
    let m = model(13, &[("x", "5"), ("w", "5")], nodes, &["a", "b"]);
    let found = types(&m, &bind(&[])).unwrap();
    assert_ne!(found[0], found[1]);
}
