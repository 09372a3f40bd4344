//! Matrix products and convolutions.
//!
//! f32 goes to the product library, with as much of the epilogue as it can do itself; what remains
//! is a map over the sums. Other types are summed from the definition.

mod convolution;
mod epilogue;
mod expression;
mod layout;
mod matrix;
mod plain;
mod recognise;

use super::bind::{BoundWeight, Packs};
use super::error::{Fault, Unsupported};
use super::geometry::bump_size;
use super::map::{Base, Bases, Map};
use super::{Cx, Execute, Needs};
use crate::cpu::level::Level;
use convolution::{Convolution, Layout};
pub(super) use convolution::{input_strides, three};
use epilogue::{Addends, Fused, Roles};
use matrix::{Matrix, Shape};
use plain::Plain;
use plans::DType;
use plans::spec::{ContractSpec, Epilogue, MapInput, MapSpec, Operand, Problem};

/// Where sums go.
#[derive(Clone, Copy)]
struct Target {
    at: *mut u8,
}

/// What computes the sums.
#[allow(
    clippy::large_enum_variant,
    reason = "one of them is bound a kernel, and never moved"
)]
enum Sums {
    Matrix(Matrix),
    Convolution(Convolution),
    Plain(Plain),
}

/// What happens to the sums.
enum Rest {
    /// They are written to an output with all that the epilogue asks for.
    Fused { output: Base, epilogue: Fused },
    /// They are written to the shared region, in so many bytes, and a map goes over them.
    Swept { bytes: usize, map: Map },
}

/// A prepared contraction.
pub(crate) struct Contract {
    sums: Sums,
    rest: Rest,
    n_threads: usize,
    is_empty: bool,
}

impl Contract {
    pub(crate) fn new(
        spec: &ContractSpec,
        level: Level,
        n_threads: usize,
        weight: Option<BoundWeight<'_>>,
        packs: &Packs,
    ) -> Result<Self, Unsupported> {
        let domain = spec.problem.domain();
        let is_empty = domain.contains(&0);
        let made = |sums, rest| Self {
            sums,
            rest,
            n_threads,
            is_empty,
        };
        if is_f32(&spec.problem) && !is_empty && !has_no_products(&spec.problem) {
            let first_output = Base::Arg(2 + spec.epilogue.inputs.len());
            let roles = roles(&spec.problem);
            if let Some(fused) = Fused::new(&spec.epilogue, &domain, &roles, 2) {
                let target = strides(&spec.epilogue.outputs[0]);
                let addends = fused.addends();
                let fast = fast(&spec.problem, level, &target, addends, weight, packs);
                if let Some(sums) = fast {
                    let rest = Rest::Fused {
                        output: first_output,
                        epilogue: fused,
                    };
                    return Ok(made(sums, rest));
                }
            }
            let none = Addends::default();
            for order in orders(&spec.problem, &spec.epilogue) {
                let (sums, bytes) = dense(DType::F32, &domain, &order);
                let target = strides(&sums);
                if let Some(fast) = fast(&spec.problem, level, &target, none, weight, packs) {
                    let map = epilogue_map(&domain, &sums, &spec.epilogue, 2)?;
                    return Ok(made(fast, Rest::Swept { bytes, map }));
                }
            }
        }
        let sum_dtype = spec
            .problem
            .sum_dtype()
            .map_err(|error| Unsupported(error.to_string()))?;
        let (sums, bytes) = sums_operand(sum_dtype, &domain, &spec.epilogue);
        let map = epilogue_map(&domain, &sums, &spec.epilogue, 2)?;
        let plain = Plain::new(&spec.problem, &sums);
        Ok(made(Sums::Plain(plain), Rest::Swept { bytes, map }))
    }
}

impl Execute for Contract {
    fn implementation(&self) -> &'static str {
        match (&self.sums, &self.rest) {
            (Sums::Plain(_), _) => "plain",
            (Sums::Matrix(_), Rest::Fused { .. }) => "product",
            (Sums::Matrix(_), Rest::Swept { .. }) => "product, epilogue after it",
            (Sums::Convolution(_), Rest::Fused { .. }) => "convolution",
            (Sums::Convolution(_), Rest::Swept { .. }) => "convolution, epilogue after it",
        }
    }

    fn needs(&self) -> Needs {
        let (scratch, worker) = match &self.sums {
            Sums::Matrix(m) => (m.scratch_bytes(self.n_threads), 0),
            Sums::Convolution(c) => (c.scratch_bytes(self.n_threads), 0),
            Sums::Plain(p) => (0, p.worker_bytes()),
        };
        match &self.rest {
            Rest::Fused { .. } => Needs {
                shared: scratch,
                worker,
            },
            Rest::Swept { bytes, map } => Needs {
                shared: bump_size(*bytes).saturating_add(scratch),
                worker,
            }
            .max(map.needs()),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        if self.is_empty {
            return;
        }
        let (target, pointers, scratch) = match &self.rest {
            Rest::Fused { output, epilogue } => (
                Target {
                    at: output.pointer(cx),
                },
                epilogue.pointers(cx),
                cx.shared,
            ),
            Rest::Swept { bytes, map: _ } => (
                Target { at: cx.shared },
                Fused::none().pointers(cx),
                // SAFETY: `needs` asks for the sums and the scratch after them.
                unsafe { cx.shared.add(bump_size(*bytes)) },
            ),
        };
        // SAFETY: the caller's promise; sums and scratch are apart.
        unsafe {
            let done = match &self.sums {
                Sums::Matrix(m) => m.run(cx, target, pointers, scratch),
                Sums::Convolution(c) => c.run(cx, target, pointers, scratch),
                Sums::Plain(p) => {
                    p.run(cx, target.at);
                    Ok(())
                }
            };
            if done.is_err() {
                cx.fault.raise(Fault::TaskPanicked);
            }
            if let Rest::Swept { map, .. } = &self.rest {
                map.run(cx);
            }
        }
    }
}

