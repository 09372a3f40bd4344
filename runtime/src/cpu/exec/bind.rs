//! From specs to kernels.

use super::Execute;
use super::contract::Contract;
use super::error::Unsupported;
use super::map::Map;
use super::row::Row;
use crate::cpu::level::Level;
use crate::cpu::pool::Pool;
use plans::{KernelSpec, WeightIndex};

/// A weight that a kernel is bound to.
#[derive(Clone, Copy)]
pub(crate) struct BoundWeight<'a> {
    /// Which of the kernel's arguments it is.
    pub(crate) arg: usize,
    /// Which weight, and where in it the argument starts, in bytes.
    pub(crate) id: (WeightIndex, u64),
    /// Its data from there on.
    pub(crate) data: &'a [u8],
}

/// The arguments of a kernel that are packed when they are weights.
pub(crate) fn packed_args(spec: &KernelSpec) -> &'static [usize] {
    match spec {
        KernelSpec::Contract(_) => &[1],
        KernelSpec::Map(_)
        | KernelSpec::Row(_)
        | KernelSpec::Attention(_)
        | KernelSpec::Window(_)
        | KernelSpec::Movement(_)
        | KernelSpec::Recurrent(_)
        | KernelSpec::Library(_) => &[],
    }
}

/// Prepares kernels; packs every weight once for each layout that is asked for.
pub(crate) struct Binder<'a> {
    level: Level,
    pool: &'a Pool,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(level: Level, pool: &'a Pool) -> Self {
        Self { level, pool }
    }

    /// The kernel of `spec`, bound to the weights among its packed arguments.
    pub(crate) fn bind(
        &mut self,
        spec: &KernelSpec,
        weights: &[BoundWeight<'_>],
    ) -> Result<Box<dyn Execute>, Unsupported> {
        let _ = (
            self.level,
            self.pool,
            weights.first().map(|w| (w.arg, w.id, w.data)),
        );
        Ok(match spec {
            KernelSpec::Map(spec) => Box::new(Map::new(spec)?),
            KernelSpec::Row(spec) => Box::new(Row::new(spec)?),
            KernelSpec::Contract(spec) => Box::new(Contract::new(spec)?),
            other => return Err(Unsupported(format!("class {}", other.class()))),
        })
    }
}
