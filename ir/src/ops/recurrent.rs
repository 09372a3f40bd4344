//! What the recurrent operators share: the loop over time steps, around a cell of each one's own.

use super::OpError;
use super::activation::Activation;
use super::operands::{Number, expect_type, known_dims, one_type, optional, read, read_optional};
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attr_enum};

attr_enum! {
    /// In which order a recurrent operator visits the time steps.
    Direction {
        /// From the first to the last.
        Forward = "forward",
        /// From the last to the first.
        Reverse = "reverse",
        /// Both, with weights of their own.
        Bidirectional = "bidirectional",
    }
}

impl Direction {
    /// For each set of weights, whether it goes backward in time.
    pub fn passes(self) -> &'static [bool] {
        match self {
            Direction::Forward => &[false],
            Direction::Reverse => &[true],
            Direction::Bidirectional => &[false, true],
        }
    }
}

/// The attributes that all recurrent operators have.
pub(crate) struct Settings<'a> {
    pub(crate) activations: &'a [String],
    pub(crate) alphas: &'a [f32],
    pub(crate) betas: &'a [f32],
    pub(crate) clip: Option<f32>,
    pub(crate) direction: Direction,
    pub(crate) hidden_size: Option<i64>,
    pub(crate) batch_first: bool,
}

/// What happens at one time step of one instance.
pub(crate) trait Cell {
    /// Rows of the weights, in units of the hidden size.
    const GATES: usize;
    /// The activations of one direction.
    const ACTIVATIONS: &'static [&'static str];
    /// Whether there is a second state: the memory of LSTM, operand 6 and result 2, with peepholes, operand 7.
    const HAS_MEMORY: bool = false;

    /// Replaces the state. `x` is `W x + Wb`, gate by gate; `memory` is empty without one.
    fn step(&self, weights: &Weights<'_>, x: &[f64], hidden: &mut [f64], memory: &mut [f64]);
}

/// The weights of one direction that a cell sees.
pub(crate) struct Weights<'a> {
    /// The size of a state.
    pub(crate) n: usize,
    recurrence: &'a [f64],
    bias: &'a [f64],
    /// The peepholes of the input, output and forget gates; empty without.
    pub(crate) peepholes: &'a [f64],
    activations: &'a [Activation],
    clip: f64,
}

impl Weights<'_> {
    /// `R h + Rb` of `gates`, gate by gate.
    pub(crate) fn recur(&self, gates: std::ops::Range<usize>, h: &[f64]) -> Vec<f64> {
        let rows = gates.start * self.n..gates.end * self.n;
        let matrix = &self.recurrence[rows.start * self.n..rows.end * self.n];
        affine(matrix, rows.len(), h, self.bias.get(rows))
    }

    /// Activation `i` of `v`, the sum of a gate, which is clipped.
    pub(crate) fn gate(&self, i: usize, v: f64) -> f64 {
        self.activate(i, v.clamp(-self.clip, self.clip))
    }

    /// Activation `i` of `v`.
    pub(crate) fn activate(&self, i: usize, v: f64) -> f64 {
        self.activations[i].apply(v)
    }
}

/// `matrix * x + bias` of a row-major matrix with so many rows.
fn affine(matrix: &[f64], rows: usize, x: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let row = |i: usize| {
        let weights = &matrix[i * x.len()..][..x.len()];
        let product: f64 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
        bias.map_or(0.0, |b| b[i]) + product
    };
    (0..rows).map(row).collect()
}

impl Settings<'_> {
    /// The size of a state: the attribute, or what the recurrence weights of type `r` say.
    pub(crate) fn hidden(&self, r: &TensorType) -> Result<usize, OpError> {
        let hidden = match self.hidden_size {
            Some(n) => Dim::Known(usize::try_from(n).unwrap_or(0)),
            None => r.shape.0.last().cloned().unwrap_or(Dim::Known(0)),
        };
        hidden.known().filter(|&n| (1..=i32::MAX as usize).contains(&n)).ok_or_else(|| {
            OpError::Shape(format!(
                "a hidden size of {hidden}, from `hidden_size` or `R` of type {r}; expected at least 1"
            ))
        })
    }

    /// The activations of each direction, those of the cell where none are given.
    pub(crate) fn cells(&self, default: &[&str]) -> Result<Vec<Vec<Activation>>, OpError> {
        let n_passes = self.direction.passes().len();
        let (mut alphas, mut betas) = (self.alphas.iter(), self.betas.iter());
        let names: Vec<&str> = if self.activations.is_empty() {
            default.repeat(n_passes)
        } else {
            self.activations.iter().map(String::as_str).collect()
        };
        if names.len() != n_passes * default.len() {
            return Err(OpError::Shape(format!(
                "{} `activations`, expected {}",
                names.len(),
                n_passes * default.len()
            )));
        }
        names
            .chunks(default.len())
            .map(|pass| {
                pass.iter()
                    .map(|name| Activation::take(name, &mut alphas, &mut betas))
                    .collect()
            })
            .collect()
    }

    /// The dimensions of X, with those of steps and instances in that order.
    fn steps_and_instances(&self, x: &Shape) -> Result<(Dim, Dim, Dim), OpError> {
        let [a, b, input] = x.0.as_slice() else {
            return Err(OpError::Shape(format!("`X` of shape {x}, expected rank 3")));
        };
        let (steps, instances) = if self.batch_first { (b, a) } else { (a, b) };
        Ok((steps.clone(), instances.clone(), input.clone()))
    }
}

