//! Running a bound plan.

use crate::cpu::exec::{Cx, FaultFlag, Needs};
use crate::device::{Device, replay};
use crate::engine::Engine;
use crate::error::{BindError, PortError, RunError, StepRef};
use crate::memory::{ALIGN, AlignedBytes};
use plans::{DType, Model, ModelIndex, Place, Port, StepIndex, ValidPlan};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Memory to run the models of a plan in, one at a time.
///
/// Inputs and outputs stay between runs. Sessions of one engine may run at the same time; while
/// one has the engine's threads, the others run on the thread that called them.
pub struct Session {
    engine: Arc<Engine>,
    arenas: Vec<AlignedBytes>,
    shared: AlignedBytes,
    workers: AlignedBytes,
    worker_stride: usize,
    /// The arguments of all steps; those of step `i` are `first_arg[i]..first_arg[i + 1]`.
    args: Vec<*mut u8>,
    first_arg: Vec<usize>,
    fault: FaultFlag,
}

// SAFETY: the pointers in `args` are to the session's arenas and to weights that the engine keeps
// alive and nobody writes; they are followed only by a run, which borrows the session mutably.
unsafe impl Send for Session {}

// SAFETY: as above; through a shared reference nothing but inputs and outputs can be read.
unsafe impl Sync for Session {}

/// Bytes, or an error if they can't be had.
fn allocate(bytes: u64) -> Result<AlignedBytes, BindError> {
    usize::try_from(bytes)
        .ok()
        .and_then(AlignedBytes::new)
        .ok_or(BindError::OutOfMemory { bytes })
}

