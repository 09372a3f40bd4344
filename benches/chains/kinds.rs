//! Generated models that are long and thin.

use ir::DType;
use models::{Values, random_tensor};
use onnx::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type,
    data_type,
};
use prost::Message;

/// The operators' version.
const OPSET: i64 = 21;

/// The name of the input.
const INPUT: &str = "input";

/// A kind of chain: the more of its links, the more nodes.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// What it is called.
    pub(crate) name: &'static str,
    /// The dimensions of its input and of its output.
    dims: &'static [i64],
    /// Adds a link after the value, and gives its end.
    link: fn(&mut Draft, String) -> String,
}

/// All kinds.
pub(crate) const KINDS: [Kind; 6] = [
    Kind {
        name: "elementwise",
        dims: &[4, 64],
        link: |draft, x| {
            let c = draft.weight(&[64]);
            let y = draft.node("Add", &[&x, &c], vec![]);
            let y = draft.node("Tanh", &[&y], vec![]);
            let y = draft.node("Mul", &[&y, &c], vec![]);
            draft.node("Sigmoid", &[&y], vec![])
        },
    },
    Kind {
        name: "residual convolutions",
        dims: &[1, 8, 8, 8],
        link: |draft, x| {
            let mut y = x.clone();
            for _ in 0..2 {
                let (w, b) = (draft.weight(&[8, 8, 3, 3]), draft.weight(&[8]));
                y = draft.node("Conv", &[&y, &w, &b], vec![ints("pads", &[1; 4])]);
                y = draft.node("Relu", &[&y], vec![]);
            }
            let y = draft.node("Add", &[&x, &y], vec![]);
            draft.node("Relu", &[&y], vec![])
        },
    },
    Kind {
        name: "products",
        dims: &[4, 16],
        link: |draft, x| {
            let (w, b) = (draft.weight(&[16, 16]), draft.weight(&[16]));
            let y = draft.node("MatMul", &[&x, &w], vec![]);
            let y = draft.node("Add", &[&y, &b], vec![]);
            draft.node("Relu", &[&y], vec![])
        },
    },
    Kind {
        name: "views",
        dims: &[2, 6, 4],
        link: |draft, x| {
            let y = draft.node("Transpose", &[&x], vec![ints("perm", &[0, 2, 1])]);
            let shape = draft.integers(&[2, -1]);
            let y = draft.node("Reshape", &[&y, &shape], vec![]);
            let (starts, ends, axes) = (
                draft.integers(&[1]),
                draft.integers(&[23]),
                draft.integers(&[1]),
            );
            let y = draft.node("Slice", &[&y, &starts, &ends, &axes], vec![]);
            let y = draft.node("Concat", &[&y, &y], vec![int("axis", 1)]);
            let y = draft.node("Slice", &[&y, &starts, &ends, &axes], vec![]);
            let pads = draft.integers(&[0, 1, 0, 1]);
            let y = draft.node("Pad", &[&y, &pads], vec![]);
            let shape = draft.integers(&[2, 6, 4]);
            draft.node("Reshape", &[&y, &shape], vec![])
        },
    },
    Kind {
        name: "shape arithmetic",
        dims: &[2, 6, 4],
        link: |draft, x| {
            let shape = draft.node("Shape", &[&x], vec![]);
            let zero = draft.integers(&[0]);
            let batch = draft.node("Gather", &[&shape, &zero], vec![]);
            let rest = draft.integers(&[-1, 3]);
            let to = draft.node("Concat", &[&batch, &rest], vec![int("axis", 0)]);
            let y = draft.node("Reshape", &[&x, &to], vec![]);
            let y = draft.node("Relu", &[&y], vec![]);
            let y = draft.node("Reshape", &[&y, &shape], vec![]);
            draft.node("Neg", &[&y], vec![])
        },
    },
    Kind {
        name: "one value read by all",
        dims: &[4, 64],
        link: |draft, x| {
            let c = draft.weight(&[64]);
            let y = draft.node("Mul", &[INPUT, &c], vec![]);
            let y = draft.node("Sigmoid", &[&y], vec![]);
            draft.node("Add", &[&x, &y], vec![])
        },
    },
];

impl Kind {
    /// A model of as many links as have `n_nodes` nodes, or a few more, as a file's bytes.
    pub(crate) fn model(&self, n_nodes: usize) -> Vec<u8> {
        let mut draft = Draft::default();
        let mut value = INPUT.to_string();
        while draft.nodes.len() < n_nodes {
            value = (self.link)(&mut draft, value);
        }
        let port = |name: &str| ValueInfoProto {
            name: Some(name.into()),
            r#type: Some(tensor_type(self.dims)),
        };
        let graph = GraphProto {
            name: Some(self.name.into()),
            input: vec![port(INPUT)],
            output: vec![port(&value)],
            node: draft.nodes,
            initializer: draft.initializers,
            ..Default::default()
        };
        let model = ModelProto {
            ir_version: Some(10),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(OPSET),
            }],
            graph: Some(graph),
            ..Default::default()
        };
        model.encode_to_vec()
    }
}

fn tensor_type(dims: &[i64]) -> TypeProto {
    let dim = |&d: &i64| DimensionProto {
        dim_value: Some(d),
        dim_param: None,
    };
    TypeProto {
        tensor_type: Some(TensorTypeProto {
            elem_type: Some(data_type::FLOAT),
            shape: Some(TensorShapeProto {
                dim: dims.iter().map(dim).collect(),
            }),
        }),
        ..Default::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(attribute_type::INTS),
        ints: values.to_vec(),
        ..Default::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(attribute_type::INT),
        i: Some(value),
        ..Default::default()
    }
}

#[derive(Default)]
struct Draft {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    n_weights: u64,
}

impl Draft {
    /// Applies `op`; the result's name.
    fn node(&mut self, op: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let output = format!("v{}", self.nodes.len());
        self.nodes.push(NodeProto {
            name: Some(format!("n{}", self.nodes.len())),
            op_type: Some(op.into()),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.clone()],
            attribute,
            ..Default::default()
        });
        output
    }

    fn initializer(&mut self, dims: &[i64], data_type: i32, data: Vec<u8>) -> String {
        let name = format!("w{}", self.initializers.len());
        self.initializers.push(TensorProto {
            name: Some(name.clone()),
            dims: dims.to_vec(),
            data_type: Some(data_type),
            raw_data: Some(data.into()),
            ..Default::default()
        });
        name
    }

    /// A weight, another one each time.
    fn weight(&mut self, dims: &[i64]) -> String {
        self.n_weights += 1;
        let sizes: Vec<usize> = dims.iter().map(|&d| d as usize).collect();
        let values = random_tensor("weight", DType::F32, &sizes, Values::Normal, self.n_weights);
        self.initializer(dims, data_type::FLOAT, values.bytes().to_vec())
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(&[values.len() as i64], data_type::INT64, data)
    }
}
