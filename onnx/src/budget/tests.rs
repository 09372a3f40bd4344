//! The estimate against what parsed models occupy.

use super::*;
use prost::Message;
use proto::{AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto};

fn text(s: &Option<String>) -> u64 {
    s.as_ref().map_or(0, |s| heap(s.capacity() as u64))
}

/// The memory of a list: its buffer, and what `each` element holds elsewhere.
fn list<T>(items: &Vec<T>, each: impl Fn(&T) -> u64) -> u64 {
    (items.capacity() * size_of::<T>()) as u64 + items.iter().map(each).sum::<u64>()
}

fn texts(items: &Vec<String>) -> u64 {
    list(items, |s| heap(s.capacity() as u64))
}

fn entry(e: &proto::StringStringEntryProto) -> u64 {
    text(&e.key) + text(&e.value)
}

fn tensor(t: &TensorProto) -> u64 {
    list(&t.dims, |_| 0)
        + list(&t.float_data, |_| 0)
        + list(&t.int32_data, |_| 0)
        + list(&t.string_data, |s| heap(s.capacity() as u64))
        + list(&t.int64_data, |_| 0)
        + text(&t.name)
        + list(&t.double_data, |_| 0)
        + list(&t.uint64_data, |_| 0)
        + list(&t.external_data, entry)
}

fn attribute(a: &AttributeProto) -> u64 {
    text(&a.name)
        + a.s.as_ref().map_or(0, |s| heap(s.capacity() as u64))
        + a.t
            .as_ref()
            .map_or(0, |t| heap(size_of::<TensorProto>() as u64) + tensor(t))
        + a.g
            .as_ref()
            .map_or(0, |g| heap(size_of::<GraphProto>() as u64) + graph(g))
        + list(&a.floats, |_| 0)
        + list(&a.ints, |_| 0)
        + list(&a.strings, |s| heap(s.capacity() as u64))
        + list(&a.tensors, tensor)
        + list(&a.graphs, graph)
        + text(&a.ref_attr_name)
}

fn node(n: &NodeProto) -> u64 {
    texts(&n.input)
        + texts(&n.output)
        + [&n.name, &n.op_type, &n.domain, &n.overload]
            .map(text)
            .iter()
            .sum::<u64>()
        + list(&n.attribute, attribute)
}

fn value_type(t: &TypeProto) -> u64 {
    let shape = t.tensor_type.as_ref().and_then(|t| t.shape.as_ref());
    shape.map_or(0, |s| list(&s.dim, |d| text(&d.dim_param)))
}

fn value_info(v: &ValueInfoProto) -> u64 {
    text(&v.name) + v.r#type.as_ref().map_or(0, value_type)
}

fn graph(g: &GraphProto) -> u64 {
    list(&g.node, node)
        + text(&g.name)
        + list(&g.initializer, tensor)
        + list(&g.input, value_info)
        + list(&g.output, value_info)
        + list(&g.value_info, value_info)
        + list(&g.sparse_initializer, |s| {
            let values = s.values.as_ref();
            values.map_or(0, |t| heap(size_of::<TensorProto>() as u64) + tensor(t))
        })
}

/// The memory that a parsed model occupies.
fn occupied(m: &proto::ModelProto) -> u64 {
    let opsets = |o: &Vec<_>| list(o, |o: &proto::OperatorSetIdProto| text(&o.domain));
    size_of::<proto::ModelProto>() as u64
        + [&m.producer_name, &m.producer_version, &m.domain]
            .map(text)
            .iter()
            .sum::<u64>()
        + m.graph.as_ref().map_or(0, graph)
        + opsets(&m.opset_import)
        + list(&m.metadata_props, entry)
        + list(&m.functions, |f| {
            [&f.name, &f.domain, &f.overload]
                .map(text)
                .iter()
                .sum::<u64>()
                + [&f.input, &f.output, &f.attribute]
                    .map(texts)
                    .iter()
                    .sum::<u64>()
                + list(&f.node, node)
                + opsets(&f.opset_import)
                + list(&f.attribute_proto, attribute)
        })
}

