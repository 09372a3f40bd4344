//! The server and its thread.

use super::handler::Handler;
use super::mailbox::{Mailbox, lock};
use super::work::{Sessions, Work};
use crate::cuda::Io;
use crate::engine::Engine;
use crate::error::{BindError, RunError};
use crate::schedule::{
    BlockTime, Decision, Options, Outcome, Policy, Profile, ProfileError, Progress, Recorder,
    Refusal, Request, RequestId, Scheduler, Slot, Start,
};
use crate::session::SessionOptions;
use plans::ModelIndex;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a server is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerOptions {
    /// What the policy is told.
    pub schedule: Options,
    /// Whether inputs and outputs are copied to and from the device for each request.
    pub io: Io,
    /// Requests and cancellations that the server's thread has not looked at, at most; further
    /// requests are refused.
    pub mailbox: usize,
    /// How long a device's server, when nothing runs, looks for requests without a pause before its
    /// thread sleeps. A request that finds it asleep waits for the system to wake it, 10 to 200 us; a
    /// thread that looks keeps a processor busy. By default 10 ms, but none on two processors or
    /// fewer, where who looks is in the way of who sends. On the host, whose blocks want all
    /// processors, it sleeps at once.
    pub spin: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            schedule: Options::default(),
            io: Io::Host,
            mailbox: 4096,
            spin: Duration::from_millis(if processors > 2 { 10 } else { 0 }),
        }
    }
}

/// Why a server does not start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartError {
    /// The profile is of no use.
    Profile(ProfileError),
    /// The profile has other models or blocks than the plan.
    OtherPlan,
    /// There is no room for the sessions.
    Bind(BindError),
    /// A first run failed.
    Run(RunError),
    /// The system gave no thread.
    NoThread,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Profile(error) => error.fmt(f),
            StartError::OtherPlan => {
                f.write_str("the profile has other models or blocks than the plan")
            }
            StartError::Bind(error) => error.fmt(f),
            StartError::Run(error) => error.fmt(f),
            StartError::NoThread => f.write_str("the system refused to start a thread"),
        }
    }
}

impl std::error::Error for StartError {}

/// What the server's thread is told.
pub(super) enum Message {
    Submit {
        id: RequestId,
        request: Request,
        at: u64,
    },
    Cancel(RequestId),
    /// A block of the host has ended.
    Ran {
        slot: Slot,
        at: u64,
        error: Option<Box<RunError>>,
    },
    /// All that has come is to be done, and nothing more.
    Stop,
}

/// What threads share.
pub(super) struct Shared {
    pub(super) mail: Mailbox<Message>,
    began: Instant,
    n_requests: AtomicU64,
    is_stopped: AtomicBool,
    /// Requests that were sent and have not ended.
    n_open: Mutex<u64>,
    is_idle: Condvar,
}

impl Shared {
    /// Nanoseconds since the server was made.
    pub(super) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn ended(&self) {
        let mut n_open = lock(&self.n_open);
        *n_open -= 1;
        if *n_open == 0 {
            self.is_idle.notify_all();
        }
    }
}

/// A plan's models, open for requests.
///
/// Dropping it does what has come, as [`Server::stop`].
pub struct Server<H: Handler> {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<H>>,
}

