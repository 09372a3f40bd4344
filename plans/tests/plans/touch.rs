//! Walks over everything that a kernel may touch, as the documentation of its spec says.
//!
//! This is what a device does, without the numbers: every position is computed as the spec's
//! formulas say, with arithmetic that panics when it overflows, and must lie in its argument.

use plans::KernelSpec;
use plans::spec::*;
use std::collections::BTreeSet;

/// The most positions that are walked; kernels that need more are not walked to the end.
const LIMIT: usize = 20_000;

/// A source of picked positions: what index tensors may hold.
pub(crate) struct Touch {
    args: Vec<ArgSpec>,
    /// Which elements each written argument was written at, to find any that is written twice.
    written: Vec<BTreeSet<i64>>,
    seed: u64,
    left: usize,
}

/// Walks over `spec`, which has passed its check. Panics where a device would.
pub(crate) fn walk(spec: &KernelSpec) {
    let args = spec.args();
    let mut touch = Touch {
        written: vec![BTreeSet::new(); args.len()],
        args,
        seed: 1,
        left: LIMIT,
    };
    match spec {
        KernelSpec::Map(s) => touch.map(s),
        KernelSpec::Row(s) => touch.row(s),
        KernelSpec::Contract(s) => touch.contract(s),
        KernelSpec::Attention(s) => touch.attention(s),
        KernelSpec::Window(s) => touch.window(s),
        KernelSpec::Movement(MovementSpec::Scatter(s)) => touch.scatter(s),
        KernelSpec::Movement(MovementSpec::Pad(s)) => touch.pad(s),
        KernelSpec::Movement(MovementSpec::Resize(s)) => touch.resize(s),
        KernelSpec::Recurrent(s) => touch.recurrent(s),
        KernelSpec::Library(s) => touch.library(s),
        KernelSpec::Transfer(s) => touch.map(&s.as_map()),
    }
}

/// Every position in `domain`, outermost dimension first.
fn positions(domain: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    let domain = domain.to_vec();
    let mut next = (!domain.contains(&0)).then(|| vec![0; domain.len()]);
    std::iter::from_fn(move || {
        let current = next.clone()?;
        let mut at = current.clone();
        next = None;
        for d in (0..domain.len()).rev() {
            at[d] += 1;
            if at[d] < domain[d] {
                next = Some(at);
                break;
            }
            at[d] = 0;
        }
        Some(current)
    })
}

fn offset(o: &Operand, at: &[u64]) -> i64 {
    assert_eq!(o.strides.len(), at.len());
    at.iter().zip(&o.strides).map(|(&i, &s)| i as i64 * s).sum()
}

