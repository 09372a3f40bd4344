//! Small models, made in a line or two.

use dlirc_onnx::proto::*;
use dlirc_onnx::{Imported, OnnxError, ReadOptions, Source, read_source};
use ir::{DType, Program, Tensor};
use prost::Message;

/// A node without attributes; operands and results by name, separated by spaces, `-` for none.
pub(crate) fn node(op: &str, inputs: &str, outputs: &str) -> NodeProto {
    let names = |s: &str| {
        s.split_whitespace()
            .map(|n| {
                if n == "-" {
                    String::new()
                } else {
                    n.to_owned()
                }
            })
            .collect()
    };
    NodeProto {
        op_type: Some(op.into()),
        input: names(inputs),
        output: names(outputs),
        ..Default::default()
    }
}

/// Adds to nodes.
pub(crate) trait NodeExt {
    fn with(self, attribute: AttributeProto) -> Self;
    fn named(self, name: &str) -> Self;
    fn of(self, domain: &str) -> Self;
}

impl NodeExt for NodeProto {
    fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }
    fn named(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }
    fn of(mut self, domain: &str) -> Self {
        self.domain = Some(domain.into());
        self
    }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(kind),
        ..Default::default()
    }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        i: Some(i),
        ..attribute(name, attribute_type::INT)
    }
}

pub(crate) fn ints(name: &str, v: &[i64]) -> AttributeProto {
    AttributeProto {
        ints: v.to_vec(),
        ..attribute(name, attribute_type::INTS)
    }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        f: Some(f),
        ..attribute(name, attribute_type::FLOAT)
    }
}

pub(crate) fn floats(name: &str, v: &[f32]) -> AttributeProto {
    AttributeProto {
        floats: v.to_vec(),
        ..attribute(name, attribute_type::FLOATS)
    }
}

pub(crate) fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto {
        s: Some(s.as_bytes().to_vec()),
        ..attribute(name, attribute_type::STRING)
    }
}

pub(crate) fn tensor_attr(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto {
        t: Some(Box::new(t)),
        ..attribute(name, attribute_type::TENSOR)
    }
}

/// An attribute of a function's node that the caller gives.
pub(crate) fn refers(name: &str, kind: i32, to: &str) -> AttributeProto {
    AttributeProto {
        ref_attr_name: Some(to.into()),
        ..attribute(name, kind)
    }
}

fn code(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => data_type::FLOAT,
        DType::I64 => data_type::INT64,
        DType::Bool => data_type::BOOL,
        other => panic!("{other} is not used in these tests"),
    }
}

/// `tensor` as a constant called `name`.
pub(crate) fn constant(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: tensor.dims().iter().map(|&d| d as i64).collect(),
        data_type: Some(code(tensor.dtype())),
        raw_data: Some(tensor.bytes().clone()),
        ..Default::default()
    }
}

/// A tensor value; dimensions are sizes or names, separated by spaces.
pub(crate) fn value(name: &str, dtype: DType, dims: &str) -> ValueInfoProto {
    let dim = |d: &str| match d.parse() {
        Ok(n) => DimensionProto {
            dim_value: Some(n),
            dim_param: None,
        },
        Err(_) if d == "?" => DimensionProto::default(),
        Err(_) => DimensionProto {
            dim_value: None,
            dim_param: Some(d.into()),
        },
    };
    let shape = TensorShapeProto {
        dim: dims.split_whitespace().map(dim).collect(),
    };
    let tensor_type = Some(TensorTypeProto {
        elem_type: Some(code(dtype)),
        shape: Some(shape),
    });
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            tensor_type,
            ..Default::default()
        }),
    }
}

/// A value without a type.
pub(crate) fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.into()),
        r#type: None,
    }
}

pub(crate) fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto {
        domain: Some(domain.into()),
        version: Some(version),
    }
}

/// A model of `nodes` with f32 inputs and outputs (`name: dims`).
pub(crate) fn model(
    version: i64,
    inputs: &[(&str, &str)],
    nodes: Vec<NodeProto>,
    outputs: &[&str],
) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset("", version)],
        graph: Some(GraphProto {
            node: nodes,
            input: inputs
                .iter()
                .map(|(n, d)| value(n, DType::F32, d))
                .collect(),
            output: outputs.iter().map(|n| untyped(n)).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Adds to models.
pub(crate) trait ModelExt {
    fn constant(self, name: &str, tensor: Tensor) -> Self;
    fn graph(&mut self) -> &mut GraphProto;
    fn import(&self) -> Result<(Program, Imported), OnnxError>;
    fn import_with(&self, options: &ReadOptions) -> Result<(Program, Imported), OnnxError>;
    fn run(&self, inputs: &[Tensor]) -> Vec<Tensor>;
    fn error(&self) -> String;
}

impl ModelExt for ModelProto {
    fn constant(mut self, name: &str, tensor: Tensor) -> Self {
        self.graph().initializer.push(constant(name, &tensor));
        self
    }

    fn graph(&mut self) -> &mut GraphProto {
        self.graph.as_mut().unwrap()
    }

    fn import(&self) -> Result<(Program, Imported), OnnxError> {
        self.import_with(&ReadOptions::default())
    }

    fn import_with(&self, options: &ReadOptions) -> Result<(Program, Imported), OnnxError> {
        let mut program = Program::default();
        let source = Source::from_bytes("test.onnx", self.encode_to_vec());
        let imported = read_source(&source, options, &mut program)?;
        Ok((program, imported))
    }

    /// The outputs for `inputs`, by reference evaluation.
    fn run(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let (program, imported) = self.import().unwrap_or_else(|e| panic!("{}", chain(&e)));
        ir::eval::graph(&program.graphs[imported.graph], &program.weights, inputs).unwrap()
    }

    /// The error with all its causes.
    fn error(&self) -> String {
        chain(&self.import().map(|(_, i)| i).unwrap_err())
    }
}

/// An error and its causes, a line each.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(c) = cause {
        text = format!("{text}\n{c}");
        cause = c.source();
    }
    text
}

/// An f32 tensor of 0, 1, 2, … in steps of an eighth around 0.
pub(crate) fn ramp(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i as f32 - n as f32 / 2.0) / 8.0).collect();
    Tensor::from_slice(dims, &values)
}

pub(crate) fn list(values: &[i64]) -> Tensor {
    Tensor::from_slice(&[values.len()], values)
}
