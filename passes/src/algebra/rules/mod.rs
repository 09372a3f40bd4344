//! The rules: directional, each sound on its own.
//!
//! A rule answers with classes equal to the one it looked at. It never makes a graph worse, because
//! what it adds is only chosen where it costs less; it may say why it left something alone.

mod activation;
mod after;
mod arithmetic;
mod attention;
mod before;
mod channel;
mod join;
mod sibling;
mod view;

use super::term::{Application, EGraph, Terms};
use egg::{Applier, Id, PatternAst, Rewrite, SearchMatches, Searcher, Subst, Symbol, Var};
use ir::Op;

use super::facts::Facts;
use super::term::{Head, Term};

/// What a rule looks at.
#[derive(Clone, Copy)]
pub(super) enum Trigger {
    /// Each application of an operator that the first function takes.
    Each(
        fn(&Op) -> bool,
        fn(&mut Terms<'_>, &Application) -> Option<Vec<Id>>,
    ),
    /// Each term of an elementwise operator, joined ones included.
    Joins,
    /// Each value that may be read by several operators.
    Shared(fn(&mut Terms<'_>, Id)),
}

/// A rule of the algebra.
#[derive(Clone, Copy)]
pub struct Rule {
    /// The name under which it is counted and explained.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    pub(super) trigger: Trigger,
}

/// Declares the list of rules.
macro_rules! rules {
    ($($name:ident: $about:literal, $trigger:expr;)*) => {
        /// Every rule, in the order in which they are tried.
        pub const RULES: &[Rule] = &[$(Rule { name: stringify!($name), about: $about, trigger: $trigger },)*];
    };
}

rules! {
    // Arithmetic with constants.
    constant_second: "c + x is x + c, c * x is x * c",
        Trigger::Each(arithmetic::is_add_or_mul, arithmetic::constant_second);
    divide_as_scale: "x / c is x * (1 / c)",
        Trigger::Each(arithmetic::is_div, arithmetic::divide_as_scale);
    subtract_as_offset: "x - c is x + (-c); c - x is x * -1 + c",
        Trigger::Each(arithmetic::is_sub, arithmetic::subtract_as_offset);
    negate_as_scale: "-x is x * -1",
        Trigger::Each(arithmetic::is_neg, arithmetic::negate_as_scale);
    scale_by_one: "x * 1 is x",
        Trigger::Each(arithmetic::is_mul, arithmetic::scale_by_one);
    offset_by_zero: "x + 0 is x",
        Trigger::Each(arithmetic::is_add, arithmetic::offset_by_zero);
    merge_scales: "x * c * d is x * (c * d)",
        Trigger::Each(arithmetic::is_mul, arithmetic::merge_scales);
    merge_offsets: "x + c + d is x + (c + d)",
        Trigger::Each(arithmetic::is_add, arithmetic::merge_offsets);
    scale_offset: "(x + c) * d is x * d + c * d",
        Trigger::Each(arithmetic::is_mul, arithmetic::scale_offset);
    // Activations.
    clamp_of_clamp: "one Relu or Clip after another is one Clip",
        Trigger::Each(activation::is_clamp, activation::clamp_of_clamp);
    scale_before_relu: "relu(x) * c is relu(x * c) for positive c",
        Trigger::Each(arithmetic::is_mul, activation::scale_before_relu);
    swish: "x * sigmoid(a * x) is swish(x)",
        Trigger::Each(arithmetic::is_mul, activation::swish);
    // Arithmetic after a contraction, into its constants.
    scale_into_conv: "conv(x, w, b) * c is conv(x, w * c, b * c)",
        Trigger::Each(arithmetic::is_mul, after::scale_into_conv);
    offset_into_conv: "conv(x, w, b) + c is conv(x, w, b + c)",
        Trigger::Each(arithmetic::is_add, after::offset_into_conv);
    scale_into_matmul: "(x @ w) * c is x @ (w * c)",
        Trigger::Each(arithmetic::is_mul, after::scale_into_matmul);
    scale_into_gemm: "gemm(x, w, b) * c is gemm(x, w * c, b * c)",
        Trigger::Each(arithmetic::is_mul, after::scale_into_gemm);
    offset_into_gemm: "gemm(x, w, b) + c is gemm(x, w, b + c)",
        Trigger::Each(arithmetic::is_add, after::offset_into_gemm);
    // Arithmetic before a contraction, into its constants.
    scale_before_conv: "conv(x * c, w, b) is conv(x, w * c, b)",
        Trigger::Each(before::is_conv, before::scale_before_conv);
    offset_before_conv: "conv(x + c, w, b) is conv(x, w, b) + sum(w * c) without padding",
        Trigger::Each(before::is_conv, before::offset_before_conv);
    scale_before_matmul: "(x * c) @ w is x @ (c * w)",
        Trigger::Each(before::is_matmul, before::scale_before_matmul);
    offset_before_matmul: "(x + c) @ w is x @ w + c @ w",
        Trigger::Each(before::is_matmul, before::offset_before_matmul);
    scale_before_gemm: "gemm(x * c, w, b) is gemm(x, c * w, b)",
        Trigger::Each(before::is_gemm, before::scale_before_gemm);
    offset_before_gemm: "gemm(x + c, w, b) is gemm(x, w, b) + alpha * c @ w",
        Trigger::Each(before::is_gemm, before::offset_before_gemm);
    scale_into_attention: "attention of scaled queries or keys is attention with another scale",
        Trigger::Each(attention::is_attention, attention::scale_into_attention);
    // Views.
    plain_view: "a view that changes nothing is its operand; a transpose that only moves dimensions of size 1 is a reshape",
        Trigger::Each(view::is_view, view::plain_view);
    merge_views: "a transpose of a transpose, or a reshape of a reshape, is one",
        Trigger::Each(view::is_view, view::merge_views);
    view_after_map: "f(view(x)) is view(f(x))",
        Trigger::Each(view::is_movable_map, view::view_after_map);
    add_before_transpose: "transpose(x @ w) + y is transpose(x @ w + back(y)), where back undoes the transpose",
        Trigger::Each(arithmetic::is_add, view::add_before_transpose);
    // Contractions that read the same operand.
    merge_matmuls: "x @ v, x @ w are parts of x @ [v w]",
        Trigger::Shared(sibling::merge_matmuls);
    merge_gemms: "gemm(x, v), gemm(x, w) are parts of gemm(x, [v w])",
        Trigger::Shared(sibling::merge_gemms);
    merge_convs: "conv(x, v), conv(x, w) are parts of conv(x, [v w])",
        Trigger::Shared(sibling::merge_convs);
    // Not algebra, but what decides between equals: which kernel computes what.
    join_kernel: "an elementwise operator joins the kernel of the contraction before it",
        Trigger::Joins;
}

/// The rule as `egg` runs it.
pub(super) fn rewrite(rule: &Rule) -> Rewrite<Term, Facts> {
    Rewrite::new(rule.name, Finder(*rule), Maker(*rule)).expect("these rules bind no variables")
}

struct Finder(Rule);

impl Searcher<Term, Facts> for Finder {
    fn search_eclass_with_limit(
        &self,
        egraph: &EGraph,
        class: Id,
        _limit: usize,
    ) -> Option<SearchMatches<'_, Term>> {
        let data = &egraph[class].data;
        let found = match self.0.trigger {
            Trigger::Each(wanted, _) => data.constant.is_none() && holds(egraph, class, wanted),
            Trigger::Joins => data.constant.is_none() && holds(egraph, class, is_map),
            Trigger::Shared(_) => {
                data.constant.is_none()
                    && data.types.len() == 1
                    && egraph[class].parents().len() > 1
            }
        };
        found.then(|| SearchMatches {
            eclass: class,
            substs: vec![Subst::default()],
            ast: None,
        })
    }

    fn vars(&self) -> Vec<Var> {
        vec![]
    }
}

fn is_map(op: &Op) -> bool {
    op.class() == ir::Class::Map
}

fn holds(egraph: &EGraph, class: Id, wanted: impl Fn(&Op) -> bool) -> bool {
    egraph[class].nodes.iter().any(|t| match t.head {
        Head::Op(id) => wanted(egraph.analysis.operators.op(id)),
        _ => false,
    })
}

struct Maker(Rule);

impl Applier<Term, Facts> for Maker {
    fn apply_one(
        &self,
        egraph: &mut EGraph,
        class: Id,
        _: &Subst,
        _: Option<&PatternAst<Term>>,
        _: Symbol,
    ) -> Vec<Id> {
        let mut terms = Terms {
            egraph,
            rule: self.0.name,
        };
        let mut changed = vec![];
        match self.0.trigger {
            Trigger::Each(wanted, make) => {
                for application in terms.applications(class, wanted) {
                    if terms.is_full() {
                        break;
                    }
                    for equal in make(&mut terms, &application).unwrap_or_default() {
                        changed.extend(unite(&mut terms, class, equal));
                    }
                }
            }
            Trigger::Joins => {
                for application in terms.applications(class, is_map) {
                    if terms.is_full() {
                        break;
                    }
                    for equal in join::join_kernel(&mut terms, &application) {
                        changed.extend(unite(&mut terms, class, equal));
                    }
                }
            }
            Trigger::Shared(make) => {
                let before = terms.egraph.nodes().len();
                if !terms.is_full() {
                    make(&mut terms, class);
                }
                if terms.egraph.nodes().len() != before {
                    changed.push(class);
                }
            }
        }
        changed
    }
}

/// Makes two classes one, if their types are the same; the class, if that is news.
pub(super) fn unite(terms: &mut Terms<'_>, class: Id, equal: Id) -> Option<Id> {
    if !same_types(&terms.known(class).types, &terms.known(equal).types) {
        return None;
    }
    terms.egraph.union(class, equal).then_some(class)
}

/// Whether types agree in element type and in every dimension; symbols that inference made up may
/// have other names.
fn same_types(a: &[ir::TensorType], b: &[ir::TensorType]) -> bool {
    use ir::Dim::{Known, Symbol};
    let same_dim = |pair: (&ir::Dim, &ir::Dim)| match pair {
        (Known(a), Known(b)) => a == b,
        (Symbol(a), Symbol(b)) => a == b || (a.is_fresh() && b.is_fresh()),
        (Known(_), Symbol(_)) | (Symbol(_), Known(_)) => false,
    };
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            a.dtype == b.dtype
                && a.shape.rank() == b.shape.rank()
                && a.shape.0.iter().zip(&b.shape.0).all(same_dim)
        })
}
