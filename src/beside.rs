//! A model of a plan beside the same model in ONNX Runtime: how far their outputs differ, and how
//! long their runs take.

use crate::inputs;
use crate::measure::Times;
use crate::oracle::{Peer, relative_error};
use crate::report::Diagnostic;
use ir::Tensor;
use plans::ModelIndex;
use runtime::Session;
use std::time::{Duration, Instant};

/// How long runs of ours go on before it is the other's turn.
const TURN: Duration = Duration::from_millis(200);

/// Between turns: threads that wait for work in a loop have gone to sleep after it.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs of each side, at the least, where their number is not given.
const AT_LEAST: usize = 5;

/// Runs of each side, at the most, where their number is not given.
const AT_MOST: usize = 1000;

/// How many runs are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effort {
    /// This many of each side, and at least one.
    Runs(usize),
    /// As many as fit into this time, for both sides together; at least 5 and at most 1,000.
    Within(Duration),
}

/// What runs in turns took.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Turns {
    /// Runs of the plan.
    pub ours: Times,
    /// As many runs of ONNX Runtime, where there is a peer.
    pub theirs: Option<Times>,
}

/// Times runs of `model` on `values`, in turns with runs of `peer` in the same process.
///
/// Each side has the processors for itself in its turn: a pause before lets the other's threads go to
/// sleep. One run of each goes before, not counted.
///
/// # Errors
/// Values that don't fit the model, and runs that fail.
pub fn times(
    session: &mut Session,
    model: ModelIndex,
    values: &[Tensor],
    mut peer: Option<&mut Peer>,
    effort: Effort,
) -> Result<Turns, Diagnostic> {
    inputs::set(session, model, values)?;
    let names = input_names(session, model);
    let named: Vec<_> = names.iter().map(String::as_str).zip(values).collect();
    session.run(model)?;
    if let Some(peer) = &mut peer {
        peer.run(&named)?;
    }
    let (mut ours, mut theirs) = (vec![], vec![]);
    let started = Instant::now();
    let enough = |n: usize| match effort {
        Effort::Runs(runs) => n >= runs.max(1),
        Effort::Within(time) => n >= AT_LEAST && (started.elapsed() > time || n >= AT_MOST),
    };
    while !enough(ours.len()) {
        let turn = Instant::now();
        while turn.elapsed() < TURN && !enough(ours.len()) {
            let start = Instant::now();
            session.run(model)?;
            ours.push(start.elapsed());
        }
        if let Some(peer) = &mut peer {
            std::thread::sleep(PAUSE);
            while theirs.len() < ours.len() {
                theirs.push(peer.run(&named)?.1);
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(Turns {
        ours: Times::of(&ours).expect("a run was measured"),
        theirs: Times::of(&theirs),
    })
}

/// Runs `model` and `peer` once on `values`, and gives the relative error ‖out − ref‖ / ‖ref‖ of each
/// output, in the plan's order.
///
/// # Errors
/// Values that don't fit the model, runs that fail, and a peer without one of the outputs.
pub fn errors(
    session: &mut Session,
    model: ModelIndex,
    values: &[Tensor],
    peer: &mut Peer,
) -> Result<Vec<f64>, Diagnostic> {
    inputs::set(session, model, values)?;
    let names = input_names(session, model);
    let named: Vec<_> = names.iter().map(String::as_str).zip(values).collect();
    let (expected, _) = peer.run(&named)?;
    session.run(model)?;
    let found = inputs::outputs(session, model)?;
    let peer_names = peer.output_names();
    let ports = &session.plan().models[model.index()].outputs;
    let compare = |(port, found): (&plans::Port, &Tensor)| {
        let at = peer_names.iter().position(|n| *n == port.name);
        let expected = at.and_then(|at| expected.get(at)).ok_or_else(|| {
            Diagnostic::error(
                "other-model",
                format!("the file has no output called {}", port.name),
            )
            .help("give the file that the plan was compiled from")
        })?;
        Ok(relative_error(found, expected))
    };
    ports.iter().zip(&found).map(compare).collect()
}

fn input_names(session: &Session, model: ModelIndex) -> Vec<String> {
    let inputs = &session.plan().models[model.index()].inputs;
    inputs.iter().map(|port| port.name.clone()).collect()
}
