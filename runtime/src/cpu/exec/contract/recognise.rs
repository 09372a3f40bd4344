//! Epilogues that products can do themselves.

use super::expression::{Expressions, Id, Node};
use crate::cpu::gemm::Activation;
use plans::Tape;
use plans::tape::UnaryFn;

/// Tapes longer than this are not looked at: no known function is.
const MAX_STEPS: usize = 48;

/// `f(scale P + addend + bias + residual)`, or `f(scale P + addend + bias) + residual`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Recognised {
    pub(super) scale: f32,
    /// A constant that is added to every product.
    pub(super) addend: f32,
    /// Which input of the epilogue is added to each row.
    pub(super) bias: Option<u16>,
    /// Which input of the epilogue is added element by element.
    pub(super) residual: Option<u16>,
    pub(super) residual_last: bool,
    pub(super) activation: Activation,
}

/// What an input of an epilogue is to the rows and columns of its domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InputKind {
    /// One element for each column, next to each other.
    Bias,
    /// One element for each element.
    Residual,
    Other,
}

/// The epilogue's only result as one of the known forms; `kinds` are those of its inputs (which
/// the tape calls 1, 2, …).
pub(super) fn recognise(tape: &Tape, kinds: &[InputKind]) -> Option<Recognised> {
    let &[result] = tape.results.as_slice() else {
        return None;
    };
    if tape.steps.len() > MAX_STEPS {
        return None;
    }
    let mut expressions = Expressions::default();
    let ids = expressions.of_tape(tape);
    let result = ids[usize::from(result.0)];
    let mut matcher = Matcher { expressions, kinds };
    if let Some(found) = matcher.function(result) {
        return Some(found);
    }
    // A residual that is added last is a term of the outermost sum.
    let Node::Sum(constant, terms) = matcher.expressions.node(result).clone() else {
        return None;
    };
    if constant.get() != 0.0 {
        return None;
    }
    for (i, &term) in terms.iter().enumerate() {
        let Some((n, InputKind::Residual)) = matcher.input(term) else {
            continue;
        };
        let mut rest = matcher.expressions.constant(0.0);
        for (j, &other) in terms.iter().enumerate() {
            if j != i {
                rest = matcher.expressions.add(rest, other);
            }
        }
        if let Some(found) = matcher.function(rest)
            && found.residual.is_none()
        {
            return Some(Recognised {
                residual: Some(n),
                residual_last: true,
                ..found
            });
        }
    }
    None
}

struct Matcher<'a> {
    expressions: Expressions,
    kinds: &'a [InputKind],
}

