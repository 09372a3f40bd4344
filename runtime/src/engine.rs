//! A plan bound to this machine.

use crate::cpu::exec::{self, Binder, BoundWeight, Execute, Needs, Unsupported};
use crate::cpu::level::Level;
use crate::cpu::pool::{Pool, PoolError};
use crate::cuda::{self, Bound, Context, DriverError, Unavailable, is_on_device};
use crate::error::{BindError, StepRef};
use crate::load::Loaded;
use crate::session::{Session, SessionOptions};
use plans::{KernelIndex, KernelSpec, Place, StepIndex, ValidPlan, WeightIndex};
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, OnceLock};

/// What runs the steps that a plan has for a CUDA device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunOn {
    /// The CUDA device of this number. It is an error if there is none, unless the plan has no such
    /// steps.
    Cuda(u16),
    /// The host: every kernel has a meaning there too.
    Cpu,
    /// The first CUDA device if there is one, else the host; [`Engine::fallback`] says why.
    Auto,
}

impl Default for RunOn {
    /// The first CUDA device.
    fn default() -> Self {
        RunOn::Cuda(0)
    }
}

/// How a plan is bound.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// What runs the steps that the plan has for a CUDA device.
    pub device: RunOn,
    /// How that device is used.
    pub cuda: cuda::Options,
    /// Threads that run kernels; 0: as many as the process may use at once.
    pub threads: usize,
    /// The highest level of vector instructions to use; `None`: the best that there is.
    pub level: Option<Level>,
}

/// A plan with its kernels made ready for this machine. Sessions share it.
pub struct Engine {
    loaded: Arc<Loaded>,
    kernels: Vec<Box<dyn Execute>>,
    /// The kernel of each step; none for steps on a CUDA device.
    of_step: Vec<Option<usize>>,
    /// What is on a CUDA device; none if all steps run on the host.
    bound: Option<Bound>,
    /// Why the host runs steps that are for a CUDA device.
    fallback: Option<Unavailable>,
    needs: Needs,
    pool: Pool,
    level: Level,
}

/// A kernel and the weights that are packed for it: where each starts.
type KernelKey = (KernelIndex, Vec<(usize, WeightIndex, u64)>);

impl Engine {
    /// Prepares every kernel of the plan: on the host loops ordered, tapes compiled, weights packed,
    /// on a CUDA device images loaded, weights uploaded. Steps with the same kernel and weights
    /// share what was prepared.
    ///
    /// # Errors
    ///
    /// If there is no device for a step, or no implementation of its kernel, or no room, or the weights
    /// are damaged.
    pub fn bind(loaded: Arc<Loaded>, options: &Options) -> Result<Self, BindError> {
        let n_threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let pool = started(n_threads).map_err(BindError::Threads)?;
        let level = options.level.map_or_else(Level::detect, Level::or_lower);
        let (context, fallback) = device(loaded.plan(), options)?;
        if context.is_none() {
            loaded.check_weights(plans::file::crc32)?;
        }
        let (wanted, of_step) = wanted(&loaded, context.is_some());
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
        let bound = match context {
            Some(context) => Some(Bound::new(&loaded, &pool, context, options.cuda)?),
            None => None,
        };
        Ok(Self {
            kernels,
            of_step,
            bound,
            fallback,
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
        self.session_with(&SessionOptions::default())
    }

    /// As [`Engine::session`], for some of the plan's models, or with priorities.
    ///
    /// # Errors
    ///
    /// If there is no room for it.
    pub fn session_with(self: &Arc<Self>, options: &SessionOptions) -> Result<Session, BindError> {
        Session::new(Arc::clone(self), options)
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

    /// Whether some steps run on a CUDA device.
    pub fn uses_cuda(&self) -> bool {
        self.bound.is_some()
    }

    /// Why the host runs steps that the plan has for a CUDA device; `None` if it does not, or was
    /// asked to.
    pub fn fallback(&self) -> Option<&Unavailable> {
        self.fallback.as_ref()
    }

    /// The error that the engine's device was lost by: every run fails from then on, and so does that
    /// of every engine with the same context. Once they are dropped, the plan can be bound again.
    pub fn lost(&self) -> Option<DriverError> {
        self.bound.as_ref().and_then(|b| b.context.lost())
    }

    /// Bytes of device memory that weights take.
    pub fn device_weight_bytes(&self) -> u64 {
        self.bound.as_ref().map_or(0, Bound::weight_bytes)
    }

    /// What computes a step, for people: `convolution`, or `plain` where nothing is tuned; `cuda`
    /// for device code.
    ///
    /// # Panics
    ///
    /// If the plan has no such step.
    pub fn implementation(&self, step: StepIndex) -> &'static str {
        match self.of_step[step.index()] {
            Some(kernel) => self.kernels[kernel].implementation(),
            None => "cuda",
        }
    }

    /// The kernel of a step on the host.
    pub(crate) fn kernel(&self, step: StepIndex) -> &dyn Execute {
        let kernel = self.of_step[step.index()];
        self.kernels[kernel.expect("only steps on the host are run there")].as_ref()
    }

    pub(crate) fn bound(&self) -> Option<&Bound> {
        self.bound.as_ref()
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

/// The context that a plan's steps on a CUDA device run in, if they do; else why they don't, if
/// nobody asked for that.
fn device(
    plan: &ValidPlan,
    options: &Options,
) -> Result<(Option<Arc<Context>>, Option<Unavailable>), BindError> {
    let is_needed = plan.steps.iter().any(is_on_device);
    let ordinal = match options.device {
        RunOn::Cuda(n) => n,
        RunOn::Auto => 0,
        RunOn::Cpu => return Ok((None, None)),
    };
    if !is_needed {
        return Ok((None, None));
    }
    match cuda::context(plan, ordinal) {
        Ok(context) => Ok((Some(context), None)),
        Err(why) if options.device == RunOn::Auto => Ok((None, Some(why))),
        Err(why) => Err(BindError::Unavailable(why)),
    }
}

/// The kernels that a plan needs on the host, and which of them each step is.
fn wanted(loaded: &Loaded, with_cuda: bool) -> (Vec<Wanted<'_>>, Vec<Option<usize>>) {
    let plan = loaded.plan();
    let section = loaded.weights_section();
    let mut known: BTreeMap<KernelKey, usize> = BTreeMap::new();
    let mut wanted = vec![];
    let mut of_step = Vec::with_capacity(plan.steps.len());
    for (i, step) in plan.steps.iter().enumerate() {
        let index = StepIndex(i as u32);
        if with_cuda && is_on_device(step) {
            of_step.push(None);
            continue;
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
        of_step.push(Some(kernel));
    }
    (wanted, of_step)
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
            .field("cuda", &self.bound.is_some())
            .finish_non_exhaustive()
    }
}
