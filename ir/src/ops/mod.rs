//! The operators: one file each, and the one list that makes them an enum.
//!
//! A file holds all that the compiler knows of an operator: its ONNX name and versions, its
//! attributes, its class, type and shape inference, its work, and its reference evaluation.
//! Operands follow the newest ONNX form; the `onnx` room brings older forms to it.

mod activation;
mod arg_reduce;
mod contract;
mod global_pool;
mod map;
mod norm;
mod normalize;
mod operands;
mod pool;
mod recurrent;
mod reduce;
mod sampling;
mod scatter;
mod view;
mod window;

use crate::attrs::{AttrError, Attrs};
use crate::infer::InferCx;
use crate::scalar::ScalarFn;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::fmt;
use std::ops::RangeInclusive;

pub use activation::Activation;
pub use attention::AttentionShape;
pub use bit_shift::ShiftDirection;
pub use depth_to_space::DepthOrder;
pub use einsum::Subscripts;
pub use gelu::GeluApproximation;
pub use grid_sample::{SampleMode, SamplePadding};
pub use map::MapOperator;
pub use non_max_suppression::SelectionLimits;
pub use norm::NormOrder;
pub use pad::PadMode;
pub use recurrent::Direction;
pub use reduce::Fold;
pub use resize::{AspectRatioPolicy, CoordinateMode, NearestMode, ResizeMode};
pub use sampling::AxisSampling;
pub use scatter::ScatterReduction;
pub use view::ViewStep;
pub use window::{AutoPad, WindowGeometry};

/// What kind of kernel computes an operator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Each element of the result from one element of each operand, by a [`ScalarFn`].
    Map,
    /// A fold or a normalisation along some axes.
    Reduce,
    /// Sums of products: matrix products and convolutions.
    Contract,
    /// A fold over a sliding window.
    Window,
    /// The same elements under another index: no arithmetic, a [`ViewStep`].
    View,
    /// Elements moved by computed indices: gather, scatter, pad, concatenate, resize.
    Movement,
    /// A loop over time steps.
    Recurrent,
    /// What needs a program of its own: sorting, selection, scans.
    Library,
    /// A result that depends only on the types of the operands.
    Metadata,
}

/// Arithmetic and memory traffic of a node, each operand read and each result written once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Work {
    /// Floating-point or integer operations; a multiply-add counts as 2.
    pub flop: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

/// Why an operator cannot be typed or evaluated.
#[derive(Clone, PartialEq, Debug)]
pub enum OpError {
    /// Operand `n` is required.
    MissingInput(usize),
    /// Too many or too few operands or results.
    Arity(String),
    /// An operand has an element type that the operator does not take.
    Type(String),
    /// Shapes, axes or attributes do not fit together.
    Shape(String),
    /// An operand that the compiler must know is computed at run time.
    NotConstant(&'static str),
    /// Valid ONNX that is not supported.
    Unsupported(String),
    /// The content of an operand is out of range, at evaluation.
    Value(String),
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpError::MissingInput(n) => write!(f, "input {n} is missing"),
            OpError::Arity(why)
            | OpError::Type(why)
            | OpError::Shape(why)
            | OpError::Unsupported(why)
            | OpError::Value(why) => f.write_str(why),
            OpError::NotConstant(name) => {
                write!(
                    f,
                    "input `{name}` is computed at run time; it must be constant"
                )
            }
        }
    }
}

impl std::error::Error for OpError {}

/// What an operator's file provides.
pub trait Operator: Clone + PartialEq + fmt::Debug + Sized {
    /// The ONNX name, also the mnemonic of the text form.
    const NAME: &'static str;
    /// The opset versions in which ONNX defined or changed the operator, ascending.
    const VERSIONS: &'static [u32];
    /// How many operands it takes.
    const INPUTS: RangeInclusive<usize>;
    /// How many results it has.
    const OUTPUTS: RangeInclusive<usize> = 1..=1;
    /// The class.
    const CLASS: Class;

