//! Rounds: several models as one graph, on a device, on the stub and as the trace device writes them
//! down.

use crate::child;
use crate::device::ramp;
use crate::plans::{Builder, CUDA, N};
use crate::stub::notes;
use ::plans::{
    ArenaIndex, ArenaKind, Block, BlockIndex, BufferIndex, CodeIndex, DType, Demand, Deploy,
    Device, ModelIndex, Place, Placed, Plan, Round, Service, StepIndex,
};
use dlirc_runtime::device::replay_round;
use dlirc_runtime::timeline::Work;
use dlirc_runtime::trace::Trace;
use dlirc_runtime::{Engine, Loaded, Options, RunError, RunOn, Session, cuda};
use std::sync::Arc;

/// y = ((x + 2) + 3) + 2 in three blocks; the last of them on the host if `mixed`.
fn model(mixed: bool) -> Builder {
    let mut b = Builder::new();
    let home = if mixed { Device::Cpu } else { CUDA };
    let (x, y) = (b.input(CUDA), b.output(home));
    let weights = [2.0, 3.0].map(|w| Place::Weight(b.weight(w)));
    let parts = [(); 2].map(|()| b.scratch(CUDA));
    let code = Some(b.code(&["fill", "use", "reset"]));
    b.sum(code, Place::Buffer(x), weights[0], parts[0]);
    b.sum(code, Place::Buffer(parts[0]), weights[1], parts[1]);
    if mixed {
        let on_host = b.scratch(Device::Cpu);
        b.transfer(parts[1], on_host);
        b.sum(None, Place::Buffer(on_host), weights[0], y);
    } else {
        b.sum(code, Place::Buffer(parts[1]), weights[0], y);
    }
    b
}

/// Adds the model of `other` to `plan`, with memory of its own.
fn append(plan: &mut Plan, mut other: Plan, name: &str) {
    let model = ModelIndex(plan.models.len() as u32);
    let (arenas, buffers) = (plan.arenas.len() as u32, plan.buffers.len() as u32);
    let (codes, steps) = (plan.codes.len() as u32, plan.steps.len() as u32);
    let move_buffer = |b: BufferIndex| BufferIndex(b.0 + buffers);
    for arena in &mut other.arenas {
        arena.models = vec![model];
    }
    for buffer in &mut other.buffers {
        buffer.arena = ArenaIndex(buffer.arena.0 + arenas);
        buffer.model = model;
    }
    for step in &mut other.steps {
        step.model = model;
        for arg in &mut step.args {
            if let Place::Buffer(b) = arg.place {
                arg.place = Place::Buffer(move_buffer(b));
            }
        }
        for wait in &mut step.waits {
            wait.0 += steps;
        }
        if let Some(code) = &mut step.code {
            code.code = CodeIndex(code.code.0 + codes);
            code.workspace = code.workspace.map(move_buffer);
            code.counters = code.counters.map(move_buffer);
        }
    }
    for found in &mut other.models {
        found.name = name.to_owned();
        found.first_step = StepIndex(steps);
        for port in found.inputs.iter_mut().chain(&mut found.outputs) {
            port.buffer = move_buffer(port.buffer);
        }
    }
    plan.arenas.extend(other.arenas);
    plan.buffers.extend(other.buffers);
    plan.codes.extend(other.codes);
    plan.steps.extend(other.steps);
    plan.models.extend(other.models);
    plan.fingerprint.models.push([model.0 as u8; 32]);
}

/// Two models of a block a step each, and a round in which the first one waits in its middle for the
/// second one's first block. The second one's end may be on the host.
fn pair(mixed: bool) -> Arc<Loaded> {
    let first = model(false);
    let second = model(mixed);
    let mut plan = first.plan;
    plan.models[0].n_steps = plan.steps.len() as u32;
    append(&mut plan, second.plan, "second");
    let n = plan.steps.len() as u32;
    plan.models[1].n_steps = n - plan.models[1].first_step.0;
    let block = |i: u32| Block {
        model: plan.steps[i as usize].model,
        first_step: StepIndex(i),
        n_steps: 1,
        predicted_ns: 1000,
        cut_ns: 0,
        measured_ns: None,
        demand: Demand::UNKNOWN,
    };
    plan.blocks = (0..n).map(block).collect();
    let placed = |block: u32, lane, after: &[u32], start| Placed {
        block: BlockIndex(block),
        lane,
        after: after.to_vec(),
        start_ns: start,
        end_ns: start + 1000,
    };
    let mut all = vec![
        placed(0, 0, &[], 0),
        placed(3, 1, &[], 0),
        placed(4, 1, &[], 1000),
        placed(1, 0, &[1], 1000),
    ];
    let mut last = 2000;
    for block in 5..n {
        all.push(placed(block, 1, &[], last));
        last += 1000;
    }
    all.push(placed(2, 2, &[3], 2000));
    let service = |m| Service {
        model: ModelIndex(m),
        rate_mhz: 0,
        deadline_ns: None,
        priority: 0,
        bound: None,
    };
    plan.deploy = Some(Deploy {
        policy: "interleave".to_owned(),
        services: vec![service(0), service(1)],
        rounds: vec![Round {
            makespan_ns: all.iter().map(|p| p.end_ns).max().unwrap(),
            placed: all,
        }],
    });
    let loaded = Loaded::from_parts_with_images(plan, &second.weights, &first.images);
    Arc::new(loaded.unwrap_or_else(|e| panic!("{e}")))
}

