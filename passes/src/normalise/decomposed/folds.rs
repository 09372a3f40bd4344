//! Folds of types that no kernel folds.

use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::ops::Cast;
use ir::{DType, NodeId, Op};

/// The greatest or least of bools is that of numbers.
pub(crate) fn bools(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: Op) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0).filter(|&x| s.dtype(x) == DType::Bool) else {
        return Ok(());
    };
    let axes = s.input(node, 1);
    s.rewrite(node, |s| {
        let numbers = s.node(Cast::to(DType::U8), &[x])?;
        let operands = std::iter::once(numbers).chain(axes);
        let y = s.node(op, &operands.collect::<Vec<_>>())?;
        s.node(Cast::to(DType::Bool), &[y])
    })
}
