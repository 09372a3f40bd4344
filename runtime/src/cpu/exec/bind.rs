//! From specs to kernels.

use super::attention::Attention;
use super::contract::Contract;
use super::error::Unsupported;
use super::map::Map;
use super::recurrent::{self, Recurrent};
use super::row::Row;
use super::window::Window;
use super::{Execute, library, movement};
use crate::cpu::conv::{Conv, ConvShape, ConvTranspose, InputStrides};
use crate::cpu::gemm::Gemm;
use crate::cpu::level::Level;
use plans::spec::{ContractSpec, Operand, Problem, WindowSpec};
use plans::{KernelSpec, WeightIndex};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A weight that a kernel is bound to.
#[derive(Clone, Copy)]
pub(crate) struct BoundWeight<'a> {
    /// Which of the kernel's arguments it is.
    pub(crate) arg: usize,
    pub(crate) weight: WeightIndex,
    /// All its data.
    pub(crate) data: &'a [u8],
    /// Where the argument starts in it, in bytes.
    pub(crate) start: usize,
}

impl BoundWeight<'_> {
    /// The argument's first element, of f32.
    fn floats(&self) -> *const f32 {
        self.data.as_ptr().wrapping_add(self.start).cast()
    }

    /// Whether packing so many elements is in proportion to the weight: a plan may ask for any
    /// number of repeated ones.
    fn is_worth_packing(&self, n_elements: Option<usize>) -> bool {
        const FREE: usize = 1 << 20;
        n_elements.is_some_and(|n| n <= FREE.saturating_add(self.data.len()))
    }
}

/// The arguments of a kernel that are packed when they are weights.
pub(crate) fn packed_args(spec: &KernelSpec) -> Vec<usize> {
    match spec {
        KernelSpec::Contract(_) => vec![1],
        KernelSpec::Window(spec) if spec.weight.is_some() => vec![1],
        KernelSpec::Recurrent(spec) => recurrent::packed_args(spec),
        KernelSpec::Map(_)
        | KernelSpec::Row(_)
        | KernelSpec::Attention(_)
        | KernelSpec::Window(_)
        | KernelSpec::Movement(_)
        | KernelSpec::Library(_)
        | KernelSpec::Transfer(_) => vec![],
    }
}

/// Prepares kernels; several threads may share it.
pub(crate) struct Binder {
    level: Level,
    n_threads: usize,
    packs: Packs,
}

impl Binder {
    pub(crate) fn new(level: Level, n_threads: usize) -> Self {
        Self {
            level,
            n_threads,
            packs: Packs::default(),
        }
    }

