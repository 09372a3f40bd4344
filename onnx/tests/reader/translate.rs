//! Our messages as those of the second reader, field by field.

use dlirc_onnx::proto;
use onnx_protobuf as other;
use protobuf::{EnumOrUnknown, MessageField};

fn text(s: &Option<String>) -> String {
    s.clone().unwrap_or_default()
}

fn list<A, B>(items: &[A], f: impl Fn(&A) -> B) -> Vec<B> {
    items.iter().map(f).collect()
}

pub(crate) fn model(m: &proto::ModelProto) -> other::ModelProto {
    let proto::ModelProto {
        ir_version,
        producer_name,
        producer_version,
        domain,
        model_version,
        graph: g,
        opset_import,
        metadata_props,
        functions,
    } = m;
    other::ModelProto {
        ir_version: ir_version.unwrap_or_default(),
        producer_name: text(producer_name),
        producer_version: text(producer_version),
        domain: text(domain),
        model_version: model_version.unwrap_or_default(),
        graph: g.as_ref().map(graph).into(),
        opset_import: list(opset_import, opset),
        metadata_props: list(metadata_props, entry),
        functions: list(functions, function),
        ..Default::default()
    }
}

fn opset(o: &proto::OperatorSetIdProto) -> other::OperatorSetIdProto {
    let proto::OperatorSetIdProto { domain, version } = o;
    other::OperatorSetIdProto {
        domain: text(domain),
        version: version.unwrap_or_default(),
        ..Default::default()
    }
}

fn entry(e: &proto::StringStringEntryProto) -> other::StringStringEntryProto {
    let proto::StringStringEntryProto { key, value } = e;
    other::StringStringEntryProto {
        key: text(key),
        value: text(value),
        ..Default::default()
    }
}

