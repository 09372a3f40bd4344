//! Canonical domains: as few dimensions as the operands' strides allow, in the order of memory.

/// Dimensions that no operand needs to tell apart are merged, those of extent 1 dropped, and the
/// others ordered by the strides of `lists[0]`, greatest first. Dimensions in `pinned` are neither
/// merged nor dropped. Returns where each old dimension went.
pub(super) fn canonical(
    domain: &mut Vec<u64>,
    lists: &mut [&mut Vec<i64>],
    pinned: &[usize],
) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..domain.len())
        .filter(|&d| domain[d] != 1 || pinned.contains(&d))
        .collect();
    if let Some(lead) = lists.first() {
        order.sort_by_key(|&d| std::cmp::Reverse(lead[d].unsigned_abs()));
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for d in order {
        let merges = groups.last().and_then(|g| g.last()).is_some_and(|&before| {
            !pinned.contains(&d)
                && !pinned.contains(&before)
                && lists
                    .iter()
                    .all(|s| s[before] == s[d].wrapping_mul(domain[d] as i64))
        });
        match groups.last_mut() {
            Some(group) if merges => group.push(d),
            _ => groups.push(vec![d]),
        }
    }
    let mut went = vec![None; domain.len()];
    for (new, group) in groups.iter().enumerate() {
        for &d in group {
            went[d] = Some(new);
        }
    }
    for list in lists {
        **list = groups.iter().map(|g| list[g[g.len() - 1]]).collect();
    }
    *domain = groups
        .iter()
        .map(|g| g.iter().map(|&d| domain[d]).product())
        .collect();
    went
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn dense_operands_become_one_dimension() {
        let mut domain = vec![2, 1, 3, 4];
        let (mut a, mut b) = (vec![12, 12, 4, 1], vec![12, 7, 4, 1]);
        canonical(&mut domain, &mut [&mut a, &mut b], &[]);
        assert_eq!((domain, a, b), (vec![24], vec![1], vec![1]));
    }

    #[test]
    fn a_broadcast_keeps_dimensions_apart() {
        let mut domain = vec![2, 3, 4];
        let (mut a, mut b) = (vec![12, 4, 1], vec![0, 1, 0]);
        canonical(&mut domain, &mut [&mut a, &mut b], &[]);
        assert_eq!((domain, b), (vec![2, 3, 4], vec![0, 1, 0]));
    }

    #[test]
    fn dimensions_follow_memory() {
        let mut domain = vec![1, 64, 7, 7];
        let mut a = vec![3136, 1, 448, 64];
        let went = canonical(&mut domain, &mut [&mut a], &[]);
        assert_eq!((domain, a), (vec![3136], vec![1]));
        assert_eq!(went, [None, Some(0), Some(0), Some(0)]);
    }
}
