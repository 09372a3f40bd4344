//! What reading a model finds out about the values and nodes of its file.

use super::{Builder, ExternalFiles, FlatGraph, Import, ReadOptions, Slots};
use crate::proto::ModelProto;
use crate::{OnnxError, Source};
use ir::program::Weights;
use ir::{Tensor, TensorType};
use std::collections::BTreeMap;

/// The values and nodes of a file's graph.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// Values by name: the type, and of constants the content.
    pub(crate) values: BTreeMap<String, (TensorType, Option<Tensor>)>,
    /// For the names by which [`Origin`](ir::Origin) knows nodes, the positions in the file's graph of
    /// the nodes so called: of the call, for nodes of a function.
    pub(crate) nodes: BTreeMap<String, Vec<usize>>,
}

/// The outline of `model`, parsed from `source` and read as [`read_source`](super::read_source) does.
///
/// # Errors
/// As for [`read`](super::read).
pub(crate) fn outline(
    source: &Source,
    model: &ModelProto,
    options: &ReadOptions,
) -> Result<Outline, OnnxError> {
    let import = Import {
        file: source.name(),
        files: ExternalFiles::new(source.folder()),
        options,
    };
    let mut outline = Outline::default();
    let mut weights = Weights::default();
    import.run(model, "", &mut weights, Some(&mut outline))?;
    Ok(outline)
}

impl Import<'_> {
    /// Fills `outline` with what is known of the main graph.
    pub(super) fn fill(
        &mut self,
        outline: &mut Outline,
        flat: &FlatGraph<'_>,
        slots: &mut Slots<'_>,
        builder: &mut Builder<'_>,
    ) {
        let mut start = 0;
        for (i, &end) in flat.ends.iter().enumerate() {
            for node in &flat.nodes[start..end] {
                let known = outline.nodes.entry(flat.display_node(node)).or_default();
                if known.last() != Some(&i) {
                    known.push(i);
                }
            }
            start = end;
        }
        for (text, name) in flat.main_values() {
            // Constants that only a function's call mentions were not read yet; others need not be
            // what they should.
            let Ok(value) = self.value(flat, name, slots, builder) else {
                continue;
            };
            let content = builder.content(value).cloned();
            outline
                .values
                .insert(text.to_owned(), (builder.ty(value).clone(), content));
        }
    }
}
