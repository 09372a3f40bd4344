//! Chains of reshapes and transposes as one rearrangement of factors.
//!
//! A reshape splits and joins dimensions, a transpose moves them. Cut every dimension of the
//! operand into the factors that some later dimension is made of: then the whole chain is a split
//! into factors, a permutation of them, and a regrouping. Factors that stay neighbours in the same
//! order are joined again, and what is left is the shortest chain `Reshape`, `Transpose`, `Reshape`
//! of the same meaning, each only where it does something.

/// A factor of the operand's dimensions.
#[derive(Clone, PartialEq, Debug)]
struct Factor {
    size: usize,
    /// Where it lies in the operand's order of factors, compared like a word: a factor that is split
    /// in two becomes two longer words, and no other changes.
    place: Vec<u32>,
}

/// A rearrangement of the elements of a tensor of known dimensions.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Rearrangement {
    source: Vec<usize>,
    /// The factors of each dimension of the result, outermost first.
    dims: Vec<Vec<Factor>>,
}

/// The shortest chain of views that does what a [`Rearrangement`] does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chain {
    /// Dimensions to reshape the operand to, if it has others.
    pub(super) split: Option<Vec<usize>>,
    /// The permutation of these dimensions, if it is not the identity.
    pub(super) perm: Option<Vec<usize>>,
    /// Dimensions to reshape to at the end, if there are others by then.
    pub(super) join: Option<Vec<usize>>,
}

impl Chain {
    /// The number of nodes.
    pub(super) fn len(&self) -> usize {
        usize::from(self.split.is_some())
            + usize::from(self.perm.is_some())
            + usize::from(self.join.is_some())
    }
}

impl Rearrangement {
    /// The one that does nothing, of a tensor of these dimensions; `None` if it has no elements.
    pub(super) fn identity(dims: &[usize]) -> Option<Self> {
        if dims.contains(&0) {
            return None;
        }
        let factor = |(i, &size): (usize, &usize)| {
            vec![Factor {
                size,
                place: vec![i as u32],
            }]
        };
        Some(Self {
            source: dims.to_vec(),
            dims: dims.iter().enumerate().map(factor).collect(),
        })
    }

    /// The dimensions of the result.
    fn result(&self) -> Vec<usize> {
        let size = |dim: &Vec<Factor>| dim.iter().map(|f| f.size).product();
        self.dims.iter().map(size).collect()
    }

    /// Follows this one by a permutation.
    pub(super) fn transpose(&mut self, perm: &[usize]) {
        self.dims = perm.iter().map(|&p| self.dims[p].clone()).collect();
    }

    /// Follows this one by a reshape to `dims`; `None` if that cuts factors unevenly.
    pub(super) fn reshape(&mut self, dims: &[usize]) -> Option<()> {
        let mut factors: Vec<Factor> = self.runs().into_iter().rev().collect();
        let mut regrouped = Vec::with_capacity(dims.len());
        for &dim in dims {
            let (mut left, mut group) = (dim, vec![]);
            while left > 1 {
                let factor = factors.pop()?;
                if left.is_multiple_of(factor.size) {
                    left /= factor.size;
                    group.push(factor);
                } else if factor.size.is_multiple_of(left) {
                    let [outer, inner] = split(&factor, left);
                    group.push(outer);
                    factors.push(inner);
                    left = 1;
                } else {
                    return None;
                }
            }
            regrouped.push(group);
        }
        self.dims = regrouped;
        factors.is_empty().then_some(())
    }

    /// The factors in the result's order, those that follow one another in both orders as one.
    fn runs(&self) -> Vec<Factor> {
        let factors: Vec<&Factor> = self.dims.iter().flatten().filter(|f| f.size > 1).collect();
        let mut order: Vec<usize> = (0..factors.len()).collect();
        order.sort_by(|&a, &b| factors[a].place.cmp(&factors[b].place));
        let mut rank = vec![0; factors.len()];
        for (r, &f) in order.iter().enumerate() {
            rank[f] = r;
        }
        let mut runs: Vec<Factor> = vec![];
        for (i, &f) in factors.iter().enumerate() {
            match runs.last_mut() {
                Some(run) if rank[i] == rank[i - 1] + 1 => run.size *= f.size,
                _ => runs.push(f.clone()),
            }
        }
        runs
    }

