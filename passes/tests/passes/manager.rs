//! The manager: order, verification, dumps, bisection, refusals, statistics.

use dlirc_passes::manager::{
    Cause, Changed, Execution, Observer, Options, Pass, PassCx, PassError, Stage, all, find, run,
    run_pass, run_stages,
};
use dlirc_passes::{PIPELINE, Phase, normalise};
use ir::Program;
use ir::text::{parse, print};

const MODEL: &str = r#"
weight one: f32[] = 1
weight two: f32[2] = [2, 3]
model m {
  input %x: f32[2]
  %a = Identity(%x) @"first"
  %b = Mul(%a, one) @"second"
  %c = Add(two, %b) @"third"
  output "y" = %c
}
"#;

fn context(options: Options) -> PassCx<'static> {
    PassCx::new(options)
}

fn program() -> Program {
    parse(MODEL).unwrap()
}

#[test]
fn phases_run_forward_only() {
    let phases: Vec<Phase> = PIPELINE.iter().map(|(p, _)| *p).collect();
    assert!(phases.is_sorted(), "{phases:?}");
    let mut cx = context(Options::default());
    run(Phase::Layout, &mut program(), &mut cx).unwrap();
    let e = run(Phase::Normalise, &mut program(), &mut cx).unwrap_err();
    assert_eq!(
        e.to_string(),
        "pass normalise: the normalise phase cannot run after the layout phase"
    );
}

#[test]
fn passes_are_found_by_name_and_listed_once() {
    let names: Vec<&str> = all().map(|p| p.name).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    assert_eq!(find("fold_constants").unwrap().phase, Phase::Normalise);
    assert!(find("no_such_pass").is_none());
}

#[test]
fn changes_can_be_bisected() {
    let mut texts = vec![];
    for n in 0.. {
        let mut p = program();
        let mut cx = context(Options {
            stop_after: Some(n),
            ..Options::default()
        });
        normalise(&mut p, &mut cx).unwrap();
        assert!(cx.changes() <= n);
        texts.push(print(&p));
        if cx.changes() < n {
            break;
        }
    }
    // Identity, the product with 1, the constant on the left: one change each.
    assert_eq!(texts[0], print(&program()));
    assert_eq!(texts.len(), 5);
    let n_nodes = |t: &String| t.matches(" = ").count();
    assert!(texts.windows(2).all(|w| n_nodes(&w[0]) >= n_nodes(&w[1])));
    assert_eq!(texts[3], texts[4]);
}

