//! The scores of an attention: products of queries and keys, scaled, bounded and masked.

use super::broadcast::{Batches, over_batches};
use crate::pattern::Sweep;
use ir::ops::{Mul, Where};
use ir::patch::PatchError;
use ir::{DType, Op, Shape, Tensor, ValueId};

/// Most operators between the product and the softmax.
const DEPTH: usize = 8;

/// What is added to a score that does not count is at most this: its weight is 0 then.
const HIDDEN: f64 = -1e4;

/// `softcap(scale * factors * q * k) + masks`.
#[derive(Clone)]
pub(super) struct Scores {
    pub(super) q: ValueId,
    pub(super) k_transposed: ValueId,
    pub(super) scale: f64,
    /// What the scores of a whole matrix are multiplied with.
    pub(super) factors: Vec<Broadcast>,
    /// The bound; 0 for none.
    pub(super) softcap: f64,
    /// Whether later positions are hidden.
    pub(super) causal: bool,
    pub(super) masks: Vec<Mask>,
}

/// A value that scores of the shape `within` are combined with: reshapes of the scores may come
/// before and after.
#[derive(Clone)]
pub(super) struct Broadcast {
    pub(super) value: ValueId,
    pub(super) within: Shape,
}

/// What is added to the scores.
#[derive(Clone)]
pub(super) struct Mask {
    kind: MaskKind,
    /// The shape of the scores that it is added to.
    pub(super) within: Shape,
    /// What the sum was multiplied with afterwards.
    factor: f64,
}

#[derive(Clone, Copy)]
enum MaskKind {
    /// The value itself.
    Added(ValueId),
    /// 0 where the condition is `keep`, else `fill`.
    Chosen {
        condition: ValueId,
        keep: bool,
        fill: ValueId,
    },
}

/// The scores that `z` is, or why it is none.
pub(super) fn scores(s: &Sweep<'_, '_, '_>, z: ValueId) -> Result<Scores, &'static str> {
    let mut found = Scores {
        q: z,
        k_transposed: z,
        scale: 1.0,
        factors: vec![],
        softcap: 0.0,
        causal: false,
        masks: vec![],
    };
    peel(s, z, &mut found, DEPTH).ok_or("no product of queries and keys before the softmax")?;
    let mut causal = false;
    found.masks.retain(|mask| {
        let hides_later = mask.factor > 0.0 && is_causal(s, mask, z);
        causal |= hides_later;
        !hides_later
    });
    found.causal = causal;
    Ok(found)
}

/// Takes the operators off `v` one by one, outermost first, down to the product.
fn peel(s: &Sweep<'_, '_, '_>, v: ValueId, found: &mut Scores, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    if s.n_readers(v) > 1 {
        return None;
    }
    let node = s.def(v)?;
    if let Some((x, c)) = s.times(v) {
        if let Some(bounded) = s.operand(x, |op| matches!(op, Op::Tanh(_))) {
            let (inner, inverse) = s.times(bounded)?;
            let outside = found.softcap == 0.0 && found.scale == 1.0 && found.factors.is_empty();
            (outside && s.near(v, inverse * c, 1.0)).then_some(())?;
            found.softcap = c;
            return peel(s, inner, found, depth);
        }
        found.scale *= c;
        return peel(s, x, found, depth);
    }
    let within = s.ty(v).shape.clone();
    // A mask inside a bound or a factor would be bounded or multiplied too.
    let open = found.softcap == 0.0 && found.factors.is_empty();
    match s.op(node) {
        Op::MatMul(_) => {
            (found.q, found.k_transposed) = (s.input(node, 0)?, s.input(node, 1)?);
            (s.rank(found.q) >= 2 && s.rank(found.k_transposed) >= 2).then_some(())
        }
        Op::Reshape(_) => {
            let x = s.input(node, 0)?;
            keeps_matrices(s, x, v).then_some(())?;
            peel(s, x, found, depth)
        }
        Op::Mul(_) => s
            .either_order(v, |op| matches!(op, Op::Mul(_)))
            .find_map(|[x, factor]| {
                let mut last = s.ty(factor).shape.0.iter().rev().take(2);
                let whole = last.all(|d| d.known() == Some(1));
                (whole && s.ty(x) == s.ty(v)).then_some(())?;
                let mut inside = found.clone();
                inside.factors.push(Broadcast {
                    value: factor,
                    within: within.clone(),
                });
                peel(s, x, &mut inside, depth)?;
                *found = inside;
                Some(())
            }),
        Op::Add(_) if open => {
            let factor = found.scale;
            s.either_order(v, |op| matches!(op, Op::Add(_)))
                .find_map(|[x, mask]| {
                    let mut inside = found.clone();
                    inside.masks.push(Mask {
                        kind: MaskKind::Added(mask),
                        within: within.clone(),
                        factor,
                    });
                    let fits = s.ty(x) == s.ty(v) && !s.is_constant(x);
                    (fits && peel(s, x, &mut inside, depth).is_some()).then(|| *found = inside)
                })
        }
        Op::Where(_) if open => {
            let [condition, a, b] = s.operands(v, |op| matches!(op, Op::Where(_)))?;
            let factor = found.scale;
            [(a, b, true), (b, a, false)]
                .into_iter()
                .find_map(|(x, fill, keep)| {
                    let hidden = hides(s, condition, keep, fill, factor);
                    let mut inside = found.clone();
                    inside.masks.push(Mask {
                        kind: MaskKind::Chosen {
                            condition,
                            keep,
                            fill,
                        },
                        within: within.clone(),
                        factor,
                    });
                    let fits = hidden && s.ty(x) == s.ty(v);
                    (fits && peel(s, x, &mut inside, depth).is_some()).then(|| *found = inside)
                })
        }
        _ => None,
    }
}

