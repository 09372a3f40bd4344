//! Running models on a device.

mod blocks;
mod places;
mod run;

use super::bound::failed_to_allocate;
use super::context::{Context, Current, Event, Stream};
use super::driver::DriverError;
use super::graph::Graph;
use super::memory::{DeviceMemory, PinnedMemory};
use super::{DevicePtr, is_on_device};
use crate::cpu::exec::Fault;
use crate::device::Whole;
use crate::engine::Engine;
use crate::error::{BindError, During, RunError, StepRef};
use blocks::Blocks;
use plans::{
    ArenaKind, BUFFER_ALIGN, BufferIndex, Device, FAULT_POSITION, ModelIndex, Port, StepIndex,
    ValidPlan,
};
use run::Runnable;
use std::ops::Range;
use std::sync::Arc;

/// What a session has on a device.
///
/// Fields are dropped in this order: the streams, each of which waits for what still runs, before all that
/// may still be used.
pub(crate) struct DeviceSession {
    stream: Stream,
    /// Streams by priority, the most urgent first; none if priorities were not asked for.
    levels: Vec<Stream>,
    models: Vec<Runnable>,
    rounds: Vec<Runnable>,
    memory: Arc<DeviceMemory>,
    places: Places,
    staging: PinnedMemory,
    faults: PinnedMemory,
    start: Event,
    end: Event,
    blocks: Blocks,
    context: Arc<Context>,
}

/// What a session is for.
#[derive(Clone, Copy)]
pub(crate) struct SessionModels<'a> {
    /// Of each model, whether it is run.
    pub(crate) models: &'a [bool],
    /// Priorities that are told apart.
    pub(crate) levels: u8,
}

/// Where things lie.
struct Places {
    /// Of each arena: where it starts on the device; none if it is on the host.
    arenas: Vec<Option<u64>>,
    /// Of each arena on the host: where it starts.
    host_arenas: Vec<*mut u8>,
    /// Of each step that may fault: the number of its fault word.
    faults: Vec<Option<u32>>,
    /// The fault words, as the device sees them.
    faults_at: u64,
    /// Inputs of each model that lie on the device.
    inputs: Vec<Vec<Staged>>,
    /// Outputs of each model that lie on the device.
    outputs: Vec<Vec<Staged>>,
}

// SAFETY: the pointers are to memory of the session that `Places` belongs to, and are followed only
// while it is borrowed mutably.
unsafe impl Send for Places {}
// SAFETY: as above.
unsafe impl Sync for Places {}

/// A buffer on the device and its copy on the host.
struct Staged {
    buffer: BufferIndex,
    address: u64,
    staging: Range<usize>,
}

/// The graphs of a model or a round, and what the host does in between.
struct Graphs {
    parts: Vec<Ready>,
    /// Of each block of a model, the number of parts up to its end; of a round nothing.
    block_ends: Vec<usize>,
}

enum Ready {
    Device(Graph, Range<usize>),
    Host(Range<usize>),
}

/// Whether a run copies inputs and outputs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Io {
    /// From and to the host.
    #[default]
    Host,
    /// They stay on the device.
    Device,
}

/// Runs a step on the host.
pub(crate) type OnHost<'a> = &'a mut dyn FnMut(StepIndex) -> Result<(), RunError>;

/// What device memory is needed for.
const ARENAS: &str = "inputs, outputs and intermediate results";

