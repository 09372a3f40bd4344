//! Matrix products.

use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::NodeId;
use ir::ops::{Add, Gemm, MatMul, Mul};

/// `Gemm(%0, w0, w1) {transB = 1}` is `Transpose(w0)`, `MatMul(%0, %1)`, `Add(%2, w1)`; factors are
/// products with numbers.
pub(crate) fn gemm(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &Gemm) -> Result<(), Cause> {
    let (Some(a), Some(b)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let c = s.input(node, 2);
    let dtype = s.dtype(a);
    s.rewrite(node, |s| {
        let a = if op.transA {
            s.transposed(a, &[1, 0])?
        } else {
            a
        };
        let b = if op.transB {
            s.transposed(b, &[1, 0])?
        } else {
            b
        };
        let mut y = s.node(MatMul {}, &[a, b])?;
        if op.alpha != 1.0 {
            let alpha = s.number(dtype, op.alpha.into());
            y = s.node(Mul {}, &[y, alpha])?;
        }
        let Some(mut c) = c.filter(|_| op.beta != 0.0) else {
            return Ok(y);
        };
        if op.beta != 1.0 {
            let beta = s.number(dtype, op.beta.into());
            c = s.node(Mul {}, &[c, beta])?;
        }
        s.node(Add {}, &[y, c])
    })
}
