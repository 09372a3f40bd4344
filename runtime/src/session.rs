//! Running a bound plan.

mod blocks;
mod device;
mod run;

use crate::cpu::exec::{Cx, FaultFlag, Needs};
use crate::cuda::{DeviceSession, PinnedMemory, SessionModels, is_on_device};
use crate::engine::Engine;
use crate::error::{BindError, PortError, RunError, StepRef};
use crate::memory::{ALIGN, AlignedBytes};
use plans::{
    Arena, BufferIndex, DType, Model, ModelIndex, Place, Port, RunSize, StepIndex, ValidPlan,
};
use std::ops::Range;
use std::sync::Arc;

/// Memory to run the models of a plan in, one at a time or as one of the plan's rounds.
///
/// Inputs and outputs stay between runs. Sessions of one engine may run at the same time; while
/// one has the engine's threads, the others run on the thread that called them.
pub struct Session {
    /// What is on a CUDA device, if the engine uses one. Dropped first: it waits for what still runs.
    device: Option<Box<DeviceSession>>,
    engine: Arc<Engine>,
    /// Of each arena the memory on the host; of those on a CUDA device nothing.
    arenas: Vec<HostMemory>,
    shared: AlignedBytes,
    workers: AlignedBytes,
    worker_stride: usize,
    /// The arguments of all steps on the host; those of step `i` are
    /// `first_arg[i]..first_arg[i + 1]`.
    args: Vec<*mut u8>,
    first_arg: Vec<usize>,
    fault: FaultFlag,
    /// Of each model, whether the session is for it.
    models: Vec<bool>,
    /// The blocks of the host's run in blocks.
    blocks: blocks::HostBlocks,
}

/// What a session is made for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionOptions {
    /// The models that it has memory for; none: all of the plan.
    pub models: Vec<ModelIndex>,
    /// How many priorities blocks may be started with, if the device knows as many: see
    /// [`Session::start_blocks`].
    pub levels: u8,
}

// SAFETY: the pointers in `args` are to the session's arenas on the host and to weights that the
// engine keeps alive and nobody writes; they are followed only by a run, which borrows the session
// mutably.
unsafe impl Send for Session {}

// SAFETY: as above; through a shared reference nothing but inputs and outputs can be read.
unsafe impl Sync for Session {}

/// Memory of the host.
enum HostMemory {
    Paged(AlignedBytes),
    /// Within reach of a CUDA device.
    Pinned(PinnedMemory),
}

impl HostMemory {
    fn as_ptr(&self) -> *mut u8 {
        match self {
            HostMemory::Paged(memory) => memory.as_ptr(),
            HostMemory::Pinned(memory) => memory.as_ptr(),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            HostMemory::Paged(memory) => memory.as_slice(),
            HostMemory::Pinned(memory) => memory.as_slice(),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            HostMemory::Paged(memory) => memory.as_mut_slice(),
            HostMemory::Pinned(memory) => memory.as_mut_slice(),
        }
    }
}