impl DeviceSession {
    /// `host_arenas` says where each arena starts that is on the host.
    ///
    /// # Errors
    ///
    /// If there is no room, or the driver refuses a graph.
    pub(crate) fn new(
        engine: &Engine,
        host_arenas: Vec<*mut u8>,
        of: SessionModels<'_>,
    ) -> Result<Self, BindError> {
        let bound = engine.bound().expect("device sessions are of CUDA engines");
        let context = &bound.context;
        let plan = engine.plan();
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| BindError::Cuda { what, error }
        };
        let stream = Stream::new(context).map_err(failed("a stream"))?;
        let levels = match of.levels {
            0 | 1 => vec![],
            n => Stream::by_priority(context, n).map_err(failed("streams by priority"))?,
        };
        let mut arenas = vec![];
        let mut bytes = 0u64;
        for arena in &plan.arenas {
            let is_used = arena.models.iter().any(|m| of.models[m.index()]);
            arenas.push((arena.device != Device::Cpu).then_some(bytes));
            if arena.device != Device::Cpu && is_used {
                bytes = bytes
                    .saturating_add(arena.bytes)
                    .checked_next_multiple_of(BUFFER_ALIGN)
                    .unwrap_or(u64::MAX);
            }
        }
        let memory = DeviceMemory::new(context, bytes)
            .map_err(|e| failed_to_allocate(context, bytes, ARENAS, e))?;
        for at in arenas.iter_mut().flatten() {
            *at += memory.address();
        }
        let mut places = Places {
            arenas,
            host_arenas,
            faults: vec![],
            faults_at: 0,
            inputs: vec![],
            outputs: vec![],
        };
        let mut staged = 0;
        for (model, &is_run) in plan.models.iter().zip(of.models) {
            let inputs = model.inputs.iter().filter(|_| is_run).map(|p| p.buffer);
            let inputs = places.staged(plan, inputs, &mut staged);
            let outputs = model.outputs.iter().filter(|_| is_run).map(|p| p.buffer);
            let outputs = places.staged(plan, outputs, &mut staged);
            places.inputs.push(inputs);
            places.outputs.push(outputs);
        }
        let staging = bound.pinned(staged as u64, "copies of inputs and outputs")?;
        let mut n_faults = 0;
        for step in &plan.steps {
            let code = step.code.as_ref().map(|c| &plan.codes[c.code.index()]);
            let is_run = of.models[step.model.index()] && is_on_device(step);
            let may_fault = is_run && code.is_some_and(|c| c.may_fault);
            places.faults.push(may_fault.then_some(n_faults));
            n_faults += u32::from(may_fault);
        }
        let faults = bound.pinned(4 * u64::from(n_faults), "fault words")?;
        places.faults_at = faults.device_address().map_err(failed("fault words"))?;
        let zeroed = |kind| matches!(kind, ArenaKind::Counters | ArenaKind::Io);
        let current = context.enter().map_err(failed("memory"))?;
        for (arena, at) in plan.arenas.iter().zip(&places.arenas) {
            if let Some(at) = at
                && zeroed(arena.kind)
                && arena.models.iter().any(|m| of.models[m.index()])
            {
                // SAFETY: the arena lies in `memory`; it is waited for below.
                unsafe { stream.zero(&current, *at, arena.bytes) }.map_err(failed("memory"))?;
            }
        }
        let event = || Event::new(context).map_err(failed("an event"));
        let mut session = Self {
            models: (0..plan.models.len())
                .map(|m| Runnable::new(plan, Whole::Model(ModelIndex(m as u32))))
                .collect(),
            rounds: (0..plan.deploy.as_ref().map_or(0, |d| d.rounds.len()))
                .map(|round| Runnable::new(plan, Whole::Round(round)))
                .collect(),
            memory: Arc::new(memory),
            places,
            staging,
            faults,
            start: event()?,
            end: event()?,
            blocks: Blocks::default(),
            context: Arc::clone(context),
            stream,
            levels,
        };
        if !bound.options.lazy {
            for model in (0..plan.models.len()).filter(|&m| of.models[m]) {
                session.prepare(engine, Whole::Model(ModelIndex(model as u32)))?;
            }
        }
        session
            .stream
            .synchronize(&current)
            .map_err(failed("memory"))?;
        Ok(session)
    }

    /// Device memory that the session takes, in bytes.
    pub(crate) fn device_bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// The session's memory on the device.
    pub(crate) fn memory(&self) -> &Arc<DeviceMemory> {
        &self.memory
    }

    /// Where a port lies on the device; `None` if it is on the host.
    pub(crate) fn device_ptr(&self, plan: &ValidPlan, port: &Port) -> Option<DevicePtr> {
        let address = self.places.buffer(plan, port.buffer)?;
        let elements: u64 = port.dims.iter().product();
        Some(DevicePtr {
            address,
            bytes: elements * port.dtype.size() as u64,
            device: self.context.ordinal(),
        })
    }

    /// The copy on the host of an input or output; `None` if itself is there.
    pub(crate) fn staging(&self, model: ModelIndex, buffer: BufferIndex) -> Option<&[u8]> {
        let range = self.places.staging(model, buffer)?;
        Some(&self.staging.as_slice()[range])
    }

    /// As [`DeviceSession::staging`], to be written.
    pub(crate) fn staging_mut(
        &mut self,
        model: ModelIndex,
        buffer: BufferIndex,
    ) -> Option<&mut [u8]> {
        let range = self.places.staging(model, buffer)?;
        Some(&mut self.staging.as_mut_slice()[range])
    }

    /// Copies from elsewhere on the device to an input that lies there.
    ///
    /// # Safety
    /// `from` is memory of the device that this process may read, as large as the input, and nobody
    /// writes it during the call.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub(crate) unsafe fn copy_input(
        &mut self,
        plan: &ValidPlan,
        model: ModelIndex,
        to: DevicePtr,
        from: u64,
    ) -> Result<(), RunError> {
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        self.settle_blocks(&current);
        // SAFETY: the input is the session's, what is read is as the caller says, and the stream is
        // waited for.
        let copied = unsafe {
            self.stream
                .copy(&current, to.address, from, to.bytes as usize)
        };
        let done = copied.and_then(|()| self.stream.synchronize(&current));
        done.map_err(|error| RunError::Device {
            model: plan.models[model.index()].name.clone(),
            during: During::Inputs,
            error,
        })
    }

    /// Copies an input from the host to the device, or an output from there to the host, and waits.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub(crate) fn copy_ports(
        &mut self,
        engine: &Engine,
        model: ModelIndex,
        inputs: bool,
    ) -> Result<(), RunError> {
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        self.settle_blocks(&current);
        let run = Run::new(self, engine, &current, Whole::Model(model));
        let result = if inputs {
            run.copy_inputs(model)
        } else {
            run.copy_outputs(model)
        };
        let done = run.wait(None);
        result.and(done)
    }
}

