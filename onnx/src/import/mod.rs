//! From messages to [`ir`]: functions inlined, values in order, every operator in its newest form.

mod attributes;
mod build;
mod constant;
mod flatten;
mod frame;
mod inputs;
mod order;
mod outline;
mod support;
mod upgrade;

pub use attributes::AttributeError;
pub use flatten::InlineError;
pub use inputs::{BindError, InputError};
pub use order::GraphProblem;
pub(crate) use outline::{Outline, outline};
pub use support::{OPSETS, Reason, UnsupportedOperator};
pub use upgrade::UpgradeError;

use crate::external::ExternalFiles;
use crate::proto::{GraphProto, ModelProto, TensorProto, ValueInfoProto};
use crate::tensor;
use crate::{NodeError, OnnxError, Source};
use build::Builder;
use flatten::{FlatGraph, FlatNode, Name};
use frame::Frame;
use inputs::TypesError;
use ir::program::Weights;
use ir::{Graph, GraphId, OpError, Program, ValueId};
use std::collections::BTreeMap;
use std::path::Path;
use upgrade::Draft;

/// What the user says beyond the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadOptions {
    /// What the model is called; the file's name without extension if it is not said.
    pub name: Option<String>,
    /// Sizes of dimensions that the file leaves open: for an input all of its dimensions, for
    /// the name of a dimension its size.
    pub bind: BTreeMap<String, Vec<usize>>,
}

/// A model that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// Its graph.
    pub graph: GraphId,
    /// Nodes in the file, functions inlined.
    pub n_nodes: usize,
    /// Nodes that became constants on the way: most of them computed shapes.
    pub n_folded: usize,
    /// The version of ONNX's operators that the file asks for.
    pub opset: Option<i64>,
    /// The program that wrote the file, and its version.
    pub producer: String,
    /// What the user should know.
    pub notes: Vec<Note>,
}

/// Something about a model that is no error, but that its user should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// Dropout nodes that ask for training: they pass their operand on, as in inference.
    TrainingDropout {
        /// The nodes.
        nodes: Vec<String>,
    },
}

impl Note {
    /// Takes the nodes of `other` in, if it says the same.
    fn merge(&mut self, other: &Note) -> bool {
        let (Note::TrainingDropout { nodes }, Note::TrainingDropout { nodes: more }) =
            (self, other);
        nodes.extend(more.iter().cloned());
        true
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Note::TrainingDropout { nodes } = self;
        let first = nodes.first().map(String::as_str).unwrap_or_default();
        let n = nodes.len();
        write!(
            f,
            "the model was exported in training mode: {n} Dropout nodes, the first of them \
             {first:?}, ask for dropout and get none"
        )
    }
}

/// Reads the model at `path` into `program`.
///
/// # Errors
/// When the file can't be read, or holds something that dlirc doesn't support; `program` may
/// then have more weights, but not another graph.
pub fn read(
    path: &Path,
    options: &ReadOptions,
    program: &mut Program,
) -> Result<Imported, OnnxError> {
    let source = Source::open(path).map_err(|source| OnnxError::Open {
        file: path.display().to_string(),
        source,
    })?;
    let stem = || path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let name = options.name.clone().or_else(stem).unwrap_or_default();
    read_source(
        &source,
        &ReadOptions {
            name: Some(name),
            ..options.clone()
        },
        program,
    )
}

/// Reads a model from `source` into `program`.
///
/// # Errors
/// As for [`read`].
pub fn read_source(
    source: &Source,
    options: &ReadOptions,
    program: &mut Program,
) -> Result<Imported, OnnxError> {
    let model = crate::parse(source)?;
    let name = options.name.as_deref().unwrap_or(source.name());
    let import = Import {
        file: source.name(),
        files: ExternalFiles::new(source.folder()),
        options,
    };
    let (graph, n_nodes, n_folded, notes) = import.run(&model, name, &mut program.weights, None)?;
    let producer = [&model.producer_name, &model.producer_version];
    let own =
        |o: &&crate::proto::OperatorSetIdProto| flatten::domain_of(o.domain.as_deref()).is_empty();
    Ok(Imported {
        graph: program.graphs.push(graph),
        n_nodes,
        n_folded,
        opset: model.opset_import.iter().find(own).and_then(|o| o.version),
        producer: producer
            .map(|p| p.as_deref().unwrap_or_default())
            .join(" ")
            .trim()
            .to_owned(),
        notes,
    })
}

