//! Evaluation of programs on seeded inputs, and comparison of results.

use ir::dtype::Kind;
use ir::{DType, Program, Tensor, TensorType};

/// What stands for every symbolic dimension.
const SYMBOL_SIZE: usize = 3;

/// Seeded numbers: xorshift64*, enough for inputs.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn input(&mut self, ty: &TensorType, ints_below: u64) -> Tensor {
        let dims: Vec<usize> = ty
            .shape
            .0
            .iter()
            .map(|d| d.known().unwrap_or(SYMBOL_SIZE))
            .collect();
        let n: usize = dims.iter().product();
        if ty.dtype.kind() == Kind::Float {
            let unit = |s: &mut Self| (s.next() % 4096) as f64 / 1024.0 - 2.0;
            let values: Vec<f64> = (0..n).map(|_| unit(self)).collect();
            return Tensor::from_f64(ty.dtype, &dims, &values);
        }
        let values: Vec<i64> = (0..n).map(|_| (self.next() % ints_below) as i64).collect();
        Tensor::from_i64(ty.dtype, &dims, &values)
    }
}

/// The outputs of every model of `program`, by name, for inputs made from the inputs' names.
pub(crate) fn outputs(program: &Program, ints_below: u64) -> Result<Vec<(String, Tensor)>, String> {
    let mut all = vec![];
    for (_, graph) in program.graphs.iter() {
        let mut seeded = Seeded(0x9e37_79b9);
        let types: Vec<&TensorType> = graph.inputs.iter().map(|&v| graph.ty(v)).collect();
        let inputs: Vec<Tensor> = types
            .iter()
            .map(|ty| seeded.input(ty, ints_below))
            .collect();
        let results = ir::eval::graph(graph, &program.weights, &inputs)
            .map_err(|e| format!("{}: {e}", graph.name))?;
        for ((name, _), tensor) in graph.outputs.iter().zip(results) {
            all.push((format!("{}/{name}", graph.name), tensor));
        }
    }
    Ok(all)
}

/// The largest difference that counts as rounding, relative to the norm.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-7,
        DType::F32 => 1e-5,
        DType::F16 => 2e-3,
        DType::BF16 => 2e-2,
        _ => 0.0,
    }
}

/// Panics where `new` is not `old`, up to rounding.
pub(crate) fn assert_same(old: &[(String, Tensor)], new: &[(String, Tensor)], what: &str) {
    if let Err(why) = same(old, new, tolerance) {
        panic!("{what}: {why}");
    }
}

/// What differs between `old` and `new` by more than `tolerance`, relative to the norm.
pub(crate) fn same(
    old: &[(String, Tensor)],
    new: &[(String, Tensor)],
    tolerance: impl Fn(DType) -> f64,
) -> Result<(), String> {
    if old.len() != new.len() {
        return Err("another number of outputs".into());
    }
    for ((name, a), (other, b)) in old.iter().zip(new) {
        if name != other || a.ty() != b.ty() {
            return Err(format!(
                "{name} of type {} became {other} of type {}",
                a.ty(),
                b.ty()
            ));
        }
        let tolerance = tolerance(a.dtype());
        let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
        let (mut error, mut norm) = (0.0, 0.0);
        for (x, y) in a.iter().zip(&b) {
            if x.is_finite() && y.is_finite() {
                error += (x - y).powi(2);
                norm += x.powi(2);
            } else if !(x == y || x.is_nan() && y.is_nan()) {
                return Err(format!("{name}: {x} became {y}"));
            }
        }
        let (error, norm) = (error.sqrt(), norm.sqrt());
        if error > tolerance * norm {
            return Err(format!("{name} differs by {error:e} of {norm:e}"));
        }
    }
    Ok(())
}