impl Matcher<'_> {
    /// Which input of the epilogue an expression is.
    fn input(&self, id: Id) -> Option<(u16, InputKind)> {
        match self.expressions.node(id) {
            &Node::Input(n) if n > 0 => Some((n - 1, self.kinds[usize::from(n) - 1])),
            _ => None,
        }
    }

    /// `f(scale P + addend + bias + residual)`.
    fn function(&mut self, result: Id) -> Option<Recognised> {
        if let Some(sum) = self.sum(result) {
            return Some(sum);
        }
        for id in self.expressions.ids() {
            if let Some(sum) = self.sum(id)
                && let Some(activation) = self.activation(result, id)
            {
                return Some(Recognised { activation, ..sum });
            }
        }
        None
    }

    /// `scale P + addend + bias + residual`.
    fn sum(&self, id: Id) -> Option<Recognised> {
        let mut found = Recognised {
            scale: 0.0,
            addend: 0.0,
            bias: None,
            residual: None,
            residual_last: false,
            activation: Activation::None,
        };
        let terms = match self.expressions.node(id) {
            Node::Sum(constant, terms) => {
                found.addend = constant.get() as f32;
                terms.clone()
            }
            _ => vec![id],
        };
        for term in terms {
            let scale = match self.expressions.node(term) {
                Node::Input(0) => Some(1.0),
                Node::Product(scale, factors)
                    if matches!(
                        factors.as_slice(),
                        &[one] if *self.expressions.node(one) == Node::Input(0)
                    ) =>
                {
                    Some(scale.get() as f32)
                }
                _ => None,
            };
            match (scale, self.input(term)) {
                (Some(scale), _) if found.scale == 0.0 => found.scale = scale,
                (None, Some((n, InputKind::Bias))) if found.bias.is_none() => found.bias = Some(n),
                (None, Some((n, InputKind::Residual))) if found.residual.is_none() => {
                    found.residual = Some(n);
                }
                _ => return None,
            }
        }
        (found.scale != 0.0).then_some(found)
    }

    /// The function that makes `y` of `x`.
    fn activation(&mut self, y: Id, x: Id) -> Option<Activation> {
        let bounds = self.bounds(y, x);
        if let Some((low, high)) = bounds {
            return Some(if (low, high) == (0.0, f32::INFINITY) {
                Activation::Relu
            } else {
                Activation::Clip(low, high)
            });
        }
        for (activation, template) in self.templates(x) {
            if template == y {
                return Some(activation);
            }
        }
        self.hard_sigmoid(y, x)
            .or_else(|| self.leaky_relu(y, x))
            .or_else(|| self.elu(y, x))
    }

    fn constant(&self, id: Id) -> Option<f32> {
        match self.expressions.node(id) {
            Node::Const(c) => Some(c.get() as f32),
            _ => None,
        }
    }

    /// `y` as `x` between two bounds.
    fn bounds(&self, y: Id, x: Id) -> Option<(f32, f32)> {
        let one = |id: Id| -> Option<(bool, f32, Id)> {
            let (is_max, a, b) = match *self.expressions.node(id) {
                Node::Max(a, b) => (true, a, b),
                Node::Min(a, b) => (false, a, b),
                _ => return None,
            };
            match (self.constant(a), self.constant(b)) {
                (Some(c), None) => Some((is_max, c, b)),
                (None, Some(c)) => Some((is_max, c, a)),
                _ => None,
            }
        };
        let (outer_max, c, inner) = one(y)?;
        let bound = |is_max: bool, c: f32| {
            if is_max {
                (c, f32::INFINITY)
            } else {
                (f32::NEG_INFINITY, c)
            }
        };
        if inner == x {
            return Some(bound(outer_max, c));
        }
        let (inner_max, d, innermost) = one(inner)?;
        let (low, high) = if outer_max { (c, d) } else { (d, c) };
        (innermost == x && outer_max != inner_max && low <= high).then_some((low, high))
    }

    /// Functions without parameters, of `x`.
    fn templates(&mut self, x: Id) -> Vec<(Activation, Id)> {
        let e = &mut self.expressions;
        let sigmoid = e.unary(UnaryFn::Sigmoid, x);
        let tanh = e.unary(UnaryFn::Tanh, x);
        let softplus = e.unary(UnaryFn::Softplus, x);
        let silu = e.mul(x, sigmoid);
        let mish = {
            let tanh = e.unary(UnaryFn::Tanh, softplus);
            e.mul(x, tanh)
        };
        let half_times_one_plus = |e: &mut Expressions, inner: Id| {
            let sum = e.shifted(1.0, inner);
            let product = e.mul(x, sum);
            e.scaled(0.5, product)
        };
        let gelu = {
            let scaled = e.scaled(std::f64::consts::FRAC_1_SQRT_2, x);
            let erf = e.unary(UnaryFn::Erf, scaled);
            half_times_one_plus(e, erf)
        };
        let root = (2.0 / std::f64::consts::PI).sqrt();
        let cube = {
            let square = e.mul(x, x);
            e.mul(square, x)
        };
        let gelu_tanh = {
            let cubic = e.scaled(0.044_715, cube);
            let sum = e.add(x, cubic);
            let inner = e.scaled(root, sum);
            let tanh = e.unary(UnaryFn::Tanh, inner);
            half_times_one_plus(e, tanh)
        };
        // x (1 + 0.044715 x²) in place of x + 0.044715 x³.
        let gelu_tanh_factored = {
            let square = e.mul(x, x);
            let quadratic = e.scaled(0.044_715, square);
            let sum = e.shifted(1.0, quadratic);
            let product = e.mul(x, sum);
            let inner = e.scaled(root, product);
            let tanh = e.unary(UnaryFn::Tanh, inner);
            half_times_one_plus(e, tanh)
        };
        let hard_swish = {
            let (zero, one, six) = (e.constant(0.0), e.constant(1.0), e.constant(6.0));
            let sixth = e.scaled(1.0 / 6.0, x);
            let sum = e.shifted(0.5, sixth);
            let low = e.max(sum, zero);
            let clipped = e.min(low, one);
            let a = e.mul(x, clipped);
            let high = e.min(sum, one);
            let clipped = e.max(high, zero);
            let b = e.mul(x, clipped);
            let sum = e.shifted(3.0, x);
            let low = e.max(sum, zero);
            let clipped = e.min(low, six);
            let product = e.mul(x, clipped);
            let c = e.scaled(1.0 / 6.0, product);
            let high = e.min(sum, six);
            let clipped = e.max(high, zero);
            let product = e.mul(x, clipped);
            let d = e.scaled(1.0 / 6.0, product);
            [a, b, c, d]
        };
        let mut all = vec![
            (Activation::Sigmoid, sigmoid),
            (Activation::Tanh, tanh),
            (Activation::Softplus, softplus),
            (Activation::Silu, silu),
            (Activation::Mish, mish),
            (Activation::Gelu, gelu),
            (Activation::GeluTanh, gelu_tanh),
            (Activation::GeluTanh, gelu_tanh_factored),
        ];
        all.extend(hard_swish.map(|id| (Activation::HardSwish, id)));
        all
    }

    /// `min(max(a x + b, 0), 1)`.
    fn hard_sigmoid(&mut self, y: Id, x: Id) -> Option<Activation> {
        for id in self.expressions.ids() {
            let Node::Sum(b, terms) = self.expressions.node(id) else {
                continue;
            };
            let (b, &[term]) = (b.get(), terms.as_slice()) else {
                continue;
            };
            let a = match self.expressions.node(term) {
                Node::Product(a, factors) if factors.as_slice() == [x] => a.get(),
                _ if term == x => 1.0,
                _ => continue,
            };
            if self.bounds(y, id) == Some((0.0, 1.0)) {
                return Some(Activation::HardSigmoid(a as f32, b as f32));
            }
        }
        None
    }

    /// The factor of `x` in an expression that is `a x`.
    fn factor(&self, id: Id, x: Id) -> Option<f32> {
        match self.expressions.node(id) {
            Node::Product(a, factors) if factors.as_slice() == [x] => Some(a.get() as f32),
            _ => None,
        }
    }

    /// The two choices of `y` where `x` is below zero and where it is not.
    fn sides(&mut self, y: Id, x: Id) -> Option<(Id, Id)> {
        let [below, above] = self.expressions.is_below_zero(x);
        match *self.expressions.node(y) {
            Node::Select(c, a, b) if c == below => Some((a, b)),
            Node::Select(c, a, b) if c == above => Some((b, a)),
            _ => None,
        }
    }

    fn leaky_relu(&mut self, y: Id, x: Id) -> Option<Activation> {
        let (below, above) = self.sides(y, x)?;
        if above != x {
            return None;
        }
        self.factor(below, x).map(Activation::LeakyRelu)
    }

    /// `a (e^x - 1)` below zero.
    fn elu(&mut self, y: Id, x: Id) -> Option<Activation> {
        let (below, above) = self.sides(y, x)?;
        if above != x {
            return None;
        }
        let exp = self.expressions.unary(UnaryFn::Exp, x);
        let expm1 = self.expressions.shifted(-1.0, exp);
        if below == expm1 {
            return Some(Activation::Elu(1.0));
        }
        self.factor(below, expm1).map(Activation::Elu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plans::DType;
    use plans::tape::{BinaryFn, Reg, Scalar, TapeOp, TapeStep};

    /// Builds tapes as a lowering pass would.
    #[derive(Default)]
    struct Builder(Vec<TapeStep>);

    impl Builder {
        fn push(&mut self, op: TapeOp, dtype: DType) -> Reg {
            self.0.push(TapeStep { op, dtype });
            Reg(self.0.len() as u16 - 1)
        }

        fn input(&mut self, n: u16) -> Reg {
            self.push(TapeOp::Input(n), DType::F32)
        }

        fn constant(&mut self, x: f64) -> Reg {
            self.push(TapeOp::Const(Scalar::Float(x)), DType::F32)
        }

        fn unary(&mut self, f: UnaryFn, x: Reg) -> Reg {
            self.push(TapeOp::Unary(f, x), DType::F32)
        }

        fn binary(&mut self, f: BinaryFn, x: Reg, y: Reg) -> Reg {
            self.push(TapeOp::Binary(f, x, y), DType::F32)
        }

        fn with(&mut self, f: BinaryFn, x: Reg, c: f64) -> Reg {
            let c = self.constant(c);
            self.binary(f, x, c)
        }

        fn below_zero(&mut self, x: Reg) -> Reg {
            let zero = self.constant(0.0);
            self.push(TapeOp::Binary(BinaryFn::Lt, x, zero), DType::Bool)
        }
    }

    fn found(
        kinds: &[InputKind],
        build: impl FnOnce(&mut Builder, Reg) -> Reg,
    ) -> Option<Recognised> {
        let mut builder = Builder::default();
        let product = builder.input(0);
        let result = build(&mut builder, product);
        let tape = Tape {
            steps: builder.0,
            results: vec![result],
        };
        recognise(&tape, kinds)
    }

    fn activation(build: impl FnOnce(&mut Builder, Reg) -> Reg) -> Option<Activation> {
        let found = found(&[InputKind::Bias], |b, p| {
            let bias = b.input(1);
            let x = b.binary(BinaryFn::Add, p, bias);
            build(b, x)
        })?;
        assert_eq!((found.scale, found.bias), (1.0, Some(0)));
        Some(found.activation)
    }

    use BinaryFn::{Add, Div, Max, Min, Mul, Pow, Sub};

    #[test]
    fn sums_are_recognised() {
        let kinds = [InputKind::Bias, InputKind::Residual];
        let sum = found(&kinds, |b, p| {
            let (bias, residual) = (b.input(1), b.input(2));
            let half = b.with(Mul, p, 0.5);
            let x = b.binary(Add, residual, half);
            b.binary(Add, x, bias)
        });
        let sum = sum.expect("a sum");
        assert_eq!((sum.scale, sum.bias, sum.residual), (0.5, Some(0), Some(1)));
        assert!(!sum.residual_last);
        // A bias is not scaled with the product.
        let scaled = found(&kinds, |b, p| {
            let bias = b.input(1);
            let x = b.binary(Add, p, bias);
            b.with(Mul, x, 0.5)
        });
        assert_eq!(scaled, None);
        let subtracted = found(&kinds, |b, p| {
            let bias = b.input(1);
            b.binary(Sub, p, bias)
        });
        assert_eq!(subtracted, None);
    }

    #[test]
    fn residuals_may_come_before_or_after_the_function() {
        let kinds = [InputKind::Residual];
        let before = found(&kinds, |b, p| {
            let r = b.input(1);
            let x = b.binary(Add, p, r);
            b.with(Max, x, 0.0)
        });
        let before = before.expect("relu of a sum");
        assert_eq!(before.activation, Activation::Relu);
        assert!(!before.residual_last);
        let after = found(&kinds, |b, p| {
            let r = b.input(1);
            let x = b.with(Max, p, 0.0);
            b.binary(Add, r, x)
        });
        let after = after.expect("a sum of relu");
        assert_eq!(after.activation, Activation::Relu);
        assert!(after.residual_last);
    }

    #[test]
    fn functions_are_recognised_however_they_are_written() {
        assert_eq!(
            activation(|b, x| b.with(Max, x, 0.0)),
            Some(Activation::Relu)
        );
        let clipped = activation(|b, x| {
            let low = b.with(Max, x, 0.0);
            b.with(Min, low, 6.0)
        });
        assert_eq!(clipped, Some(Activation::Clip(0.0, 6.0)));
        let silu = activation(|b, x| {
            let s = b.unary(UnaryFn::Sigmoid, x);
            b.binary(Mul, s, x)
        });
        assert_eq!(silu, Some(Activation::Silu));
        let leaky = activation(|b, x| {
            let below = b.below_zero(x);
            let scaled = b.with(Mul, x, 0.25);
            b.push(TapeOp::Select(below, scaled, x), DType::F32)
        });
        assert_eq!(leaky, Some(Activation::LeakyRelu(0.25)));
        let elu = activation(|b, x| {
            let below = b.below_zero(x);
            let e = b.unary(UnaryFn::Exp, x);
            let e = b.with(Sub, e, 1.0);
            let e = b.with(Mul, e, 0.5);
            b.push(TapeOp::Select(below, e, x), DType::F32)
        });
        assert_eq!(elu, Some(Activation::Elu(0.5)));
        let hard = activation(|b, x| {
            let scaled = b.with(Mul, x, 0.25);
            let sum = b.with(Add, scaled, 0.5);
            let low = b.with(Max, sum, 0.0);
            b.with(Min, low, 1.0)
        });
        assert_eq!(hard, Some(Activation::HardSigmoid(0.25, 0.5)));
        for divided in [false, true] {
            let gelu = activation(|b, x| {
                let inner = if divided {
                    b.with(Div, x, std::f64::consts::SQRT_2)
                } else {
                    b.with(Mul, x, f64::from(std::f32::consts::FRAC_1_SQRT_2))
                };
                let erf = b.unary(UnaryFn::Erf, inner);
                let sum = b.with(Add, erf, 1.0);
                if divided {
                    let product = b.binary(Mul, x, sum);
                    b.with(Mul, product, 0.5)
                } else {
                    let half = b.with(Mul, x, 0.5);
                    b.binary(Mul, half, sum)
                }
            });
            assert_eq!(gelu, Some(Activation::Gelu));
        }
        let gelu_tanh = activation(|b, x| {
            let cube = b.with(Pow, x, 3.0);
            let cubic = b.with(Mul, cube, f64::from(0.044_715f32));
            let sum = b.binary(Add, x, cubic);
            let inner = b.with(Mul, sum, f64::from(0.797_884_6f32));
            let tanh = b.unary(UnaryFn::Tanh, inner);
            let sum = b.with(Add, tanh, 1.0);
            let half = b.with(Mul, x, 0.5);
            b.binary(Mul, half, sum)
        });
        assert_eq!(gelu_tanh, Some(Activation::GeluTanh));
        let hard_swish = activation(|b, x| {
            let sum = b.with(Add, x, 3.0);
            let low = b.with(Max, sum, 0.0);
            let clipped = b.with(Min, low, 6.0);
            let product = b.binary(Mul, x, clipped);
            b.with(Div, product, 6.0)
        });
        assert_eq!(hard_swish, Some(Activation::HardSwish));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert_eq!(activation(|b, x| b.unary(UnaryFn::Sin, x)), None);
        let other_gelu = activation(|b, x| {
            let inner = b.with(Mul, x, 0.7);
            let erf = b.unary(UnaryFn::Erf, inner);
            let sum = b.with(Add, erf, 1.0);
            let half = b.with(Mul, x, 0.5);
            b.binary(Mul, half, sum)
        });
        assert_eq!(other_gelu, None);
        assert_eq!(
            found(&[InputKind::Other], |b, p| {
                let x = b.input(1);
                b.binary(Add, p, x)
            }),
            None
        );
    }
}
