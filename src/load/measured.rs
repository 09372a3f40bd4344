//! Scenes on a machine, in its time.

use crate::inputs;
use crate::load::play::{Asked, Outputs, Player};
use crate::load::scene::Kind;
use crate::report::{Diagnostic, draw};
use ir::Tensor;
use plans::ModelIndex;
use runtime::cuda::Io;
use runtime::schedule::{Arrival, Options, Outcome, Policy, Profile, Record, Request, RequestId};
use runtime::serve::{Handler, Records, Server, ServerOptions, StartError};
use runtime::{Engine, PortError, RunError, Session, SessionOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Requests may be sent so much later than asked, as a share of the mean time alone, before that is said.
const MAX_LATE: f64 = 0.1;
/// Inputs of a model that requests for it take in turns.
const SAMPLES: u64 = 20;
/// Requests for each memory of a model before those that count.
const WARM_UP: u64 = 2;
/// From the start of the scene's clock to the first request that may come.
const LEAD: Duration = Duration::from_millis(2);
/// Sleeping takes so much longer than asked.
const OVERSLEEP: Duration = Duration::from_micros(200);

/// Random inputs for each model: by model, sample and input.
struct Samples(Vec<Vec<Vec<Tensor>>>);

impl Samples {
    fn of(&self, model: ModelIndex, number: u64) -> &[Tensor] {
        &self.0[model.index()][(number % SAMPLES) as usize]
    }

    /// Puts a sample into the inputs of a session.
    fn set(&self, model: ModelIndex, number: u64, session: &mut Session) -> Result<(), PortError> {
        for (n, tensor) in self.of(model, number).iter().enumerate() {
            session.input_mut(model, n)?.copy_from_slice(tensor.bytes());
        }
        Ok(())
    }
}

/// A machine that runs a plan.
pub struct Measured {
    engine: Arc<Engine>,
    profile: Profile,
    device: String,
    io: Io,
    spin: Duration,
    samples: Arc<Samples>,
    n_checked: u64,
    /// What models give alone: hashes of outputs, by model and sample.
    alone: BTreeMap<(ModelIndex, u64), Vec<blake3::Hash>>,
}

impl Measured {
    /// The machine of `engine`, with the times of blocks that policies reckon with. Inputs are drawn
    /// from `seed`; `io` says whether they lie on the device already, `spin` how long the server stays
    /// awake when nothing runs. In every scene, so many more requests are run as `n_checked` says,
    /// outside of what is measured, and their outputs compared with those of the models alone.
    pub fn new(
        engine: &Arc<Engine>,
        profile: Profile,
        io: Io,
        spin: Duration,
        seed: u64,
        n_checked: u64,
    ) -> Self {
        let models = engine.plan().models.iter();
        let samples = models.map(|model| {
            let first = seed.wrapping_mul(SAMPLES);
            (0..SAMPLES)
                .map(|n| inputs::random(model, first.wrapping_add(n)))
                .collect()
        });
        Self {
            profile,
            device: device_name(engine),
            io,
            spin,
            samples: Arc::new(Samples(samples.collect())),
            n_checked,
            alone: BTreeMap::new(),
            engine: Arc::clone(engine),
        }
    }

    /// Lets requests come in real time to a server with this handler, after `before` ones that are
    /// waited for. Gives the handler back, when the clock of the scene began on the server's, and the
    /// requests that the server had no room for.
    fn serve<H: Handler>(
        &self,
        policy: Policy,
        options: &ServerOptions,
        before: &[Request],
        requests: &[Arrival],
        handler: H,
        wait: &dyn Fn(),
    ) -> Result<(H, u64, Vec<Record>), Diagnostic> {
        let profile = self.profile.clone();
        let server = Server::start(&self.engine, profile, policy, options, handler)?;
        for &request in before {
            // Refused where queues are shorter than this is.
            let _ = server.submit(request);
        }
        server.wait_until_idle();
        let began = server.now_ns() + LEAD.as_nanos() as u64;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        // Kernels on the host want the processors for themselves.
        let spins = self.engine.uses_cuda() && threads > 2;
        let refused = std::thread::scope(|scope| {
            let send = || {
                let refused = send(&server, began, requests, spins, before.len() as u64);
                server.wait_until_idle();
                refused
            };
            let sender = scope.spawn(send);
            while !sender.is_finished() {
                std::thread::sleep(Duration::from_millis(30));
                wait();
            }
            sender.join()
        });
        let handler = server.stop();
        match (refused, handler) {
            (Ok(refused), Some(handler)) => Ok((handler, began, refused)),
            _ => Err(
                Diagnostic::error("server", "a thread of the server panicked")
                    .help("this is a defect of dlirc"),
            ),
        }
    }

    /// Runs requests once more, with inputs and outputs on the host, and compares.
    fn check(
        &mut self,
        policy: Policy,
        options: &Options,
        requests: &[Arrival],
    ) -> Result<Outputs, Diagnostic> {
        for (number, arrival) in (0..).zip(requests) {
            let sample = number % SAMPLES;
            let model = arrival.request.model;
            if !self.alone.contains_key(&(model, sample)) {
                let outputs = self.run_alone(model, sample)?;
                self.alone.insert((model, sample), outputs);
            }
        }
        let handler = Checking {
            samples: Arc::clone(&self.samples),
            alone: self.alone.clone(),
            found: Outputs::default(),
            error: None,
        };
        let options = ServerOptions {
            schedule: options.clone(),
            io: Io::Host,
            mailbox: requests.len(),
            spin: self.spin,
        };
        let (handler, ..) = self.serve(policy, &options, &[], requests, handler, &|| ())?;
        match handler.error {
            Some(error) => Err(error),
            None => Ok(handler.found),
        }
    }

    /// Says so if requests were sent so late that the scene is another one than was asked for.
    fn warn_if_late(&self, requests: &[Arrival], ended: &[Record], began: u64) {
        let late = |(asked, sent): (&Arrival, &Record)| {
            sent.arrival_ns.saturating_sub(began + asked.at_ns) as f64
        };
        let alone = |asked: &Arrival| self.profile.alone_ns(asked.request.model.index()) as f64;
        let n = requests.len().max(1) as f64;
        let late = requests.iter().zip(ended).map(late).sum::<f64>() / n;
        let alone = requests.iter().map(alone).sum::<f64>() / n;
        if late > MAX_LATE * alone {
            draw(
                &Diagnostic::warning(
                    "late-sender",
                    "requests were sent later than they should be",
                )
                .note(format!(
                    "by {:.3} ms in the mean, where the models take {:.3} ms alone",
                    late / 1e6,
                    alone / 1e6
                ))
                .help("leave a processor to the sender: give the models fewer --threads"),
            );
        }
    }

    fn run_alone(&self, model: ModelIndex, sample: u64) -> Result<Vec<blake3::Hash>, Diagnostic> {
        let mut session = self.engine.session_with(&SessionOptions {
            models: vec![model],
            levels: 1,
        })?;
        self.samples.set(model, sample, &mut session)?;
        session.run(model)?;
        Ok(hashes(&session, model)?)
    }
}

/// The outputs of a model, each with its dimensions.
fn hashes(session: &Session, model: ModelIndex) -> Result<Vec<blake3::Hash>, PortError> {
    let n = session.plan().models[model.index()].outputs.len();
    let hash = |n: usize| {
        let mut hasher = blake3::Hasher::new();
        for dim in session.output_dims(model, n)? {
            hasher.update(&dim.to_le_bytes());
        }
        hasher.update(session.output(model, n)?);
        Ok(hasher.finalize())
    };
    (0..n).map(hash).collect()
}

/// What runs the plan.
pub(crate) fn device_name(engine: &Engine) -> String {
    let on_cuda = |step: &plans::Step| match step.device {
        plans::Device::Cuda(n) => Some(n),
        plans::Device::Cpu => None,
    };
    let number = engine.plan().steps.iter().find_map(on_cuda);
    match number.filter(|_| engine.uses_cuda()) {
        Some(number) => {
            runtime::cuda::device(number).map_or_else(|_| format!("cuda:{number}"), |d| d.name)
        }
        None => format!("cpu {:?}", engine.level()),
    }
}

/// Sends requests when their time has come, on the server's clock from `began` on. Gives those that
/// the server had no room for; numbers of requests start after `n_before`.
fn send<H: Handler>(
    server: &Server<H>,
    began: u64,
    requests: &[Arrival],
    spins: bool,
    n_before: u64,
) -> Vec<Record> {
    let mut refused = vec![];
    for (number, arrival) in (n_before..).zip(requests) {
        let due = began + arrival.at_ns;
        loop {
            let left = Duration::from_nanos(due.saturating_sub(server.now_ns()));
            if left.is_zero() {
                break;
            }
            if left > OVERSLEEP || !spins {
                std::thread::sleep(
                    left.saturating_sub(OVERSLEEP)
                        .max(Duration::from_micros(20)),
                );
            } else {
                std::hint::spin_loop();
            }
        }
        if let Err(why) = server.submit(arrival.request) {
            let now = server.now_ns();
            refused.push(Record {
                id: RequestId(number),
                request: arrival.request,
                outcome: Outcome::Refused(why),
                arrival_ns: now,
                start_ns: now,
                finish_ns: now,
                execute_ns: 0,
                solo_ns: 0,
                found_idle: false,
                stalled_ns: 0,
                in_blocks: false,
                blocks: vec![],
            });
        }
    }
    refused
}

/// Fills the inputs of each session once, and keeps records.
struct Timed {
    records: Records,
    samples: Arc<Samples>,
    io: Io,
    /// Sessions whose inputs are there, by where they are in memory.
    filled: Vec<usize>,
    n_ended: Arc<AtomicU64>,
    error: Option<Diagnostic>,
}

impl Handler for Timed {
    /// Inputs stay: to fill them takes the server's thread, and is no part of a model's time alone.
    fn begin(&mut self, _id: RequestId, request: &Request, session: &mut Session) {
        let place = std::ptr::from_ref(session).addr();
        if self.filled.contains(&place) {
            return;
        }
        self.filled.push(place);
        let model = request.model;
        let set = self.samples.set(model, self.filled.len() as u64, session);
        let filled = set.map_err(Diagnostic::from).and_then(|()| match self.io {
            Io::Host => Ok(()),
            Io::Device => session.upload_inputs(model).map_err(Into::into),
        });
        self.error = self.error.take().or(filled.err());
    }

    fn end(&mut self, record: &Record, session: Option<&Session>, error: Option<&RunError>) {
        self.records.end(record, session, error);
        self.n_ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Fills inputs, and compares outputs.
struct Checking {
    samples: Arc<Samples>,
    alone: BTreeMap<(ModelIndex, u64), Vec<blake3::Hash>>,
    found: Outputs,
    error: Option<Diagnostic>,
}

impl Handler for Checking {
    fn begin(&mut self, id: RequestId, request: &Request, session: &mut Session) {
        let set = self.samples.set(request.model, id.0, session);
        self.error = self.error.take().or(set.err().map(Into::into));
    }

    fn end(&mut self, record: &Record, session: Option<&Session>, error: Option<&RunError>) {
        if let Some(error) = error {
            let error = Diagnostic::from(error.clone());
            self.error = self.error.take().or(Some(error));
        }
        let (Outcome::Done, Some(session)) = (record.outcome, session) else {
            return;
        };
        let model = record.request.model;
        let expected = self.alone.get(&(model, record.id.0 % SAMPLES));
        match hashes(session, model) {
            Ok(found) => {
                self.found.checked += 1;
                if Some(&found) != expected {
                    let name = &session.plan().models[model.index()].name;
                    self.found
                        .wrong
                        .push(format!("request {}, {name}", record.id.0));
                }
            }
            Err(error) => self.error = self.error.take().or(Some(error.into())),
        }
    }
}

impl Player for Measured {
    fn kind(&self) -> Kind {
        Kind::Measured
    }

    fn device(&self) -> String {
        let io = match self.io {
            Io::Host if self.engine.uses_cuda() => ", inputs and outputs copied",
            Io::Host | Io::Device => "",
        };
        let spin = match self.spin == ServerOptions::default().spin {
            true => String::new(),
            false => format!(", awake for {:?}", self.spin),
        };
        format!("{}{io}{spin}", self.device)
    }

    fn threads(&self) -> usize {
        self.engine.n_threads()
    }

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn play(
        &mut self,
        policy: Policy,
        options: &Options,
        asked: &Asked,
        progress: &dyn Fn(u64),
        record: &mut dyn FnMut(&Record) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let requests = &asked.requests().collect::<Vec<_>>()[..];
        let models = (0..self.engine.plan().models.len() as u32).map(ModelIndex);
        let copies = WARM_UP * u64::from(options.copies.max(1));
        let before: Vec<Request> = models
            .flat_map(|m| (0..copies).map(move |_| Request::new(m)))
            .collect();
        let n_before = before.len() as u64;
        let n_ended = Arc::new(AtomicU64::new(0));
        let blocks = self.profile.models().iter().map(|m| m.blocks.len());
        let handler = Timed {
            records: Records::new(before.len() + requests.len(), blocks.max().unwrap_or(0)),
            samples: Arc::clone(&self.samples),
            io: self.io,
            filled: vec![],
            n_ended: Arc::clone(&n_ended),
            error: None,
        };
        let server = ServerOptions {
            schedule: options.clone(),
            io: self.io,
            spin: self.spin,
            ..ServerOptions::default()
        };
        let wait = || progress(n_ended.load(Ordering::Relaxed).saturating_sub(n_before));
        let (handler, began, refused) =
            self.serve(policy, &server, &before, requests, handler, &wait)?;
        if let Some(error) = handler.error {
            return Err(error);
        }
        if let Some(error) = handler.records.first_error() {
            return Err(error.clone().into());
        }
        let ended = handler.records.records().iter().chain(&refused);
        let mut ended: Vec<Record> = ended.filter(|r| r.id.0 >= n_before).cloned().collect();
        ended.sort_by_key(|r| r.id);
        self.warn_if_late(requests, &ended, began);
        for one in &mut ended {
            one.id.0 -= n_before;
            one.solo_ns = self.profile.alone_ns(one.request.model.index());
            for time in [&mut one.arrival_ns, &mut one.start_ns, &mut one.finish_ns] {
                *time = time.saturating_sub(began);
            }
            for block in &mut one.blocks {
                block.start_ns = block.start_ns.saturating_sub(began);
                block.end_ns = block.end_ns.saturating_sub(began);
            }
            record(one)?;
        }
        Ok(())
    }

    fn outputs(
        &mut self,
        policy: Policy,
        options: &Options,
        asked: &Asked,
    ) -> Result<Option<Outputs>, Diagnostic> {
        let n = usize::try_from(self.n_checked).unwrap_or(usize::MAX);
        match asked.requests().take(n).collect::<Vec<_>>() {
            none if none.is_empty() => Ok(None),
            first => self.check(policy, options, &first).map(Some),
        }
    }
}

impl From<StartError> for Diagnostic {
    fn from(e: StartError) -> Self {
        match e {
            StartError::Profile(error) => error.into(),
            StartError::Bind(error) => error.into(),
            StartError::Run(error) => error.into(),
            StartError::OtherPlan | StartError::NoThread => Self::from_error("server", &e),
        }
    }
}