#[derive(Default)]
struct Log {
    started: Vec<&'static str>,
    finished: Vec<Execution>,
    dumps: Vec<(&'static str, String)>,
}

impl Observer for Log {
    fn started(&mut self, pass: &Pass) {
        self.started.push(pass.name);
    }
    fn finished(&mut self, execution: &Execution) {
        self.finished.push(execution.clone());
    }
    fn dump(&mut self, pass: &Pass, text: &str) {
        self.dumps.push((pass.name, text.to_string()));
    }
}

#[test]
fn observers_see_runs_and_dumps() {
    let mut log = Log::default();
    let options = Options {
        dump_after: vec!["canonicalize".into()],
        ..Options::default()
    };
    let mut p = program();
    let mut cx = PassCx::new(options).observed_by(&mut log);
    let total = normalise(&mut p, &mut cx).unwrap();
    let executions = std::mem::take(&mut cx.executions);
    drop(cx);
    assert_eq!(log.started.len(), executions.len());
    assert_eq!(log.finished, executions);
    assert_eq!(executions.iter().map(|e| e.changes).sum::<usize>(), total.0);
    let first = executions
        .iter()
        .find(|e| e.pass == "canonicalize")
        .unwrap();
    assert_eq!(
        (first.nodes_before, first.nodes_after, first.changes),
        (3, 1, 3)
    );
    assert!(log.dumps.iter().all(|(pass, _)| *pass == "canonicalize"));
    assert!(log.dumps[0].1.contains("Add(%0, w0)"), "{}", log.dumps[0].1);
}

/// A pass that makes the program wrong.
fn break_types(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    cx.note("nodes looked at", 3);
    cx.note("nodes looked at", 4);
    for (_, graph) in program.graphs.iter_mut() {
        let node = graph.order[1];
        let v = graph.nodes[node].outputs[0];
        graph.values[v].ty.dtype = ir::DType::F64;
    }
    Ok(Changed(1))
}

/// A pass that says why not.
fn refuse_all(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    for (_, graph) in program.graphs.iter() {
        for &node in &graph.order {
            cx.refuse(graph, node, || "it is Tuesday".into());
        }
    }
    Ok(Changed(0))
}

/// A pass that fails.
fn fail(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    let graph = program.graphs.iter().next().unwrap().1;
    Err(cx.error(graph, graph.order.first().copied(), "no idea".to_string()))
}

fn pass(
    name: &'static str,
    run: fn(&mut Program, &mut PassCx<'_>) -> Result<Changed, PassError>,
) -> Pass {
    Pass {
        name,
        phase: Phase::Normalise,
        run,
    }
}

#[test]
fn a_pass_that_breaks_a_rule_is_named() {
    let broken = pass("break_types", break_types);
    let mut cx = context(Options {
        verify: true,
        ..Options::default()
    });
    let e = run_pass(&broken, &mut program(), &mut cx).unwrap_err();
    assert_eq!((e.pass, e.model.as_deref()), ("break_types", Some("m")));
    assert_eq!(e.node.as_deref(), Some("`second` (Mul)"));
    let Cause::Invalid(violations) = &*e.cause else {
        panic!("{e}")
    };
    assert_eq!(violations.len(), 2, "{e}");
    assert!(
        e.to_string()
            .starts_with("pass break_types, model m, node `second` (Mul): 2 rules")
    );
    let mut cx = context(Options {
        verify: false,
        ..Options::default()
    });
    run_pass(&broken, &mut program(), &mut cx).unwrap();
    assert_eq!(cx.executions[0].notes, [("nodes looked at", 7)]);
}

#[test]
fn a_program_that_is_wrong_from_the_start_is_refused_before_the_first_pass() {
    let mut p = program();
    run_pass(
        &pass("break_types", break_types),
        &mut p,
        &mut context(Options {
            verify: false,
            ..Options::default()
        }),
    )
    .unwrap();
    let mut cx = context(Options {
        verify: true,
        ..Options::default()
    });
    let e = normalise(&mut p, &mut cx).unwrap_err();
    assert_eq!(e.pass, "normalise");
    assert!(cx.executions.is_empty());
}

#[test]
fn refusals_are_collected_if_asked_for() {
    let refuse = pass("refuse_all", refuse_all);
    let mut cx = context(Options {
        explain: true,
        ..Options::default()
    });
    run_pass(&refuse, &mut program(), &mut cx).unwrap();
    run_pass(&refuse, &mut program(), &mut cx).unwrap();
    let said: Vec<String> = cx.refusals.iter().map(|r| r.to_string()).collect();
    assert_eq!(
        said[0],
        "refuse_all: `first` (Identity) of m: it is Tuesday"
    );
    assert_eq!(said.len(), 3, "a reason is said once");
    let mut cx = context(Options::default());
    run_pass(&refuse, &mut program(), &mut cx).unwrap();
    assert!(cx.refusals.is_empty());
}

#[test]
fn errors_name_pass_model_and_node() {
    let e = run_pass(
        &pass("fail", fail),
        &mut program(),
        &mut context(Options::default()),
    );
    assert_eq!(
        e.unwrap_err().to_string(),
        "pass fail, model m, node `first` (Identity): no idea"
    );
}

/// Changes something three times over, one change a call.
fn count_down(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    let graph = program.graphs.iter_mut().next().unwrap().1;
    let n = graph.name.len();
    if n > 1 && cx.may_change() {
        graph.name.pop();
    }
    Ok(Changed(n - graph.name.len()))
}

#[test]
fn groups_repeat_until_nothing_changes_or_the_limit() {
    const DOWN: Pass = Pass {
        name: "count_down",
        phase: Phase::Normalise,
        run: count_down,
    };
    for (limit, rounds, changes) in [(9, 4, 3), (2, 2, 2)] {
        let mut p = parse("model four {}").unwrap();
        let mut cx = context(Options::default());
        let stages = [Stage::Repeat {
            limit,
            passes: &[DOWN],
        }];
        let total = run_stages(Phase::Normalise, &stages, &mut p, &mut cx).unwrap();
        assert_eq!((total.0, cx.executions.len()), (changes, rounds));
    }
}