    /// Reads the attributes; every one must be known.
    fn read(attrs: &Attrs) -> Result<Self, AttrError>;

    /// The attributes that differ from their defaults.
    fn write(&self) -> Attrs;

    /// The types of the results.
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError>;

    /// The results, computed in the plainest way. `types` are the inferred types of the results.
    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError>;

    /// The number of operations. The default is one for each element of the results, and none for
    /// operators that only move elements or read types.
    fn flop(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> u64 {
        let _ = inputs;
        if matches!(Self::CLASS, Class::View | Class::Movement | Class::Metadata) {
            return 0;
        }
        outputs
            .iter()
            .filter_map(|t| t.shape.n_elements())
            .fold(0, |sum: u64, n| sum.saturating_add(n as u64))
    }

    /// For [`Class::Map`]: what happens to one element, given the operands' element types.
    fn scalar(&self, inputs: &[Option<crate::DType>]) -> Option<ScalarFn> {
        let _ = inputs;
        None
    }

    /// For [`Class::View`]: result `output` as a view of operand 0, by steps that follow one
    /// another (none: the operand itself); `None` where shapes or constants are not known.
    fn view(&self, cx: &InferCx<'_>, output: usize) -> Option<Vec<ViewStep>> {
        let _ = (cx, output);
        None
    }

    /// For [`Class::Metadata`]: the result; `None` where the operands' types do not tell.
    fn metadata(&self, cx: &InferCx<'_>) -> Option<Tensor> {
        let _ = cx;
        None
    }
}

macro_rules! operators {
    ($($file:ident::$name:ident,)*) => {
        $(mod $file; pub use $file::$name;)*

        /// An operator with its attributes.
        #[derive(Clone, PartialEq, Debug)]
        #[allow(missing_docs, reason = "each variant is documented at its type")]
        pub enum Op {
            $($name($name),)*
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Op::$name(op)
            }
        })*

        impl Op {
            /// Every operator's name, its ONNX versions and its class, in the list's order.
            pub fn catalogue() -> impl Iterator<Item = (&'static str, &'static [u32], Class)> {
                [$((<$name as Operator>::NAME, <$name as Operator>::VERSIONS, <$name as Operator>::CLASS),)*].into_iter()
            }

            /// The operator called `name` with these attributes; `None` if there is none.
            pub fn read(name: &str, attrs: &Attrs) -> Option<Result<Op, AttrError>> {
                match name {
                    $(<$name as Operator>::NAME => Some(<$name as Operator>::read(attrs).map(Op::$name)),)*
                    _ => None,
                }
            }

            /// The ONNX name, also the mnemonic of the text form.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name(_) => <$name as Operator>::NAME,)* }
            }

            /// The class.
            pub fn class(&self) -> Class {
                match self { $(Op::$name(_) => <$name as Operator>::CLASS,)* }
            }

            /// How many operands it takes.
            pub fn arity(&self) -> RangeInclusive<usize> {
                match self { $(Op::$name(_) => <$name as Operator>::INPUTS,)* }
            }

            /// How many results it has.
            pub fn results(&self) -> RangeInclusive<usize> {
                match self { $(Op::$name(_) => <$name as Operator>::OUTPUTS,)* }
            }

            /// The attributes that differ from their defaults.
            pub fn attrs(&self) -> Attrs {
                match self { $(Op::$name(op) => Operator::write(op),)* }
            }

            fn infer_unchecked(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
                match self { $(Op::$name(op) => Operator::infer(op, cx),)* }
            }

            fn eval_unchecked(
                &self,
                inputs: &[Option<&Tensor>],
                types: &[TensorType],
            ) -> Result<Vec<Tensor>, OpError> {
                match self { $(Op::$name(op) => Operator::eval(op, inputs, types),)* }
            }

