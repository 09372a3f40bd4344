//! The operator Constant: its results are the graph's constants.

use super::attributes::NodeAttributes;
use ir::attrs::Attr;
use ir::{OpError, Tensor};

/// The operator's name.
pub(crate) const NAME: &str = "Constant";

/// The tensor that a node with these attributes gives.
pub(crate) fn tensor(mut attributes: NodeAttributes) -> Result<Tensor, OpError> {
    let tensor = match attributes.tensors.pop_first() {
        Some((name, tensor)) if name == "value" => Some(tensor),
        Some((name, _)) => return Err(OpError::Unsupported(format!("attribute `{name}`"))),
        None => None,
    };
    let number = attributes
        .attrs
        .pop_first()
        .map(|(name, value)| match (name.as_str(), value) {
            ("value_float", Attr::Float(v)) => Ok(Tensor::scalar(v)),
            ("value_floats", Attr::Floats(v)) => Ok(Tensor::from_slice(&[v.len()], &v)),
            ("value_int", Attr::Int(v)) => Ok(Tensor::scalar(v)),
            ("value_ints", Attr::Ints(v)) => Ok(Tensor::from_slice(&[v.len()], &v)),
            (name, _) => Err(OpError::Unsupported(format!(
                "a constant of attribute `{name}`"
            ))),
        });
    match (tensor, number.transpose()?) {
        (Some(value), None) | (None, Some(value))
            if attributes.attrs.is_empty() && attributes.tensors.is_empty() =>
        {
            Ok(value)
        }
        _ => Err(OpError::Arity("a constant has exactly one value".into())),
    }
}