/// The estimate must be at least what the parsed model occupies, and not much more.
fn check(bytes: Vec<u8>) -> Estimate {
    let estimate = Budget::default().check(&bytes).unwrap();
    let parsed = proto::ModelProto::decode(bytes::Bytes::from(bytes)).unwrap();
    let occupied = occupied(&parsed);
    assert!(estimate.memory >= occupied, "{estimate:?}, but {occupied}");
    assert!(
        estimate.memory <= 1000 + 3 * occupied,
        "{estimate:?}, but only {occupied}"
    );
    estimate
}

#[test]
fn example_models_are_estimated_well_and_far_from_the_limit() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "onnx") {
            let estimate = check(std::fs::read(&path).unwrap());
            let ratio = estimate.memory / estimate.structure;
            println!("{}: {estimate:?} ratio {ratio}", path.display());
            assert!((2..40).contains(&ratio), "{}: {ratio}", path.display());
        }
    }
}

#[test]
fn every_message_and_list_is_counted() {
    let s = || Some("x".repeat(40));
    let texts = || vec!["y".repeat(40); 9];
    let entries = || {
        vec![
            proto::StringStringEntryProto {
                key: s(),
                value: s()
            };
            5
        ]
    };
    let tensor = TensorProto {
        dims: vec![300; 50],
        float_data: vec![1.0; 50],
        int32_data: vec![-1; 50],
        string_data: vec![vec![1; 40]; 9],
        int64_data: vec![1 << 60; 50],
        name: s(),
        raw_data: Some(vec![0; 5000].into()),
        double_data: vec![1.0; 50],
        uint64_data: vec![1 << 60; 50],
        external_data: entries(),
        ..Default::default()
    };
    let dim = proto::DimensionProto {
        dim_value: None,
        dim_param: s(),
    };
    let shape = proto::TensorShapeProto { dim: vec![dim; 9] };
    let tensor_type = proto::TensorTypeProto {
        elem_type: Some(1),
        shape: Some(shape),
    };
    let other = Some(proto::OtherTypeProto {});
    let ty = TypeProto {
        tensor_type: Some(tensor_type),
        sequence_type: other,
        map_type: other,
        sparse_tensor_type: other,
        optional_type: other,
    };
    let values = vec![
        ValueInfoProto {
            name: s(),
            r#type: Some(ty)
        };
        5
    ];
    let sparse = proto::SparseTensorProto {
        values: Some(Box::new(tensor.clone())),
    };
    let sub = GraphProto {
        name: s(),
        input: values.clone(),
        output: values.clone(),
        value_info: values,
        sparse_initializer: vec![sparse; 5],
        initializer: vec![tensor.clone(); 5],
        ..Default::default()
    };
    let attribute = AttributeProto {
        name: s(),
        s: Some(vec![7; 40]),
        t: Some(Box::new(tensor.clone())),
        g: Some(Box::new(sub.clone())),
        floats: vec![1.0; 50],
        ints: vec![1 << 60; 50],
        strings: vec![vec![7; 40]; 9],
        tensors: vec![tensor; 5],
        graphs: vec![sub.clone(); 5],
        ref_attr_name: s(),
        ..Default::default()
    };
    let node = NodeProto {
        input: texts(),
        output: texts(),
        name: s(),
        op_type: s(),
        attribute: vec![attribute.clone(); 5],
        domain: s(),
        overload: s(),
    };
    let opsets = vec![
        proto::OperatorSetIdProto {
            domain: s(),
            version: Some(1)
        };
        5
    ];
    let function = proto::FunctionProto {
        name: s(),
        input: texts(),
        output: texts(),
        attribute: texts(),
        node: vec![node.clone(); 5],
        opset_import: opsets.clone(),
        domain: s(),
        attribute_proto: vec![attribute; 5],
        overload: s(),
    };
    let model = proto::ModelProto {
        ir_version: Some(8),
        producer_name: s(),
        producer_version: s(),
        domain: s(),
        model_version: Some(1),
        graph: Some(GraphProto {
            node: vec![node; 5],
            ..sub
        }),
        opset_import: opsets,
        metadata_props: entries(),
        functions: vec![function; 5],
    };
    check(model.encode_to_vec());
}