impl Session {
    pub(crate) fn new(engine: Arc<Engine>) -> Result<Self, BindError> {
        let plan = engine.plan();
        let arenas = plan
            .arenas
            .iter()
            .map(|arena| allocate(arena.bytes))
            .collect::<Result<Vec<_>, _>>()?;
        let Needs { shared, worker } = engine.needs();
        let worker_stride = worker.next_multiple_of(ALIGN);
        let all_workers = (worker_stride as u64).saturating_mul(engine.n_threads() as u64);
        let section = engine.loaded().weights_section();
        let mut args = vec![];
        let mut first_arg = vec![0];
        for step in &plan.steps {
            args.extend(step.args.iter().map(|arg| match arg.place {
                Place::Buffer(b) => {
                    let buffer = &plan.buffers[b.index()];
                    let offset = (buffer.offset + arg.offset) as usize;
                    arenas[buffer.arena.index()].as_ptr().wrapping_add(offset)
                }
                Place::Weight(w) => {
                    let offset = (plan.weights[w.index()].offset + arg.offset) as usize;
                    // Never written: a valid plan writes to buffers only.
                    section.as_ptr().cast_mut().wrapping_add(offset)
                }
            }));
            first_arg.push(args.len());
        }
        Ok(Self {
            arenas,
            shared: allocate(shared as u64)?,
            workers: allocate(all_workers)?,
            worker_stride,
            args,
            first_arg,
            fault: FaultFlag::default(),
            engine,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &ValidPlan {
        self.engine.plan()
    }

    /// The engine that the session belongs to.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The model called `name`.
    ///
    /// # Errors
    ///
    /// If there is none; the error lists those that there are.
    pub fn model(&self, name: &str) -> Result<ModelIndex, PortError> {
        let models = &self.plan().models;
        let at = models.iter().position(|m| m.name == name);
        at.map(|i| ModelIndex(i as u32))
            .ok_or_else(|| self.no_model(name))
    }

    fn no_model(&self, asked: impl ToString) -> PortError {
        PortError::NoModel {
            asked: asked.to_string(),
            models: self.plan().models.iter().map(|m| m.name.clone()).collect(),
        }
    }

    fn of(&self, model: ModelIndex) -> Result<&Model, PortError> {
        let found = self.plan().models.get(model.index());
        found.ok_or_else(|| self.no_model(model.0))
    }

    /// Where a port's tensor lies: arena and bytes.
    fn place(&self, port: &Port) -> (usize, Range<usize>) {
        let buffer = &self.plan().buffers[port.buffer.index()];
        let start = buffer.offset as usize;
        // A valid plan's ports fit their buffers.
        let elements: u64 = port.dims.iter().product();
        let bytes = elements as usize * port.dtype.size();
        (buffer.arena.index(), start..start + bytes)
    }

    /// The data of input `n` of a model: row-major, in the machine's byte order.
    ///
    /// # Errors
    ///
    /// If there is no such model or input.
    pub fn input_mut(&mut self, model: ModelIndex, n: usize) -> Result<&mut [u8], PortError> {
        let port = port(self.of(model)?, "input", n)?;
        let (arena, range) = self.place(port);
        Ok(&mut self.arenas[arena].as_mut_slice()[range])
    }

    /// The data of input `n` of a model, as it was last set.
    ///
    /// # Errors
    ///
    /// If there is no such model or input.
    pub fn input(&self, model: ModelIndex, n: usize) -> Result<&[u8], PortError> {
        let (arena, range) = self.place(port(self.of(model)?, "input", n)?);
        Ok(&self.arenas[arena].as_slice()[range])
    }

    /// The data of output `n` of a model, as the last run of the model left it; zeros before.
    ///
    /// # Errors
    ///
    /// If there is no such model or output.
    pub fn output(&self, model: ModelIndex, n: usize) -> Result<&[u8], PortError> {
        let (arena, range) = self.place(port(self.of(model)?, "output", n)?);
        Ok(&self.arenas[arena].as_slice()[range])
    }

    /// Which input of a model is called `name`.
    ///
    /// # Errors
    ///
    /// If there is no such model or input.
    pub fn input_number(&self, model: ModelIndex, name: &str) -> Result<usize, PortError> {
        number(self.of(model)?, "input", name)
    }

    /// Which output of a model is called `name`.
    ///
    /// # Errors
    ///
    /// If there is no such model or output.
    pub fn output_number(&self, model: ModelIndex, name: &str) -> Result<usize, PortError> {
        number(self.of(model)?, "output", name)
    }

    /// Sets the input called `name` to a row-major tensor.
    ///
    /// # Errors
    ///
    /// If there is no such model or input, or the tensor is of another type, other dimensions or
    /// another number of bytes.
    pub fn set_input(
        &mut self,
        model: ModelIndex,
        name: &str,
        dtype: DType,
        dims: &[u64],
        data: &[u8],
    ) -> Result<(), PortError> {
        let n = self.input_number(model, name)?;
        let of = self.of(model)?;
        let expected = &of.inputs[n];
        if expected.dtype != dtype {
            return Err(PortError::DType {
                model: of.name.clone(),
                port: name.to_owned(),
                expected: expected.dtype,
                found: dtype,
            });
        }
        if expected.dims != dims {
            return Err(PortError::Dims {
                model: of.name.clone(),
                port: name.to_owned(),
                expected: expected.dims.clone(),
                found: dims.to_vec(),
            });
        }
        let (_, range) = self.place(expected);
        if range.len() != data.len() {
            return Err(PortError::Bytes {
                model: of.name.clone(),
                port: name.to_owned(),
                expected: range.len() as u64,
                found: data.len() as u64,
            });
        }
        self.input_mut(model, n)?.copy_from_slice(data);
        Ok(())
    }

    /// Runs a model once, from its inputs to its outputs. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// If there is no such model, or a step fails.
    pub fn run(&mut self, model: ModelIndex) -> Result<(), RunError> {
        self.replay(model, None)
    }

    /// As [`Session::run`]; `observe` is called after each step with the time that it took.
    ///
    /// # Errors
    ///
    /// As [`Session::run`].
    pub fn run_observed(
        &mut self,
        model: ModelIndex,
        observe: &mut dyn FnMut(StepIndex, Duration),
    ) -> Result<(), RunError> {
        self.replay(model, Some(observe))
    }

    fn replay(
        &mut self,
        model: ModelIndex,
        observe: Option<&mut dyn FnMut(StepIndex, Duration)>,
    ) -> Result<(), RunError> {
        self.of(model).map_err(RunError::Model)?;
        let engine = Arc::clone(&self.engine);
        let mut device = Cpu {
            session: self,
            observe,
        };
        replay(engine.plan(), model, &mut device)
    }

    /// # Safety
    /// Nobody else uses the session's memory.
    unsafe fn run_step(&mut self, step: StepIndex) -> Result<(), RunError> {
        let i = step.index();
        let cx = Cx {
            args: &self.args[self.first_arg[i]..self.first_arg[i + 1]],
            shared: self.shared.as_ptr(),
            workers: self.workers.as_ptr(),
            worker_stride: self.worker_stride,
            fault: &self.fault,
            level: self.engine.level(),
            pool: self.engine.pool(),
        };
        // SAFETY: the arguments are those of the step's kernel; `validate` has proved that they
        // lie in their buffers and weights. The session is borrowed mutably, so that nobody else
        // touches its arenas, and weights are never written. Memory is what the engine's kernels
        // need, with a region for every thread of its pool.
        unsafe { self.engine.kernel(step).run(&cx) };
        match self.fault.take() {
            None => Ok(()),
            Some(fault) => Err(RunError::Step {
                step: StepRef::new(self.plan(), step),
                fault,
            }),
        }
    }
}

fn port<'a>(model: &'a Model, kind: &'static str, n: usize) -> Result<&'a Port, PortError> {
    let ports = ports(model, kind);
    ports
        .get(n)
        .ok_or_else(|| no_port(model, kind, &n.to_string()))
}

fn number(model: &Model, kind: &'static str, name: &str) -> Result<usize, PortError> {
    let at = ports(model, kind).iter().position(|p| p.name == name);
    at.ok_or_else(|| no_port(model, kind, name))
}

fn ports<'a>(model: &'a Model, kind: &'static str) -> &'a [Port] {
    if kind == "input" {
        &model.inputs
    } else {
        &model.outputs
    }
}

fn no_port(model: &Model, kind: &'static str, asked: &str) -> PortError {
    PortError::NoPort {
        model: model.name.clone(),
        kind,
        asked: asked.to_owned(),
        ports: ports(model, kind).iter().map(|p| p.name.clone()).collect(),
    }
}

/// The CPU, running steps as they are commanded. Lanes are one: the list of steps is an order in
/// which they may run.
struct Cpu<'a, 'b> {
    session: &'a mut Session,
    observe: Option<&'b mut dyn FnMut(StepIndex, Duration)>,
}

impl Device for Cpu<'_, '_> {
    type Error = RunError;

    fn begin(&mut self, _model: ModelIndex) -> Result<(), RunError> {
        Ok(())
    }

    fn wait(&mut self, _step: StepIndex, _on: StepIndex) -> Result<(), RunError> {
        Ok(())
    }

    fn launch(&mut self, step: StepIndex) -> Result<(), RunError> {
        let Some(observe) = self.observe.as_mut() else {
            // SAFETY: the session is borrowed mutably.
            return unsafe { self.session.run_step(step) };
        };
        let start = Instant::now();
        // SAFETY: as above.
        unsafe { self.session.run_step(step) }?;
        observe(step, start.elapsed());
        Ok(())
    }

    fn end(&mut self, _model: ModelIndex) -> Result<(), RunError> {
        Ok(())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
