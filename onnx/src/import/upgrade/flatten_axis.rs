//! Softmax, LogSoftmax and Hardmax before opset 13: along `axis` and all later axes as one.

use super::{Draft, reshape};
use ir::attrs::Attr;
use ir::infer::normalize_axis;
use ir::{Dim, OpError};

/// Sets `axis` to the one axis that matters; where several do, makes one of them first.
pub(super) fn upgrade(draft: &mut Draft<'_, '_>) -> Result<(), OpError> {
    let axis = match draft.attrs.get("axis") {
        None => 1,
        Some(Attr::Int(axis)) => *axis,
        // The operator itself says what it wants.
        Some(_) => return Ok(()),
    };
    let x = draft.input(0)?;
    let dims = draft.builder.ty(x).shape.0.clone();
    let axis = normalize_axis(axis, dims.len())?;
    let mut large = (axis..dims.len()).filter(|&i| dims[i] != Dim::Known(1));
    let only = match (large.next(), large.next()) {
        (Some(_), Some(_)) => None,
        (first, _) => Some(first.unwrap_or(axis)),
    };
    if let Some(axis) = only {
        draft.attrs.insert("axis".into(), Attr::Int(axis as i64));
        return Ok(());
    }
    let known: Option<Vec<i64>> = dims
        .iter()
        .map(|d| i64::try_from(d.known()?).ok())
        .collect();
    let Some(known) = known else {
        return Err(OpError::Unsupported(format!(
            "before opset 13, {} runs over all axes from {axis} on, and a dimension is unknown",
            draft.op
        )));
    };
    let merged = [
        known[..axis].iter().product(),
        known[axis..].iter().product(),
    ];
    draft.inputs[0] = Some(reshape(draft.builder, x, &merged)?);
    draft.attrs.insert("axis".into(), Attr::Int(1));
    draft.result_dims = Some(known);
    Ok(())
}