/// Types of the results: the hidden states of all steps, the last ones, and the last memory.
pub(crate) fn infer_recurrent<C: Cell>(
    cx: &InferCx<'_>,
    settings: &Settings<'_>,
) -> Result<Vec<TensorType>, OpError> {
    let dtype = one_type(cx, 4, DType::is_float, "a floating-point number")?;
    let (steps, instances, input) = settings.steps_and_instances(cx.shape(0)?)?;
    let n = settings.hidden(cx.input(2)?)?;
    settings.cells(C::ACTIVATIONS)?;
    let passes = Dim::Known(settings.direction.passes().len());
    let rows = Dim::Known(C::GATES * n);
    let state = if settings.batch_first {
        [instances.clone(), passes.clone(), n.into()]
    } else {
        [passes.clone(), instances.clone(), n.into()]
    };
    cx.input(1)?;
    expect_type(cx, 1, "W", dtype, &[passes.clone(), rows.clone(), input])?;
    expect_type(cx, 2, "R", dtype, &[passes.clone(), rows, n.into()])?;
    expect_type(
        cx,
        3,
        "B",
        dtype,
        &[passes.clone(), Dim::Known(2 * C::GATES * n)],
    )?;
    expect_type(
        cx,
        4,
        "sequence_lens",
        DType::I32,
        std::slice::from_ref(&instances),
    )?;
    expect_type(cx, 5, "initial_h", dtype, &state)?;
    if C::HAS_MEMORY {
        expect_type(cx, 6, "initial_c", dtype, &state)?;
        expect_type(cx, 7, "P", dtype, &[passes.clone(), Dim::Known(3 * n)])?;
    }
    let all = if settings.batch_first {
        [instances, steps, passes, n.into()]
    } else {
        [steps, passes, instances, n.into()]
    };
    let last = TensorType::new(dtype, state.into_iter().collect());
    let results = [
        TensorType::new(dtype, all.into_iter().collect()),
        last.clone(),
        last,
    ];
    Ok(results.into_iter().take(cx.n_outputs()).collect())
}

/// The results: instance by instance, direction by direction, one step after the other.
///
/// Hidden states beyond an instance's length are 0; its last states are those of its last step.
pub(crate) fn eval_recurrent<C: Cell>(
    cell: &C,
    settings: &Settings<'_>,
    inputs: &[Option<&Tensor>],
    types: &[TensorType],
) -> Result<Vec<Tensor>, OpError> {
    let dims = known_dims(&types[0])?;
    let n = dims[3];
    let (steps, passes, instances) = if settings.batch_first {
        (dims[1], dims[2], dims[0])
    } else {
        (dims[0], dims[1], dims[2])
    };
    let (x, w, r): (Vec<f64>, Vec<f64>, Vec<f64>) =
        (read(inputs, 0)?, read(inputs, 1)?, read(inputs, 2)?);
    let (bias, peepholes) = (
        read_optional::<f64>(inputs, 3)?,
        read_optional::<f64>(inputs, 7)?,
    );
    let lengths = lengths(inputs, steps, instances)?;
    let states = passes * instances * n;
    let start = |i| Ok(read_optional::<f64>(inputs, i)?.unwrap_or_else(|| vec![0.0; states]));
    let (mut hidden, mut memory) = (start(5)?, start(6)?);
    let activations = settings.cells(C::ACTIVATIONS)?;
    let mut y = vec![0.0; steps * states];
    let rows = C::GATES * n;
    let features = w.len().checked_div(passes * rows).unwrap_or(0);
    let row = |outer: usize, inner: usize, n_outer: usize, n_inner: usize| {
        if settings.batch_first {
            inner * n_outer + outer
        } else {
            outer * n_inner + inner
        }
    };
    for (pass, &backward) in settings.direction.passes().iter().enumerate() {
        let of_pass =
            |all: &'_ [f64], size: usize| pass * size..(pass * size + size).min(all.len());
        let bias = bias.as_ref().map(|b| &b[of_pass(b, 2 * rows)]);
        let weights = Weights {
            n,
            recurrence: &r[of_pass(&r, rows * n)],
            bias: bias.map_or(&[], |b| &b[rows..]),
            peepholes: peepholes.as_ref().map_or(&[], |p| &p[of_pass(p, 3 * n)]),
            activations: &activations[pass],
            clip: settings
                .clip
                .filter(|clip| !clip.is_nan())
                .map_or(f64::INFINITY, |c| c.abs().into()),
        };
        let input_weights = &w[of_pass(&w, rows * features)];
        for (instance, &length) in lengths.iter().enumerate() {
            let at = row(pass, instance, passes, instances) * n;
            for step in 0..length {
                let t = if backward { length - 1 - step } else { step };
                let at_x = row(t, instance, steps, instances) * features;
                let gates = affine(
                    input_weights,
                    rows,
                    &x[at_x..at_x + features],
                    bias.map(|b| &b[..rows]),
                );
                let memory = &mut memory[at..at + n];
                cell.step(&weights, &gates, &mut hidden[at..at + n], memory);
                let at_y = if settings.batch_first {
                    (instance * steps + t) * passes + pass
                } else {
                    (t * passes + pass) * instances + instance
                };
                y[at_y * n..][..n].copy_from_slice(&hidden[at..at + n]);
            }
        }
    }
    let results = types.iter().zip([y, hidden, memory]);
    results
        .map(|(ty, v)| Ok(f64::write(ty.dtype, &known_dims(ty)?, &v)))
        .collect()
}

