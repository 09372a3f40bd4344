//! Exact splits by dynamic programming over prefix sums.

use super::chain::Chain;

/// The most entries (blocks times boundaries) of the table of [`even`]; a chain that needs more is
/// first thinned to so many boundaries that it doesn't.
const MAX_TABLE: usize = 1 << 22;

/// The starts of `n` blocks whose times, the cost of cuts included, are least squares nearest to an nth
/// of the uncut model's time; as many blocks as there can be if that is fewer, and no fewer than are
/// forced.
///
/// So a cut that costs more is only left for one that makes blocks about as much less even. The sum of
/// squares is n s² + (overhead)² / n, with s the standard deviation of the times.
///
/// With x(a) = done[a] - cut[a], the least of f(a) + (done[b] - x(a) - share)² over the last cut `a`
/// is the lower envelope of lines at done[b]: a Li Chao tree, so that all of it takes n S log S steps
/// for S boundaries. Integers only (times are counted in nths of nanoseconds), so that the result is
/// exact and always the same.
pub(super) fn even(chain: &Chain, n: usize) -> Vec<usize> {
    let n_steps = chain.n_steps();
    let n = n.clamp(chain.forced().len(), n_steps);
    if n_steps == 0 || (n_steps + 1).saturating_mul(n) <= MAX_TABLE {
        return even_exact(chain, n);
    }
    let keep = thin(chain, (MAX_TABLE / n).max(n));
    let starts = even_exact(&chain.thinned(&keep), n);
    starts.into_iter().map(|b| keep[b]).collect()
}

/// At most about `limit` boundaries, spread evenly over time, the cheapest cut of each part; and all
/// forced ones.
fn thin(chain: &Chain, limit: usize) -> Vec<usize> {
    let whole = chain.done(chain.n_steps()).max(1);
    let cell = |b: usize| (u128::from(chain.done(b)) * limit as u128 / u128::from(whole)) as usize;
    let mut keep = chain.forced();
    let free = chain.free();
    for part in free.chunk_by(|&a, &b| cell(a) == cell(b)) {
        keep.extend(part.iter().min_by_key(|&&b| chain.cut(b)));
    }
    // Long runs of steps of no time lie in one cell: fill up with what is there.
    if keep.len() < limit {
        keep.extend(free.iter().take(limit));
    }
    keep.sort_unstable();
    keep.dedup();
    keep
}

/// [`even`] without a limit.
fn even_exact(chain: &Chain, n: usize) -> Vec<usize> {
    let end = chain.n_steps();
    if n == 0 {
        return vec![];
    }
    let mut forced = chain.forced();
    forced.push(end);
    let share = i128::from(chain.whole_ns());
    let done = |b: usize| i128::from(chain.done(b)) * n as i128;
    let from_share = |a: usize| done(a) - i128::from(chain.cut(a)) * n as i128 + share;
    // The least sum of squares of so many blocks up to a boundary.
    let mut best: Vec<Option<i128>> = vec![None; end + 1];
    best[0] = Some(0);
    // Where the last of so many blocks starts, by their number and the boundary that they end at.
    let mut from: Vec<Vec<u32>> = Vec::with_capacity(n);
    for _ in 0..n {
        let mut next: Vec<Option<i128>> = vec![None; end + 1];
        let mut last = vec![0u32; end + 1];
        for segment in forced.windows(2) {
            let (start, stop) = (segment[0], segment[1]);
            let xs: Vec<i128> = (start + 1..=stop).map(done).collect();
            let mut lines = Envelope::new(&xs);
            for b in start + 1..=stop {
                if let Some(f) = best[b - 1] {
                    let x = from_share(b - 1);
                    lines.add(Line {
                        slope: -2 * x,
                        at_zero: f + x * x,
                        from: (b - 1) as u32,
                    });
                }
                if let Some((value, a)) = lines.least(b - start - 1) {
                    next[b] = Some(value + done(b) * done(b));
                    last[b] = a;
                }
            }
        }
        best = next;
        from.push(last);
    }
    let mut starts = vec![];
    let mut b = end;
    for last in from.iter().rev() {
        b = last[b] as usize;
        starts.push(b);
    }
    starts.reverse();
    starts
}

#[derive(Clone, Copy)]
struct Line {
    slope: i128,
    at_zero: i128,
    /// The boundary that it stands for.
    from: u32,
}

