//! Kernels and tapes in a line of text.

use crate::DType;
use crate::spec::KernelSpec;
use crate::spec::{
    Cell, Direction, LibrarySpec, MovementSpec, Operand, Problem, Window, WindowFold,
};
use crate::tape::{Reg, Scalar, Tape, TapeOp};
use std::fmt;

/// Extents as `2x3x4`.
pub(crate) fn extents(dims: &[u64]) -> String {
    if dims.is_empty() {
        return "1".to_owned();
    }
    let dims: Vec<String> = dims.iter().map(u64::to_string).collect();
    dims.join("x")
}

/// A tensor's type as `f32[2,3,4]`.
pub(crate) fn tensor(dtype: DType, dims: &[u64]) -> String {
    let dims: Vec<String> = dims.iter().map(u64::to_string).collect();
    format!("{dtype}[{}]", dims.join(","))
}

/// A name that a model gave, on one line and without anything that a terminal would act on.
pub(crate) fn name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '`');
    if !name.is_empty() && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

fn window(window: &Window) -> String {
    let mut text = extents(&window.kernel);
    if window.strides.iter().any(|&s| s != 1) {
        text += &format!("/{}", extents(&window.strides));
    }
    if window.dilations.iter().any(|&d| d != 1) {
        text += &format!(" dilated {}", extents(&window.dilations));
    }
    text
}

impl KernelSpec {
    /// What it computes and of what size, in a few words: `conv 3x3/2x2 64 -> 128, 28x28`.
    pub fn summary(&self) -> String {
        match self {
            KernelSpec::Map(s) => {
                let gathers = s.inputs.iter().filter(|i| !i.gather.is_empty()).count();
                let what = match (gathers, s.tape.n_operations()) {
                    (0, 0) if s.inputs.is_empty() => "fill".to_owned(),
                    (0, 0) => "copy".to_owned(),
                    (0, n) => format!("map of {n}"),
                    (_, 0) => "gather".to_owned(),
                    (_, n) => format!("gather and map of {n}"),
                };
                format!("{what}, {}", extents(&s.domain))
            }
            KernelSpec::Row(s) => {
                let (rows, columns) = (extents(&s.rows), extents(&s.columns));
                format!("{rows} rows of {columns}, {} phases", s.phases.len())
            }
            KernelSpec::Contract(s) => match &s.problem {
                Problem::MatMul {
                    batch,
                    m,
                    n,
                    k,
                    a: _,
                    b: _,
                } => {
                    let product = format!("{m}x{k} * {k}x{n}");
                    if batch.is_empty() {
                        product
                    } else {
                        format!("{} of {product}", extents(batch))
                    }
                }
                Problem::Conv {
                    batch,
                    groups,
                    in_channels,
                    out_channels,
                    window: w,
                    x: _,
                    w: _,
                }
                | Problem::ConvTranspose {
                    batch,
                    groups,
                    in_channels,
                    out_channels,
                    window: w,
                    x: _,
                    w: _,
                } => {
                    let kind = match &s.problem {
                        Problem::ConvTranspose { .. } => "transposed conv",
                        _ => "conv",
                    };
                    let mut text = format!(
                        "{kind} {} {} -> {}",
                        window(w),
                        groups.saturating_mul(*in_channels),
                        groups.saturating_mul(*out_channels)
                    );
                    if *groups != 1 {
                        text += &format!(" in {groups} groups");
                    }
                    text += &format!(", {}", extents(&w.output));
                    if *batch != 1 {
                        text += &format!(", batch {batch}");
                    }
                    text
                }
            },
            KernelSpec::Attention(s) => format!(
                "{} of {}x{} over {} keys",
                extents(&s.batch),
                s.q_len,
                s.qk_size,
                s.kv_len
            ),
            KernelSpec::Window(s) => {
                let fold = match (&s.fold, &s.weight) {
                    (WindowFold::Max, _) => "max",
                    (WindowFold::Sum, None) => "sum",
                    (WindowFold::Sum, Some(_)) => "depthwise",
                    (WindowFold::Average | WindowFold::AveragePadded { .. }, _) => "average",
                };
                format!(
                    "{fold} {}, {} channels, {}",
                    window(&s.window),
                    s.channels,
                    extents(&s.window.output)
                )
            }
            KernelSpec::Movement(s) => match s {
                MovementSpec::Scatter(s) => format!("scatter, {}", extents(&s.domain)),
                MovementSpec::Pad(s) => {
                    format!("pad {} to {}", extents(&s.input), extents(&s.output))
                }
                MovementSpec::Resize(s) => {
                    format!("resize {} to {}", extents(&s.input), extents(&s.output()))
                }
            },
            KernelSpec::Recurrent(s) => {
                let cell = match s.cell {
                    Cell::Lstm { .. } => "LSTM",
                    Cell::Gru { .. } => "GRU",
                    Cell::Rnn => "RNN",
                };
                let direction = match s.direction {
                    Direction::Forward => "",
                    Direction::Reverse => ", backward",
                    Direction::Bidirectional => ", both ways",
                };
                format!(
                    "{cell} {} -> {}, {} steps, batch {}{direction}",
                    s.input_size, s.hidden_size, s.time, s.batch
                )
            }
            KernelSpec::Library(s) => match s {
                LibrarySpec::TopK(s) => format!("top {} of {}", s.k, extents(&s.domain)),
                LibrarySpec::CumSum(s) => format!("running sums, {}", extents(&s.domain)),
                LibrarySpec::GridSample(s) => {
                    format!("sample {} at {}", extents(&s.input), extents(&s.output))
                }
                LibrarySpec::NonMaxSuppression(s) => {
                    format!("suppression, {} classes of {} boxes", s.classes, s.boxes)
                }
            },
            KernelSpec::Transfer(s) => format!("transfer of {} {}", s.len, s.dtype),
        }
    }
}

