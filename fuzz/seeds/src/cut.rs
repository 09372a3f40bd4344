//! Windows of a few nodes, cut out of a model.
//!
//! A window's inputs are what its nodes read and do not make; their types come from reading the
//! whole model once. Large weights are stripped from the example models: they are inputs here.

use bytes::Bytes;
use ir::{DType, Dim, Program, TensorType};
use onnx::proto::{
    DimensionProto, GraphProto, ModelProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use onnx::{ReadOptions, Source};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Nodes of a window.
const LENGTHS: [usize; 3] = [1, 3, 8];

/// Weights of more bytes are made inputs.
const MAX_WEIGHT: usize = 512;

/// The windows of a model whose operators, in order, no earlier window has; none if it can't be read.
pub fn windows(model: &[u8]) -> Vec<Vec<u8>> {
    let Ok(mut model) = ModelProto::decode(Bytes::copy_from_slice(model)) else {
        return vec![];
    };
    let Some(graph) = &mut model.graph else {
        return vec![];
    };
    let (kept, stripped): (Vec<_>, Vec<_>) = std::mem::take(&mut graph.initializer)
        .into_iter()
        .partition(|w| w.encoded_len() <= MAX_WEIGHT && w.data_location.unwrap_or(0) == 0);
    graph.initializer = kept;
    let weights: Vec<ValueInfoProto> = stripped.iter().map(input_like).collect();
    graph.input.extend(weights);
    let Some(types) = types(&model) else {
        return vec![];
    };
    let none = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&none);
    let mut known = BTreeSet::new();
    let mut windows = vec![];
    for n in LENGTHS {
        for first in 0..=graph.node.len().saturating_sub(n) {
            let nodes = first..graph.node.len().min(first + n);
            let operators: Vec<String> = graph.node[nodes.clone()]
                .iter()
                .map(|node| {
                    let attributes = node.attribute.iter().map(|a| a.name.as_deref());
                    format!("{:?} {:?}", node.op_type, attributes.collect::<Vec<_>>())
                })
                .collect();
            if known.insert(operators)
                && let Some(graph) = window(graph, nodes, &types)
            {
                let window = ModelProto {
                    graph: Some(graph),
                    producer_name: None,
                    producer_version: None,
                    metadata_props: vec![],
                    ..model.clone()
                };
                windows.push(window.encode_to_vec());
            }
        }
    }
    windows
}

/// The types of all values that are still there once the model is read.
fn types(model: &ModelProto) -> Option<BTreeMap<String, TensorType>> {
    let source = Source::from_bytes("whole", model.encode_to_vec());
    let mut program = Program::default();
    let imported = onnx::read_source(&source, &ReadOptions::default(), &mut program).ok()?;
    let values = program.graphs[imported.graph].values.iter();
    Some(
        values
            .filter_map(|(_, value)| Some((value.name.as_deref()?.to_owned(), value.ty.clone())))
            .collect(),
    )
}

fn window(
    graph: &GraphProto,
    nodes: std::ops::Range<usize>,
    types: &BTreeMap<String, TensorType>,
) -> Option<GraphProto> {
    let nodes = &graph.node[nodes];
    let made: BTreeSet<&String> = nodes.iter().flat_map(|n| &n.output).collect();
    let read: BTreeSet<&String> = nodes.iter().flat_map(|n| &n.input).collect();
    let mut cut = GraphProto {
        name: Some("m".into()),
        node: nodes.to_vec(),
        ..Default::default()
    };
    for name in read {
        if name.is_empty() || made.contains(name) {
            continue;
        }
        let weight = graph
            .initializer
            .iter()
            .find(|w| w.name.as_ref() == Some(name));
        match weight {
            Some(weight) => cut.initializer.push(weight.clone()),
            None => cut.input.push(input(name, types.get(name)?)),
        }
    }
    let last = nodes.last()?;
    let outputs = last.output.iter().filter(|name| !name.is_empty());
    cut.output = outputs
        .map(|name| ValueInfoProto {
            name: Some(name.clone()),
            ..Default::default()
        })
        .collect();
    Some(cut)
}

fn input_like(weight: &TensorProto) -> ValueInfoProto {
    let dims = weight.dims.iter().map(|&d| DimensionProto {
        dim_value: Some(d),
        ..Default::default()
    });
    value(weight.name.clone(), weight.data_type, dims.collect())
}

fn input(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dims = ty.shape.0.iter().map(|dim| match dim {
        Dim::Known(n) => DimensionProto {
            dim_value: Some(*n as i64),
            ..Default::default()
        },
        Dim::Symbol(symbol) => DimensionProto {
            dim_param: Some(symbol.as_str().into()),
            ..Default::default()
        },
    });
    value(Some(name.into()), data_type(ty.dtype), dims.collect())
}

fn value(name: Option<String>, elem_type: Option<i32>, dim: Vec<DimensionProto>) -> ValueInfoProto {
    ValueInfoProto {
        name,
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type,
                shape: Some(TensorShapeProto { dim }),
            }),
            ..Default::default()
        }),
    }
}

/// The number that ONNX gives an element type, of those that the example models have.
fn data_type(dtype: DType) -> Option<i32> {
    Some(match dtype {
        DType::F32 => 1,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        _ => return None,
    })
}
