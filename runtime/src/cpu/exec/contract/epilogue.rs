//! What products are told to do with their results.

use super::super::Cx;
use super::super::map::Base;
use super::layout::{Line, or_any};
use super::recognise::{InputKind, Recognised, recognise};
use crate::cpu::gemm::{Activation, Epilogue};
use plans::DType;
use plans::spec;

/// A bias.
#[derive(Clone, Debug)]
enum Bias {
    None,
    /// An input of the epilogue.
    Input(Base),
    /// The same for all columns.
    Constant(Vec<f32>),
}

/// An epilogue that a product does by itself.
#[derive(Clone, Debug)]
pub(super) struct Fused {
    scale: f32,
    bias: Bias,
    residual: Option<(Base, usize)>,
    residual_last: bool,
    activation: Activation,
    /// The strides of the residual over the epilogue's domain.
    residual_strides: Option<Vec<isize>>,
}

/// What an epilogue adds to sums.
#[derive(Clone, Copy, Default)]
pub(super) struct Addends<'a> {
    /// Whether it adds one number a column.
    pub(super) has_bias: bool,
    /// The strides, over the domain, of what it adds element by element.
    pub(super) residual: Option<&'a [isize]>,
}

/// The dimensions of an epilogue's domain that rows and columns of the product are.
pub(super) struct Roles {
    /// Rows that one call of the product walks as a line.
    pub(super) rows: Vec<usize>,
    /// Dimensions of which each position is a call of its own, or rows as well.
    pub(super) batch: Vec<usize>,
    pub(super) column: usize,
}

impl Fused {
    /// The epilogue as one that products can do, if it is; its operands are the step's arguments
    /// from `first_arg` on.
    pub(super) fn new(
        epilogue: &spec::Epilogue,
        domain: &[u64],
        roles: &Roles,
        first_arg: usize,
    ) -> Option<Self> {
        let [output] = epilogue.outputs.as_slice() else {
            return None;
        };
        let is_f32 = |o: &spec::Operand| o.dtype == DType::F32;
        if !is_f32(output) || !epilogue.inputs.iter().all(is_f32) {
            return None;
        }
        let extent = |d: usize| domain[d] as usize;
        let line = Line {
            extents: roles.rows.iter().map(|&d| extent(d)).collect(),
        };
        let n_columns = extent(roles.column);
        let row_stride = |o: &spec::Operand| {
            let strides: Vec<isize> = roles.rows.iter().map(|&d| o.strides[d] as isize).collect();
            line.stride(&strides)
        };
        let kind = |o: &spec::Operand| {
            let rests = |dims: &[usize]| dims.iter().all(|&d| o.strides[d] == 0 || extent(d) == 1);
            if or_any(o.strides[roles.column] as isize, n_columns, 1) != 1 {
                return InputKind::Other;
            }
            if rests(&roles.rows) && rests(&roles.batch) {
                return InputKind::Bias;
            }
            match row_stride(o) {
                Some(stride) if stride >= 0 => InputKind::Residual,
                _ => InputKind::Other,
            }
        };
        let kinds: Vec<InputKind> = epilogue.inputs.iter().map(kind).collect();
        let Recognised {
            scale,
            addend,
            bias,
            residual,
            residual_last,
            activation,
        } = recognise(&epilogue.tape, &kinds)?;
        let base = |n: u16| Base::Arg(first_arg + usize::from(n));
        let bias = match (bias, addend) {
            (Some(n), 0.0) => Bias::Input(base(n)),
            (Some(_), _) => return None,
            (None, 0.0) => Bias::None,
            (None, addend) if n_columns <= 1 << 20 => Bias::Constant(vec![addend; n_columns]),
            (None, _) => return None,
        };
        let of = |n: u16| &epilogue.inputs[usize::from(n)];
        Some(Self {
            scale,
            bias,
            residual: match residual {
                None => None,
                Some(n) => Some((base(n), usize::try_from(row_stride(of(n))?).ok()?)),
            },
            residual_strides: residual.map(|n| of(n).strides.iter().map(|&s| s as isize).collect()),
            residual_last,
            activation,
        })
    }

    /// What it adds.
    pub(super) fn addends(&self) -> Addends<'_> {
        Addends {
            has_bias: !matches!(self.bias, Bias::None),
            residual: self.residual_strides.as_deref(),
        }
    }

    /// No epilogue.
    pub(super) fn none() -> Self {
        Self {
            scale: 1.0,
            bias: Bias::None,
            residual: None,
            residual_last: false,
            activation: Activation::None,
            residual_strides: None,
        }
    }

    /// With the operands of a run.
    pub(super) fn pointers(&self, cx: &Cx<'_>) -> Pointers {
        let pointer = |base: Base| base.pointer(cx).cast_const().cast::<f32>();
        Pointers {
            scale: self.scale,
            bias: match &self.bias {
                Bias::None => std::ptr::null(),
                Bias::Input(base) => pointer(*base),
                Bias::Constant(values) => values.as_ptr(),
            },
            residual: self
                .residual
                .map_or(std::ptr::null(), |(base, _)| pointer(base)),
            residual_stride: self.residual.map_or(0, |(_, stride)| stride),
            residual_last: self.residual_last,
            activation: self.activation,
        }
    }
}

/// A fused epilogue in a run.
#[derive(Clone, Copy)]
pub(super) struct Pointers {
    scale: f32,
    bias: *const f32,
    residual: *const f32,
    residual_stride: usize,
    residual_last: bool,
    activation: Activation,
}

impl Pointers {
    pub(super) fn epilogue(&self) -> Epilogue<'static> {
        Epilogue {
            scale: self.scale,
            bias: self.bias,
            residual: self.residual,
            residual_stride: self.residual_stride,
            residual_last: self.residual_last,
            activation: self.activation,
            finish: None,
        }
    }
}
