//! Operators on operands that nobody chose: typing and evaluation may refuse them, but never panic,
//! and what evaluation gives is what typing said.

use dlirc_ir::attrs::{Attr, AttrError, Attrs};
use dlirc_ir::infer::InferCx;
use dlirc_ir::ops::ViewStep;
use dlirc_ir::{DType, Dim, Op, Symbol, Tensor, TensorType};
use std::panic::{AssertUnwindSafe, catch_unwind};

const CASES: usize = 200_000;
/// Results up to here are evaluated.
const MAX_BYTES: usize = 1 << 20;
const ATTRIBUTES: &str = "axis axes k to dtype mode reduction direction blocksize num_outputs start \
    end batch_dims keep_aspect_ratio_policy coordinate_transformation_mode antialias \
    exclude_outside padding_mode align_corners batch_axis time_axis fmod upper perm allowzero";
const WORDS: &str = "nearest linear cubic reflect edge wrap constant add max LEFT CRD not_larger \
    tf_crop_and_resize align_corners pytorch_half_pixel asymmetric half_pixel_symmetric border \
    reflection";
const DTYPES: [DType; 8] = [
    DType::F32,
    DType::I64,
    DType::I64,
    DType::Bool,
    DType::I32,
    DType::U8,
    DType::F16,
    DType::C64,
];

/// Numbers without a pattern (Marsaglia 2003, xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn integer(&mut self) -> i64 {
        match self.below(20) {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => i32::MAX.into(),
            3 => -1 << 40,
            _ => self.below(8) as i64 - 3,
        }
    }

    fn attr(&mut self, words: &[&str]) -> Attr {
        match self.below(4) {
            0 => Attr::Type(self.pick(&DTYPES)),
            1 => Attr::Ints((0..self.below(4)).map(|_| self.integer()).collect()),
            2 => Attr::Str(self.pick(words).into()),
            _ => Attr::Int(self.integer()),
        }
    }

    fn op(&mut self, name: &str, attributes: &[&str], words: &[&str]) -> Option<Op> {
        let mut attrs = Attrs::new();
        for name_of_attr in attributes {
            let mut with = attrs.clone();
            with.insert(name_of_attr.to_string(), self.attr(words));
            let readable = match Op::read(name, &with)? {
                Ok(_) => self.below(3) == 0,
                Err(why) => matches!(why, AttrError::Missing(_)),
            };
            if readable {
                attrs = with;
            }
        }
        Op::read(name, &attrs)?.ok()
    }

    fn tensor(&mut self, dtype: DType, dims: &[usize]) -> Tensor {
        let n = dims.iter().product();
        let float = |r: &mut Random| match r.below(12) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => 1e30,
            _ => r.below(9) as f64 / 2.0 - 2.0,
        };
        match dtype {
            d if d.is_float() => {
                Tensor::from_f64(d, dims, &(0..n).map(|_| float(self)).collect::<Vec<_>>())
            }
            DType::C64 => Tensor::new(dtype, dims, vec![0; n * 8].into()).expect("8 bytes each"),
            d => Tensor::from_i64(d, dims, &(0..n).map(|_| self.integer()).collect::<Vec<_>>()),
        }
    }

    /// An operand: left out, of some type, or a constant; often of `dtype` and `dims`.
    fn operand(&mut self, dtype: DType, dims: &[usize]) -> (Option<TensorType>, Option<Tensor>) {
        if self.below(20) == 0 {
            return (None, None);
        }
        let dtype = if self.below(2) == 0 {
            dtype
        } else {
            self.pick(&DTYPES)
        };
        let dims = match self.below(5) {
            0 => (0..self.below(5)).map(|_| self.below(4)).collect(),
            1 => vec![self.below(5)],
            2 => vec![],
            3 => vec![dims.len()],
            _ => dims.to_vec(),
        };
        let tensor = self.tensor(dtype, &dims);
        let mut ty = tensor.ty();
        if self.below(3) > 0 {
            return (Some(ty), Some(tensor));
        }
        for d in &mut ty.shape.0 {
            match self.below(40) {
                0..6 => *d = Dim::Symbol(Symbol::new("N")),
                6..12 => *d = Dim::Symbol(Symbol::new("M")),
                12 => *d = Dim::Known(usize::MAX / 2),
                _ => {}
            }
        }
        (Some(ty), None)
    }
}