            fn flop(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> u64 {
                match self { $(Op::$name(op) => Operator::flop(op, inputs, outputs),)* }
            }

            /// For [`Class::Map`]: what happens to one element.
            pub fn scalar(&self, inputs: &[Option<crate::DType>]) -> Option<ScalarFn> {
                match self { $(Op::$name(op) => Operator::scalar(op, inputs),)* }
            }

            /// For [`Class::View`]: result `output` as a view of operand 0, step after step.
            pub fn view(&self, cx: &InferCx<'_>, output: usize) -> Option<Vec<ViewStep>> {
                match self { $(Op::$name(op) => Operator::view(op, cx, output),)* }
            }

            /// For [`Class::Metadata`]: the result, which no operand's content changes.
            pub fn metadata(&self, cx: &InferCx<'_>) -> Option<Tensor> {
                match self { $(Op::$name(op) => Operator::metadata(op, cx),)* }
            }
        }
    };
}

impl Op {
    /// The types of the results, after a check of the number of operands and results.
    pub fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        check_count("inputs", cx.n_inputs(), self.arity())?;
        check_count("outputs", cx.n_outputs(), self.results())?;
        self.infer_unchecked(cx)
    }

    /// The results for these operands, computed in the plainest way.
    ///
    /// `n_outputs` is the number of results that the node has.
    pub fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        n_outputs: usize,
    ) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<_> = inputs.iter().map(|t| t.map(Tensor::ty)).collect();
        let types: Vec<_> = types.iter().map(Option::as_ref).collect();
        let results = self.infer(&InferCx::new(&types, inputs, n_outputs))?;
        let too_large = |t: &&TensorType| {
            t.shape.dims().is_some() && t.n_bytes().is_none_or(|n| n > isize::MAX as usize)
        };
        if let Some(ty) = results.iter().find(too_large) {
            return Err(OpError::Value(format!(
                "a result of type {ty} is beyond any memory"
            )));
        }
        // Results without elements, whose other dimensions may be beyond all bounds, need no work.
        if results.iter().all(|t| t.shape.n_elements() == Some(0)) {
            let empty = |t: &TensorType| Some(Tensor::from_f64(t.dtype, &t.shape.dims()?, &[]));
            return results
                .iter()
                .map(|t| empty(t).ok_or_else(|| OpError::Shape("unknown shape".into())))
                .collect();
        }
        self.eval_unchecked(inputs, &results)
    }

    /// Operations and memory traffic, each operand read and each result written once.
    pub fn work(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> Work {
        let bytes = |t: &TensorType| -> u64 { t.n_bytes().unwrap_or(0) as u64 };
        Work {
            flop: self.flop(inputs, outputs),
            read: inputs
                .iter()
                .flatten()
                .fold(0, |sum, t| sum.saturating_add(bytes(t))),
            written: outputs
                .iter()
                .fold(0, |sum, t| sum.saturating_add(bytes(t))),
        }
    }
}

fn check_count(what: &str, n: usize, allowed: RangeInclusive<usize>) -> Result<(), OpError> {
    if allowed.contains(&n) {
        return Ok(());
    }
    let (lo, hi) = (allowed.start(), allowed.end());
    let range = match (lo, hi) {
        (lo, hi) if lo == hi => format!("{lo}"),
        (lo, &usize::MAX) => format!("at least {lo}"),
        (lo, hi) => format!("{lo} to {hi}"),
    };
    Err(OpError::Arity(format!("{n} {what}, expected {range}")))
}

