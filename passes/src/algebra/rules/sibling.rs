//! Contractions that read the same operand, as one wide contraction and views of its parts.

use super::channel::Along;
use super::unite;
use super::view::is_movable_map;
use crate::algebra::term::{Application, Terms};
use egg::Id;
use ir::Op;
use ir::ops::{Add, Concat, Split};
use std::collections::BTreeSet;

/// More siblings than this are left alone: one kernel would hold all their results at once.
const MOST: usize = 8;

/// How many elementwise operators, one after another, move from the parts to the whole.
const MOST_MAPS: usize = 3;

/// A contraction of the shared operand with constants.
struct Sibling {
    /// The class that is to become a part.
    class: Id,
    /// The operator.
    op: Op,
    /// The weight.
    weight: Id,
    /// A bias along the result's parts.
    bias: Option<Id>,
    /// The result's size along the dimension that is divided.
    n: usize,
}

/// The contractions of `x` that `make` takes, one a class, but for those that merely feed a constant
/// scale or offset whose result is in the list as well.
fn siblings(
    t: &mut Terms<'_>,
    x: Id,
    wanted: fn(&Op) -> bool,
    make: impl Fn(&mut Terms<'_>, &Application) -> Option<Sibling>,
) -> Vec<Sibling> {
    let x = t.egraph.find(x);
    let readers = parents(t, x);
    let mut found: Vec<Sibling> = vec![];
    for &class in &readers {
        if t.egraph
            .analysis
            .wide
            .iter()
            .any(|&w| t.egraph.find(w) == class)
        {
            continue;
        }
        let contraction = t.applications(class, wanted).into_iter().find(|m| {
            m.operands.first().copied().flatten() == Some(x)
                && m.operands[1..].iter().flatten().all(|&c| t.is_constant(c))
        });
        if let Some(m) = contraction
            && let Some(sibling) = make(t, &m)
        {
            found.push(sibling);
        }
    }
    let classes: BTreeSet<Id> = found.iter().map(|s| s.class).collect();
    found.retain(|s| {
        !parents(t, s.class)
            .iter()
            .any(|p| *p != s.class && classes.contains(p))
    });
    found
}

/// The classes of terms that read `class`.
fn parents(t: &Terms<'_>, class: Id) -> BTreeSet<Id> {
    t.egraph[class]
        .parents()
        .map(|p| t.egraph.find(p))
        .collect()
}

/// Makes `members` parts of one contraction of `x`, whose weights stand side by side along
/// `weight_axis`, and whose result is divided along `axis`.
fn merge(
    t: &mut Terms<'_>,
    x: Id,
    members: &[Sibling],
    weight_axis: i64,
    axis: usize,
    with_bias: impl Fn(&mut Terms<'_>, Id, Option<Id>, Op) -> Option<Id>,
) -> Option<()> {
    if members.len() < 2 {
        return None;
    }
    if members.len() > MOST {
        t.refuse(x, "too many contractions read the same operand");
        return None;
    }
    for member in members {
        if t.keeps_weight(member.weight, member.class) {
            return None;
        }
    }
    let weights: Vec<Id> = members.iter().map(|m| m.weight).collect();
    let weight = t.add(Concat { axis: weight_axis }, &weights)?;
    let bias = if members.iter().all(|m| m.bias.is_none()) {
        None
    } else {
        let mut parts = vec![];
        for member in members {
            parts.push(match member.bias {
                Some(bias) => bias,
                None => {
                    let zero = t.scalar_like(x, 0.0)?;
                    let shape = t.integers(&[member.n]);
                    t.add(ir::ops::Expand {}, &[zero, shape])?
                }
            });
        }
        Some(t.add(Concat { axis: 0 }, &parts)?)
    };
    let wide = with_bias(t, weight, bias, members[0].op.clone())?;
    t.egraph.analysis.wide.insert(wide);
    let sizes: Vec<usize> = members.iter().map(|m| m.n).collect();
    let sizes = t.integers(&sizes);
    let split = Split {
        axis: axis as i64,
        num_outputs: None,
    };
    let mut parts: Vec<Id> = members.iter().map(|m| m.class).collect();
    let mut whole = wide;
    for _ in 0..=MOST_MAPS {
        let split = t.add_with(split.clone(), &[Some(whole), Some(sizes)], parts.len())?;
        for (i, &class) in parts.iter().enumerate() {
            let part = t.part(split, i)?;
            unite(t, class, part);
        }
        let Some((mapped, results)) = common_map(t, whole, &parts) else {
            break;
        };
        t.egraph.analysis.wide.insert(mapped);
        (whole, parts) = (mapped, results);
    }
    Some(())
}

/// An elementwise operator that is applied to all of `parts`, with numbers as its other operands, and
/// its results: the operator of `whole`, and the classes of the results.
fn common_map(t: &mut Terms<'_>, whole: Id, parts: &[Id]) -> Option<(Id, Vec<Id>)> {
    let first_part = t.egraph.find(parts[0]);
    for (first, op, operands) in maps_of(t, first_part) {
        let mut results = vec![first];
        for &part in &parts[1..] {
            let part = t.egraph.find(part);
            let swapped = |o: &Option<Id>| {
                if *o == Some(first_part) {
                    Some(part)
                } else {
                    *o
                }
            };
            let same = |o: &[Option<Id>]| operands.iter().map(swapped).eq(o.iter().copied());
            let fellow = maps_of(t, part)
                .into_iter()
                .find(|(_, other, o)| *other == op && same(o));
            results.extend(fellow.map(|(class, ..)| class));
        }
        if results.len() == parts.len() {
            let of_whole: Vec<Option<Id>> = operands
                .iter()
                .map(|o| {
                    if *o == Some(first_part) {
                        Some(whole)
                    } else {
                        *o
                    }
                })
                .collect();
            let mapped = t.add_with(op, &of_whole, 1)?;
            return Some((mapped, results));
        }
    }
    None
}

/// The elementwise operators of `class` whose other operands are numbers: their classes, themselves,
/// their operands.
fn maps_of(t: &Terms<'_>, class: Id) -> Vec<(Id, Op, Vec<Option<Id>>)> {
    let class = t.egraph.find(class);
    let mut maps = vec![];
    for reader in parents(t, class) {
        for m in t.applications(reader, is_movable_map) {
            let fits = |o: &Id| *o == class || (t.is_constant(*o) && t.splat(*o).is_some());
            let reads = m.operands.iter().flatten().filter(|o| **o == class).count();
            if reads == 1 && m.operands.iter().flatten().all(fits) && reader != class {
                maps.push((reader, m.op, m.operands));
            }
        }
    }
    maps
}

pub(super) fn merge_matmuls(t: &mut Terms<'_>, x: Id) {
    if !t.is_real(x) {
        return;
    }
    let plain = siblings(
        t,
        x,
        |op| matches!(op, Op::MatMul(_)),
        |t, m| {
            let weight = m.operands[1]?;
            let [_, n] = t.dims(weight)?[..] else {
                return None;
            };
            Some(Sibling {
                class: m.class,
                op: m.op.clone(),
                weight,
                bias: None,
                n,
            })
        },
    );
    let axis = match t.shape(x).map(ir::Shape::rank) {
        Some(rank) if rank >= 2 => rank - 1,
        _ => return,
    };
    // Where a product only feeds an offset, the sum is what becomes a part.
    let members: Vec<Sibling> = plain
        .into_iter()
        .map(|s| with_offset(t, &s, axis).unwrap_or(s))
        .collect();
    let wide = |t: &mut Terms<'_>, weight, bias: Option<Id>, op: Op| {
        let product = t.add(op, &[x, weight])?;
        t.egraph.analysis.wide.insert(product);
        match bias {
            Some(bias) => t.add(Add {}, &[product, bias]),
            None => Some(product),
        }
    };
    let _ = merge(t, x, &members, 1, axis, wide);
}

/// The sum of a product and a bias, if it is all that the product feeds.
fn with_offset(t: &mut Terms<'_>, product: &Sibling, axis: usize) -> Option<Sibling> {
    let readers = parents(t, product.class);
    let shape = t.shape(product.class)?.clone();
    let [sum] = readers
        .iter()
        .copied()
        .filter(|&p| p != product.class)
        .collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let add = t
        .applications(sum, |op| matches!(op, Op::Add(_)))
        .into_iter()
        .find_map(|m| match m.operands[..] {
            [Some(y), Some(c)] if y == t.egraph.find(product.class) => Some(c),
            _ => None,
        })?;
    let bias = Along::new(t, add, &shape, axis)?.vector(t, product.n)?;
    Some(Sibling {
        class: sum,
        op: product.op.clone(),
        weight: product.weight,
        bias: Some(bias),
        n: product.n,
    })
}

pub(super) fn merge_gemms(t: &mut Terms<'_>, x: Id) {
    if !t.is_real(x) {
        return;
    }
    let members = siblings(
        t,
        x,
        |op| matches!(op, Op::Gemm(_)),
        |t, m| {
            let Op::Gemm(gemm) = &m.op else { return None };
            let weight = m.operands[1]?;
            let n = t.dims(weight)?[usize::from(!gemm.transB)];
            let bias = match m.operands.get(2).copied().flatten() {
                Some(bias) => {
                    Some(Along::new(t, bias, &t.shape(m.class)?.clone(), 1)?.vector(t, n)?)
                }
                None => None,
            };
            Some(Sibling {
                class: m.class,
                op: m.op.clone(),
                weight,
                bias,
                n,
            })
        },
    );
    for members in alike(members, |_, a, b| a.op == b.op, t) {
        let Op::Gemm(gemm) = &members[0].op else {
            continue;
        };
        let _ = merge(
            t,
            x,
            &members,
            i64::from(!gemm.transB),
            1,
            |t, weight, bias, op| t.add_with(op, &[Some(x), Some(weight), bias], 1),
        );
    }
}

pub(super) fn merge_convs(t: &mut Terms<'_>, x: Id) {
    if !t.is_real(x) {
        return;
    }
    let members = siblings(
        t,
        x,
        |op| matches!(op, Op::Conv(conv) if conv.group == 1),
        |t, m| {
            let weight = m.operands[1]?;
            let n = *t.dims(weight)?.first()?;
            let bias = m.operands.get(2).copied().flatten();
            Some(Sibling {
                class: m.class,
                op: m.op.clone(),
                weight,
                bias,
                n,
            })
        },
    );
    let window = |t: &Terms<'_>, s: &Sibling| t.dims(s.weight).map(|d| d[1..].to_vec());
    let same =
        |t: &Terms<'_>, a: &Sibling, b: &Sibling| a.op == b.op && window(t, a) == window(t, b);
    for members in alike(members, same, t) {
        let _ = merge(t, x, &members, 0, 1, |t, weight, bias, op| {
            t.add_with(op, &[Some(x), Some(weight), bias], 1)
        });
    }
}

/// The members in groups of those that are the same kind of contraction, each in order.
fn alike(
    mut members: Vec<Sibling>,
    same: impl Fn(&Terms<'_>, &Sibling, &Sibling) -> bool,
    t: &Terms<'_>,
) -> Vec<Vec<Sibling>> {
    let mut groups = vec![];
    while !members.is_empty() {
        let first = members.remove(0);
        let (mut group, rest): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|m| same(t, &first, m));
        group.insert(0, first);
        groups.push(group);
        members = rest;
    }
    groups
}
