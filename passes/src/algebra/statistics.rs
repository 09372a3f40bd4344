//! What the algebra did, for the summary.

use std::collections::BTreeMap;
use std::fmt;

/// Counts over all regions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Regions looked at.
    pub n_regions: usize,
    /// Regions in which another choice of terms was cheaper.
    pub n_rewritten: usize,
    /// Terms in all e-graphs.
    pub n_terms: usize,
    /// Classes in all e-graphs.
    pub n_classes: usize,
    /// The most iterations of a region.
    pub n_iterations: usize,
    /// Nodes that were made.
    pub n_new_nodes: usize,
    /// Regions by why their search stopped.
    pub stopped: BTreeMap<&'static str, usize>,
    /// How often each rule found something new.
    pub applied: BTreeMap<&'static str, usize>,
    /// Estimated picoseconds of all regions before.
    pub ps_before: u64,
    /// Estimated picoseconds of all regions after.
    pub ps_after: u64,
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} regions rewritten, {} terms in {} classes, at most {} iterations, estimated {:.3} ms -> {:.3} ms",
            self.n_rewritten,
            self.n_regions,
            self.n_terms,
            self.n_classes,
            self.n_iterations,
            self.ps_before as f64 / 1e9,
            self.ps_after as f64 / 1e9,
        )?;
        let list = |map: &BTreeMap<&'static str, usize>| {
            map.iter()
                .map(|(k, v)| format!("{k} {v}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        if !self.stopped.is_empty() {
            write!(f, "; stopped: {}", list(&self.stopped))?;
        }
        if !self.applied.is_empty() {
            write!(f, "; rules: {}", list(&self.applied))?;
        }
        Ok(())
    }
}