impl fmt::Display for Operand {
    /// Type and strides: `f32(16,4,1)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.dtype)?;
        for (n, stride) in self.strides.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{stride}")?;
        }
        f.write_str(")")
    }
}

/// Beyond this many characters, an expression gets a name.
const MAX_EXPRESSION: usize = 72;

impl fmt::Display for Tape {
    /// As expressions, those that are used twice under names: `t2 = sub(in0, row0); exp(t2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut n_uses = vec![0u32; self.steps.len()];
        let mut used = |r: Reg| {
            if let Some(n) = n_uses.get_mut(usize::from(r.0)) {
                *n += 1;
            }
        };
        for step in &self.steps {
            match step.op {
                TapeOp::Unary(_, x) | TapeOp::Convert(x) => used(x),
                TapeOp::Binary(_, x, y) => [x, y].into_iter().for_each(&mut used),
                TapeOp::Select(c, x, y) => [c, x, y].into_iter().for_each(&mut used),
                TapeOp::Input(_) | TapeOp::RowScalar(_) | TapeOp::Index(_) | TapeOp::Const(_) => {}
            }
        }
        self.results.iter().copied().for_each(&mut used);
        let mut texts: Vec<String> = Vec::with_capacity(self.steps.len());
        for (i, step) in self.steps.iter().enumerate() {
            let of = |r: Reg| texts.get(usize::from(r.0)).map_or("?", String::as_str);
            let function = |name: &str| name.to_lowercase();
            let mut is_leaf = false;
            let text = match step.op {
                TapeOp::Input(n) => format!("in{n}"),
                TapeOp::RowScalar(n) => format!("row{n}"),
                TapeOp::Index(n) => format!("index{n}"),
                TapeOp::Const(Scalar::Float(x)) => format!("{x:?}"),
                TapeOp::Const(Scalar::Int(x)) => x.to_string(),
                TapeOp::Unary(g, x) => format!("{}({})", function(&format!("{g:?}")), of(x)),
                TapeOp::Binary(g, x, y) => {
                    format!("{}({}, {})", function(&format!("{g:?}")), of(x), of(y))
                }
                TapeOp::Select(c, x, y) => format!("select({}, {}, {})", of(c), of(x), of(y)),
                TapeOp::Convert(x) => format!("{}({})", step.dtype, of(x)),
            };
            if let TapeOp::Input(_) | TapeOp::RowScalar(_) | TapeOp::Index(_) | TapeOp::Const(_) =
                step.op
            {
                is_leaf = true;
            }
            if !is_leaf && (n_uses[i] > 1 || text.len() > MAX_EXPRESSION) {
                write!(f, "t{i} = {text}; ")?;
                texts.push(format!("t{i}"));
            } else {
                texts.push(text);
            }
        }
        for (n, r) in self.results.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            let text = texts.get(usize::from(r.0)).map_or("?", String::as_str);
            write!(f, "{comma}{text}")?;
        }
        Ok(())
    }
}