struct Import<'s> {
    file: &'s str,
    files: ExternalFiles,
    options: &'s ReadOptions,
}

/// What is known of the model's values, by [`Name::index`].
struct Slots<'m> {
    values: Vec<Slot<'m>>,
    is_read: Vec<bool>,
    /// Names of dimensions that the inputs leave open.
    open_dims: Vec<String>,
}

/// A value that may not have been made yet.
#[derive(Clone, Copy)]
enum Slot<'m> {
    /// Nothing defined it so far.
    Empty,
    /// A constant that nothing has read so far.
    Initializer(&'m TensorProto),
    /// A value of the graph.
    Value(ValueId),
}

impl Import<'_> {
    /// The graph, the number of nodes in the file, how many became constants, and notes. `outline` is
    /// filled if it is there.
    fn run(
        mut self,
        model: &ModelProto,
        name: &str,
        weights: &mut Weights,
        outline: Option<&mut Outline>,
    ) -> Result<(Graph, usize, usize, Vec<Note>), OnnxError> {
        let none = GraphProto::default();
        let proto = model.graph.as_ref().unwrap_or(&none);
        let mut flat = flatten::flatten(model, proto).map_err(|source| OnnxError::Inline {
            file: self.file.to_owned(),
            source,
        })?;
        let frame = Frame::new(proto, &mut flat).map_err(|problems| OnnxError::Graph {
            file: self.file.to_owned(),
            problems,
        })?;
        let operators = support::unsupported(&flat);
        if !operators.is_empty() {
            return Err(OnnxError::Unsupported {
                file: self.file.to_owned(),
                operators,
            });
        }
        let order = order::order(&flat, &frame.definers, &frame.outputs).map_err(|problems| {
            OnnxError::Graph {
                file: self.file.to_owned(),
                problems,
            }
        })?;

        let mut builder = Builder::new(name, weights);
        let mut slots = Slots {
            values: vec![Slot::Empty; flat.n_names()],
            is_read: vec![false; flat.n_names()],
            open_dims: Vec::new(),
        };
        let operands = flat.nodes.iter().flat_map(|n| n.inputs.iter().flatten());
        for name in operands.chain(&frame.outputs) {
            slots.is_read[name.index()] = true;
        }
        for &(name, tensor) in &frame.initializers {
            slots.values[name.index()] = Slot::Initializer(tensor);
        }
        let types =
            inputs::types(&frame.inputs, &self.options.bind).map_err(|e| self.types_error(e))?;
        slots.open_dims = inputs::open_dimensions(&types);
        for (input, ty) in frame.inputs.iter().zip(types) {
            let text = input.name.as_deref().unwrap_or_default();
            if let Some(name) = flat.find(text) {
                slots.values[name.index()] = Slot::Value(builder.input(text, ty));
            }
        }
        for i in order {
            self.node(&flat, &flat.nodes[i], &mut slots, &mut builder)?;
        }
        for (&name, info) in frame.outputs.iter().zip(&proto.output) {
            let value = self.value(&flat, name, &mut slots, &mut builder)?;
            self.check_output(info, &flat.display(name), builder.ty(value))?;
            builder.output(&flat.display(name), value);
        }
        if let Some(outline) = outline {
            self.fill(outline, &flat, &mut slots, &mut builder);
        }
        let (graph, n_folded, notes) = builder.finish();
        Ok((graph, flat.nodes.len(), n_folded, notes))
    }

    fn types_error(&self, error: TypesError) -> OnnxError {
        let file = self.file.to_owned();
        match error {
            TypesError::Input { name, source } => OnnxError::Input {
                file,
                input: name,
                source,
            },
            TypesError::Bind { name, source } => OnnxError::Bind { file, name, source },
        }
    }

    /// The value called `name`; a constant is read when it is first needed.
    fn value<'m>(
        &mut self,
        flat: &FlatGraph<'_>,
        name: Name,
        slots: &mut Slots<'m>,
        builder: &mut Builder<'_>,
    ) -> Result<ValueId, OnnxError> {
        let value = match slots.values[name.index()] {
            Slot::Value(value) => return Ok(value),
            Slot::Initializer(proto) => {
                let text = flat.display(name);
                let tensor =
                    tensor::read(proto, &mut self.files).map_err(|source| OnnxError::Tensor {
                        file: self.file.to_owned(),
                        tensor: text.clone(),
                        source,
                    })?;
                builder.constant(tensor, Some(&text))
            }
            // The order has every value defined before it is read.
            Slot::Empty => {
                let problem = GraphProblem::Undefined {
                    value: flat.display(name),
                    readers: Vec::new(),
                };
                return Err(OnnxError::Graph {
                    file: self.file.to_owned(),
                    problems: vec![problem],
                });
            }
        };
        slots.values[name.index()] = Slot::Value(value);
        Ok(value)
    }

    fn node<'m>(
        &mut self,
        flat: &FlatGraph<'_>,
        node: &FlatNode<'_>,
        slots: &mut Slots<'m>,
        builder: &mut Builder<'_>,
    ) -> Result<(), OnnxError> {
        let display = flat.display_node(node);
        let opset = node.opset.unwrap_or_default();
        let error = |source: NodeError| OnnxError::Node {
            file: self.file.to_owned(),
            node: display.clone(),
            operator: node.op.to_owned(),
            opset,
            source: Box::new(source),
        };
        let attributes =
            attributes::read(&node.attributes, &mut self.files).map_err(|e| error(e.into()))?;
        let wanted = node
            .outputs
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |i| i + 1);
        if wanted == 0 {
            return Ok(());
        }
        let is_read = |name: &Option<Name>| name.is_some_and(|n| slots.is_read[n.index()]);
        let n_read = node.outputs.iter().rposition(is_read).map_or(0, |i| i + 1);
        builder.stands_for(&display);
        let results = if node.op == constant::NAME {
            let tensor =
                constant::tensor(attributes).map_err(|e| error(UpgradeError::from(e).into()))?;
            vec![builder.constant(tensor, None)]
        } else {
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                let value = input
                    .map(|name| self.value(flat, name, slots, builder))
                    .transpose()?;
                inputs.push(value);
            }
            let draft = Draft {
                builder: &mut *builder,
                op: node.op.to_owned(),
                opset,
                inputs,
                attrs: attributes.attrs,
                tensors: attributes.tensors,
                n_outputs: wanted,
                n_read,
                result_dims: None,
            };
            draft.finish().map_err(|e| OnnxError::Node {
                file: self.file.to_owned(),
                node: display.clone(),
                operator: node.op.to_owned(),
                opset,
                source: Box::new(node_error(e, &slots.open_dims)),
            })?
        };
        for (output, value) in node.outputs.iter().zip(results) {
            if let Some(name) = *output {
                builder.name(value, &flat.display(name));
                slots.values[name.index()] = Slot::Value(value);
            }
        }
        Ok(())
    }

    /// Refuses a result of another element type than the file says.
    fn check_output(
        &self,
        info: &ValueInfoProto,
        name: &str,
        found: &ir::TensorType,
    ) -> Result<(), OnnxError> {
        let declared = info
            .r#type
            .as_ref()
            .and_then(|t| t.tensor_type.as_ref()?.elem_type);
        match declared.and_then(|code| tensor::dtype_of(code).ok()) {
            Some(declared) if declared != found.dtype => Err(OnnxError::Output {
                file: self.file.to_owned(),
                output: name.to_owned(),
                declared,
                found: found.dtype,
            }),
            _ => Ok(()),
        }
    }
}

/// A refusal, with the dimensions that the user could give, if that may help.
fn node_error(error: UpgradeError, open_dims: &[String]) -> NodeError {
    match error {
        UpgradeError::Operator(source @ OpError::NotConstant(_)) if !open_dims.is_empty() => {
            NodeError::OpenShape {
                dimensions: open_dims.to_vec(),
                source,
            }
        }
        error => error.into(),
    }
}
