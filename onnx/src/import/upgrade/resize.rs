//! Resize in opset 10, and Upsample before it: operands x and scales, and one way to sample.

use super::Draft;
use ir::OpError;
use ir::attrs::Attr;

/// Says how opset 10 sampled: output position times 1/scale, cut down where the image grows and
/// rounded up where it shrinks.
pub(super) fn from_opset_10(draft: &mut Draft<'_, '_>) -> Result<(), OpError> {
    let scales = draft.input(1)?;
    draft.inputs = vec![draft.inputs[0], None, Some(scales)];
    let set = |draft: &mut Draft<'_, '_>, name: &str, value: &str| {
        draft.attrs.insert(name.into(), Attr::Str(value.into()));
    };
    set(draft, "coordinate_transformation_mode", "asymmetric");
    match draft.attrs.get("mode") {
        Some(Attr::Str(mode)) if mode == "bilinear" => set(draft, "mode", "linear"),
        Some(Attr::Str(mode)) if mode != "nearest" => {}
        _ => {
            let content = draft
                .builder
                .content(scales)
                .ok_or(OpError::NotConstant("scales"))?;
            let values = content.to_f64().unwrap_or_default();
            let rounding = if values.iter().all(|&s| s >= 1.0) {
                "floor"
            } else if values.iter().all(|&s| s <= 1.0) {
                "ceil"
            } else {
                return Err(OpError::Unsupported(
                    "nearest-neighbour scaling, before opset 11, that grows along one axis and \
                     shrinks along another"
                        .into(),
                ));
            };
            set(draft, "nearest_mode", rounding);
        }
    }
    Ok(())
}

/// Leaves out operands without elements: before opset 13 they had to be there.
pub(super) fn drop_empty_operands(draft: &mut Draft<'_, '_>) -> Result<(), OpError> {
    for operand in draft.inputs.iter_mut().skip(1) {
        if operand.is_some_and(|v| draft.builder.ty(v).shape.n_elements() == Some(0)) {
            *operand = None;
        }
    }
    Ok(())
}