fn strides(o: &Operand) -> Vec<isize> {
    o.strides.iter().map(|&s| s as isize).collect()
}

fn is_f32(problem: &Problem) -> bool {
    problem
        .operands()
        .iter()
        .all(|(o, _)| o.dtype == DType::F32)
}

/// Whether all sums are empty.
fn has_no_products(problem: &Problem) -> bool {
    problem
        .operands()
        .iter()
        .any(|(_, extents)| extents.contains(&0))
}

/// What the dimensions of the epilogue's domain are to the product library.
fn roles(problem: &Problem) -> Roles {
    let rank = problem.domain().len();
    if matches!(problem, Problem::MatMul { .. }) {
        Roles {
            rows: vec![rank - 2],
            batch: (0..rank - 2).collect(),
            column: rank - 1,
        }
    } else {
        Roles {
            rows: [0].into_iter().chain(2..rank).collect(),
            batch: vec![],
            column: 1,
        }
    }
}

/// The orders of dimensions in which the product library may write sums, the best first.
fn orders(problem: &Problem, epilogue: &Epilogue) -> Vec<Vec<usize>> {
    let rank = problem.domain().len();
    let row_major: Vec<usize> = (0..rank).collect();
    if matches!(problem, Problem::MatMul { .. }) {
        return vec![row_major];
    }
    let last: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    let out = epilogue.outputs.first();
    let writes_planes = out.is_some_and(|o| o.strides[1].unsigned_abs() > 1);
    if writes_planes {
        vec![row_major, last]
    } else {
        vec![last, row_major]
    }
}

/// The sums by the product library, if it has them.
fn fast(
    problem: &Problem,
    level: Level,
    target: &[isize],
    addends: Addends<'_>,
    weight: Option<BoundWeight<'_>>,
    packs: &Packs,
) -> Option<Sums> {
    if let Problem::MatMul {
        batch,
        m,
        n,
        k,
        a,
        b,
    } = problem
    {
        let shape = Shape::new(batch, [*m, *n, *k], a, b);
        let matrix = Matrix::new(level, &shape, target, addends, weight, packs)?;
        return Some(Sums::Matrix(matrix));
    }
    let layout = Layout::of(&problem.domain(), target)?;
    if addends.residual.is_some() && !matches!(layout, Layout::Rows { .. }) {
        return None;
    }
    let convolution = Convolution::new(level, problem, layout, weight?, packs)?;
    Some(Sums::Convolution(convolution))
}

/// An operand without gaps whose dimensions lie in `order`, and its bytes.
fn dense(dtype: DType, domain: &[u64], order: &[usize]) -> (Operand, usize) {
    let mut strides = vec![0i64; domain.len()];
    let mut distance = 1u64;
    for &d in order.iter().rev() {
        strides[d] = distance as i64;
        distance = distance.saturating_mul(domain[d]);
    }
    let bytes = (distance as usize).saturating_mul(dtype.size());
    (Operand { dtype, strides }, bytes)
}

/// Where results lie in the shared region before the epilogue, and their bytes: dense, in the order
/// in which the epilogue writes its first output.
pub(super) fn sums_operand(dtype: DType, domain: &[u64], epilogue: &Epilogue) -> (Operand, usize) {
    let dtype = match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    };
    let mut order: Vec<usize> = (0..domain.len()).collect();
    if let Some(out) = epilogue.outputs.first() {
        order.sort_by_key(|&d| std::cmp::Reverse(out.strides[d].unsigned_abs()));
    }
    dense(dtype, domain, &order)
}

/// The epilogue as a map over results in the shared region; its own operands are the step's
/// arguments from `first_arg` on.
pub(super) fn epilogue_map(
    domain: &[u64],
    results: &Operand,
    epilogue: &Epilogue,
    first_arg: usize,
) -> Result<Map, Unsupported> {
    let inputs = [results].into_iter().chain(&epilogue.inputs);
    let spec = MapSpec {
        domain: domain.to_vec(),
        inputs: inputs.cloned().map(MapInput::affine).collect(),
        tape: epilogue.tape.clone(),
        outputs: epilogue.outputs.clone(),
    };
    let first_output = first_arg + epilogue.inputs.len();
    let args = (first_arg..first_output).map(Base::Arg);
    let bases = Bases {
        inputs: [Base::Shared(0)].into_iter().chain(args).collect(),
        outputs: (first_output..first_output + epilogue.outputs.len())
            .map(Base::Arg)
            .collect(),
    };
    Map::with_bases(&spec, bases)
}