    /// The kernel of `spec`, bound to the weights among its packed arguments.
    pub(crate) fn bind(
        &self,
        spec: &KernelSpec,
        weights: &[BoundWeight<'_>],
    ) -> Result<Box<dyn Execute>, Unsupported> {
        let (level, n_threads, packs) = (self.level, self.n_threads, &self.packs);
        let weight = |arg: usize| weights.iter().find(|w| w.arg == arg).copied();
        Ok(match spec {
            KernelSpec::Map(spec) => Box::new(Map::new(spec)?),
            KernelSpec::Row(spec) => Box::new(Row::new(spec)?),
            KernelSpec::Contract(spec) => {
                Box::new(Contract::new(spec, level, n_threads, weight(1), packs)?)
            }
            KernelSpec::Window(spec) => match depthwise(spec) {
                Some(spec) => Box::new(Contract::new(&spec, level, n_threads, weight(1), packs)?),
                None => Box::new(Window::new(spec, level)?),
            },
            KernelSpec::Attention(spec) => Box::new(Attention::new(spec, level, n_threads)?),
            KernelSpec::Movement(spec) => movement::new(spec),
            KernelSpec::Recurrent(spec) => {
                Box::new(Recurrent::new(spec, level, n_threads, weights)?)
            }
            KernelSpec::Library(spec) => library::new(spec),
            KernelSpec::Transfer(spec) => Box::new(Map::new(&spec.as_map())?),
        })
    }
}

/// A window with a weight as the convolution that it is: each channel a group.
fn depthwise(spec: &WindowSpec) -> Option<ContractSpec> {
    let weight = spec.weight.as_ref()?;
    // Sums of integers are of another type there.
    if !spec.prologue.is_identity() || !weight.dtype.is_float() {
        return None;
    }
    let mut strides = weight.strides.clone();
    strides.insert(1, 0);
    Some(ContractSpec {
        problem: Problem::Conv {
            batch: spec.batch,
            groups: spec.channels,
            in_channels: 1,
            out_channels: 1,
            window: spec.window.clone(),
            x: spec.x.clone(),
            w: Operand {
                dtype: weight.dtype,
                strides,
            },
        },
        epilogue: spec.epilogue.clone(),
    })
}

/// A weight and where an operand starts in it, in elements.
type Source = (WeightIndex, usize, isize);

/// Packed weights: each once for every layout that is asked for.
#[derive(Default)]
pub(crate) struct Packs {
    gemms: Store<GemmKey, Gemm>,
    convs: Store<ConvKey, Conv>,
    transposed: Store<ConvKey, ConvTranspose>,
}

/// A weight, its part, the part's extents and strides.
type GemmKey = (Source, [usize; 2], [isize; 2]);

/// What is packed of one kind, by what it is packed from and how. Packing does not hold the lock.
struct Store<K, V>(Mutex<BTreeMap<K, Packed<V>>>);

/// What one thread packs and others wait for; `None` if it is not to be packed.
type Packed<V> = Arc<OnceLock<Option<Arc<V>>>>;

impl<K, V> Default for Store<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord, V> Store<K, V> {
    fn get(&self, key: K, pack: impl FnOnce() -> Option<V>) -> Option<Arc<V>> {
        let packed = {
            let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(map.entry(key).or_default())
        };
        packed.get_or_init(|| pack().map(Arc::new)).clone()
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ConvKey {
    source: Source,
    sizes: [usize; 4],
    window: [[usize; 3]; 6],
    input: [isize; 5],
    strides: Vec<i64>,
}

impl Packs {
    /// The matrix of `[k, n]` elements at `strides`, `start` elements after the argument's first;
    /// `None` if it is out of proportion to the weight.
    pub(super) fn gemm(
        &self,
        level: Level,
        [k, n]: [usize; 2],
        strides: [isize; 2],
        start: isize,
        weight: BoundWeight<'_>,
    ) -> Option<Arc<Gemm>> {
        let source = (weight.weight, weight.start, start);
        self.gemms.get((source, [k, n], strides), || {
            if !weight.is_worth_packing(k.checked_mul(n)) {
                return None;
            }
            // SAFETY: the matrix is part of the operand, whose reach a valid plan's weight holds.
            Some(unsafe {
                let b = weight.floats().offset(start);
                Gemm::new(level, k, n, b, strides[0], strides[1])
            })
        })
    }

    /// A convolution whose weight `w` has these extents.
    pub(super) fn conv(
        &self,
        level: Level,
        shape: ConvShape,
        input: InputStrides,
        w: &Operand,
        extents: &[u64],
        weight: BoundWeight<'_>,
    ) -> Option<Arc<Conv>> {
        self.convs.get(ConvKey::new(weight, shape, input, w), || {
            let dense = DenseWeight::new(w, extents, weight)?;
            // SAFETY: all elements are there, one after the other.
            Some(unsafe { Conv::new(level, shape, dense.floats(), input) })
        })
    }

    /// A transposed convolution whose weight `w` has these extents.
    pub(super) fn conv_transpose(
        &self,
        level: Level,
        shape: ConvShape,
        input: InputStrides,
        w: &Operand,
        extents: &[u64],
        weight: BoundWeight<'_>,
    ) -> Option<Arc<ConvTranspose>> {
        let key = ConvKey::new(weight, shape, input, w);
        self.transposed.get(key, || {
            let dense = DenseWeight::new(w, extents, weight)?;
            // SAFETY: as above.
            Some(unsafe { ConvTranspose::new(level, shape, dense.floats(), input) })
        })
    }
}

impl ConvKey {
    fn new(weight: BoundWeight<'_>, shape: ConvShape, input: InputStrides, w: &Operand) -> Self {
        let ConvShape {
            batch,
            c_in,
            c_out,
            groups,
            input: pixels,
            kernel,
            stride,
            dilation,
            pads,
            output,
        } = shape;
        let [d, h, column] = input.space;
        Self {
            source: (weight.weight, weight.start, 0),
            sizes: [batch, c_in, c_out, groups],
            window: [pixels, kernel, stride, dilation, pads, output],
            input: [input.image, input.channel, d, h, column],
            strides: w.strides.clone(),
        }
    }
}

/// The elements of a weight, row-major and without gaps.
pub(super) enum DenseWeight<'a> {
    InPlace(BoundWeight<'a>),
    Copy(Vec<f32>),
}

impl<'a> DenseWeight<'a> {
    pub(super) fn new(w: &Operand, extents: &[u64], weight: BoundWeight<'a>) -> Option<Self> {
        let n = extents
            .iter()
            .try_fold(1usize, |n, &extent| n.checked_mul(extent as usize));
        if !weight.is_worth_packing(n) {
            return None;
        }
        let mut distance = 1;
        let mut is_dense = true;
        for (&extent, &stride) in extents.iter().zip(&w.strides).rev() {
            is_dense &= extent == 1 || stride == distance;
            distance *= extent as i64;
        }
        if is_dense {
            return Some(DenseWeight::InPlace(weight));
        }
        let mut copy = Vec::with_capacity(n?);
        let dims = super::geometry::dims(extents, &[&w.strides], |_| false);
        let (mut positions, mut offsets) = (vec![0; dims.len()], vec![0]);
        let mut walk = super::geometry::Walk::new(&dims, 0, &mut positions, &mut offsets);
        for _ in 0..n? {
            // SAFETY: the walk is at an element of the operand, whose reach the weight holds.
            copy.push(unsafe { *weight.floats().offset(walk.offsets[0]) });
            walk.advance();
        }
        Some(DenseWeight::Copy(copy))
    }

    pub(super) fn floats(&self) -> *const f32 {
        match self {
            DenseWeight::InPlace(weight) => weight.floats(),
            DenseWeight::Copy(copy) => copy.as_ptr(),
        }
    }
}