/// A run of a model or a round.
struct Run<'a> {
    session: &'a mut DeviceSession,
    plan: &'a ValidPlan,
    current: &'a Current<'a>,
    whole: Whole,
    step_by_step: bool,
    /// The stream that all is commanded to: one by priority, or the session's.
    level: Option<usize>,
}

/// The context was lost in an earlier run, maybe another engine's.
fn lost(error: DriverError) -> RunError {
    RunError::Lost { error }
}

impl Run<'_> {
    fn new<'a>(
        session: &'a mut DeviceSession,
        engine: &'a Engine,
        current: &'a Current<'a>,
        whole: Whole,
    ) -> Run<'a> {
        Run {
            session,
            plan: engine.plan(),
            current,
            whole,
            step_by_step: engine.bound().is_some_and(|b| b.options.step_by_step),
            level: None,
        }
    }

    fn stream(&self) -> &Stream {
        let session = &*self.session;
        let level = self.level.and_then(|level| session.levels.get(level));
        level.unwrap_or(&session.stream)
    }

    /// An error of any of several models is one of all.
    fn failed(&self, during: During, error: DriverError) -> RunError {
        let models = self.models().iter();
        let names: Vec<&str> = models
            .map(|m| self.plan.models[m.index()].name.as_str())
            .collect();
        RunError::Device {
            model: names.join(" or "),
            during,
            error,
        }
    }

    fn copy_inputs(&self, model: ModelIndex) -> Result<(), RunError> {
        let session = &*self.session;
        for input in &session.places.inputs[model.index()] {
            let from = session.staging.as_slice()[input.staging.clone()].as_ptr();
            let len = input.staging.len();
            // SAFETY: both sides belong to the session, which is borrowed mutably until the stream
            // was waited for; when an error comes first, its drop waits.
            unsafe { self.stream().upload(self.current, input.address, from, len) }
                .map_err(|e| self.failed(During::Inputs, e))?;
        }
        Ok(())
    }

    fn copy_outputs(&self, model: ModelIndex) -> Result<(), RunError> {
        let session = &*self.session;
        for output in &session.places.outputs[model.index()] {
            let to = session.staging.as_ptr().wrapping_add(output.staging.start);
            let len = output.staging.len();
            // SAFETY: as above.
            unsafe {
                self.stream()
                    .download(self.current, to, output.address, len)
            }
            .map_err(|e| self.failed(During::Outputs, e))?;
        }
        Ok(())
    }

    /// Starts all parts; those that come before one of the host are waited for. Gives the steps that
    /// may still run.
    fn parts(
        &self,
        graphs: &Graphs,
        on_host: OnHost<'_>,
    ) -> Result<Option<Range<usize>>, RunError> {
        let session = &*self.session;
        let mut running: Option<Range<usize>> = None;
        for part in &graphs.parts {
            match part {
                Ready::Device(graph, steps) => {
                    // SAFETY: the graph touches memory of the session, which is borrowed mutably
                    // until the stream was waited for, and weights, which nobody writes.
                    unsafe { graph.launch(self.current, &session.stream) }
                        .map_err(|e| self.failed(self.steps(steps.clone()), e))?;
                    running = Some(match running {
                        Some(before) => before.start..steps.end,
                        None => steps.clone(),
                    });
                    if self.step_by_step {
                        self.wait(running.take())?;
                    }
                }
                Ready::Host(steps) => {
                    self.wait(running.take())?;
                    for i in steps.clone() {
                        on_host(StepIndex(i as u32))?;
                    }
                }
            }
        }
        Ok(running)
    }

    fn steps(&self, steps: Range<usize>) -> During {
        let step = |i: usize| Box::new(StepRef::new(self.plan, StepIndex(i as u32)));
        During::Steps {
            first: step(steps.start),
            last: step(steps.end - 1),
        }
    }

    /// Waits for the stream, on which `steps` may still run, and looks at their fault words.
    fn wait(&self, steps: Option<Range<usize>>) -> Result<(), RunError> {
        let during = |steps: Option<Range<usize>>| match steps {
            Some(steps) => self.steps(steps),
            None => During::Waiting,
        };
        self.session
            .stream
            .synchronize(self.current)
            .map_err(|e| self.failed(during(steps.clone()), e))?;
        self.fault(steps.unwrap_or_default())
    }

    /// Looks at the fault words of steps that have ended.
    fn fault(&self, steps: Range<usize>) -> Result<(), RunError> {
        let places = &self.session.places;
        let mut first = None;
        for i in steps {
            let Some(word) = places.faults[i] else {
                continue;
            };
            let words: *mut u32 = self.session.faults.as_ptr().cast();
            // SAFETY: there are as many words as steps with a number, and nothing runs that writes
            // them: the stream was waited for, or an event after the steps was reached.
            let found = unsafe {
                let word = words.add(word as usize);
                let found = word.read_volatile();
                word.write_volatile(0);
                found
            };
            if found != 0 && first.is_none() {
                first = Some((i, found));
            }
        }
        let Some((i, found)) = first else {
            return Ok(());
        };
        let fault = match found {
            FAULT_POSITION => Fault::IndexOutOfRange,
            other => Fault::Unknown(other),
        };
        Err(RunError::Step {
            step: StepRef::new(self.plan, StepIndex(i as u32)),
            fault,
        })
    }
}
