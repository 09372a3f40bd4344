//! The pass.

use super::{AlgebraError, Options, RULES, Statistics, rewrite, weight_readers};
use crate::manager::{Cause, Changed, PassCx, PassError};
use ir::Program;

impl From<AlgebraError> for Cause {
    fn from(e: AlgebraError) -> Self {
        match e {
            AlgebraError::Patch(e) => Cause::Patch(e),
            AlgebraError::Constant(e) => Cause::Operator(e),
        }
    }
}

/// Scales, offsets and redundant views disappear into the constants of contractions, and contractions
/// that read the same operand become one, where that is estimated to be faster.
///
/// Before: `%1 = Conv(%0, w0)`, `%2 = Mul(%1, w1)`, `%3 = Add(%2, w2)`. After: `%1 = Conv(%0, w3, w2)`.
pub fn rewrite_algebra(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    let readers = weight_readers(program);
    let options = Options::default();
    let mut total = Statistics::default();
    let ids: Vec<_> = program.graphs.ids().collect();
    for id in ids {
        let Program { graphs, weights } = program;
        let graph = &mut graphs[id];
        let mut allowed = || cx.may_change();
        let refusals = rewrite(
            graph,
            weights,
            &readers,
            RULES,
            &options,
            &mut total,
            &mut allowed,
        )
        .map_err(|e| cx.error(&program.graphs[id], None, e))?;
        for refusal in refusals {
            cx.refuse(&program.graphs[id], refusal.node, || {
                format!("{}: {}", refusal.rule, refusal.reason)
            });
        }
    }
    note(&total, cx);
    Ok(Changed(total.n_rewritten))
}

fn note(total: &Statistics, cx: &mut PassCx<'_>) {
    let counts = [
        ("regions", total.n_regions),
        ("regions rewritten", total.n_rewritten),
        ("e-nodes", total.n_terms),
        ("e-classes", total.n_classes),
        ("most iterations", total.n_iterations),
        ("new nodes", total.n_new_nodes),
    ];
    for (name, n) in counts {
        cx.note(name, n as u64);
    }
    cx.note("estimated ns before", total.ps_before / 1000);
    cx.note("estimated ns after", total.ps_after / 1000);
    for (&why, &n) in &total.stopped {
        cx.note(why, n as u64);
    }
    for (&rule, &n) in &total.applied {
        cx.note(rule, n as u64);
    }
}
