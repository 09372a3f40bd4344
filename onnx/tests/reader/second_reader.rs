//! Both readers must read the same from the same bytes, whichever library wrote them.

use crate::translate;
use dlirc_onnx::{Source, parse, proto};
use onnx_protobuf::Message as _;
use prost::Message as _;
use std::path::Path;

#[test]
fn both_readers_agree_on_every_example_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut n_models = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let (source, ours) = dlirc_onnx::open(&path).unwrap();
        let mut theirs = onnx_protobuf::ModelProto::parse_from_bytes(source.bytes()).unwrap();
        translate::strip(&mut theirs);
        let ours_there = translate::model(&ours);
        // Piece by piece first: the message should name the node, not print the model.
        let (a, b) = (&ours_there.graph, &theirs.graph);
        assert_eq!(a.node.len(), b.node.len());
        for (a, b) in a.node.iter().zip(&b.node) {
            assert_eq!(a, b, "{}", path.display());
        }
        for (a, b) in a.initializer.iter().zip(&b.initializer) {
            assert!(a == b, "{}: initializer {}", path.display(), b.name);
        }
        assert!(ours_there == theirs, "{}", path.display());
        assert!(!ours.graph.unwrap().node.is_empty());
        n_models += 1;
    }
    assert_eq!(n_models, 19);
}

#[test]
fn weights_are_windows_of_the_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/resnet18.onnx");
    let (source, model) = dlirc_onnx::open(&path).unwrap();
    let file = source.bytes().as_ptr_range();
    let graph = model.graph.unwrap();
    let inline = graph.initializer.iter().filter_map(|t| t.raw_data.as_ref());
    let mut n = 0;
    for data in inline {
        assert!(file.contains(&data.as_ptr()));
        n += 1;
    }
    assert!(n > 10);
}

#[test]
fn what_the_second_library_writes_reads_the_same() {
    let mut theirs = every_field();
    let bytes = theirs.write_to_bytes().unwrap();
    let ours = parse(&Source::from_bytes("written", bytes)).unwrap();
    translate::strip(&mut theirs);
    assert_eq!(translate::model(&ours), theirs);
}

#[test]
fn what_we_write_reads_the_same_there() {
    let bytes = every_field().write_to_bytes().unwrap();
    let ours = parse(&Source::from_bytes("written", bytes)).unwrap();
    let again = ours.encode_to_vec();
    let theirs = onnx_protobuf::ModelProto::parse_from_bytes(&again).unwrap();
    assert_eq!(translate::model(&ours), theirs);
    assert_eq!(parse(&Source::from_bytes("again", again)).unwrap(), ours);
}

#[test]
fn repeated_numbers_may_be_packed_or_not() {
    // dims 3 and 4 packed, then 5 unpacked; float_data unpacked.
    let bytes = [0x0a, 2, 3, 4, 0x08, 5, 0x10, 1, 0x25, 0, 0, 0x80, 0x3f];
    let t = proto::TensorProto::decode(&bytes[..]).unwrap();
    assert_eq!(t.dims, [3, 4, 5]);
    assert_eq!(t.float_data, [1.0]);
}