    /// The shortest chain of the same meaning.
    pub(super) fn chain(&self) -> Chain {
        let result = self.result();
        let runs = self.runs();
        let by_place = by_place(&runs);
        if by_place.iter().enumerate().all(|(i, &r)| i == r) {
            return Chain {
                split: None,
                perm: None,
                join: (self.source != result).then_some(result),
            };
        }
        let sizes = sizes(&runs);
        let over_runs = self.chain_over(&sizes, &by_place, &result);
        let mut shortest = self
            .whole_dims(&sizes, &by_place, &result)
            .filter(|c| c.len() <= over_runs.len())
            .unwrap_or(over_runs);
        if let Some(chain) = self.split_for_result(&result)
            && chain.len() < shortest.len()
        {
            shortest = chain;
        }
        shortest
    }

    /// The runs cut into the dimensions of the result at once.
    fn split_for_result(&self, result: &[usize]) -> Option<Chain> {
        let mut cut = self.clone();
        cut.reshape(result)?;
        let parts: Vec<Factor> = cut.dims.concat();
        Some(self.chain_over(&sizes(&parts), &by_place(&parts), result))
    }

    /// The runs in the operand's order, moved to that of the result.
    fn chain_over(&self, sizes: &[usize], by_place: &[usize], result: &[usize]) -> Chain {
        let mut split: Vec<usize> = by_place.iter().map(|&i| sizes[i]).collect();
        let mut perm = vec![0; sizes.len()];
        for (at, &i) in by_place.iter().enumerate() {
            perm[i] = at;
        }
        // Where the result only has more dimensions of size 1, split them off with the others.
        if sizes.iter().eq(result.iter().filter(|&&d| d > 1)) {
            let n_ones = result.len() - sizes.len();
            let (mut ones, mut big) = (0..n_ones, perm.iter().map(|&p| p + n_ones));
            let place = |&d: &usize| if d == 1 { ones.next() } else { big.next() };
            let all: Vec<usize> = result.iter().filter_map(place).collect();
            split.splice(0..0, std::iter::repeat_n(1, n_ones));
            perm = all;
        }
        let moved: Vec<usize> = perm.iter().map(|&p| split[p]).collect();
        Chain {
            split: (split != self.source).then_some(split),
            perm: Some(perm),
            join: (moved != result).then(|| result.to_vec()),
        }
    }

    /// A permutation of the operand's own dimensions, those of size 1 included, and a reshape:
    /// possible where every run is made of whole dimensions.
    fn whole_dims(&self, sizes: &[usize], by_place: &[usize], result: &[usize]) -> Option<Chain> {
        // The dimensions that each run is made of.
        let mut dims_of: Vec<Vec<usize>> = vec![vec![]; sizes.len()];
        let mut big = (0..self.source.len()).filter(|&i| self.source[i] > 1);
        for &run in by_place {
            let mut left = sizes[run];
            while left > 1 {
                let dim = big.next()?;
                if !left.is_multiple_of(self.source[dim]) {
                    return None;
                }
                left /= self.source[dim];
                dims_of[run].push(dim);
            }
        }
        // Dimensions of size 1 stand where the result has them, as far as there are any.
        let mut ones = (0..self.source.len()).filter(|&i| self.source[i] == 1);
        let mut moving = dims_of.concat().into_iter();
        let mut perm = vec![];
        for &d in result {
            let mut size = 1;
            if d == 1 {
                perm.extend(ones.next());
            }
            while size < d {
                let Some(next) = moving.next() else { break };
                size *= self.source[next];
                perm.push(next);
            }
        }
        perm.extend(moving);
        perm.extend(ones);
        let moved: Vec<usize> = perm.iter().map(|&p| self.source[p]).collect();
        Some(Chain {
            split: None,
            perm: Some(perm),
            join: (moved != result).then(|| result.to_vec()),
        })
    }
}

/// The positions of `factors` in the operand's order.
fn by_place(factors: &[Factor]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..factors.len()).collect();
    order.sort_by(|&a, &b| factors[a].place.cmp(&factors[b].place));
    order
}

