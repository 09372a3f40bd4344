//! What broadcasts over scores, under other batch dimensions of the scores.

use crate::pattern::Sweep;
use ir::ops::Expand;
use ir::patch::PatchError;
use ir::{Shape, ValueId};

/// Instances and heads.
pub(super) type Batches = [usize; 2];

/// `v`, which broadcasts over scores of the shape `within`, for scores whose matrices are `batches`
/// instead; `None` leaves it as it is.
pub(super) fn over_batches(
    s: &mut Sweep<'_, '_, '_>,
    v: ValueId,
    within: &Shape,
    batches: Option<Batches>,
) -> Result<ValueId, PatchError> {
    let (Some(batches), Some(within), Some(dims)) = (batches, within.dims(), s.dims(v)) else {
        return Ok(v);
    };
    let missing = within.len().saturating_sub(dims.len());
    let padded: Vec<usize> = std::iter::repeat_n(1, missing).chain(dims).collect();
    let n = within.len() - 2;
    let Some(regrouped) = regroup(&padded[..n], &within[..n], &batches) else {
        return Ok(v);
    };
    let matrices = &padded[n..];
    let full = [&regrouped.expanded, matrices].concat();
    let mut y = s.reshaped(v, &padded)?;
    if full != padded {
        let full: Vec<i64> = full.iter().map(|&d| d as i64).collect();
        let full = s.list(&full);
        y = s.node(Expand {}, &[y, full])?;
    }
    s.reshaped(y, &[&regrouped.target, matrices].concat())
}

/// How dimensions that broadcast to some become dimensions that broadcast to others.
#[derive(PartialEq, Eq, Debug)]
struct Regrouped {
    /// What to expand to first: a group of dimensions that is regrouped varies along all or none.
    expanded: Vec<usize>,
    /// What to reshape to then.
    target: Vec<usize>,
}

/// From dimensions `dims`, which broadcast to `from`, to dimensions that broadcast to `to`, the same
/// elements in the same order; `None` if `from` and `to` are not as many.
fn regroup(dims: &[usize], from: &[usize], to: &[usize]) -> Option<Regrouped> {
    let (mut expanded, mut target) = (vec![], vec![]);
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        // The shortest groups of as many elements.
        let (first, start) = (i, j);
        let (mut a, mut b) = (1usize, 1usize);
        loop {
            if a <= b && i < from.len() && (a < b || i == first) {
                a = a.checked_mul(from[i])?;
                i += 1;
            } else if b <= a && j < to.len() && (b < a || j == start) {
                b = b.checked_mul(to[j])?;
                j += 1;
            } else {
                break;
            }
        }
        if a != b {
            return None;
        }
        let (group, wanted) = (&dims[first..i], &to[start..j]);
        if group.iter().all(|&d| d == 1) {
            expanded.extend(group);
            target.extend(wanted.iter().map(|_| 1));
        } else {
            expanded.extend(&from[first..i]);
            target.extend(wanted);
        }
    }
    Some(Regrouped { expanded, target })
}

#[cfg(test)]
mod tests {
    use super::regroup;

    #[test]
    fn groups_of_dimensions_broadcast_all_or_nothing() {
        let found = |dims: &[usize], from: &[usize], to: &[usize]| {
            regroup(dims, from, to).map(|r| (r.expanded, r.target))
        };
        // Windows of instances: the mask differs by window, and so by instance afterwards.
        assert_eq!(
            found(&[1, 4, 1], &[2, 4, 3], &[8, 3]),
            Some((vec![2, 4, 1], vec![8, 1]))
        );
        assert_eq!(
            found(&[1, 4, 1], &[1, 4, 3], &[4, 3]),
            Some((vec![1, 4, 1], vec![4, 1]))
        );
        assert_eq!(
            found(&[1, 1, 3], &[2, 4, 3], &[8, 3]),
            Some((vec![1, 1, 3], vec![1, 3]))
        );
        assert_eq!(found(&[6], &[6], &[2, 3]), Some((vec![6], vec![2, 3])));
        assert_eq!(found(&[5], &[5], &[1, 5]), Some((vec![5], vec![1, 5])));
        assert_eq!(found(&[], &[], &[1, 1]), Some((vec![], vec![1, 1])));
        assert_eq!(
            found(&[4, 1], &[4, 3], &[12, 1]),
            Some((vec![4, 3], vec![12, 1]))
        );
        assert_eq!(found(&[4], &[4], &[2, 3]), None);
    }
}
