//! What blocks make of a model's time, and what is alive between them.

use crate::plan::{Model, ModelIndex, Plan};
use crate::stats::live_ranges;

/// The tensors that are there before a boundary between two steps and needed after it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Live {
    /// Their number.
    pub tensors: u32,
    /// Their size.
    pub bytes: u64,
}

impl Live {
    /// Whether the model narrows to at most one tensor here: a *converge* boundary of SPLIT.
    pub fn converges(self) -> bool {
        self.tensors < 2
    }
}

/// What is alive at each boundary of `model`: one before each of its steps, and one after the last.
///
/// An input counts from the model's start to the last step that reads it, an output from the step
/// that first writes it to the model's end. Weights, and what device code needs for itself, never
/// count. A tensor that is made of parts (the operands of a concatenation) counts as one, whole.
pub fn live(plan: &Plan, model: &Model) -> Vec<Live> {
    let steps = model.steps();
    let n = steps.len();
    // By boundary, what is alive from it on and what no longer is.
    let mut begin = vec![Live::default(); n + 2];
    let mut end = vec![Live::default(); n + 2];
    let mut span = |first: usize, last: usize, bytes: u64| {
        for (at, there) in [(first, &mut begin), (last + 1, &mut end)] {
            there[at].tensors += 1;
            there[at].bytes = there[at].bytes.wrapping_add(bytes);
        }
    };
    let is_input = |b: usize| model.inputs.iter().any(|p| p.buffer.index() == b);
    let is_output = |b: usize| model.outputs.iter().any(|p| p.buffer.index() == b);
    let ranges = live_ranges(plan);
    for (b, (buffer, range)) in plan.buffers.iter().zip(ranges).enumerate() {
        let Some(range) = range.filter(|r| steps.contains(r.start()) && steps.contains(r.end()))
        else {
            continue;
        };
        let (from, to) = (range.start() - steps.start, range.end() - steps.start);
        // A buffer that its first step writes is there from the boundary after that step on.
        let first = if is_input(b) { 0 } else { from + 1 };
        let last = if is_output(b) { n } else { to };
        if first <= last {
            span(first, last, buffer.bytes);
        }
    }
    let mut now = Live::default();
    begin
        .iter()
        .zip(&end)
        .take(n + 1)
        .map(|(begin, end)| {
            now.tensors = now.tensors + begin.tensors - end.tensors;
            // Sums of a plan that is not valid may be too large; they cancel out all the same.
            now.bytes = now.bytes.wrapping_add(begin.bytes).wrapping_sub(end.bytes);
            now
        })
        .collect()
}

/// What cutting a model into blocks makes of its time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Figures {
    /// The number of blocks.
    pub n_blocks: usize,
    /// The time of the model without any cut that could be left out, in nanoseconds.
    pub whole_ns: u64,
    /// The sum of the blocks' times, in nanoseconds.
    pub total_ns: u64,
    /// The longest block, in nanoseconds.
    pub longest_ns: u64,
    /// The standard deviation of the blocks' times (of all blocks, not of a sample), in nanoseconds.
    pub std_ns: f64,
}

impl Figures {
    /// The figures of blocks that take `times` of a model that takes `whole_ns` uncut.
    pub fn of(times: &[u64], whole_ns: u64) -> Self {
        let n = times.len().max(1) as f64;
        let total_ns = times.iter().fold(0, |sum: u64, &t| sum.saturating_add(t));
        let mean = total_ns as f64 / n;
        let squares: f64 = times.iter().map(|&t| (t as f64 - mean).powi(2)).sum();
        Self {
            n_blocks: times.len(),
            whole_ns,
            total_ns,
            longest_ns: times.iter().copied().max().unwrap_or(0),
            std_ns: (squares / n).sqrt(),
        }
    }

    /// How much longer all blocks take than the uncut model, as a share of its time.
    pub fn overhead(&self) -> f64 {
        (self.total_ns as f64 - self.whole_ns as f64) / (self.whole_ns as f64).max(1.0)
    }
}

/// The figures of a model's blocks, by their predicted times.
pub fn figures(plan: &Plan, model: ModelIndex) -> Figures {
    let own = || plan.blocks.iter().filter(|b| b.model == model);
    let times: Vec<u64> = own().map(|b| b.predicted_ns).collect();
    let without = own().map(|b| b.predicted_ns.saturating_sub(b.cut_ns));
    Figures::of(&times, without.fold(0, u64::saturating_add))
}