fn session(loaded: &Arc<Loaded>, device: RunOn, step_by_step: bool) -> Session {
    let options = Options {
        device,
        threads: 2,
        cuda: cuda::Options {
            step_by_step,
            ..cuda::Options::default()
        },
        ..Options::default()
    };
    let engine = Engine::bind(Arc::clone(loaded), &options).unwrap();
    Arc::new(engine).session().unwrap()
}

fn set(session: &mut Session, first: f32) {
    for (m, x) in [(0, first), (1, first + 0.5)] {
        session
            .set_input(ModelIndex(m), "x0", DType::F32, &[N], &ramp(x))
            .unwrap();
    }
}

fn outputs(session: &Session) -> [Vec<u8>; 2] {
    [0, 1].map(|m| session.output(ModelIndex(m), 0).unwrap().to_vec())
}

/// Checks that rounds leave what runs of the models alone do.
fn check(device: RunOn, step_by_step: bool) {
    for mixed in [false, true] {
        let loaded = pair(mixed);
        let mut alone = session(&loaded, RunOn::Cpu, false);
        let mut together = session(&loaded, device, step_by_step);
        assert_eq!(together.models_of_round(0), [ModelIndex(0), ModelIndex(1)]);
        for i in 0..20 {
            set(&mut alone, i as f32);
            alone.run(ModelIndex(0)).unwrap();
            alone.run(ModelIndex(1)).unwrap();
            set(&mut together, i as f32);
            together.run_round(0).unwrap();
            assert!(outputs(&together) == outputs(&alone), "{mixed} {i}");
        }
        together.run_round_on_device_timed(0).unwrap();
        let spans = together.run_round_spans(0).unwrap();
        let mut steps: Vec<u32> = spans
            .iter()
            .filter_map(|s| match s.work {
                Work::Step(step) => Some(step.0),
                Work::Inputs(_) | Work::Outputs(_) => None,
            })
            .collect();
        steps.sort_unstable();
        let n = loaded.plan().steps.len() as u32;
        assert_eq!(steps, (0..n).collect::<Vec<u32>>());
        assert!(outputs(&together) == outputs(&alone));
    }
}

#[test]
fn rounds_change_no_result() {
    check(RunOn::Cpu, false);
    match cuda::n_devices() {
        Ok(n) => (0..n).for_each(|i| {
            check(RunOn::Cuda(i), false);
            check(RunOn::Cuda(i), true);
        }),
        Err(why) => println!("skipped: no CUDA device ({why})"),
    }
}

#[test]
fn there_is_no_such_round() {
    let mut session = session(&pair(false), RunOn::Cpu, false);
    let error = session.run_round(1).unwrap_err();
    assert_eq!(
        error,
        RunError::NoRound {
            asked: 1,
            n_rounds: 1
        }
    );
    assert_eq!(error.to_string(), "no round 1; the plan has 1");
}

fn trace(loaded: &Loaded) -> Vec<String> {
    let mut trace = Trace::new(loaded.plan());
    let Ok(()) = replay_round(loaded.plan(), 0, &mut trace);
    let text = trace.text();
    let kept = |line: &&str| !line.starts_with("launch");
    text.lines().filter(kept).map(str::to_owned).collect()
}