fn sizes(factors: &[Factor]) -> Vec<usize> {
    factors.iter().map(|f| f.size).collect()
}

/// An outer factor of size `outer` and an inner one of the rest.
fn split(factor: &Factor, outer: usize) -> [Factor; 2] {
    let part = |size: usize, i: u32| Factor {
        size,
        place: factor.place.iter().copied().chain([i]).collect(),
    };
    [part(outer, 0), part(factor.size / outer, 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step of a chain.
    enum Step<'a> {
        R(&'a [usize]),
        T(&'a [usize]),
    }
    use Step::{R, T};

    fn check(
        source: &[usize],
        steps: &[Step<'_>],
        split: &[usize],
        perm: &[usize],
        join: &[usize],
    ) {
        let mut r = Rearrangement::identity(source).unwrap();
        for step in steps {
            match step {
                R(dims) => r.reshape(dims).unwrap(),
                T(perm) => r.transpose(perm),
            }
        }
        let some = |s: &[usize]| (!s.is_empty()).then(|| s.to_vec());
        let expected = Chain {
            split: some(split),
            perm: some(perm),
            join: some(join),
        };
        assert_eq!(r.chain(), expected);
    }

    #[test]
    fn inverse_steps_vanish() {
        check(&[2, 3], &[T(&[1, 0]), T(&[1, 0])], &[], &[], &[]);
        check(
            &[2, 6],
            &[R(&[2, 2, 3]), R(&[12]), R(&[2, 6])],
            &[],
            &[],
            &[],
        );
        check(&[4, 6], &[R(&[2, 3, 4]), R(&[3, 8])], &[], &[], &[3, 8]);
        check(
            &[4, 6],
            &[
                R(&[4, 2, 3]),
                T(&[1, 0, 2]),
                R(&[2, 12]),
                R(&[2, 4, 3]),
                T(&[1, 0, 2]),
                R(&[4, 6]),
            ],
            &[],
            &[],
            &[],
        );
    }

    #[test]
    fn moving_dimensions_of_one_element_is_a_reshape() {
        check(&[1, 5, 7], &[T(&[1, 0, 2])], &[], &[], &[5, 1, 7]);
        check(&[5, 1, 7, 1], &[T(&[3, 0, 2, 1])], &[], &[], &[1, 5, 7, 1]);
    }

    #[test]
    fn heads_split_and_move_in_one_go() {
        // [197, 1, 768] -> heads, by two reshapes and two transposes.
        check(
            &[197, 1, 768],
            &[R(&[197, 12, 64]), T(&[1, 0, 2]), R(&[1, 12, 197, 64])],
            &[1, 197, 12, 64],
            &[0, 2, 1, 3],
            &[],
        );
        check(
            &[1, 128, 12, 64],
            &[
                T(&[0, 2, 1, 3]),
                R(&[12, 128, 64]),
                T(&[0, 2, 1]),
                R(&[1, 12, 64, 128]),
            ],
            &[],
            &[0, 2, 3, 1],
            &[],
        );
    }

    #[test]
    fn whole_dimensions_are_not_flattened_on_the_way() {
        check(&[1, 64, 8, 9], &[T(&[0, 2, 3, 1])], &[], &[0, 2, 3, 1], &[]);
        check(
            &[2, 3, 4, 5],
            &[T(&[0, 2, 3, 1]), R(&[2, 20, 3])],
            &[],
            &[0, 2, 3, 1],
            &[2, 20, 3],
        );
    }

    #[test]
    fn dimensions_are_not_joined_to_be_split_again() {
        // Positions, instances, heads: instances and heads in one, moved before the positions.
        check(
            &[1, 10, 2, 64],
            &[R(&[10, 8, 16]), T(&[1, 0, 2]), R(&[2, 4, 10, 16])],
            &[10, 2, 4, 16],
            &[1, 2, 0, 3],
            &[],
        );
    }

    #[test]
    fn uneven_cuts_end_the_chain() {
        let mut r = Rearrangement::identity(&[6, 4]).unwrap();
        r.transpose(&[1, 0]);
        assert_eq!(r.reshape(&[3, 8]), None);
        assert_eq!(Rearrangement::identity(&[0, 4]), None);
    }
}