/// The number of steps of each instance.
fn lengths(
    inputs: &[Option<&Tensor>],
    steps: usize,
    instances: usize,
) -> Result<Vec<usize>, OpError> {
    let Some(lengths) = optional(inputs, 4) else {
        return Ok(vec![steps; instances]);
    };
    let length = |v: i128| {
        usize::try_from(v)
            .ok()
            .filter(|&v| v <= steps)
            .ok_or_else(|| {
                OpError::Value(format!("`sequence_lens` holds {v}, expected 0 to {steps}"))
            })
    };
    i128::read(lengths)?.into_iter().map(length).collect()
}

/// `2 * steps * instances` operations for each weight.
pub(crate) fn recurrent_flop(inputs: &[Option<&TensorType>]) -> u64 {
    use super::operands::n_elements;
    let features = inputs[0]
        .and_then(|x| x.shape.0.last()?.known())
        .unwrap_or(0);
    let steps = n_elements(inputs, 0)
        .checked_div(features as u64)
        .unwrap_or(0);
    let weights = n_elements(inputs, 1).saturating_add(n_elements(inputs, 2));
    steps.saturating_mul(weights).saturating_mul(2)
}

/// Declares a recurrent operator by its cell: name, versions, operands, results, its own attributes.
macro_rules! recurrent_operator {
    ($(#[$meta:meta])* $name:ident, [$($version:literal),*], $inputs:expr, $outputs:expr,
     { $($own:tt)* }) => {
        $crate::attributes! {
            $(#[$meta])*
            $name {
                /// First parameters of the activations that have one, in order.
                activation_alpha: Vec<f32> = vec![],
                /// Second parameters of the activations that have one, in order.
                activation_beta: Vec<f32> = vec![],
                /// The activations, direction by direction; the usual ones if left out.
                activations: Vec<String> = vec![],
                /// The greatest magnitude of a gate's sum, which its activation is applied to.
                clip: Option<f32> = None,
                /// In which order time steps are visited.
                direction: $crate::ops::Direction = $crate::ops::Direction::Forward,
                /// The size of a state.
                hidden_size: Option<i64> = None,
                /// Whether instances are the outermost dimension rather than time steps.
                layout: bool = false,
                $($own)*
            }
        }

        impl $name {
            /// The activations of each direction, in the order in which the cell applies them.
            pub fn cells(&self) -> Result<Vec<Vec<$crate::ops::Activation>>, $crate::OpError> {
                self.settings().cells(<Self as $crate::ops::recurrent::Cell>::ACTIVATIONS)
            }

            /// The size of a state, for recurrence weights (operand 2) of type `r`.
            pub fn hidden(&self, r: &$crate::TensorType) -> Result<usize, $crate::OpError> {
                self.settings().hidden(r)
            }

            fn settings(&self) -> $crate::ops::recurrent::Settings<'_> {
                $crate::ops::recurrent::Settings {
                    activations: &self.activations,
                    alphas: &self.activation_alpha,
                    betas: &self.activation_beta,
                    clip: self.clip,
                    direction: self.direction,
                    hidden_size: self.hidden_size,
                    batch_first: self.layout,
                }
            }
        }

        impl $crate::ops::Operator for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: &'static [u32] = &[$($version),*];
            const INPUTS: std::ops::RangeInclusive<usize> = $inputs;
            const OUTPUTS: std::ops::RangeInclusive<usize> = $outputs;
            const CLASS: $crate::ops::Class = $crate::ops::Class::Recurrent;

            $crate::attrs::attrs_by_macro!();

            fn infer(
                &self,
                cx: &$crate::infer::InferCx<'_>,
            ) -> Result<Vec<$crate::TensorType>, $crate::OpError> {
                $crate::ops::recurrent::infer_recurrent::<Self>(cx, &self.settings())
            }

            fn eval(
                &self,
                inputs: &[Option<&$crate::Tensor>],
                types: &[$crate::TensorType],
            ) -> Result<Vec<$crate::Tensor>, $crate::OpError> {
                $crate::ops::recurrent::eval_recurrent(self, &self.settings(), inputs, types)
            }

            fn flop(
                &self,
                inputs: &[Option<&$crate::TensorType>],
                _outputs: &[$crate::TensorType],
            ) -> u64 {
                $crate::ops::recurrent::recurrent_flop(inputs)
            }
        }
    };
}
pub(crate) use recurrent_operator;