impl Touch {
    fn random(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.seed >> 33) % below
    }

    /// Whether there is time for more.
    fn goes_on(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }

    fn read(&mut self, arg: usize, element: i64) {
        let spec = &self.args[arg];
        let (low, high) = spec.reach.expect("something is touched");
        assert!(
            (low..=high).contains(&element),
            "`{}` touches {element}, outside {low}..={high}",
            spec.name
        );
        let span = spec
            .touched(1 << 60)
            .expect("offsets are far from overflow");
        assert!(span.end > span.start);
    }

    fn write(&mut self, arg: usize, element: i64) {
        self.read(arg, element);
        assert_ne!(self.args[arg].role, Role::Read);
        if self.args[arg].role == Role::Write {
            let is_new = self.written[arg].insert(element);
            assert!(is_new, "argument {arg} is written twice at {element}");
        }
    }

    fn walk(&mut self, arg: usize, o: &Operand, domain: &[u64]) {
        for at in positions(domain) {
            if !self.goes_on() {
                return;
            }
            match self.args[arg].role {
                Role::Read => self.read(arg, offset(o, &at)),
                Role::Write | Role::Update => self.write(arg, offset(o, &at)),
            }
        }
    }

    fn map(&mut self, s: &MapSpec) {
        for at in positions(&s.domain) {
            if !self.goes_on() {
                return;
            }
            for (n, input) in s.inputs.iter().enumerate() {
                let mut element = offset(&input.operand, &at);
                if input.gather.iter().any(|g| g.len == 0) {
                    continue;
                }
                for g in &input.gather {
                    assert!(s.inputs[usize::from(g.index)].gather.is_empty());
                    element += self.random(g.len) as i64 * g.stride;
                }
                self.read(n, element);
            }
            for (n, o) in s.outputs.iter().enumerate() {
                self.write(s.inputs.len() + n, offset(o, &at));
            }
        }
    }

    fn row(&mut self, s: &RowSpec) {
        for (n, o) in s.inputs.iter().chain(&s.element_outputs).enumerate() {
            self.walk(n, o, &s.domain());
        }
        let first = s.inputs.len() + s.element_outputs.len();
        for (n, (_, o)) in s.row_outputs.iter().enumerate() {
            self.walk(first + n, o, &s.rows);
        }
    }

    fn epilogue(&mut self, first: usize, e: &Epilogue, domain: &[u64]) {
        for (n, o) in e.inputs.iter().chain(&e.outputs).enumerate() {
            self.walk(first + n, o, domain);
        }
    }

    fn contract(&mut self, s: &ContractSpec) {
        match &s.problem {
            Problem::MatMul {
                batch,
                m,
                n,
                k,
                a,
                b,
            } => {
                for at in positions(&[batch.as_slice(), &[*m, *n, *k]].concat()) {
                    if !self.goes_on() {
                        break;
                    }
                    let (outer, mnk) = at.split_at(batch.len());
                    let with = |x, y| [outer, &[x, y]].concat();
                    self.read(0, offset(a, &with(mnk[0], mnk[2])));
                    self.read(1, offset(b, &with(mnk[2], mnk[1])));
                }
            }
            Problem::Conv {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x,
                w,
            } => {
                let outer = [*batch, *groups, *in_channels, *out_channels];
                let rank = window.kernel.len();
                let extents = [&outer, window.output.as_slice(), &window.kernel].concat();
                for at in positions(&extents) {
                    if !self.goes_on() {
                        break;
                    }
                    let (n, g, c, m) = (at[0], at[1], at[2], at[3]);
                    let (o, t) = at[4..].split_at(rank);
                    self.read(1, offset(w, &[&[g * out_channels + m, c], t].concat()));
                    if let Some(i) = tap(window, o, t) {
                        let channel = g * in_channels + c;
                        self.read(0, offset(x, &[&[n, channel], i.as_slice()].concat()));
                    }
                }
            }
            Problem::ConvTranspose {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x,
                w,
            } => {
                let outer = [*batch, *groups, *in_channels, *out_channels];
                let rank = window.kernel.len();
                let extents = [&outer, window.input.as_slice(), &window.kernel].concat();
                for at in positions(&extents) {
                    if !self.goes_on() {
                        break;
                    }
                    let (n, g, c, m) = (at[0], at[1], at[2], at[3]);
                    let (i, t) = at[4..].split_at(rank);
                    let channel = g * in_channels + c;
                    self.read(0, offset(x, &[&[n, channel], i].concat()));
                    self.read(1, offset(w, &[&[channel, m], t].concat()));
                    for d in 0..rank {
                        // The position in the result; outside it, it does not count.
                        let _ = i[d] as i64 * window.strides[d] as i64
                            + t[d] as i64 * window.dilations[d] as i64
                            - window.pads_begin[d] as i64;
                    }
                }
            }
        }
        self.epilogue(2, &s.epilogue, &s.problem.domain());
    }

    fn attention(&mut self, s: &AttentionSpec) {
        let over = |rows: u64, columns: u64| [s.batch.as_slice(), &[rows, columns]].concat();
        self.walk(0, &s.q, &over(s.q_len, s.qk_size));
        self.walk(1, &s.k, &over(s.kv_len, s.qk_size));
        self.walk(2, &s.v, &over(s.kv_len, s.v_size));
        if let Some(mask) = &s.mask {
            self.walk(3, mask, &over(s.q_len, s.kv_len));
        }
        if let (Some(n), 1..) = (s.causal, s.q_len) {
            let _last_key = (s.q_len - 1) as i64 + n;
        }
        self.walk(self.args.len() - 1, &s.out, &over(s.q_len, s.v_size));
    }

    fn window(&mut self, s: &WindowSpec) {
        let rank = s.window.kernel.len();
        let extents = [
            &[s.batch, s.channels],
            s.window.output.as_slice(),
            &s.window.kernel,
        ];
        for at in positions(&extents.concat()) {
            if !self.goes_on() {
                break;
            }
            let (o, t) = at[2..].split_at(rank);
            if let Some(weight) = &s.weight {
                self.read(1, offset(weight, &[&at[1..2], t].concat()));
            }
            if let WindowFold::AveragePadded { pads_end } = &s.fold {
                for (d, pad) in pads_end.iter().enumerate() {
                    let _padded = s.window.input[d] as i64 + *pad as i64;
                }
            }
            if let Some(i) = tap(&s.window, o, t) {
                self.read(0, offset(&s.x, &[&at[..2], i.as_slice()].concat()));
                // The position in the whole of x, as indices give it.
                let mut index = at[0] as i64 * s.channels as i64 + at[1] as i64;
                for (i, n) in i.iter().zip(&s.window.input) {
                    index = index * *n as i64 + *i as i64;
                }
            }
        }
        let first = 1 + usize::from(s.weight.is_some());
        self.epilogue(first, &s.epilogue, &s.domain());
        if let Some(indices) = &s.indices {
            self.walk(self.args.len() - 1, &indices.out, &s.domain());
        }
    }

    fn scatter(&mut self, s: &ScatterSpec) {
        let out = self.args.len() - 1;
        for at in positions(&s.domain) {
            if !self.goes_on() {
                return;
            }
            self.read(0, offset(&s.updates, &at));
            for (n, index) in s.indices.iter().enumerate() {
                self.read(1 + n, offset(index, &at));
            }
            if s.axes.iter().any(|a| a.len == 0) {
                continue;
            }
            let mut element = offset(&s.out, &at);
            for axis in &s.axes {
                assert!(usize::from(axis.index) < s.indices.len());
                element += self.random(axis.len) as i64 * axis.stride;
            }
            self.write(out, element);
        }
    }

    fn pad(&mut self, s: &PadSpec) {
        let out = self.args.len() - 1;
        for at in positions(&s.output) {
            if !self.goes_on() {
                return;
            }
            self.write(out, offset(&s.out, &at));
            let source: Option<Vec<u64>> = (0..at.len())
                .map(|d| {
                    let (i, n) = (at[d] as i64 - s.begin[d], s.input[d] as i64);
                    let i = match s.mode {
                        PadMode::Constant => i,
                        PadMode::Edge => i.clamp(0, n - 1),
                        PadMode::Wrap => i.rem_euclid(n),
                        PadMode::Reflect if n == 1 => 0,
                        PadMode::Reflect => {
                            let i = i.rem_euclid(2 * (n - 1));
                            i.min(2 * (n - 1) - i)
                        }
                    };
                    (0..n).contains(&i).then_some(i as u64)
                })
                .collect();
            match source {
                Some(source) => self.read(0, offset(&s.x, &source)),
                None => self.read(1, 0),
            }
        }
    }

    fn resize(&mut self, s: &ResizeSpec) {
        for at in positions(&s.output()) {
            if !self.goes_on() {
                return;
            }
            self.write(1, offset(&s.out, &at));
            let taps: Vec<u64> = s.axes.iter().map(|a| u64::from(a.taps)).collect();
            for tap in positions(&taps) {
                if !self.goes_on() {
                    return;
                }
                let source: Option<Vec<u64>> = (0..at.len())
                    .map(|d| {
                        let n = (at[d] * taps[d] + tap[d]) as usize;
                        let _factor = s.axes[d].factors[n];
                        u64::try_from(s.axes[d].positions[n]).ok()
                    })
                    .collect();
                if let Some(source) = source {
                    self.read(0, offset(&s.x, &source));
                }
            }
        }
    }

    fn recurrent(&mut self, s: &RecurrentSpec) {
        let (d, h) = (s.direction.count(), s.hidden_size);
        let gates = s.cell.n_gates() * h;
        let state = [d, s.batch, h];
        let present = [
            (Some(&s.x), vec![s.time, s.batch, s.input_size]),
            (Some(&s.w), vec![d, gates, s.input_size]),
            (Some(&s.r), vec![d, gates, h]),
            (s.bias.as_ref(), vec![d, 2 * gates]),
            (s.lengths.as_ref(), vec![s.batch]),
            (s.initial_h.as_ref(), state.to_vec()),
            (s.initial_c.as_ref(), state.to_vec()),
            (s.peepholes.as_ref(), vec![d, 3 * h]),
            (s.y.as_ref(), vec![s.time, d, s.batch, h]),
            (s.y_h.as_ref(), state.to_vec()),
            (s.y_c.as_ref(), state.to_vec()),
        ];
        let present = present.into_iter().filter_map(|(o, e)| Some((o?, e)));
        for (n, (o, extents)) in present.enumerate() {
            self.walk(n, o, &extents);
        }
        let per_direction = s.cell.n_activations();
        for direction in 0..d as usize {
            let _ = s.activations[direction * per_direction..][..per_direction].to_vec();
        }
    }

    fn library(&mut self, s: &LibrarySpec) {
        match s {
            LibrarySpec::TopK(s) => {
                let (last, rows) = s.domain.split_last().expect("a dimension to sort along");
                assert!(s.k <= *last);
                self.walk(0, &s.x, &s.domain);
                let taken = [rows, &[s.k]].concat();
                self.walk(1, &s.values, &taken);
                self.walk(2, &s.indices, &taken);
            }
            LibrarySpec::CumSum(s) => {
                assert!(!s.domain.is_empty());
                self.walk(0, &s.x, &s.domain);
                self.walk(1, &s.out, &s.domain);
            }
            LibrarySpec::GridSample(s) => {
                for at in positions(&[&[s.batch, s.channels], s.output.as_slice()].concat()) {
                    if !self.goes_on() {
                        return;
                    }
                    self.write(2, offset(&s.out, &at));
                    for c in 0..s.output.len() as u64 {
                        let grid = [&at[..1], &at[2..], &[c]].concat();
                        self.read(1, offset(&s.grid, &grid));
                    }
                    if s.input.contains(&0) {
                        assert_eq!(s.padding, SamplePadding::Zeros);
                        continue;
                    }
                    let picked: Vec<u64> = s.input.iter().map(|&n| self.random(n)).collect();
                    self.read(0, offset(&s.x, &[&at[..2], picked.as_slice()].concat()));
                }
            }
            LibrarySpec::NonMaxSuppression(s) => {
                self.walk(0, &s.boxes_in, &[s.batch, s.boxes, 4]);
                self.walk(1, &s.scores, &[s.batch, s.classes, s.boxes]);
                self.walk(2, &s.out, &[s.batch * s.classes * s.max_output, 3]);
                self.write(3, 0);
            }
        }
    }
}

/// The input position of a tap, if it lies inside.
fn tap(window: &Window, output: &[u64], tap: &[u64]) -> Option<Vec<u64>> {
    (0..tap.len())
        .map(|d| {
            let i = output[d] as i64 * window.strides[d] as i64
                + tap[d] as i64 * window.dilations[d] as i64
                - window.pads_begin[d] as i64;
            let i = u64::try_from(i).ok()?;
            (i < window.input[d]).then_some(i)
        })
        .collect()
}