/// A model, made by the second library, with every field of every message set.
fn every_field() -> onnx_protobuf::ModelProto {
    use onnx_protobuf::*;
    use protobuf::{EnumOrUnknown, MessageField};
    let entry = StringStringEntryProto {
        key: "k".into(),
        value: "ü".into(),
        ..Default::default()
    };
    let tensor = TensorProto {
        dims: vec![2, -1, i64::MAX],
        data_type: 1,
        float_data: vec![1.5, f32::MIN, f32::INFINITY],
        int32_data: vec![-1, i32::MAX],
        string_data: vec![b"\xff\x00".to_vec(), Vec::new()],
        int64_data: vec![i64::MIN, 0],
        name: "t".into(),
        doc_string: "left out".into(),
        raw_data: vec![0, 1, 2, 255],
        external_data: vec![entry.clone()],
        data_location: EnumOrUnknown::from_i32(1),
        double_data: vec![0.1],
        uint64_data: vec![u64::MAX],
        metadata_props: vec![entry.clone()],
        ..Default::default()
    };
    let dim = |value| tensor_shape_proto::Dimension {
        value,
        denotation: "left out".into(),
        ..Default::default()
    };
    use tensor_shape_proto::dimension::Value::{DimParam, DimValue};
    let shape = TensorShapeProto {
        dim: vec![
            dim(Some(DimValue(7))),
            dim(Some(DimParam("n".into()))),
            dim(None),
        ],
        ..Default::default()
    };
    use type_proto::Value::*;
    let types = [
        TensorType(type_proto::Tensor {
            elem_type: 1,
            shape: MessageField::some(shape),
            ..Default::default()
        }),
        SequenceType(type_proto::Sequence::default()),
        MapType(type_proto::Map {
            key_type: 3,
            ..Default::default()
        }),
        OptionalType(type_proto::Optional::default()),
        SparseTensorType(type_proto::SparseTensor {
            elem_type: 1,
            ..Default::default()
        }),
    ];
    let values: Vec<_> = types
        .into_iter()
        .map(|t| ValueInfoProto {
            name: "v".into(),
            type_: MessageField::some(TypeProto {
                value: Some(t),
                denotation: "left out".into(),
                ..Default::default()
            }),
            doc_string: "left out".into(),
            ..Default::default()
        })
        .collect();
    let sub = GraphProto {
        name: "sub".into(),
        ..Default::default()
    };
    let attribute = AttributeProto {
        name: "a".into(),
        ref_attr_name: "r".into(),
        doc_string: "left out".into(),
        type_: EnumOrUnknown::from_i32(2),
        f: -2.5,
        i: -7,
        s: b"\xfe".to_vec(),
        t: MessageField::some(tensor.clone()),
        g: MessageField::some(sub.clone()),
        tp: MessageField::some(TypeProto::default()),
        floats: vec![1.0, 2.0],
        ints: vec![-1, 300],
        strings: vec![b"x".to_vec()],
        tensors: vec![tensor.clone(), tensor.clone()],
        graphs: vec![sub],
        ..Default::default()
    };
    let node = NodeProto {
        input: vec!["v".into(), String::new()],
        output: vec!["w".into()],
        name: "n".into(),
        op_type: "Relu".into(),
        domain: "d".into(),
        overload: "o".into(),
        attribute: vec![attribute.clone()],
        doc_string: "left out".into(),
        metadata_props: vec![entry.clone()],
        ..Default::default()
    };
    let opset = OperatorSetIdProto {
        domain: "d".into(),
        version: 17,
        ..Default::default()
    };
    let function = FunctionProto {
        name: "f".into(),
        input: vec!["x".into()],
        output: vec!["y".into()],
        attribute: vec!["alpha".into()],
        attribute_proto: vec![attribute],
        node: vec![node.clone()],
        doc_string: "left out".into(),
        opset_import: vec![opset.clone()],
        domain: "d".into(),
        overload: "o".into(),
        ..Default::default()
    };
    let graph = GraphProto {
        node: vec![node.clone(), node],
        name: "g".into(),
        initializer: vec![tensor.clone()],
        sparse_initializer: vec![SparseTensorProto {
            values: MessageField::some(tensor),
            dims: vec![4],
            ..Default::default()
        }],
        doc_string: "left out".into(),
        input: values.clone(),
        output: values.clone(),
        value_info: values,
        ..Default::default()
    };
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset],
        producer_name: "p".into(),
        producer_version: "1".into(),
        domain: "d".into(),
        model_version: 3,
        doc_string: "left out".into(),
        graph: MessageField::some(graph),
        metadata_props: vec![entry],
        functions: vec![function],
        ..Default::default()
    }
}
