//! Opset differences: what older forms of operators become, by the table in [`table`].

mod dropout;
mod flatten_axis;
mod group_parameters;
mod resize;
mod table;

pub(crate) use table::newest_name;

use super::build::Builder;
use ir::attrs::{Attr, AttrError, Attrs};
use ir::{Op, OpError, Tensor, ValueId};
use std::collections::BTreeMap;
use table::{Change, UPGRADES};

/// A node on its way to the newest form.
pub(crate) struct Draft<'b, 'p> {
    /// The graph, for operands to be made in.
    pub(crate) builder: &'b mut Builder<'p>,
    /// The operator.
    pub(crate) op: String,
    /// The version that the node was written for.
    pub(crate) opset: i64,
    /// Operands.
    pub(crate) inputs: Vec<Option<ValueId>>,
    /// Attributes but for tensors.
    pub(crate) attrs: Attrs,
    /// Attributes that are tensors.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// The number of results.
    pub(crate) n_outputs: usize,
    /// The number of results up to the last that something reads.
    pub(crate) n_read: usize,
    /// The dimensions that result 0 has to get back, if an upgrade changed them.
    pub(crate) result_dims: Option<Vec<i64>>,
}

/// Why a node has no newest form.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The operator refuses an attribute.
    #[error(transparent)]
    Attribute(#[from] AttrError),
    /// The operator refuses an operand, or their types.
    #[error(transparent)]
    Operator(#[from] OpError),
    /// A tensor in an attribute that is none.
    #[error("unknown attributes: {}", names.join(", "))]
    UnknownTensors {
        /// The attributes.
        names: Vec<String>,
    },
}

impl Draft<'_, '_> {
    /// Brings the node to the newest form and adds it to the graph. Returns its results.
    pub(crate) fn finish(mut self) -> Result<Vec<ValueId>, UpgradeError> {
        for upgrade in UPGRADES {
            if upgrade.op == self.op && self.opset < upgrade.before {
                self.apply(&upgrade.change)?;
            }
        }
        if !self.tensors.is_empty() {
            let names = self.tensors.into_keys().collect();
            return Err(UpgradeError::UnknownTensors { names });
        }
        let op = Op::read(&self.op, &self.attrs).unwrap_or_else(|| {
            // Unsupported operators were refused before the first node was built.
            Err(AttrError::Unknown(vec![format!(
                "every one of {}",
                self.op
            )]))
        })?;
        // Exporters list results that only training has, and nothing reads.
        let (least, most) = op.results().into_inner();
        let n_outputs = match most {
            usize::MAX => self.n_outputs,
            most if most < self.n_outputs => self.n_outputs,
            _ => self.n_read.max(least).max(1).min(self.n_outputs),
        };
        let mut outputs = self.builder.node(op, self.inputs, n_outputs)?;
        if let (Some(dims), Some(result)) = (self.result_dims, outputs.first_mut()) {
            *result = reshape(self.builder, *result, &dims)?;
        }
        Ok(outputs)
    }

    fn apply(&mut self, change: &Change) -> Result<(), OpError> {
        let mistyped = |attr: &str| OpError::Type(format!("attribute `{attr}` is of another kind"));
        match *change {
            Change::Ints { attr, operand } => match self.attrs.remove(attr) {
                Some(Attr::Ints(values)) => {
                    let value = self.builder.ints(&values);
                    self.set(operand, value)
                }
                Some(_) => Err(mistyped(attr)),
                None => Ok(()),
            },
            Change::Int { attr, operand } => match self.attrs.remove(attr) {
                Some(Attr::Int(value)) => {
                    let value = self.builder.ints(&[value]);
                    self.set(operand, value)
                }
                Some(_) => Err(mistyped(attr)),
                None => Ok(()),
            },
            Change::Floats { attr, operand } => match self.attrs.remove(attr) {
                Some(Attr::Floats(values)) => {
                    let tensor = Tensor::from_slice(&[values.len()], &values);
                    let value = self.builder.constant(tensor, None);
                    self.set(operand, value)
                }
                Some(_) => Err(mistyped(attr)),
                None => Ok(()),
            },
            Change::Float { attr, operand } => match self.attrs.remove(attr) {
                Some(Attr::Float(number)) => {
                    let dtype = self.builder.ty(self.input(0)?).dtype;
                    let value = self.builder.scalar(dtype, f64::from(number));
                    self.set(operand, value)
                }
                Some(_) => Err(mistyped(attr)),
                None => Ok(()),
            },
            Change::Scalar { attr, operand } => match self.tensors.remove(attr) {
                Some(tensor) => {
                    let one = tensor.reshaped(&[]).map_err(|_| {
                        OpError::Shape(format!("attribute `{attr}` is no tensor of one element"))
                    })?;
                    let value = self.builder.constant(one, None);
                    self.set(operand, value)
                }
                None => Ok(()),
            },
            Change::Ignore { attr } => {
                self.attrs.remove(attr);
                Ok(())
            }
            Change::Only { attr, value } => match self.attrs.remove(attr) {
                Some(given) if given != Attr::Int(value) => Err(OpError::Unsupported(format!(
                    "attribute `{attr}` other than {value}"
                ))),
                _ => Ok(()),
            },
            Change::Value { attr, old, new } => {
                if let Some(Attr::Str(value)) = self.attrs.get_mut(attr)
                    && value == old
                {
                    *value = new.to_owned();
                }
                Ok(())
            }
            Change::Rename { to } => {
                self.op = to.to_owned();
                Ok(())
            }
            Change::Call(upgrade) => upgrade(self),
        }
    }

    /// Operand `i`, which must be there.
    fn input(&self, i: usize) -> Result<ValueId, OpError> {
        self.inputs
            .get(i)
            .copied()
            .flatten()
            .ok_or(OpError::MissingInput(i))
    }

    /// Makes `value` operand `i`, where there is none yet.
    fn set(&mut self, i: usize, value: ValueId) -> Result<(), OpError> {
        if self.inputs.len() <= i {
            self.inputs.resize(i + 1, None);
        }
        match self.inputs[i].replace(value) {
            None => Ok(()),
            Some(_) => Err(OpError::Arity(format!(
                "operand {i} is also given as an attribute"
            ))),
        }
    }
}

/// `value` with the dimensions `dims`, in the way of Reshape.
fn reshape(builder: &mut Builder<'_>, value: ValueId, dims: &[i64]) -> Result<ValueId, OpError> {
    let shape = builder.ints(dims);
    let op = ir::ops::Reshape { allowzero: false };
    Ok(builder.node(op.into(), vec![Some(value), Some(shape)], 1)?[0])
}
