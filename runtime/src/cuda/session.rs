//! Running models on a device.

mod blocks;
mod places;

use super::bound::failed_to_allocate;
use super::context::{Context, Current, Event, Stream};
use super::driver::DriverError;
use super::graph::Graph;
use super::memory::{DeviceMemory, PinnedMemory};
use super::schedule::{Cut, Part, Schedule, schedule};
use super::{DevicePtr, is_on_device};
use crate::cpu::exec::Fault;
use crate::engine::Engine;
use crate::error::{BindError, During, RunError, StepRef};
use crate::timeline::{Span, Work};
use blocks::Blocks;
use places::Steps;
use plans::{
    ArenaKind, BUFFER_ALIGN, BufferIndex, Device, FAULT_POSITION, ModelIndex, Port, StepIndex,
    ValidPlan,
};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod round;

/// What a session has on a device.
///
/// Fields are dropped in this order: the streams, each of which waits for what still runs, before all that
/// may still be used.
pub(crate) struct DeviceSession {
    stream: Stream,
    /// Streams by priority, the most urgent first; none if priorities were not asked for.
    levels: Vec<Stream>,
    models: Vec<Option<Graphs>>,
    /// The same models with the times of all steps taken; made when first asked for.
    timed: Vec<Option<Timed>>,
    /// Rounds of the plan; made when first asked for.
    rounds: Vec<round::Rounds>,
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

/// A model's graphs and what the host does in between.
struct Graphs {
    parts: Vec<Ready>,
    /// Of each block, the number of parts up to its end.
    block_ends: Vec<usize>,
}

enum Ready {
    Device(Graph, Range<usize>),
    Host(Range<usize>),
}

struct Timed {
    graphs: Graphs,
    /// Of each step of the model: when it starts, when it ends. Empty for steps on the host.
    events: Vec<Option<(Event, Event)>>,
    /// Before and after the copies of inputs and outputs.
    copies: [Event; 4],
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
            models: plan.models.iter().map(|_| None).collect(),
            timed: plan.models.iter().map(|_| None).collect(),
            rounds: round::none_yet(plan),
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
                session.graphs(engine, ModelIndex(model as u32))?;
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

    /// Builds the graphs of a model unless that was done.
    fn graphs(&mut self, engine: &Engine, model: ModelIndex) -> Result<(), BindError> {
        if self.models[model.index()].is_none() {
            let graphs = self.build(engine, model, false, &[])?;
            self.blocks.make_room(&self.context, graphs.parts.len())?;
            self.models[model.index()] = Some(graphs);
        }
        Ok(())
    }

    fn build(
        &self,
        engine: &Engine,
        model: ModelIndex,
        timed: bool,
        events: &[Option<(Event, Event)>],
    ) -> Result<Graphs, BindError> {
        let plan = engine.plan();
        let first_step = plan.models[model.index()].first_step;
        self.build_as(engine, timed, (first_step, events), |cut| {
            schedule(plan, model, cut)
        })
    }

