//! GroupNormalization before opset 21: scale and bias are one number a group, not a channel.

use super::{Draft, reshape};
use ir::OpError;
use ir::attrs::Attr;
use ir::ops::Expand;

/// Repeats the parameters of each group for each of its channels.
pub(super) fn upgrade(draft: &mut Draft<'_, '_>) -> Result<(), OpError> {
    let Some(&Attr::Int(groups)) = draft.attrs.get("num_groups") else {
        return Ok(());
    };
    let x = draft.input(0)?;
    let shape = &draft.builder.ty(x).shape;
    let channels = shape.0.get(1).and_then(|d| i64::try_from(d.known()?).ok());
    let Some(channels) = channels.filter(|&c| groups > 0 && c % groups == 0) else {
        return Err(OpError::Shape(format!(
            "{shape} in {groups} groups of channels"
        )));
    };
    for i in [1, 2] {
        let parameter = draft.input(i)?;
        let column = reshape(draft.builder, parameter, &[groups, 1])?;
        let dims = draft.builder.ints(&[groups, channels / groups]);
        let expand = Expand {}.into();
        let repeated = draft
            .builder
            .node(expand, vec![Some(column), Some(dims)], 1)?[0];
        draft.inputs[i] = Some(reshape(draft.builder, repeated, &[channels])?);
    }
    Ok(())
}
