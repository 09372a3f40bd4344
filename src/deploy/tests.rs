use super::*;
use std::fs;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.onnx", "b.onnx"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    folder
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let folder = folder();
    let path = folder.path().join("deploy.toml");
    fs::write(&path, text).unwrap();
    let said = Deployment::read(&path).unwrap_err().text();
    let folder = format!("{}/", folder.path().display());
    assert_eq!(said.replace(&folder, ""), expected);
}

#[test]
fn a_whole_deployment() {
    let folder = folder();
    let text = r#"
policy = "dlir"
target = "cuda:sm_90"
margin = 0.25
overhead = "20us"
stall = "3ms"
lanes = 4
exclusive = [["a", "second"]]

[[model]]
path = "a.onnx"
rate = "1800/min"
deadline = "20ms"
priority = 2
target = "cuda:sm_90"

[[model]]
path = "b.onnx"
name = "second"
rate = 0.5
deadline = "1.5s"
"#;
    let found = Deployment::parse(text, folder.path()).unwrap();
    let expected = Deployment {
        policy: Policy::Dlir,
        target: Some("cuda:sm_90".into()),
        margin: 0.25,
        overhead: Duration::from_micros(20),
        stall: Duration::from_millis(3),
        lanes: 4,
        exclusive: vec![vec![0, 1]],
        models: vec![
            Deployed {
                name: "a".into(),
                path: folder.path().join("a.onnx"),
                rate_mhz: 30_000,
                deadline: Some(Duration::from_millis(20)),
                priority: 2,
            },
            Deployed {
                name: "second".into(),
                path: folder.path().join("b.onnx"),
                rate_mhz: 500,
                deadline: Some(Duration::from_millis(1500)),
                priority: 0,
            },
        ],
    };
    assert_eq!(found, expected);
    assert_eq!(
        found.options(),
        " policy=dlir margin=0.25 overhead=20000ns lanes=4 stall=3000000ns exclusive=a,second \
         a:rate=30000,deadline=20000000ns,priority=2 second:rate=500,deadline=1500000000ns,priority=0"
    );
}

#[test]
fn what_is_not_said() {
    let folder = folder();
    let found = Deployment::parse("[[model]]\npath = \"a.onnx\"\n", folder.path()).unwrap();
    assert_eq!(found.policy, Policy::Interleave);
    assert_eq!((found.target, found.lanes), (None, 8));
    assert_eq!(found.models[0].name, "a");
    assert_eq!(
        (found.models[0].rate_mhz, found.models[0].deadline),
        (0, None)
    );
}

#[test]
fn no_toml() {
    refused(
        "policy = \n",
        "error[deployment]: string values must be quoted, expected literal string
  --> file deploy.toml:1:10
    = 1 | policy =
  help: see https://toml.io for how TOML is written
",
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    refused(
        r#"policy = "lifo"
[[model]]
path = "a.onnx"
rat = 30
deadline = 20

[[model]]
rate = "often"
"#,
        r#"error[deployment]: no policy lifo; there are fifo, bnst, oyst, dlir, parallel, interleave
  --> file deploy.toml:1:10
    = 1 | policy = "lifo"
    = line 4 too: a model has no field `rat`: did you mean `rate`?
      4 | rat = 30
    = line 5 too: `deadline` is 20: it must be a time with its unit, such as "20ms", "500us" or "1.5s"
      5 | deadline = 20
    = line 7 too: this model has no path: add path = "FILE.onnx"
      7 | [[model]]
    = line 8 too: `rate` is "often": it must be requests a second, such as 30, "30/s" or "1800/min"
      8 | rate = "often"
  help: write policy = "interleave", or leave it out
"#,
    );
}

#[test]
fn names_and_files() {
    refused(
        "exclusive = [[\"a\", \"c\", \"a\"]]\n[[model]]\npath = \"a.onnx\"\n[[model]]\nname = \"a\"\npath = \"x.onnx\"\n",
        r#"error[deployment]: no model is called `c`
  --> file deploy.toml:1:20
    = 1 | exclusive = [["a", "c", "a"]]
    = line 1 too: `a` is in two lists, or twice in one: put all models that never run at once with it into one list
      1 | exclusive = [["a", "c", "a"]]
    = line 4 too: another model is called `a` too: give each model a `name` of its own
      4 | [[model]]
    = line 6 too: there is no file x.onnx: paths are relative to the deployment's folder
      6 | path = "x.onnx"
  help: the models are a, a
"#,
    );
}

#[test]
fn one_target() {
    refused(
        "target = \"cpu\"\n[[model]]\npath = \"a.onnx\"\ntarget = \"cuda:sm_90\"\n",
        r#"error[deployment]: the target is cuda:sm_90 here and cpu before
  --> file deploy.toml:4:10
    = 4 | target = "cuda:sm_90"
  help: a plan has one target: compile models for another into a plan of their own
"#,
    );
}

#[test]
fn no_models() {
    refused(
        "policy = \"fifo\"\n",
        r#"error[deployment]: the deployment has no model
  --> file deploy.toml:1:16
    = 1 | policy = "fifo"
  help: add one: [[model]] in a line, then path = "FILE.onnx"
"#,
    );
}

#[test]
fn times_have_units() {
    let ns = |text| fields::duration(text).map(|t| t.as_nanos());
    assert_eq!(ns("20ms"), Some(20_000_000));
    assert_eq!(ns(" 1.5 us"), Some(1500));
    assert_eq!(ns("2min"), Some(120_000_000_000));
    for wrong in ["20", "ms", "20 days", "-1ms", "1e9s"] {
        assert_eq!(ns(wrong), None, "{wrong}");
    }
}

/// Requests as close together as the rates allow, and others a little later, in simulated time: none
/// waits or takes longer than its bound, under any policy.
#[test]
fn no_simulated_request_takes_longer_than_its_bound() {
    use passes::bounds;
    use runtime::schedule::{Arrival, Options, Outcome, Profile, Request, simulate};

    let mut state = 5u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut n_requests, mut n_bounds) = (0, [0; Policy::ALL.len()]);
    for scene in 0..60 {
        let (plan, services) = random_scene(&mut random);
        let mut profile = Profile::of_plan(&plan).unwrap();
        (profile.launch_ns, profile.notice_ns) = (300, 200);
        let mut arrivals = vec![];
        for service in &services {
            let period = service.period_ns().unwrap();
            let request = Request {
                model: service.model,
                deadline_ns: service.deadline_ns,
                priority: service.priority,
            };
            let mut at_ns = if scene % 2 == 0 { 0 } else { random(period) };
            while at_ns < 40_000_000 {
                arrivals.push(Arrival { at_ns, request });
                at_ns += period
                    + if scene % 3 == 0 {
                        0
                    } else {
                        random(period / 4)
                    };
            }
        }
        arrivals.sort_by_key(|a| a.at_ns);
        for (p, policy) in Policy::ALL.into_iter().enumerate() {
            let options = Options::default();
            let analysis = bounds::bounds(
                &plan,
                &services,
                rule(policy),
                &bounds::Options {
                    margin: 0.0,
                    overhead_ns: 500,
                    stall_ns: 0,
                    lanes: usize::from(options.lanes),
                    copies: usize::from(options.copies),
                    ahead: usize::from(options.ahead),
                },
            );
            let records = simulate(&profile, policy, &options, arrivals.iter().copied()).unwrap();
            for record in records {
                let model = record.request.model.index();
                let Some(bound) = analysis.bounds[model] else {
                    continue;
                };
                assert_eq!(record.outcome, Outcome::Done);
                n_requests += 1;
                n_bounds[p] += 1;
                // Simulated blocks end on whole nanoseconds.
                let slack = 2 * record.blocks.len() as u64 + 2;
                assert!(
                    record.total_ns() <= bound.response_ns + slack,
                    "scene {scene}, {policy}: {record:?} takes longer than {bound:?}"
                );
                assert!(
                    record.wait_ns() <= bound.wait_ns + slack,
                    "scene {scene}, {policy}: {record:?} waits longer than {bound:?}"
                );
            }
        }
    }
    assert!(n_requests > 100_000, "{n_requests}");
    assert!(n_bounds.iter().all(|&n| n > 1000), "{n_bounds:?}");
}

