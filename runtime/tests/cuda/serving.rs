//! Sessions block by block, and the server: on the host, and on each CUDA device that there is.

use crate::allocations;
use crate::device::{on_each_device, ramp};
use crate::several::{self, chain, n_blocks, several};
use ::plans::ModelIndex;
use dlirc_runtime::cuda::Io;
use dlirc_runtime::schedule::{Outcome, Policy, Profile, Record, Refusal, Request, RequestId};
use dlirc_runtime::serve::{Handler, Records, Server, ServerOptions};
use dlirc_runtime::{Engine, Fault, Loaded, Options, PortError, RunError, RunOn, Session};
use std::sync::Arc;
use std::time::Duration;

const LONG: ModelIndex = ModelIndex(0);
const SHORT: ModelIndex = ModelIndex(1);
const MIXED: ModelIndex = ModelIndex(2);

/// Does `test` on the host and with each device.
fn everywhere(test: impl Fn(RunOn)) {
    test(RunOn::Cpu);
    on_each_device(test);
}

fn bind(loaded: &Arc<Loaded>, device: RunOn) -> Arc<Engine> {
    let options = Options {
        device,
        threads: 2,
        ..Options::default()
    };
    Arc::new(Engine::bind(Arc::clone(loaded), &options).unwrap())
}

fn fill(session: &mut Session, model: ModelIndex, first: f32) {
    session
        .input_mut(model, 0)
        .unwrap()
        .copy_from_slice(&ramp(first));
}

/// What the model gives for this input when it runs alone.
fn alone(session: &mut Session, model: ModelIndex, first: f32) -> Vec<u8> {
    fill(session, model, first);
    session.run(model).unwrap();
    session.output(model, 0).unwrap().to_vec()
}

pub(crate) fn blocks_are_the_model_in_parts(device: RunOn) {
    let loaded = several::three();
    let engine = bind(&loaded, device);
    let mut session = engine.session().unwrap();
    for model in [LONG, SHORT, MIXED] {
        let n = n_blocks(loaded.plan(), model);
        assert_eq!(session.n_blocks(model), Ok(n));
        for (round, step) in [1, 2, n].into_iter().enumerate() {
            let first = 100.0 * (round + 1) as f32;
            let expected = alone(&mut session, model, first);
            fill(&mut session, model, 0.0);
            session.run(model).unwrap();
            fill(&mut session, model, first);
            let mut start = 0;
            while start < n {
                let end = (start + step).min(n);
                let level = (start % 3) as u8;
                session
                    .start_blocks(model, start..end, level, Io::Host)
                    .unwrap();
                // The last ones may be started while those before run.
                if round == 0 {
                    assert_eq!(session.wait_for_blocks(), Ok(end));
                }
                start = end;
            }
            assert_eq!(session.wait_for_blocks(), Ok(n));
            assert_eq!(session.blocks_done(), Ok(n));
            assert!(session.output(model, 0).unwrap() == expected);
            assert_eq!(session.time_blocks(model, Io::Host).unwrap().len(), n);
            assert!(session.output(model, 0).unwrap() == expected);
        }
    }
}

#[test]
fn a_model_runs_block_by_block() {
    everywhere(blocks_are_the_model_in_parts);
}

