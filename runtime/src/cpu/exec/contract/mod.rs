//! Matrix products and convolutions.

mod plain;

use super::error::Unsupported;
use super::geometry::bump_size;
use super::map::{Base, Bases, Map};
use super::{Cx, Execute, Needs};
use plain::Plain;
use plans::DType;
use plans::spec::{ContractSpec, Epilogue, MapInput, MapSpec, Operand};

/// A prepared contraction: sums in the shared region, then the epilogue over all of them.
pub(crate) struct Contract {
    sums: Plain,
    epilogue: Map,
    sums_bytes: usize,
}

impl Contract {
    pub(crate) fn new(spec: &ContractSpec) -> Result<Self, Unsupported> {
        let domain = spec.problem.domain();
        let sum_dtype = spec
            .problem
            .sum_dtype()
            .map_err(|error| Unsupported(error.to_string()))?;
        let (sums, sums_bytes) = sums_operand(sum_dtype, &domain, &spec.epilogue);
        Ok(Self {
            epilogue: epilogue_map(&domain, &sums, &spec.epilogue, 2)?,
            sums: Plain::new(&spec.problem, &sums),
            sums_bytes,
        })
    }
}

impl Execute for Contract {
    fn needs(&self) -> Needs {
        let epilogue = self.epilogue.needs();
        Needs {
            shared: bump_size(self.sums_bytes),
            worker: self.sums.worker_bytes(),
        }
        .max(epilogue)
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        // SAFETY: the caller's promise; the sums have the shared region for themselves.
        unsafe {
            self.sums.run(cx, cx.shared);
            self.epilogue.run(cx);
        }
    }
}

/// Where results lie in the shared region before the epilogue, and their bytes: dense, in the order
/// in which the epilogue writes its first output.
pub(crate) fn sums_operand(dtype: DType, domain: &[u64], epilogue: &Epilogue) -> (Operand, usize) {
    let dtype = match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    };
    let mut order: Vec<usize> = (0..domain.len()).collect();
    if let Some(out) = epilogue.outputs.first() {
        order.sort_by_key(|&d| std::cmp::Reverse(out.strides[d].unsigned_abs()));
    }
    let mut strides = vec![0i64; domain.len()];
    let mut distance = 1u64;
    for &d in order.iter().rev() {
        strides[d] = distance as i64;
        distance = distance.saturating_mul(domain[d]);
    }
    let bytes = distance as usize * dtype.size();
    (Operand { dtype, strides }, bytes)
}

/// The epilogue as a map over results in the shared region; its own operands are the step's
/// arguments from `first_arg` on.
pub(crate) fn epilogue_map(
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
