//! Times in which something ran.

/// So many spans that are apart are kept; of more, the earliest are only summed.
const KEPT: usize = 1 << 15;

/// Spans of time, and how long any of them lasts. What comes before the latest 32,768 that are apart is
/// taken to be whole: of a span that comes later, only what lies after it counts.
#[derive(Default)]
pub struct Busy {
    spans: Vec<[u64; 2]>,
    /// The end of what is only summed, and its length.
    settled: (u64, u64),
    /// All spans, one after another.
    sum_ns: u64,
}

impl Busy {
    /// One more, by its begin and end in nanoseconds.
    pub fn add(&mut self, span: [u64; 2]) {
        self.sum_ns += span[1].saturating_sub(span[0]);
        match self.spans.last_mut() {
            Some(last) if last[0] <= span[0] && span[0] <= last[1] => {
                last[1] = last[1].max(span[1]);
            }
            _ => self.spans.push(span),
        }
        if self.spans.len() > 3 * KEPT {
            self.tidy();
        }
    }

    /// Joins what touches, in place, and settles the earliest.
    fn tidy(&mut self) {
        self.spans.sort_unstable();
        let mut n = 0;
        for i in 0..self.spans.len() {
            let [begin, end] = self.spans[i];
            let span = [begin.max(self.settled.0), end.max(self.settled.0)];
            match n {
                1.. if span[0] <= self.spans[n - 1][1] => {
                    self.spans[n - 1][1] = self.spans[n - 1][1].max(span[1]);
                }
                _ => {
                    self.spans[n] = span;
                    n += 1;
                }
            }
        }
        self.spans.truncate(n);
        for [begin, end] in self.spans.drain(..n.saturating_sub(KEPT)) {
            self.settled.0 = end;
            self.settled.1 += end - begin;
        }
    }

    /// The time in which anything ran, in nanoseconds.
    pub fn covered_ns(&mut self) -> u64 {
        self.tidy();
        self.settled.1 + self.spans.iter().map(|s| s[1] - s[0]).sum::<u64>()
    }

    /// All spans, one after another, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_joined_in_any_order() {
        let mut busy = Busy::default();
        for span in [[50, 60], [0, 10], [10, 12], [5, 8], [58, 70], [90, 90]] {
            busy.add(span);
        }
        assert_eq!((busy.covered_ns(), busy.sum_ns()), (32, 37));
        busy.add([11, 55]);
        assert_eq!(busy.covered_ns(), 70);
        assert_eq!(Busy::default().covered_ns(), 0);
    }

    /// More spans than are kept, each pair in the wrong order, as requests end.
    #[test]
    fn many_spans_are_summed() {
        let mut busy = Busy::default();
        for i in 0..10 * KEPT as u64 {
            busy.add([20 * i + 10, 20 * i + 15]);
            busy.add([20 * i + 5, 20 * i + 8]);
        }
        assert!(busy.spans.capacity() <= 8 * KEPT);
        assert_eq!(busy.covered_ns(), 80 * KEPT as u64);
        assert_eq!(busy.spans.len(), KEPT);
        // What is settled is not counted twice.
        busy.add([0, 20]);
        assert_eq!(busy.covered_ns(), 80 * KEPT as u64);
    }
}