#[test]
fn blocks_out_of_order_are_refused() {
    everywhere(|device| {
        let engine = bind(&several::three(), device);
        let mut session = engine.session().unwrap();
        let mut refused = |blocks, expected| {
            let error = session.start_blocks(LONG, blocks, 0, Io::Host).unwrap_err();
            let RunError::Blocks { expected: next, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!(*next, expected, "{error}");
        };
        refused(1..2, 0);
        refused(0..5, 0);
        refused(0..0, 0);
        session.start_blocks(LONG, 0..2, 0, Io::Host).unwrap();
        session.wait_for_blocks().unwrap();
        let error = session.start_blocks(LONG, 3..4, 0, Io::Host).unwrap_err();
        assert_eq!(
            error.to_string(),
            "model long: block 3 does not come next; block 2 of 4 does"
        );
        // Another run may begin in between, and the first one is given up.
        alone(&mut session, SHORT, 1.0);
        session.start_blocks(SHORT, 0..1, 0, Io::Host).unwrap();
        session.wait_for_blocks().unwrap();
        let expected = alone(&mut session, LONG, 7.0);
        session.start_blocks(LONG, 0..4, 0, Io::Host).unwrap();
        session.wait_for_blocks().unwrap();
        assert!(session.output(LONG, 0).unwrap() == expected);
    });
}

#[test]
fn sessions_for_one_model_refuse_the_others() {
    everywhere(|device| {
        let engine = bind(&several::three(), device);
        let options = dlirc_runtime::SessionOptions {
            models: vec![MIXED],
            levels: 3,
        };
        let mut whole = engine.session().unwrap();
        let mut session = engine.session_with(&options).unwrap();
        let n_levels = if engine.uses_cuda() { 1..=3 } else { 1..=1 };
        assert!(n_levels.contains(&session.n_levels()));
        let expected = alone(&mut whole, MIXED, 3.0);
        assert!(alone(&mut session, MIXED, 3.0) == expected);
        for error in [
            session.run(LONG).unwrap_err(),
            session.start_blocks(LONG, 0..1, 0, Io::Host).unwrap_err(),
            RunError::Model(session.input(SHORT, 0).unwrap_err()),
            RunError::Model(session.model("long").unwrap_err()),
        ] {
            let RunError::Model(PortError::NoModel { models, .. }) = &error else {
                panic!("{error}");
            };
            assert_eq!(models, &["mixed"]);
        }
        if engine.uses_cuda() {
            assert!(session.device_bytes() < whole.device_bytes());
        }
    });
}

/// Gives each request an input of its own and compares what comes out.
struct Compares {
    records: Records,
    expected: Vec<Vec<u8>>,
    /// Allocations of the server's thread at the first end and at the last.
    allocations: Vec<usize>,
}

impl Handler for Compares {
    fn begin(&mut self, id: RequestId, request: &Request, session: &mut Session) {
        // No allocation: the first number of the input says which one it is.
        let input = session.input_mut(request.model, 0).unwrap();
        for (i, x) in input.chunks_exact_mut(4).enumerate() {
            x.copy_from_slice(&(id.0 as f32 + i as f32).to_ne_bytes());
        }
    }

    fn end(&mut self, record: &Record, session: Option<&Session>, error: Option<&RunError>) {
        if record.outcome == Outcome::Done {
            let output = session.unwrap().output(record.request.model, 0).unwrap();
            assert!(output == self.expected[record.id.0 as usize]);
        }
        self.records.end(record, session, error);
        self.allocations.push(allocations::count());
    }
}

/// Requests to the three models in turn, with what each gives alone.
fn requests(loaded: &Arc<Loaded>, n: usize) -> (Vec<Request>, Compares) {
    let mut session = bind(loaded, RunOn::Cpu).session().unwrap();
    let models = loaded.plan().models.len();
    let of = |i: usize| ModelIndex((i * 7 % 11 % models) as u32);
    let expected = (0..n)
        .map(|i| alone(&mut session, of(i), i as f32))
        .collect();
    let requests = (0..n).map(|i| Request::new(of(i))).collect();
    let compares = Compares {
        records: Records::new(n, 8),
        expected,
        allocations: Vec::with_capacity(n),
    };
    (requests, compares)
}

pub(crate) fn outputs_are_those_of_each_model_alone(device: RunOn) {
    let loaded = several::three();
    let engine = bind(&loaded, device);
    let profile = Profile::measure(&engine, 3, Io::Host).unwrap();
    const N: usize = 200;
    for policy in Policy::ALL {
        let (requests, compares) = requests(&loaded, N);
        let options = ServerOptions::default();
        let server = Server::start(&engine, profile.clone(), policy, &options, compares).unwrap();
        for (i, request) in requests.iter().enumerate() {
            let id = server.submit(*request).unwrap();
            assert_eq!(id.0, i as u64);
            if i % 40 == 39 {
                server.wait_until_idle();
            }
        }
        server.wait_until_idle();
        let ended = server.stop().unwrap();
        let records = ended.records.records();
        assert_eq!(records.len(), N);
        // The first of each 40 does, maybe others.
        let idle = |r: &&Record| r.id.0.is_multiple_of(40);
        assert!(records.iter().filter(idle).all(|r| r.found_idle));
        for record in records {
            assert_eq!(record.outcome, Outcome::Done, "{policy}: {record:?}");
            assert_eq!(record.request, requests[record.id.0 as usize]);
            let n = n_blocks(loaded.plan(), record.request.model);
            let blocks: Vec<usize> = record.blocks.iter().map(|b| b.block.into()).collect();
            assert_eq!(blocks, (0..n).collect::<Vec<_>>(), "{policy}");
            assert!(record.arrival_ns <= record.start_ns && record.start_ns <= record.finish_ns);
            assert!(record.blocks.iter().all(|b| b.start_ns <= b.end_ns));
            assert!(record.blocks.is_sorted_by_key(|b| b.end_ns));
            assert_eq!(record.total_ns(), record.wait_ns() + record.execute_ns);
        }
        if policy != Policy::Interleave {
            // In order of arrival within each model.
            for model in [LONG, SHORT, MIXED] {
                let own = records.iter().filter(|r| r.request.model == model);
                assert!(own.map(|r| r.id).is_sorted(), "{policy}");
            }
        }
        let (first, last) = (ended.allocations[20], ended.allocations[N - 1]);
        assert_eq!(last - first, 0, "{policy}: allocations while serving");
    }
}

#[test]
fn every_policy_gives_what_each_model_gives_alone() {
    everywhere(outputs_are_those_of_each_model_alone);
}

#[test]
fn a_failed_request_fails_alone() {
    everywhere(|device| {
        let loaded = several(&[chain("checked", "checked", 3), chain("other", "add", 2)]);
        let engine = bind(&loaded, device);
        // Only device code of the tests refuses negative numbers.
        if !engine.uses_cuda() {
            return;
        }
        struct Negative(Records);
        impl Handler for Negative {
            fn begin(&mut self, id: RequestId, request: &Request, session: &mut Session) {
                let first = if id.0 % 5 == 3 { -1e6 } else { 1.0 };
                fill(session, request.model, first);
            }
            fn end(&mut self, record: &Record, session: Option<&Session>, e: Option<&RunError>) {
                self.0.end(record, session, e);
            }
        }
        for policy in Policy::ALL {
            let profile = Profile::of_plan(loaded.plan()).unwrap();
            let handler = Negative(Records::new(100, 3));
            let options = ServerOptions::default();
            let server = Server::start(&engine, profile, policy, &options, handler).unwrap();
            for i in 0..100 {
                server.submit(Request::new(ModelIndex(i % 2))).unwrap();
            }
            let Negative(records) = server.stop().unwrap();
            assert_eq!(records.records().len(), 100);
            for record in records.records() {
                let fails = record.id.0 % 5 == 3 && record.request.model == ModelIndex(0);
                let outcome = if fails {
                    Outcome::Failed
                } else {
                    Outcome::Done
                };
                assert_eq!(record.outcome, outcome, "{policy} {record:?}");
            }
            let error = records.first_error().unwrap();
            assert!(
                matches!(
                    error,
                    RunError::Step {
                        fault: Fault::IndexOutOfRange,
                        ..
                    }
                ),
                "{error}"
            );
        }
    });
}

#[test]
fn a_server_that_stands_still_is_noted() {
    const PAUSE: Duration = Duration::from_millis(20);
    everywhere(|device| {
        let engine = bind(&several(&[chain("slow", "add", 1)]), device);
        // Only a device is looked at again and again.
        if !engine.uses_cuda() {
            return;
        }
        struct Sleepy(Records);
        impl Handler for Sleepy {
            fn begin(&mut self, _: RequestId, _: &Request, _: &mut Session) {
                std::thread::sleep(PAUSE);
            }
            fn end(&mut self, record: &Record, session: Option<&Session>, e: Option<&RunError>) {
                self.0.end(record, session, e);
            }
        }
        let profile = Profile::of_plan(engine.plan()).unwrap();
        let handler = Sleepy(Records::new(3, 1));
        let options = ServerOptions::default();
        let server = Server::start(&engine, profile, Policy::Fifo, &options, handler).unwrap();
        for _ in 0..3 {
            server.submit(Request::new(ModelIndex(0))).unwrap();
        }
        let Sleepy(records) = server.stop().unwrap();
        let stalled = |n: usize| Duration::from_nanos(records.records()[n].stalled_ns);
        assert!(
            stalled(1) >= PAUSE && stalled(2) >= PAUSE,
            "{:?}",
            records.records()
        );
    });
}

#[test]
fn full_queues_refuse_and_requests_are_taken_back() {
    everywhere(|device| {
        let loaded = several::three();
        let engine = bind(&loaded, device);
        let profile = Profile::of_plan(loaded.plan()).unwrap();
        let mut options = ServerOptions::default();
        options.schedule.queue = 2;
        let handler = Records::new(1000, 4);
        let server = Server::start(&engine, profile, Policy::Dlir, &options, handler).unwrap();
        let mut n_cancelled = 0;
        for i in 0..500 {
            let id = server.submit(Request::new(LONG)).unwrap();
            if i % 3 == 0 {
                n_cancelled += usize::from(server.cancel(id));
            }
        }
        assert!(n_cancelled > 0);
        let none = server.submit(Request::new(ModelIndex(9))).unwrap();
        let records = server.stop().unwrap();
        let count = |outcome| {
            let all = records.records().iter();
            all.filter(|r| r.outcome == outcome).count()
        };
        assert_eq!(records.records().len(), 501);
        assert_eq!(count(Outcome::Refused(Refusal::NoModel)), 1);
        assert!(count(Outcome::Refused(Refusal::QueueFull)) > 0);
        assert!(count(Outcome::Done) > 0);
        assert!(records.records().iter().any(|r| r.id == none));
    });
}