/// Whether the reshape from `x` to `y` leaves the matrices, the last two dimensions, as they are.
fn keeps_matrices(s: &Sweep<'_, '_, '_>, x: ValueId, y: ValueId) -> bool {
    match (s.dims(x).as_deref(), s.dims(y).as_deref()) {
        (Some([.., a, b]), Some([.., c, d])) => (a, b) == (c, d),
        _ => false,
    }
}

impl Mask {
    /// The value that the mask is made of.
    pub(super) fn operand(&self) -> ValueId {
        match self.kind {
            MaskKind::Added(v) => v,
            MaskKind::Chosen { condition, .. } => condition,
        }
    }

    /// The value to add to the scores, for each of `batches` if given.
    pub(super) fn build(
        &self,
        s: &mut Sweep<'_, '_, '_>,
        batches: Option<Batches>,
    ) -> Result<ValueId, PatchError> {
        let mask = match self.kind {
            MaskKind::Added(v) => v,
            MaskKind::Chosen {
                condition,
                keep,
                fill,
            } => {
                let zero = s.number(s.dtype(fill), 0.0);
                let (yes, no) = if keep { (zero, fill) } else { (fill, zero) };
                s.node(Where {}, &[condition, yes, no])?
            }
        };
        let mask = if self.factor == 1.0 {
            mask
        } else {
            let factor = s.number(s.dtype(mask), self.factor);
            s.node(Mul {}, &[mask, factor])?
        };
        over_batches(s, mask, &self.within, batches)
    }
}

/// Whether adding `fill` does what putting it in the place of a score does: scores are lost in its
/// rounding, or it hides them and no row is hidden as a whole.
fn hides(
    s: &Sweep<'_, '_, '_>,
    condition: ValueId,
    keep: bool,
    fill: ValueId,
    factor: f64,
) -> bool {
    let Some(added) = s.scalar(fill).map(|f| f * factor) else {
        return false;
    };
    let epsilon = match s.dtype(fill) {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        DType::F64 => 2f64.powi(-53),
        _ => 2f64.powi(-24),
    };
    let rows_keep_one = || {
        let tensor = s.constant(condition)?;
        let n = *tensor.dims().last()?;
        let shown: Vec<bool> = tensor.to_i64()?.iter().map(|&c| (c != 0) == keep).collect();
        Some(n > 0 && shown.chunks_exact(n).all(|row| row.contains(&true)))
    };
    added * epsilon <= -16.0 || added <= HIDDEN && rows_keep_one() == Some(true)
}

/// Whether `mask` hides exactly the positions after a query's own, in scores like `z`.
fn is_causal(s: &Sweep<'_, '_, '_>, mask: &Mask, z: ValueId) -> bool {
    let Some(tensor) = s.constant(mask.operand()) else {
        return false;
    };
    let hidden = match mask.kind {
        MaskKind::Added(_) => hidden_by_sum(tensor, mask.factor),
        MaskKind::Chosen { keep, .. } => tensor
            .to_i64()
            .map(|c| c.iter().map(|&c| Some((c != 0) != keep)).collect()),
    };
    let rank = s.rank(z);
    let (Some(hidden), [.., rows, columns]) = (hidden, tensor.dims()) else {
        return false;
    };
    let scores = &s.ty(z).shape.0[rank - 2..];
    scores[0].known() == Some(*rows)
        && scores[1].known() == Some(*columns)
        && hidden
            .iter()
            .enumerate()
            .all(|(i, &h)| h == Some(i % columns > i / columns % rows))
}

/// For each element of a mask whether it hides; `None` where it does neither hide nor nothing.
fn hidden_by_sum(tensor: &Tensor, factor: f64) -> Option<Vec<Option<bool>>> {
    let hides = |&m: &f64| match m * factor {
        0.0 => Some(false),
        m if m <= HIDDEN => Some(true),
        _ => None,
    };
    Some(tensor.to_f64()?.iter().map(hides).collect())
}

/// `v` without a constant factor, which may stand before its reshapes and transposes, and the factor.
pub(super) fn unscaled(
    s: &mut Sweep<'_, '_, '_>,
    v: ValueId,
) -> Result<(ValueId, f64), PatchError> {
    let mut views = vec![];
    let mut at = s.resolve(v);
    while views.len() < DEPTH && s.n_readers(at) == 1 {
        if let Some((x, c)) = s.times(at) {
            let mut y = x;
            for &view in views.iter().rev() {
                let op: Op = s.op(view).clone();
                let mut inputs = s.inputs(view);
                inputs[0] = Some(y);
                y = s.node_with(op, &inputs)?;
            }
            return Ok((y, c));
        }
        let view = s
            .def(at)
            .filter(|&n| matches!(s.op(n), Op::Reshape(_) | Op::Transpose(_)));
        let Some((view, x)) = view.and_then(|n| Some((n, s.input(n, 0)?))) else {
            break;
        };
        views.push(view);
        at = x;
    }
    Ok((s.resolve(v), 1.0))
}