fn graph(g: &proto::GraphProto) -> other::GraphProto {
    let proto::GraphProto {
        node: n,
        name,
        initializer,
        input,
        output,
        value_info,
        sparse_initializer,
    } = g;
    other::GraphProto {
        node: list(n, node),
        name: text(name),
        initializer: list(initializer, tensor),
        input: list(input, self::value_info),
        output: list(output, self::value_info),
        value_info: list(value_info, self::value_info),
        sparse_initializer: list(sparse_initializer, |s| other::SparseTensorProto {
            values: s.values.as_deref().map(tensor).into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn function(f: &proto::FunctionProto) -> other::FunctionProto {
    let proto::FunctionProto {
        name,
        input,
        output,
        attribute: attribute_names,
        node: nodes,
        opset_import,
        domain,
        attribute_proto,
        overload,
    } = f;
    other::FunctionProto {
        name: text(name),
        input: input.clone(),
        output: output.clone(),
        attribute: attribute_names.clone(),
        node: list(nodes, node),
        opset_import: list(opset_import, opset),
        domain: text(domain),
        attribute_proto: list(attribute_proto, attribute),
        overload: text(overload),
        ..Default::default()
    }
}

fn node(n: &proto::NodeProto) -> other::NodeProto {
    let proto::NodeProto {
        input,
        output,
        name,
        op_type,
        attribute: attributes,
        domain,
        overload,
    } = n;
    other::NodeProto {
        input: input.clone(),
        output: output.clone(),
        name: text(name),
        op_type: text(op_type),
        attribute: list(attributes, attribute),
        domain: text(domain),
        overload: text(overload),
        ..Default::default()
    }
}

fn attribute(a: &proto::AttributeProto) -> other::AttributeProto {
    let proto::AttributeProto {
        name,
        f,
        i,
        s,
        t,
        g,
        floats,
        ints,
        strings,
        tensors,
        graphs,
        r#type,
        ref_attr_name,
    } = a;
    other::AttributeProto {
        name: text(name),
        f: f.unwrap_or_default(),
        i: i.unwrap_or_default(),
        s: s.clone().unwrap_or_default(),
        t: t.as_deref().map(tensor).into(),
        g: g.as_deref().map(graph).into(),
        floats: floats.clone(),
        ints: ints.clone(),
        strings: strings.clone(),
        tensors: list(tensors, tensor),
        graphs: list(graphs, graph),
        type_: EnumOrUnknown::from_i32(r#type.unwrap_or_default()),
        ref_attr_name: text(ref_attr_name),
        ..Default::default()
    }
}

pub(crate) fn tensor(t: &proto::TensorProto) -> other::TensorProto {
    let proto::TensorProto {
        dims,
        data_type,
        float_data,
        int32_data,
        string_data,
        int64_data,
        name,
        raw_data,
        double_data,
        uint64_data,
        external_data,
        data_location,
    } = t;
    other::TensorProto {
        dims: dims.clone(),
        data_type: data_type.unwrap_or_default(),
        float_data: float_data.clone(),
        int32_data: int32_data.clone(),
        string_data: string_data.clone(),
        int64_data: int64_data.clone(),
        name: text(name),
        raw_data: raw_data.as_deref().unwrap_or_default().to_vec(),
        double_data: double_data.clone(),
        uint64_data: uint64_data.clone(),
        external_data: list(external_data, entry),
        data_location: EnumOrUnknown::from_i32(data_location.unwrap_or_default()),
        ..Default::default()
    }
}

fn value_info(v: &proto::ValueInfoProto) -> other::ValueInfoProto {
    let proto::ValueInfoProto { name, r#type } = v;
    other::ValueInfoProto {
        name: text(name),
        type_: r#type.as_ref().map(value_type).into(),
        ..Default::default()
    }
}

fn value_type(t: &proto::TypeProto) -> other::TypeProto {
    use other::type_proto::{Map, Optional, Sequence, SparseTensor, Tensor, Value};
    let proto::TypeProto {
        tensor_type,
        sequence_type,
        map_type,
        sparse_tensor_type,
        optional_type,
    } = t;
    let value = if let Some(t) = tensor_type {
        let proto::TensorTypeProto { elem_type, shape } = t;
        Some(Value::TensorType(Tensor {
            elem_type: elem_type.unwrap_or_default(),
            shape: shape.as_ref().map(tensor_shape).into(),
            ..Default::default()
        }))
    } else if sequence_type.is_some() {
        Some(Value::SequenceType(Sequence::default()))
    } else if map_type.is_some() {
        Some(Value::MapType(Map::default()))
    } else if sparse_tensor_type.is_some() {
        Some(Value::SparseTensorType(SparseTensor::default()))
    } else {
        optional_type.map(|_| Value::OptionalType(Optional::default()))
    };
    other::TypeProto {
        value,
        ..Default::default()
    }
}

fn tensor_shape(s: &proto::TensorShapeProto) -> other::TensorShapeProto {
    use other::tensor_shape_proto::{Dimension, dimension::Value};
    let proto::TensorShapeProto { dim } = s;
    let dim = list(dim, |d| {
        let proto::DimensionProto {
            dim_value,
            dim_param,
        } = d;
        let value = dim_value
            .map(Value::DimValue)
            .or_else(|| dim_param.clone().map(Value::DimParam));
        Dimension {
            value,
            ..Default::default()
        }
    });
    other::TensorShapeProto {
        dim,
        ..Default::default()
    }
}

/// Takes out of a model of the second reader what our messages leave out.
pub(crate) fn strip(m: &mut other::ModelProto) {
    m.doc_string.clear();
    m.training_info.clear();
    m.special_fields = Default::default();
    if let Some(g) = m.graph.as_mut() {
        strip_graph(g);
    }
    for f in &mut m.functions {
        f.doc_string.clear();
        f.value_info.clear();
        f.metadata_props.clear();
        f.special_fields = Default::default();
        f.node.iter_mut().for_each(strip_node);
        f.attribute_proto.iter_mut().for_each(strip_attribute);
    }
}

fn strip_graph(g: &mut other::GraphProto) {
    g.doc_string.clear();
    g.quantization_annotation.clear();
    g.metadata_props.clear();
    g.special_fields = Default::default();
    g.node.iter_mut().for_each(strip_node);
    g.initializer.iter_mut().for_each(strip_tensor);
    for s in &mut g.sparse_initializer {
        s.indices = MessageField::none();
        s.dims.clear();
        s.values.as_mut().into_iter().for_each(strip_tensor);
    }
    for v in g
        .input
        .iter_mut()
        .chain(&mut g.output)
        .chain(&mut g.value_info)
    {
        v.doc_string.clear();
        v.metadata_props.clear();
        if let Some(t) = v.type_.as_mut() {
            t.denotation.clear();
            strip_type(t);
        }
    }
}

fn strip_type(t: &mut other::TypeProto) {
    use other::type_proto::Value;
    match &mut t.value {
        Some(Value::TensorType(t)) => {
            for d in t.shape.as_mut().into_iter().flat_map(|s| &mut s.dim) {
                d.denotation.clear();
            }
        }
        Some(Value::SequenceType(s)) => *s = Default::default(),
        Some(Value::MapType(m)) => *m = Default::default(),
        Some(Value::SparseTensorType(s)) => *s = Default::default(),
        Some(Value::OptionalType(o)) => *o = Default::default(),
        Some(_) | None => {}
    }
}

fn strip_node(n: &mut other::NodeProto) {
    n.doc_string.clear();
    n.metadata_props.clear();
    n.special_fields = Default::default();
    n.attribute.iter_mut().for_each(strip_attribute);
}

fn strip_attribute(a: &mut other::AttributeProto) {
    a.doc_string.clear();
    a.sparse_tensor = MessageField::none();
    a.sparse_tensors.clear();
    a.tp = MessageField::none();
    a.type_protos.clear();
    a.t.as_mut()
        .into_iter()
        .chain(&mut a.tensors)
        .for_each(strip_tensor);
    a.g.as_mut()
        .into_iter()
        .chain(&mut a.graphs)
        .for_each(strip_graph);
}

fn strip_tensor(t: &mut other::TensorProto) {
    t.doc_string.clear();
    t.segment = MessageField::none();
    t.metadata_props.clear();
    t.special_fields = Default::default();
}