operators! {
    abs::Abs,
    acos::Acos,
    acosh::Acosh,
    add::Add,
    and::And,
    arg_max::ArgMax,
    arg_min::ArgMin,
    asin::Asin,
    asinh::Asinh,
    atan::Atan,
    atanh::Atanh,
    attention::Attention,
    average_pool::AveragePool,
    batch_normalization::BatchNormalization,
    bit_shift::BitShift,
    bitwise_and::BitwiseAnd,
    bitwise_not::BitwiseNot,
    bitwise_or::BitwiseOr,
    bitwise_xor::BitwiseXor,
    cast::Cast,
    cast_like::CastLike,
    ceil::Ceil,
    celu::Celu,
    center_crop_pad::CenterCropPad,
    clip::Clip,
    compress::Compress,
    concat::Concat,
    constant_of_shape::ConstantOfShape,
    conv::Conv,
    conv_transpose::ConvTranspose,
    cos::Cos,
    cosh::Cosh,
    cum_sum::CumSum,
    depth_to_space::DepthToSpace,
    div::Div,
    dropout::Dropout,
    einsum::Einsum,
    elu::Elu,
    equal::Equal,
    erf::Erf,
    exp::Exp,
    expand::Expand,
    eye_like::EyeLike,
    flatten::Flatten,
    floor::Floor,
    gather::Gather,
    gather_elements::GatherElements,
    gather_nd::GatherND,
    gelu::Gelu,
    gemm::Gemm,
    global_average_pool::GlobalAveragePool,
    global_lp_pool::GlobalLpPool,
    global_max_pool::GlobalMaxPool,
    greater::Greater,
    greater_or_equal::GreaterOrEqual,
    grid_sample::GridSample,
    group_normalization::GroupNormalization,
    gru::GRU,
    hard_sigmoid::HardSigmoid,
    hard_swish::HardSwish,
    hardmax::Hardmax,
    identity::Identity,
    instance_normalization::InstanceNormalization,
    is_inf::IsInf,
    is_nan::IsNaN,
    layer_normalization::LayerNormalization,
    leaky_relu::LeakyRelu,
    less::Less,
    less_or_equal::LessOrEqual,
    log::Log,
    log_softmax::LogSoftmax,
    lp_normalization::LpNormalization,
    lp_pool::LpPool,
    lrn::LRN,
    lstm::LSTM,
    mat_mul::MatMul,
    max::Max,
    max_pool::MaxPool,
    mean::Mean,
    mean_variance_normalization::MeanVarianceNormalization,
    min::Min,
    mish::Mish,
    modulo::Mod,
    mul::Mul,
    neg::Neg,
    non_max_suppression::NonMaxSuppression,
    non_zero::NonZero,
    not::Not,
    one_hot::OneHot,
    or::Or,
    pad::Pad,
    pow::Pow,
    prelu::PRelu,
    range::Range,
    reciprocal::Reciprocal,
    reduce_l1::ReduceL1,
    reduce_l2::ReduceL2,
    reduce_log_sum::ReduceLogSum,
    reduce_log_sum_exp::ReduceLogSumExp,
    reduce_max::ReduceMax,
    reduce_mean::ReduceMean,
    reduce_min::ReduceMin,
    reduce_prod::ReduceProd,
    reduce_sum::ReduceSum,
    reduce_sum_square::ReduceSumSquare,
    relu::Relu,
    reshape::Reshape,
    resize::Resize,
    reverse_sequence::ReverseSequence,
    rms_normalization::RMSNormalization,
    rnn::RNN,
    rotary_embedding::RotaryEmbedding,
    round::Round,
    scatter_elements::ScatterElements,
    scatter_nd::ScatterND,
    selu::Selu,
    shape::Shape,
    shrink::Shrink,
    sigmoid::Sigmoid,
    sign::Sign,
    sin::Sin,
    sinh::Sinh,
    size::Size,
    slice::Slice,
    softmax::Softmax,
    softplus::Softplus,
    softsign::Softsign,
    space_to_depth::SpaceToDepth,
    split::Split,
    sqrt::Sqrt,
    squeeze::Squeeze,
    sub::Sub,
    sum::Sum,
    swish::Swish,
    tan::Tan,
    tanh::Tanh,
    thresholded_relu::ThresholdedRelu,
    tile::Tile,
    top_k::TopK,
    transpose::Transpose,
    trilu::Trilu,
    unsqueeze::Unsqueeze,
    where_::Where,
    xor::Xor,
}
