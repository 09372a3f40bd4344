//! A plan bound to this machine.

use crate::cpu::exec::{self, Binder, BoundWeight, Execute, Needs, Unsupported};
use crate::cpu::level::Level;
use crate::cpu::pool::{Pool, PoolError};
use crate::error::{BindError, StepRef};
use crate::load::Loaded;
use crate::session::Session;
use plans::{Device, KernelIndex, KernelSpec, Place, StepIndex, ValidPlan, WeightIndex};
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, OnceLock};

/// How a plan is bound.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Threads that run kernels; 0: as many as the process may use at once.
    pub threads: usize,
    /// The highest level of vector instructions to use; `None`: the best that there is.
    pub level: Option<Level>,
}

/// A plan with its kernels made ready for this machine. Sessions share it.
pub struct Engine {
    loaded: Arc<Loaded>,
    kernels: Vec<Box<dyn Execute>>,
    /// The kernel of each step.
    of_step: Vec<usize>,
    needs: Needs,
    pool: Pool,
    level: Level,
}

/// A kernel and the weights that are packed for it: where each starts.
type KernelKey = (KernelIndex, Vec<(usize, WeightIndex, u64)>);

impl Engine {
    /// Prepares every kernel of the plan: loops ordered, tapes compiled, weights packed. Steps
    /// with the same kernel and weights share what was prepared.
    ///
    /// # Errors
    ///
    /// If a step is for another device, or there is no implementation of its kernel, or no room.
    pub fn bind(loaded: Arc<Loaded>, options: &Options) -> Result<Self, BindError> {
        let n_threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let pool = started(n_threads).map_err(BindError::Threads)?;
        let level = options.level.map_or_else(Level::detect, Level::or_lower);
        let (wanted, of_step) = wanted(&loaded)?;
        let binder = Binder::new(level, pool.n_threads());
        let prepared: Vec<OnceLock<Result<Box<dyn Execute>, Unsupported>>> =
            wanted.iter().map(|_| OnceLock::new()).collect();
        // The largest first, so that no thread is left with one at the end.
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(wanted[i].n_bytes()));
        // A task that panics leaves its kernel out.
        let _ = pool.run(order.len(), &|task, _| {
            let i = order[task];
            let kernel = binder.bind(wanted[i].spec, &wanted[i].weights);
            // Nobody else prepares this one.
            let _ = prepared[i].set(kernel);
        });
        let plan = loaded.plan();
        let mut kernels = Vec::with_capacity(wanted.len());
        let mut needs = Needs::default();
        for (kernel, wanted) in prepared.into_iter().zip(&wanted) {
            let named = || StepRef::new(plan, wanted.first_step);
            let kernel = match kernel.into_inner() {
                Some(Ok(kernel)) => kernel,
                Some(Err(what)) => {
                    return Err(BindError::Unsupported {
                        step: named(),
                        what: what.0,
                    });
                }
                None => return Err(BindError::Defect { step: named() }),
            };
            needs = needs.max(kernel.needs());
            kernels.push(kernel);
        }
        Ok(Self {
            kernels,
            of_step,
            needs,
            pool,
            level,
            loaded,
        })
    }

    /// Memory to run the plan in, for one caller at a time.
    ///
    /// # Errors
    ///
    /// If there is no room for it.
    pub fn session(self: &Arc<Self>) -> Result<Session, BindError> {
        Session::new(Arc::clone(self))
    }

    /// The plan.
    pub fn plan(&self) -> &ValidPlan {
        self.loaded.plan()
    }

    /// The plan and its weights.
    pub fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// Threads that run kernels.
    pub fn n_threads(&self) -> usize {
        self.pool.n_threads()
    }

    /// The vector instructions that kernels use.
    pub fn level(&self) -> Level {
        self.level
    }

    /// What computes a step, for people: `convolution`, or `plain` where nothing is tuned.
    ///
    /// # Panics
    ///
    /// If the plan has no such step.
    pub fn implementation(&self, step: StepIndex) -> &'static str {
        self.kernel(step).implementation()
    }

    pub(crate) fn kernel(&self, step: StepIndex) -> &dyn Execute {
        self.kernels[self.of_step[step.index()]].as_ref()
    }

    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// A kernel that some steps need.
struct Wanted<'a> {
    spec: &'a KernelSpec,
    weights: Vec<BoundWeight<'a>>,
    first_step: StepIndex,
}

impl Wanted<'_> {
    /// Bytes of weights to pack.
    fn n_bytes(&self) -> usize {
        self.weights.iter().map(|w| w.data.len()).sum()
    }
}

/// The kernels that a plan needs, and which of them each step is.
fn wanted(loaded: &Loaded) -> Result<(Vec<Wanted<'_>>, Vec<usize>), BindError> {
    let plan = loaded.plan();
    let section = loaded.weights_section();
    let mut known: BTreeMap<KernelKey, usize> = BTreeMap::new();
    let mut wanted = vec![];
    let mut of_step = Vec::with_capacity(plan.steps.len());
    for (i, step) in plan.steps.iter().enumerate() {
        let index = StepIndex(i as u32);
        if let Device::Cuda(n) = step.device {
            return Err(BindError::Device {
                step: StepRef::new(plan, index),
                device: format!("cuda:{n}"),
            });
        }
        let spec = &plan.kernels[step.kernel.index()];
        let packed = exec::packed_args(spec);
        let args = step.args.iter().enumerate();
        let weights: Vec<(usize, WeightIndex, u64)> = args
            .filter_map(|(n, arg)| match arg.place {
                Place::Weight(w) if packed.contains(&n) => Some((n, w, arg.offset)),
                _ => None,
            })
            .collect();
        let bound = |&(arg, w, offset): &(usize, WeightIndex, u64)| {
            let weight = &plan.weights[w.index()];
            let at = weight.offset as usize;
            BoundWeight {
                arg,
                weight: w,
                data: &section[at..at + weight.bytes as usize],
                start: offset as usize,
            }
        };
        let data: Vec<BoundWeight<'_>> = weights.iter().map(bound).collect();
        let kernel = *known.entry((step.kernel, weights)).or_insert_with(|| {
            wanted.push(Wanted {
                spec,
                weights: data,
                first_step: index,
            });
            wanted.len() - 1
        });
        of_step.push(kernel);
    }
    Ok((wanted, of_step))
}

/// A pool whose threads have all begun: what threads allocate when they begin is not left to a run.
fn started(n_threads: usize) -> Result<Pool, PoolError> {
    let pool = Pool::new(n_threads)?;
    let barrier = Barrier::new(pool.n_threads());
    pool.run(pool.n_threads(), &|_, _| {
        barrier.wait();
    })?;
    Ok(pool)
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("loaded", &self.loaded)
            .field("kernels", &self.kernels.len())
            .field("threads", &self.n_threads())
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}
