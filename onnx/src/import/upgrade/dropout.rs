//! Dropout in a model that asks for training.

use super::Draft;
use crate::import::Note;
use ir::OpError;

/// Leaves the ratio and the mode out. Models exported in training mode ask for dropout; what is
/// compiled here runs inference, as other engines do with such models.
pub(super) fn for_inference(draft: &mut Draft<'_, '_>) -> Result<(), OpError> {
    let mode = draft.inputs.get(2).copied().flatten();
    let off = |t: &ir::Tensor| t.to_i64().is_some_and(|v| v == [0]);
    if mode.is_some_and(|mode| !draft.builder.content(mode).is_some_and(off)) {
        draft
            .builder
            .note(|node| Note::TrainingDropout { nodes: vec![node] });
    }
    draft.inputs.truncate(1);
    Ok(())
}
