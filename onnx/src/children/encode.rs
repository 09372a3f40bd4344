//! A model written piece by piece: weights are never copied.

use super::Port;
use crate::proto::{
    DimensionProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto, data_type,
};
use ir::{DType, Dim, Tensor};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use std::io::{self, Write};

/// The format's version from which constants need not be inputs.
const OLDEST: i64 = 4;

/// Tags of fields, as [`proto`](crate::proto) has them.
const MODEL_GRAPH: u32 = 7;
const GRAPH_NODE: u32 = 1;
const GRAPH_INITIALIZER: u32 = 5;
const TENSOR_RAW_DATA: u32 = 9;

/// What a model is made of.
pub(super) struct Parts<'a> {
    /// The model whose versions and functions it has.
    pub(super) model: &'a ModelProto,
    pub(super) nodes: Vec<&'a NodeProto>,
    pub(super) name: &'a str,
    pub(super) inputs: &'a [Port],
    pub(super) outputs: &'a [Port],
    pub(super) initializers: Vec<(String, &'a Tensor)>,
}

impl Parts<'_> {
    /// The size of the model.
    pub(super) fn n_bytes(&self) -> u64 {
        self.around().encoded_len() as u64 + field_len(MODEL_GRAPH, self.graph_len())
    }

    /// Writes the model.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.around().encode_to_vec())?;
        header(out, MODEL_GRAPH, self.graph_len())?;
        for node in &self.nodes {
            header(out, GRAPH_NODE, node.encoded_len() as u64)?;
            out.write_all(&node.encode_to_vec())?;
        }
        out.write_all(&self.ports().encode_to_vec())?;
        for (name, tensor) in &self.initializers {
            let (head, data) = (head(name, tensor), tensor.bytes());
            header(out, GRAPH_INITIALIZER, tensor_len(&head, tensor))?;
            out.write_all(&head.encode_to_vec())?;
            header(out, TENSOR_RAW_DATA, data.len() as u64)?;
            out.write_all(data)?;
        }
        Ok(())
    }

    fn graph_len(&self) -> u64 {
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|n| field_len(GRAPH_NODE, n.encoded_len() as u64));
        let initializers = self.initializers.iter().map(|(name, tensor)| {
            field_len(GRAPH_INITIALIZER, tensor_len(&head(name, tensor), tensor))
        });
        nodes.chain(initializers).sum::<u64>() + self.ports().encoded_len() as u64
    }

    /// The model without its graph.
    fn around(&self) -> ModelProto {
        ModelProto {
            ir_version: Some(self.model.ir_version.unwrap_or(OLDEST).max(OLDEST)),
            producer_name: Some("dlirc".into()),
            opset_import: self.model.opset_import.clone(),
            functions: self.model.functions.clone(),
            ..ModelProto::default()
        }
    }

    /// The graph without nodes and constants.
    fn ports(&self) -> GraphProto {
        GraphProto {
            name: Some(self.name.to_owned()),
            input: self.inputs.iter().map(value_info).collect(),
            output: self.outputs.iter().map(value_info).collect(),
            ..GraphProto::default()
        }
    }
}

/// A field of bytes without the bytes.
fn header(out: &mut impl Write, tag: u32, len: u64) -> io::Result<()> {
    let mut bytes = vec![];
    encode_key(tag, WireType::LengthDelimited, &mut bytes);
    encode_varint(len, &mut bytes);
    out.write_all(&bytes)
}

/// The size of a field of `len` bytes, header included.
fn field_len(tag: u32, len: u64) -> u64 {
    key_len(tag) as u64 + encoded_len_varint(len) as u64 + len
}

/// A tensor without its data.
fn head(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        dims: tensor.dims().iter().map(|&d| d as i64).collect(),
        data_type: Some(code(tensor.dtype())),
        name: Some(name.to_owned()),
        ..TensorProto::default()
    }
}

fn tensor_len(head: &TensorProto, tensor: &Tensor) -> u64 {
    head.encoded_len() as u64 + field_len(TENSOR_RAW_DATA, tensor.bytes().len() as u64)
}

fn value_info(port: &Port) -> ValueInfoProto {
    let dim = |d: &Dim| match d {
        Dim::Known(n) => DimensionProto {
            dim_value: Some(*n as i64),
            dim_param: None,
        },
        // Names that inference made mean nothing to others.
        Dim::Symbol(s) => DimensionProto {
            dim_value: None,
            dim_param: (!s.is_fresh()).then(|| s.as_str().to_owned()),
        },
    };
    let tensor = TensorTypeProto {
        elem_type: Some(code(port.ty.dtype)),
        shape: Some(TensorShapeProto {
            dim: port.ty.shape.0.iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: Some(port.name.clone()),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor),
            ..TypeProto::default()
        }),
    }
}

/// The format's code for an element type: the inverse of [`dtype_of`](crate::tensor::dtype_of).
fn code(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => data_type::FLOAT,
        DType::U8 => data_type::UINT8,
        DType::I8 => data_type::INT8,
        DType::U16 => data_type::UINT16,
        DType::I16 => data_type::INT16,
        DType::I32 => data_type::INT32,
        DType::I64 => data_type::INT64,
        DType::Bool => data_type::BOOL,
        DType::F16 => data_type::FLOAT16,
        DType::F64 => data_type::DOUBLE,
        DType::U32 => data_type::UINT32,
        DType::U64 => data_type::UINT64,
        DType::C64 => data_type::COMPLEX64,
        DType::C128 => data_type::COMPLEX128,
        DType::BF16 => data_type::BFLOAT16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{data_type_name, dtype_of};

    #[test]
    fn codes_of_element_types_go_both_ways() {
        let known: Vec<DType> = (0..30).filter_map(|c| dtype_of(c).ok()).collect();
        assert_eq!(known.len(), 15);
        for dtype in known {
            let c = code(dtype);
            assert_eq!(dtype_of(c).unwrap(), dtype, "{}", data_type_name(c));
        }
    }
}