impl<H: Handler> Server<H> {
    /// Makes sessions for all models of the engine's plan, runs each once, and opens for requests.
    /// [`Profile::measure`] gives a profile. `handler` is told of each request, on the server's
    /// thread.
    ///
    /// # Errors
    ///
    /// If the profile is not one of the plan, there is no room, or a device fails.
    pub fn start(
        engine: &Arc<Engine>,
        profile: Profile,
        policy: Policy,
        options: &ServerOptions,
        handler: H,
    ) -> Result<Self, StartError> {
        profile.check().map_err(StartError::Profile)?;
        let plan = engine.plan();
        let n_models = plan.models.len();
        let n_blocks = |model| crate::schedule::blocks_of(plan, model).count();
        let models = profile.models().iter().enumerate();
        let mut fits = models.map(|(m, model)| model.blocks.len() == n_blocks(m));
        if profile.models().len() != n_models || !fits.all(|fits| fits) {
            return Err(StartError::OtherPlan);
        }
        let mut schedule = options.schedule.clone();
        if policy != Policy::Interleave {
            schedule.levels = 1;
        }
        let n_copies = Scheduler::n_copies(policy, &schedule);
        let mut sessions = vec![];
        for model in (0..n_models).map(|m| ModelIndex(m as u32)) {
            for _ in 0..n_copies {
                let of = SessionOptions {
                    models: vec![model],
                    levels: schedule.levels,
                };
                let mut session = engine.session_with(&of).map_err(StartError::Bind)?;
                match session.run(model) {
                    // Inputs of zeros may be out of a step's range.
                    Ok(()) | Err(RunError::Step { .. }) => {}
                    Err(error) => return Err(StartError::Run(error)),
                }
                schedule.levels = schedule.levels.min(session.n_levels());
                sessions.push(session);
            }
        }
        let sessions = Arc::new(Sessions::new(sessions, n_copies));
        let n_lanes = Scheduler::n_lanes(policy, &schedule, n_models);
        let most_blocks = (0..n_models).map(n_blocks).max().unwrap_or(0);
        let shared = Arc::new(Shared {
            mail: Mailbox::new(options.mailbox, 8 + 2 * n_lanes * most_blocks.max(1)),
            began: Instant::now(),
            n_requests: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            n_open: Mutex::new(0),
            is_idle: Condvar::new(),
        });
        let (work, spin) = if engine.uses_cuda() {
            (Work::Device, options.spin)
        } else {
            let work = Work::on_host(n_lanes, &sessions, &shared);
            (work.map_err(|_| StartError::NoThread)?, Duration::ZERO)
        };
        let scheduler = Scheduler::new(profile, policy, schedule).map_err(StartError::Profile)?;
        let serving = Serving {
            recorder: Recorder::new(scheduler.profile(), scheduler.capacity()),
            flights: Vec::with_capacity(n_lanes),
            slots: vec![None; scheduler.capacity()],
            scheduler,
            sessions,
            work,
            io: options.io,
            spin,
            shared: Arc::clone(&shared),
            handler,
        };
        let thread = std::thread::Builder::new()
            .name("dlirc-server".to_owned())
            .spawn(move || serving.serve())
            .map_err(|_| StartError::NoThread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Nanoseconds on the clock of the server's records.
    pub fn now_ns(&self) -> u64 {
        self.shared.now()
    }

    /// Asks for an inference; does not wait. The request has come when this is called. The handler is
    /// told of its end, also if the scheduler refuses it.
    ///
    /// # Errors
    ///
    /// If too many have come that the server's thread has not looked at: the handler is told nothing.
    pub fn submit(&self, request: Request) -> Result<RequestId, Refusal> {
        let shared = &*self.shared;
        if shared.is_stopped.load(Ordering::Acquire) {
            return Err(Refusal::Stopped);
        }
        let id = RequestId(shared.n_requests.fetch_add(1, Ordering::Relaxed));
        *lock(&shared.n_open) += 1;
        let at = shared.now();
        let sent = shared.mail.try_send(Message::Submit { id, request, at });
        if sent.is_err() {
            shared.ended();
            return Err(Refusal::QueueFull);
        }
        Ok(id)
    }

    /// Takes a request back: of what has not been started, nothing will be. Says whether there was
    /// room to ask for that.
    pub fn cancel(&self, id: RequestId) -> bool {
        self.shared.mail.try_send(Message::Cancel(id)).is_ok()
    }

    /// Waits until all requests that have come have ended.
    pub fn wait_until_idle(&self) {
        let mut n_open = lock(&self.shared.n_open);
        while *n_open > 0 {
            let woken = self.shared.is_idle.wait(n_open);
            n_open = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does what has come, and stops. Gives the handler back; `None` if it panicked.
    pub fn stop(mut self) -> Option<H> {
        self.end()
    }

    fn end(&mut self) -> Option<H> {
        let thread = self.thread.take()?;
        self.shared.is_stopped.store(true, Ordering::Release);
        self.shared.mail.send(Message::Stop);
        thread.join().ok()
    }
}

impl<H: Handler> Drop for Server<H> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<H: Handler> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// A request some of whose blocks were started and have not ended.
struct Flight {
    start: Start,
    /// The ends of starts, the oldest first.
    ends: [u16; Options::MAX_AHEAD as usize + 1],
    n_starts: usize,
    /// The block that runs, and since when.
    block: u16,
    since: u64,
}

/// The server's thread.
struct Serving<H> {
    scheduler: Scheduler,
    recorder: Recorder,
    sessions: Arc<Sessions>,
    work: Work,
    io: Io,
    spin: Duration,
    shared: Arc<Shared>,
    handler: H,
    flights: Vec<Flight>,
    /// Who lives in each slot: the request, and where it runs once it has started.
    slots: Vec<Option<Lodger>>,
}

#[derive(Clone, Copy)]
struct Lodger {
    id: RequestId,
    request: Request,
    copy: Option<u16>,
}

/// Turns of the server's loop that take no longer are its work, not the system's, in nanoseconds.
const TURN_NS: u64 = 200_000;

impl<H: Handler> Serving<H> {
    fn serve(mut self) -> H {
        let mut is_stopping = false;
        // When what runs was last looked at.
        let mut looked: Option<u64> = None;
        loop {
            // On a device, blocks that run are looked at again and again; else there is nothing to do
            // until a message comes.
            let watches = matches!(self.work, Work::Device) && !self.flights.is_empty();
            let mut message = if watches {
                self.shared.mail.try_receive()
            } else if is_stopping && self.scheduler.n_live() == 0 {
                return self.handler;
            } else {
                Some(self.shared.mail.receive(self.spin))
            };
            let mut is_changed = message.is_some();
            while let Some(one) = message {
                match one {
                    Message::Submit { id, request, at } => self.submitted(id, request, at),
                    Message::Cancel(id) => self.cancelled(id),
                    Message::Ran { slot, at, error } => self.ran(slot, at, error),
                    Message::Stop => is_stopping = true,
                }
                message = self.shared.mail.try_receive();
            }
            if watches {
                let now = self.shared.now();
                let passed = looked.map_or(0, |before| now - before);
                if passed > TURN_NS {
                    self.recorder.stalled(passed);
                }
                is_changed |= self.watch();
                looked = Some(now);
            } else {
                looked = None;
            }
            // A decision takes longer than a look at the blocks.
            if is_changed {
                self.decide();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    fn submitted(&mut self, id: RequestId, request: Request, at: u64) {
        match self.scheduler.arrive(at, id, request) {
            Ok(slot) => {
                self.recorder.arrived(slot, at, id, request);
                self.slots[slot.index()] = Some(Lodger {
                    id,
                    request,
                    copy: None,
                });
            }
            Err(why) => {
                let record = self.recorder.refused(at, id, request, why);
                self.handler.end(record, None, None);
                self.shared.ended();
            }
        }
    }

    fn cancelled(&mut self, id: RequestId) {
        let is_it = |lodger: &Option<Lodger>| lodger.is_some_and(|l| l.id == id);
        let Some(at) = self.slots.iter().position(is_it) else {
            return;
        };
        let slot = Slot(at as u32);
        if self.scheduler.cancel(self.shared.now(), slot) == Progress::Cancelled {
            self.end(slot, Outcome::Cancelled, None);
        }
    }

    /// A request has ended.
    fn end(&mut self, slot: Slot, outcome: Outcome, error: Option<&RunError>) {
        let now = self.shared.now();
        let record = self.recorder.ended(slot, now, outcome);
        if let Some(lodger) = self.slots[slot.index()].take() {
            match lodger.copy {
                Some(copy) => {
                    let session = self.sessions.get(lodger.request.model, copy);
                    self.handler.end(record, Some(&session), error);
                }
                None => self.handler.end(record, None, error),
            }
        }
        self.shared.ended();
    }

    fn decide(&mut self) {
        while let Some(decision) = self.scheduler.next(self.shared.now()) {
            match decision {
                Decision::Start(start) => self.start(start),
                Decision::Drop { slot, .. } => self.end(slot, Outcome::Dropped, None),
            }
        }
    }

    fn start(&mut self, start: Start) {
        let slot = start.slot;
        if start.blocks.start == 0
            && let Some(lodger) = &mut self.slots[slot.index()]
        {
            lodger.copy = Some(start.copy);
            let mut session = self.sessions.get(start.model, start.copy);
            self.handler.begin(lodger.id, &lodger.request, &mut session);
        }
        let now = self.shared.now();
        self.recorder.started(&start, now);
        let result = self.work.start(&start, &self.sessions, self.io);
        let end = start.blocks.end;
        match self.flights.iter_mut().find(|f| f.start.slot == slot) {
            Some(flight) => {
                flight.ends[flight.n_starts] = end;
                flight.n_starts += 1;
            }
            None => {
                let mut ends = [0; Options::MAX_AHEAD as usize + 1];
                ends[0] = end;
                self.flights.push(Flight {
                    ends,
                    n_starts: 1,
                    block: start.blocks.start,
                    since: now,
                    start,
                });
            }
        }
        if let Err(error) = result {
            self.failed(slot, &error);
        }
    }

    fn failed(&mut self, slot: Slot, error: &RunError) {
        self.flights.retain(|f| f.start.slot != slot);
        self.scheduler.fail(self.shared.now(), slot);
        self.end(slot, Outcome::Failed, Some(error));
    }

    /// Looks at what runs on the device. Says whether a block has ended.
    fn watch(&mut self) -> bool {
        let mut is_changed = false;
        let mut i = 0;
        while i < self.flights.len() {
            let start = &self.flights[i].start;
            let (slot, model, copy) = (start.slot, start.model, start.copy);
            let done = self.sessions.get(model, copy).blocks_done();
            let done = match done {
                Ok(done) => done,
                Err(error) => {
                    self.failed(slot, &error);
                    is_changed = true;
                    continue;
                }
            };
            let now = self.shared.now();
            let is_same = |f: &&Flight| f.start.slot == slot;
            let is_behind = |f: &Flight| usize::from(f.block) < done;
            while self.flights.get(i).filter(is_same).is_some_and(is_behind) {
                self.block_ended(i, now);
                is_changed = true;
            }
            // Another one has this place if the flight is over.
            if self.flights.get(i).is_some_and(|f| is_same(&f)) {
                i += 1;
            }
        }
        is_changed
    }

    /// A thread of the host has run a block.
    fn ran(&mut self, slot: Slot, at: u64, error: Option<Box<RunError>>) {
        if let Some(error) = error {
            return self.failed(slot, &error);
        }
        // None if it has failed meanwhile.
        if let Some(i) = self.flights.iter().position(|f| f.start.slot == slot) {
            self.block_ended(i, at);
        }
    }

    fn block_ended(&mut self, i: usize, now: u64) {
        let flight = &mut self.flights[i];
        let slot = flight.start.slot;
        let time = BlockTime {
            block: flight.block,
            lane: flight.start.lane,
            level: flight.start.level,
            start_ns: flight.since,
            end_ns: now,
        };
        flight.block += 1;
        flight.since = now;
        self.recorder.block(slot, time);
        if flight.block < flight.ends[0] {
            return;
        }
        flight.ends.rotate_left(1);
        flight.n_starts -= 1;
        if flight.n_starts == 0 {
            self.flights.remove(i);
        }
        match self.scheduler.finished(now, slot) {
            Progress::Alive => {}
            Progress::Done => self.end(slot, Outcome::Done, None),
            Progress::Cancelled => self.end(slot, Outcome::Cancelled, None),
        }
    }
}
