//! The functions that recurrent cells apply.

use super::OpError;

/// A function of one number that a recurrent cell applies, with its parameters.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `tanh(x)`.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `alpha * x + beta`.
    #[allow(missing_docs, reason = "the formula names them")]
    Affine { alpha: f32, beta: f32 },
    /// `x` where it is not negative, else `alpha * x`.
    #[allow(missing_docs, reason = "the formula names them")]
    LeakyRelu { alpha: f32 },
    /// `x` where it is greater than `alpha`, else 0.
    #[allow(missing_docs, reason = "the formula names them")]
    ThresholdedRelu { alpha: f32 },
    /// `alpha * tanh(beta * x)`.
    #[allow(missing_docs, reason = "the formula names them")]
    ScaledTanh { alpha: f32, beta: f32 },
    /// `alpha * x + beta` between 0 and 1.
    #[allow(missing_docs, reason = "the formula names them")]
    HardSigmoid { alpha: f32, beta: f32 },
    /// `x` where it is not negative, else `alpha * (exp(x) - 1)`.
    #[allow(missing_docs, reason = "the formula names them")]
    Elu { alpha: f32 },
    /// `x / (1 + |x|)`.
    Softsign,
    /// `ln(1 + exp(x))`.
    Softplus,
}

impl Activation {
    /// The function that ONNX calls `name`, in any case; parameters are taken from `alphas` and
    /// `betas` where the function has them, and have its defaults where those are used up.
    pub(crate) fn take(
        name: &str,
        alphas: &mut std::slice::Iter<'_, f32>,
        betas: &mut std::slice::Iter<'_, f32>,
    ) -> Result<Self, OpError> {
        let mut alpha = |default: f32| alphas.next().copied().unwrap_or(default);
        let mut beta = |default: f32| betas.next().copied().unwrap_or(default);
        Ok(match name.to_ascii_lowercase().as_str() {
            "relu" => Activation::Relu,
            "tanh" => Activation::Tanh,
            "sigmoid" => Activation::Sigmoid,
            "affine" => Activation::Affine {
                alpha: alpha(1.0),
                beta: beta(0.0),
            },
            "leakyrelu" => Activation::LeakyRelu { alpha: alpha(0.01) },
            "thresholdedrelu" => Activation::ThresholdedRelu { alpha: alpha(1.0) },
            "scaledtanh" => Activation::ScaledTanh {
                alpha: alpha(1.0),
                beta: beta(1.0),
            },
            "hardsigmoid" => Activation::HardSigmoid {
                alpha: alpha(0.2),
                beta: beta(0.5),
            },
            "elu" => Activation::Elu { alpha: alpha(1.0) },
            "softsign" => Activation::Softsign,
            "softplus" => Activation::Softplus,
            _ => {
                return Err(OpError::Shape(format!(
                    "`activations` holds `{name}`, which is none"
                )));
            }
        })
    }

    /// The function's value at `x`.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Activation::Relu => x.max(0.0),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Affine { alpha, beta } => f64::from(alpha) * x + f64::from(beta),
            Activation::LeakyRelu { alpha } if x < 0.0 => f64::from(alpha) * x,
            Activation::LeakyRelu { .. } => x,
            Activation::ThresholdedRelu { alpha } if x > f64::from(alpha) => x,
            Activation::ThresholdedRelu { .. } => 0.0,
            Activation::ScaledTanh { alpha, beta } => {
                f64::from(alpha) * (f64::from(beta) * x).tanh()
            }
            Activation::HardSigmoid { alpha, beta } => {
                (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
            }
            Activation::Elu { alpha } if x < 0.0 => f64::from(alpha) * x.exp_m1(),
            Activation::Elu { .. } => x,
            Activation::Softsign => x / (1.0 + x.abs()),
            Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}
