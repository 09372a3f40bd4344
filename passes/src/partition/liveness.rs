//! What is alive where a model can be cut.

use plans::stats::live_ranges;
use plans::{Model, Plan};

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
            there[at].bytes += bytes;
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
            now.bytes = now.bytes + begin.bytes - end.bytes;
            now
        })
        .collect()
}