impl Line {
    fn at(&self, x: i128) -> i128 {
        self.slope * x + self.at_zero
    }
}

/// The lower envelope of lines at given, ascending places: a Li Chao tree, whose node of a range of
/// places holds a line that is least in its middle among those that came by.
struct Envelope<'a> {
    xs: &'a [i128],
    nodes: Vec<Option<Line>>,
}

impl<'a> Envelope<'a> {
    fn new(xs: &'a [i128]) -> Self {
        Self {
            xs,
            nodes: vec![None; 2 * xs.len().next_power_of_two()],
        }
    }

    fn add(&mut self, mut line: Line) {
        let (mut node, mut low, mut high) = (1, 0, self.xs.len());
        while low < high {
            let middle = (low + high) / 2;
            let here = &mut self.nodes[node];
            let Some(old) = here else {
                *here = Some(line);
                return;
            };
            let less = |x: usize| line.at(self.xs[x]) < old.at(self.xs[x]);
            let (first, at_middle) = (less(low), less(middle));
            if at_middle {
                std::mem::swap(old, &mut line);
            }
            // The one that lost in the middle can only be less on the side where it was.
            if first != at_middle {
                (node, high) = (2 * node, middle);
            } else {
                (node, low) = (2 * node + 1, middle + 1);
            }
            if node >= self.nodes.len() {
                return;
            }
        }
    }

    /// The least value at place `x`, and the boundary of its line.
    fn least(&self, x: usize) -> Option<(i128, u32)> {
        let (mut node, mut low, mut high) = (1, 0, self.xs.len());
        let mut least: Option<(i128, u32)> = None;
        while low < high && node < self.nodes.len() {
            let Some(line) = &self.nodes[node] else { break };
            let found = (line.at(self.xs[x]), line.from);
            if least.is_none_or(|l| found < l) {
                least = Some(found);
            }
            let middle = (low + high) / 2;
            match x.cmp(&middle) {
                std::cmp::Ordering::Less => (node, high) = (2 * node, middle),
                std::cmp::Ordering::Greater => (node, low) = (2 * node + 1, middle + 1),
                std::cmp::Ordering::Equal => break,
            }
        }
        least
    }
}

/// The starts of the fewest blocks that take at most `max_ns` each, of those the most even ones: those
/// nearest to equal shares if these meet the limit (and finding them takes no more than a table of
/// [`MAX_TABLE`] entries), else those whose longest is shortest.
///
/// A step that takes longer by itself is a block by itself.
pub(super) fn within(chain: &Chain, max_ns: u64) -> Vec<usize> {
    let starts = fewest(chain, max_ns);
    if (chain.n_steps() + 1).saturating_mul(starts.len()) <= MAX_TABLE {
        let even = even_exact(chain, starts.len());
        if chain.times(&even).iter().all(|&ns| ns <= max_ns) {
            return even;
        }
    }
    // The least limit that no more blocks are needed for.
    let singles = (0..chain.n_steps()).map(|b| chain.block_ns(b..b + 1));
    let (mut low, mut high) = (singles.max().unwrap_or(0), max_ns);
    if low >= high {
        return starts;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if fewest(chain, middle).len() <= starts.len() {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    fewest(chain, low)
}

/// The starts of the fewest blocks that take at most `max_ns` each, but for single steps that take
/// longer; in time proportional to the chain.
///
/// No boundary is reached by fewer blocks than an earlier one, so the last block starts as early as it
/// can; and where it can't start for some end, it can't for a later one.
fn fewest(chain: &Chain, max_ns: u64) -> Vec<usize> {
    let end = chain.n_steps();
    let forced = chain.forced();
    let mut from = vec![0; end + 1];
    let (mut a, mut segment) = (0, 0);
    for (b, last) in from.iter_mut().enumerate().skip(1) {
        while forced.get(segment + 1).is_some_and(|&f| f < b) {
            segment += 1;
            a = a.max(forced[segment]);
        }
        while a + 1 < b && chain.block_ns(a..b) > max_ns {
            a += 1;
        }
        *last = a;
    }
    let mut starts = vec![];
    let mut b = end;
    while b > 0 {
        b = from[b];
        starts.push(b);
    }
    starts.reverse();
    starts
}