/// Types, views and evaluates; returns whether there was a result to compare.
fn check(op: &Op, types: &[Option<TensorType>], contents: &[Option<Tensor>], n: usize) -> bool {
    let types: Vec<_> = types.iter().map(Option::as_ref).collect();
    let contents: Vec<_> = contents.iter().map(Option::as_ref).collect();
    let cx = InferCx::new(&types, &contents, n);
    let Ok(inferred) = op.infer(&cx) else {
        return false;
    };
    assert_eq!(inferred.len(), n, "one type a result");
    op.work(&types, &inferred);
    for (i, ty) in inferred.iter().enumerate() {
        if let (Some(steps), Some(dims)) = (op.view(&cx, i), ty.shape.dims())
            && let Some(last) = steps.last()
        {
            match last {
                ViewStep::Reshape(to) | ViewStep::Broadcast(to) => assert_eq!(*to, dims),
                ViewStep::Slice { dims: to, .. } => assert_eq!(*to, dims),
                ViewStep::Permute(perm) => assert_eq!(perm.len(), dims.len()),
            }
        }
    }
    let constant = types
        .iter()
        .zip(&contents)
        .all(|(t, c)| t.is_none() || c.is_some());
    let small =
        |t: &TensorType| t.shape.dims().is_none() || t.n_bytes().is_some_and(|n| n <= MAX_BYTES);
    if !constant || !inferred.iter().all(small) {
        return false;
    }
    let Ok(results) = op.eval(&contents, n) else {
        return false;
    };
    assert_eq!(results.len(), n, "one tensor a result");
    for (tensor, ty) in results.iter().zip(&inferred) {
        let fits = |(&n, d): (&usize, &Dim)| d.known().is_none_or(|k| k == n);
        assert!(
            tensor.dtype() == ty.dtype
                && tensor.dims().len() == ty.shape.rank()
                && tensor.dims().iter().zip(&ty.shape.0).all(fits),
            "a result of type {}, typed as {ty}",
            tensor.ty()
        );
    }
    true
}

#[test]
fn any_operands_are_typed_and_evaluated_or_refused() {
    let names: Vec<&str> = Op::catalogue().map(|(name, ..)| name).collect();
    let attributes: Vec<&str> = ATTRIBUTES.split_whitespace().collect();
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut evaluated = 0;
    for _ in 0..CASES {
        let name = random.pick(&names);
        let Some(op) = random.op(name, &attributes, &words) else {
            continue;
        };
        let most = |range: std::ops::RangeInclusive<usize>, r: &mut Random| {
            (range.start() + r.below(3)).min(*range.end())
        };
        let (n_inputs, n) = (
            most(op.arity(), &mut random),
            most(op.results(), &mut random),
        );
        let (dtype, rank) = (random.pick(&DTYPES), random.below(5));
        let dims: Vec<usize> = (0..rank).map(|_| random.below(4)).collect();
        let (types, contents): (Vec<_>, Vec<_>) =
            (0..n_inputs).map(|_| random.operand(dtype, &dims)).unzip();
        match catch_unwind(AssertUnwindSafe(|| check(&op, &types, &contents, n))) {
            Ok(compared) => evaluated += usize::from(compared),
            Err(_) => panic!("{op:?} of {types:?}, contents {contents:?}, {n} results"),
        }
    }
    assert!(
        evaluated > CASES / 20,
        "only {evaluated} of {CASES} cases were evaluated"
    );
}
