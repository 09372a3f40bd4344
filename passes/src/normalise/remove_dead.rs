//! Drops what no output needs.

use crate::manager::{Changed, PassCx, PassError};
use ir::{Program, patch};

/// Nodes whose results reach no output go.
///
/// Before: `%1 = Relu(%0)`, `%2 = Exp(%0)`, output `%1`. After: `%1 = Relu(%0)`.
///
/// Outputs do not depend on dead nodes, so this is no change to bisect over: it asks no leave.
pub fn remove_dead(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    let mut removed = 0;
    for (_, graph) in program.graphs.iter_mut() {
        cx.count_work(graph.order.len());
        removed += patch::remove_dead(graph);
    }
    Ok(Changed(removed))
}