/// A few models on a GPU, some of them urgent, that take between a quarter and nearly all of its time.
fn random_scene(random: &mut dyn FnMut(u64) -> u64) -> (plans::Plan, Vec<plans::Service>) {
    use plans::{
        Block, BlockIndex, CoRun, Demand, Device, Fingerprint, KernelIndex, Model, ModelIndex,
        Plan, Service, Step, StepIndex,
    };

    let n_models = 2 + random(4) as usize;
    let mut plan = Plan {
        fingerprint: Fingerprint {
            compiler: "test".into(),
            target: "cuda:sm_90".into(),
            models: vec![[0; 32]; n_models],
            ..Fingerprint::default()
        },
        ..Plan::default()
    };
    let mut services = vec![];
    let load = 250 + random(700);
    for m in 0..n_models {
        let model = ModelIndex(m as u32);
        let first_step = StepIndex(plan.steps.len() as u32);
        let n_blocks = 1 + random(5);
        let mut ns = 0;
        for _ in 0..n_blocks {
            let block = Block {
                model,
                first_step: StepIndex(plan.steps.len() as u32),
                n_steps: 1,
                predicted_ns: 5_000 + random(60_000),
                cut_ns: 0,
                measured_ns: None,
                demand: Demand {
                    compute: 1 + random(1000) as u16,
                    memory: 1 + random(1000) as u16,
                },
            };
            // With the overheads of starts, for policies that run blocks.
            ns += block.predicted_ns + 500;
            plan.blocks.push(block);
            plan.steps.push(Step {
                kernel: KernelIndex(0),
                args: vec![],
                model,
                device: Device::Cuda(0),
                code: None,
                lane: 0,
                waits: vec![],
                label: String::new(),
                origin: vec![],
                flop: 0,
                bytes_read: 0,
                bytes_written: 0,
            });
        }
        plan.models.push(Model {
            name: format!("model{m}"),
            inputs: vec![],
            outputs: vec![],
            first_step,
            n_steps: n_blocks as u32,
            n_nodes: 0,
        });
        let period = ns * n_models as u64 * 1000 / load * (60 + random(120)) / 100;
        services.push(Service {
            model,
            rate_mhz: 1_000_000_000_000 / period,
            deadline_ns: (random(2) == 0).then(|| ns * (2 + random(10))),
            priority: random(3) as u8,
            bound: None,
        });
    }
    if random(3) == 0 {
        let second = plan.models[1].first_step.0;
        plan.co_run.push(CoRun {
            blocks: [BlockIndex(0), BlockIndex(second)],
            slowdown: [1000 + random(1800) as u32, 1000 + random(1800) as u32],
        });
    }
    (plan, services)
}