/// Bytes, or an error if they can't be had.
fn allocate(bytes: u64) -> Result<AlignedBytes, BindError> {
    usize::try_from(bytes)
        .ok()
        .and_then(AlignedBytes::new)
        .ok_or(BindError::OutOfMemory { bytes })
}

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, options: &SessionOptions) -> Result<Self, BindError> {
        let plan = engine.plan();
        let all = options.models.is_empty();
        let models: Vec<bool> = (0..plan.models.len())
            .map(|m| all || options.models.contains(&ModelIndex(m as u32)))
            .collect();
        let is_used = |arena: &Arena| all || arena.models.iter().any(|m| models[m.index()]);
        let arenas = plan.arenas.iter().map(|arena| {
            Ok(match engine.bound() {
                _ if !is_used(arena) => HostMemory::Paged(allocate(0)?),
                None => HostMemory::Paged(allocate(arena.bytes)?),
                Some(_) if arena.device != plans::Device::Cpu || arena.bytes == 0 => {
                    HostMemory::Paged(allocate(0)?)
                }
                Some(bound) => HostMemory::Pinned(bound.pinned(arena.bytes, "arenas on the host")?),
            })
        });
        let arenas = arenas.collect::<Result<Vec<_>, BindError>>()?;
        let Needs { shared, worker } = engine.needs();
        let worker_stride = worker.next_multiple_of(ALIGN);
        let all_workers = (worker_stride as u64).saturating_mul(engine.n_threads() as u64);
        let section = engine.loaded().weights_section();
        let mut args = vec![];
        let mut first_arg = vec![0];
        for step in &plan.steps {
            let on_host = engine.bound().is_none() || !is_on_device(step);
            let is_run = on_host && models[step.model.index()];
            let step_args = step.args.iter().filter(|_| is_run);
            args.extend(step_args.map(|arg| match arg.place {
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
        let device = match engine.bound() {
            Some(_) => {
                let host_arenas = arenas.iter().map(HostMemory::as_ptr).collect();
                let of = SessionModels {
                    models: &models,
                    levels: options.levels,
                };
                Some(Box::new(DeviceSession::new(&engine, host_arenas, of)?))
            }
            None => None,
        };
        Ok(Self {
            device,
            arenas,
            shared: allocate(shared as u64)?,
            workers: allocate(all_workers)?,
            worker_stride,
            args,
            first_arg,
            fault: FaultFlag::default(),
            models,
            blocks: blocks::HostBlocks::default(),
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
        let at = at.filter(|&m| self.models[m]);
        at.map(|i| ModelIndex(i as u32))
            .ok_or_else(|| self.no_model(name))
    }

    fn no_model(&self, asked: impl ToString) -> PortError {
        PortError::NoModel {
            asked: asked.to_string(),
            models: {
                let all = self.plan().models.iter().zip(&self.models);
                let own = all.filter(|(_, is_own)| **is_own);
                own.map(|(m, _)| m.name.clone()).collect()
            },
        }
    }

    fn of(&self, model: ModelIndex) -> Result<&Model, PortError> {
        let found = self.plan().models.get(model.index());
        found
            .filter(|_| self.models[model.index()])
            .ok_or_else(|| self.no_model(model.0))
    }

    /// The model, if nothing of its run is under way: until then its inputs and outputs belong to
    /// the device.
    fn at_rest(&self, model: ModelIndex) -> Result<&Model, PortError> {
        let of = self.of(model)?;
        if self.device.as_ref().is_some_and(|d| d.is_running()) {
            return Err(PortError::Running {
                model: of.name.clone(),
            });
        }
        Ok(of)
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

    /// The data of a port on the host.
    fn data(&self, model: ModelIndex, port: &Port) -> &[u8] {
        self.buffer(model, port.buffer, self.place(port).1.len())
    }

    /// The first `bytes` of an input, an output or the size of one, on the host.
    fn buffer(&self, model: ModelIndex, buffer: BufferIndex, bytes: usize) -> &[u8] {
        let device = self.device.as_ref();
        let staging = device.and_then(|d| d.staging(model, buffer));
        let placed = &self.plan().buffers[buffer.index()];
        let (arena, start) = (placed.arena.index(), placed.offset as usize);
        let data = staging.unwrap_or_else(|| &self.arenas[arena].as_slice()[start..]);
        &data[..bytes]
    }

    /// The data of input `n` of a model: row-major, in the machine's byte order.
    ///
    /// # Errors
    ///
    /// If there is no such model or input.
    pub fn input_mut(&mut self, model: ModelIndex, n: usize) -> Result<&mut [u8], PortError> {
        let port = port(self.at_rest(model)?, "input", n)?;
        let ((arena, range), buffer) = (self.place(port), port.buffer);
        if let Some(device) = &mut self.device
            && let Some(staging) = device.staging_mut(model, buffer)
        {
            return Ok(staging);
        }
        Ok(&mut self.arenas[arena].as_mut_slice()[range])
    }

    /// The data of input `n` of a model, as it was last set.
    ///
    /// # Errors
    ///
    /// If there is no such model or input.
    pub fn input(&self, model: ModelIndex, n: usize) -> Result<&[u8], PortError> {
        Ok(self.data(model, port(self.at_rest(model)?, "input", n)?))
    }

    /// The data of output `n` of a model, as the last run of the model left it; zeros before.
    ///
    /// # Errors
    ///
    /// If there is no such model or output.
    pub fn output(&self, model: ModelIndex, n: usize) -> Result<&[u8], PortError> {
        Ok(self.data(model, port(self.at_rest(model)?, "output", n)?))
    }

    /// The dimensions of output `n` of a model. Where a run decides the size of one, it is that of
    /// the last run; 0 before. [`Session::output`] has room for the most, and what lies beyond the
    /// size means nothing.
    ///
    /// # Errors
    ///
    /// If there is no such model or output.
    pub fn output_dims(&self, model: ModelIndex, n: usize) -> Result<Vec<u64>, PortError> {
        let port = port(self.at_rest(model)?, "output", n)?;
        let count = port.size.map_or(0, |size| {
            let mut count = [0; RunSize::BYTES as usize];
            // A valid plan's sizes take as many bytes.
            count.copy_from_slice(self.buffer(model, size.count, RunSize::BYTES as usize));
            i64::from_ne_bytes(count)
        });
        Ok(port.dims_after(count))
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

    /// Copies the inputs of a model to the device, for [`Session::run_on_device`]. Nothing is done
    /// for those that lie on the host anyway.
    ///
    /// # Errors
    ///
    /// If there is no such model, or the device fails.
    pub fn upload_inputs(&mut self, model: ModelIndex) -> Result<(), RunError> {
        self.of(model).map_err(RunError::Model)?;
        match &mut self.device {
            Some(device) => device.copy_ports(&self.engine, model, true),
            None => Ok(()),
        }
    }

    /// Copies the outputs of a model from the device, after [`Session::run_on_device`].
    ///
    /// # Errors
    ///
    /// If there is no such model, or the device fails.
    pub fn download_outputs(&mut self, model: ModelIndex) -> Result<(), RunError> {
        self.of(model).map_err(RunError::Model)?;
        match &mut self.device {
            Some(device) => device.copy_ports(&self.engine, model, false),
            None => Ok(()),
        }
    }

    /// Bytes of device memory that the session takes, beside the weights that all sessions share.
    pub fn device_bytes(&self) -> u64 {
        self.device.as_ref().map_or(0, |d| d.device_bytes())
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

fn not_on_device(model: &Model, port: &Port) -> PortError {
    PortError::NotOnDevice {
        model: model.name.clone(),
        port: port.name.clone(),
    }
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

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