#[test]
fn a_round_as_commands() {
    assert_eq!(
        trace(&pair(false)).join("\n"),
        "begin round 0
block 0 of tested lane 0
graph of blocks 0, 3, 4, 1, 5, 2
  node 0: fill 8x1x1 blocks of 128x1x1 threads, urgency 5
  node 1: use 8x1x1 blocks of 128x1x1 threads, urgency 5, after 0 early
  node 2: reset 1x1x1 blocks of 1x1x1 threads, urgency 5, after 1 early
block 3 of second lane 1
  node 3: fill 8x1x1 blocks of 128x1x1 threads, urgency 5
  node 4: use 8x1x1 blocks of 128x1x1 threads, urgency 5, after 3 early
  node 5: reset 1x1x1 blocks of 1x1x1 threads, urgency 5, after 4 early
block 4 of second lane 1
  node 6: fill 8x1x1 blocks of 128x1x1 threads, urgency 5, after 5 early
  node 7: use 8x1x1 blocks of 128x1x1 threads, urgency 5, after 6 early
  node 8: reset 1x1x1 blocks of 1x1x1 threads, urgency 5, after 7 early
block 1 of tested lane 0 after block 3
  node 9: fill 8x1x1 blocks of 128x1x1 threads, urgency 5, after 2 and 5
  node 10: use 8x1x1 blocks of 128x1x1 threads, urgency 5, after 9 early
  node 11: reset 1x1x1 blocks of 1x1x1 threads, urgency 5, after 10 early
block 5 of second lane 1
  node 12: fill 8x1x1 blocks of 128x1x1 threads, urgency 5, after 8 early
  node 13: use 8x1x1 blocks of 128x1x1 threads, urgency 5, after 12 early
  node 14: reset 1x1x1 blocks of 1x1x1 threads, urgency 5, after 13 early
block 2 of tested lane 2 after block 1
  node 15: fill 8x1x1 blocks of 128x1x1 threads, urgency 5, after 11 early
  node 16: use 8x1x1 blocks of 128x1x1 threads, urgency 5, after 15 early
  node 17: reset 1x1x1 blocks of 1x1x1 threads, urgency 5, after 16 early
end round 0"
    );
}

#[test]
fn the_host_steps_in_between_graphs() {
    let lines = trace(&pair(true));
    let graphs: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|l| l.starts_with("graph") || l.contains("copy"))
        .collect();
    assert_eq!(
        graphs,
        [
            "graph of blocks 0, 3, 4, 1, 5",
            "  node 12: copy 4096 bytes, after 8",
            "graph of blocks 2",
        ]
    );
}

#[test]
fn calls_for_a_round() {
    const TEST: &str = "rounds::calls_for_a_round";
    if child::is_child(TEST) {
        let mut session = session(&pair(false), RunOn::Cuda(0), false);
        session.prepare_round(0).unwrap();
        session.run_round(0).unwrap();
        session.run_round_on_device_timed(0).unwrap();
        return;
    }
    let Some((_, calls)) = notes(TEST) else {
        return;
    };
    // The graphs of the models' blocks come first; that of the round is the last one made.
    let at = calls.rfind("cuGraphCreate").unwrap();
    let of_round: Vec<&str> = calls[at..].lines().collect();
    let nodes: Vec<&str> = of_round
        .iter()
        .filter_map(|l| l.strip_prefix("cuGraphAddNode "))
        .map(|l| match l.split_once(" after ") {
            Some((_, after)) => after,
            None => "nothing",
        })
        .collect();
    let early = |n: u32| format!("{n} early");
    let expected: Vec<String> = (0..18)
        .map(|n| match n {
            0 | 3 => "nothing".to_owned(),
            9 => "2 5".to_owned(),
            12 => early(8),
            15 => early(11),
            n => early(n - 1),
        })
        .collect();
    assert_eq!(nodes, expected);
    // All are small: the greatest priority, -5.
    for node in 0..18 {
        let set = format!("cuGraphKernelNodeSetAttribute {node} 8 = {}", -5i32 as u32);
        assert_eq!(of_round.iter().filter(|l| **l == set).count(), 1, "{set}");
    }
    assert!(of_round.contains(&"cuGraphInstantiate 18 nodes by priority"));
    let calls: Vec<&str> = of_round
        .iter()
        .filter(|l| !l.starts_with("cuGraphAddNode") && !l.contains("SetAttribute"))
        .map(|l| l.split_once(' ').map_or(*l, |(name, _)| name))
        .take_while(|l| !l.starts_with("cuStreamDestroy"))
        .collect();
    assert_eq!(
        calls,
        [
            "cuGraphCreate",
            "cuGraphInstantiate",
            "cuGraphUpload",
            "cuGraphDestroy",
            // With copies from and to the host.
            "cuMemcpyHtoDAsync",
            "cuMemcpyHtoDAsync",
            "cuGraphLaunch",
            "cuMemcpyDtoHAsync",
            "cuMemcpyDtoHAsync",
            "cuStreamSynchronize",
            // Without, and timed.
            "cuEventRecord",
            "cuGraphLaunch",
            "cuEventRecord",
            "cuStreamSynchronize",
            // The end of the session.
            "cuStreamSynchronize",
        ]
    );
}

/// A plan's arenas of counters are the models' own, so that models beside each other do not meet.
#[test]
fn counters_are_apart() {
    let loaded = pair(false);
    let counters = loaded.plan().arenas.iter();
    let counters = counters.filter(|a| a.kind == ArenaKind::Counters && a.bytes > 0);
    assert!(counters.clone().count() == 2 && counters.clone().all(|a| a.models.len() == 1));
}