    /// The graphs of what `schedule` says. Events are of the steps from the first one on.
    fn build_as(
        &self,
        engine: &Engine,
        timed: bool,
        (first_step, events): (StepIndex, &[Option<(Event, Event)>]),
        schedule: impl FnOnce(Cut<'_>) -> Schedule,
    ) -> Result<Graphs, BindError> {
        let bound = engine.bound().expect("device sessions are of CUDA engines");
        let plan = engine.plan();
        let material = Steps {
            engine,
            bound,
            places: &self.places,
            events,
            first_step,
        };
        let cut = Cut {
            every_step: bound.options.step_by_step,
            timed,
            waits: &|code| bound.images.waits(plan, code),
        };
        let schedule = schedule(cut);
        let parts = schedule.parts.into_iter().map(|part| {
            Ok(match part {
                Part::Device(segment) => Ready::Device(
                    Graph::new(plan, &self.context, &self.stream, &segment, &material)?,
                    segment.steps,
                ),
                Part::Host(steps) => Ready::Host(steps),
            })
        });
        Ok(Graphs {
            parts: parts.collect::<Result<_, BindError>>()?,
            block_ends: schedule.block_ends,
        })
    }

    /// Runs a model once and waits for it. Gives the time between the start of the first and the end
    /// of the last graph on the device, if `timed`.
    ///
    /// # Errors
    ///
    /// If the device or a step fails.
    pub(crate) fn run(
        &mut self,
        engine: &Engine,
        model: ModelIndex,
        io: Io,
        timed: bool,
        on_host: OnHost<'_>,
    ) -> Result<Option<Duration>, RunError> {
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        self.settle_blocks(&current);
        self.graphs(engine, model).map_err(RunError::Bind)?;
        let run = Run::new(self, engine, &current, model);
        let result = run.whole(io, timed, on_host);
        if result.is_err() {
            run.settle();
        }
        result
    }

    /// Runs a model once with the times of all steps taken: none starts early, and the clocks
    /// themselves take a microsecond or so a step. The first such run of a model allocates.
    ///
    /// # Errors
    ///
    /// As [`DeviceSession::run`].
    pub(crate) fn run_spans(
        &mut self,
        engine: &Engine,
        model: ModelIndex,
        on_host: OnHost<'_>,
    ) -> Result<Vec<Span>, RunError> {
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        self.settle_blocks(&current);
        if self.timed[model.index()].is_none() {
            let timed = self.timed_graphs(engine, model).map_err(RunError::Bind)?;
            self.timed[model.index()] = Some(timed);
        }
        let run = Run::new(self, engine, &current, model);
        let result = run.spans(on_host);
        if result.is_err() {
            run.settle();
        }
        result
    }

    fn timed_graphs(&self, engine: &Engine, model: ModelIndex) -> Result<Timed, BindError> {
        let failed = |error| BindError::Cuda {
            what: "an event".to_owned(),
            error,
        };
        let event = || Event::new(&self.context).map_err(failed);
        let plan = engine.plan();
        let events = plan.models[model.index()].steps().map(|i| {
            Ok(match is_on_device(&plan.steps[i]) {
                true => Some((event()?, event()?)),
                false => None,
            })
        });
        let events: Vec<Option<(Event, Event)>> = events.collect::<Result<_, BindError>>()?;
        Ok(Timed {
            graphs: self.build(engine, model, true, &events)?,
            events,
            copies: [event()?, event()?, event()?, event()?],
        })
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
        let run = Run::new(self, engine, &current, model);
        let result = if inputs {
            run.copy_inputs()
        } else {
            run.copy_outputs()
        };
        let done = run.wait(None);
        result.and(done)
    }
}

/// A run of a model.
struct Run<'a> {
    session: &'a mut DeviceSession,
    plan: &'a ValidPlan,
    current: &'a Current<'a>,
    model: ModelIndex,
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
        model: ModelIndex,
    ) -> Run<'a> {
        Run {
            session,
            plan: engine.plan(),
            current,
            model,
            step_by_step: engine.bound().is_some_and(|b| b.options.step_by_step),
            level: None,
        }
    }

    fn stream(&self) -> &Stream {
        let session = &*self.session;
        let level = self.level.and_then(|level| session.levels.get(level));
        level.unwrap_or(&session.stream)
    }

    fn failed(&self, during: During, error: DriverError) -> RunError {
        RunError::Device {
            model: self.plan.models[self.model.index()].name.clone(),
            during,
            error,
        }
    }

    /// A run from the inputs to the end.
    fn whole(
        &self,
        io: Io,
        timed: bool,
        on_host: OnHost<'_>,
    ) -> Result<Option<Duration>, RunError> {
        let session = &*self.session;
        let failed = |error| self.failed(During::Waiting, error);
        let Some(graphs) = &session.models[self.model.index()] else {
            return Ok(None);
        };
        if io == Io::Host {
            self.copy_inputs()?;
        }
        let (start, end) = (&session.start, &session.end);
        if timed {
            start
                .record(self.current, &session.stream)
                .map_err(failed)?;
        }
        let running = self.parts(graphs, on_host)?;
        if timed {
            end.record(self.current, &session.stream).map_err(failed)?;
        }
        if io == Io::Host {
            self.copy_outputs()?;
        }
        self.wait(running)?;
        if !timed {
            return Ok(None);
        }
        let nanoseconds = end.since(self.current, start).map_err(failed)?;
        Ok(Some(Duration::from_nanos(nanoseconds)))
    }

    /// After an error: waits for what still runs, so that nothing is touched behind its back.
    fn settle(&self) {
        // The error that came first is the one to tell.
        let _ = self.session.stream.synchronize(self.current);
    }

    /// A run with the times of all steps taken.
    fn spans(&self, on_host: OnHost<'_>) -> Result<Vec<Span>, RunError> {
        let session = &*self.session;
        let failed = |error| self.failed(During::Waiting, error);
        let Some(timed) = &session.timed[self.model.index()] else {
            return Ok(vec![]);
        };
        let stream = &session.stream;
        let [before, after_inputs, before_outputs, after] = &timed.copies;
        let began = Instant::now();
        before.record(self.current, stream).map_err(failed)?;
        self.copy_inputs()?;
        after_inputs.record(self.current, stream).map_err(failed)?;
        let mut on_host_times: Vec<(StepIndex, Duration, Duration)> = vec![];
        let running = self.parts(&timed.graphs, &mut |step| {
            let start = began.elapsed();
            on_host(step)?;
            on_host_times.push((step, start, began.elapsed() - start));
            Ok(())
        })?;
        before_outputs
            .record(self.current, stream)
            .map_err(failed)?;
        self.copy_outputs()?;
        after.record(self.current, stream).map_err(failed)?;
        self.wait(running)?;
        let since = |end: &Event, start: &Event| {
            let nanoseconds = end.since(self.current, start).map_err(failed)?;
            Ok(Duration::from_nanos(nanoseconds))
        };
        let span = |work, start: &Event, end: &Event| {
            Ok(Span {
                work,
                start: since(start, before)?,
                duration: since(end, start)?,
            })
        };
        let mut spans = vec![span(Work::Inputs(self.model), before, after_inputs)?];
        let mut hosts = on_host_times.into_iter();
        for (i, events) in self.plan.models[self.model.index()]
            .steps()
            .zip(&timed.events)
        {
            let step = StepIndex(i as u32);
            match events {
                Some((start, end)) => spans.push(span(Work::Step(step), start, end)?),
                // Steps on the host ran in this order.
                None => spans.extend(hosts.next().map(|(step, start, duration)| Span {
                    work: Work::Step(step),
                    start,
                    duration,
                })),
            }
        }
        spans.push(span(Work::Outputs(self.model), before_outputs, after)?);
        Ok(spans)
    }

    fn copy_inputs(&self) -> Result<(), RunError> {
        let session = &*self.session;
        for input in &session.places.inputs[self.model.index()] {
            let from = session.staging.as_slice()[input.staging.clone()].as_ptr();
            let len = input.staging.len();
            // SAFETY: both sides belong to the session, which is borrowed mutably until the stream
            // was waited for; when an error comes first, its drop waits.
            unsafe { self.stream().upload(self.current, input.address, from, len) }
                .map_err(|e| self.failed(During::Inputs, e))?;
        }
        Ok(())
    }

    fn copy_outputs(&self) -> Result<(), RunError> {
        let session = &*self.session;
        for output in &session.places.outputs[self.model.index()] {
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
