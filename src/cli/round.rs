//! Running and measuring rounds: several models as one schedule.

use crate::cli::table::table;
use crate::inputs;
use crate::measure::Times;
use crate::report::{Diagnostic, data, data_json};
use plans::ModelIndex;
use runtime::Session;
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs a round `n` times; before more than one, once more to warm up. The times of the runs, copies
/// of inputs and outputs included.
pub(super) fn repeat(
    session: &mut Session,
    round: usize,
    n: u32,
) -> Result<Vec<Duration>, Diagnostic> {
    session.prepare_round(round)?;
    if n > 1 {
        session.run_round(round)?;
    }
    (0..n)
        .map(|_| {
            let started = Instant::now();
            session.run_round(round)?;
            Ok(started.elapsed())
        })
        .collect()
}

/// The median of `n` runs of a round as a GPU measures it; none on the host.
pub(super) fn device_ms(
    session: &mut Session,
    round: usize,
    n: u32,
) -> Result<Option<f64>, Diagnostic> {
    if !session.engine().uses_cuda() {
        return Ok(None);
    }
    let times = (0..n)
        .map(|_| Ok(session.run_round_on_device_timed(round)?))
        .collect::<Result<Vec<Duration>, Diagnostic>>()?;
    Ok(Times::of(&times).map(|t| t.median_ms))
}

/// One run of a round as a trace.
pub(super) fn trace(session: &mut Session, round: usize) -> Result<String, Diagnostic> {
    let spans = session.run_round_spans(round)?;
    let runs = [(Duration::ZERO, spans)];
    Ok(runtime::timeline::chrome_trace(session.plan(), &runs))
}

/// A round beside its models one after another, in turns, inputs and outputs on the device.
#[derive(Serialize)]
struct Report {
    round: usize,
    models: Vec<String>,
    runs: u32,
    /// What the plan predicts.
    predicted_ms: f64,
    median_ms: f64,
    p99_ms: f64,
    /// Each model alone: the median.
    alone_ms: Vec<f64>,
    /// All models one after another.
    serial_median_ms: f64,
    /// How many times faster the round is.
    gain: f64,
    /// The predicted time over the measured one.
    predicted_over_measured: f64,
}

/// Measures a round beside its models one after another, on random inputs.
pub(super) fn bench(
    session: &mut Session,
    round: usize,
    repeat: Option<u32>,
    as_json: bool,
) -> Result<ExitCode, Diagnostic> {
    session.prepare_round(round)?;
    let models = session.models_of_round(round);
    for &model in &models {
        let of = session.plan().models[model.index()].clone();
        let values = inputs::gather(&of, &[], Some(1))?;
        inputs::set(session, model, &values)?;
        session.upload_inputs(model)?;
    }
    let serial = |session: &mut Session| -> Result<Vec<Duration>, Diagnostic> {
        let one = |&m: &ModelIndex| Ok(session.run_on_device_timed(m)?);
        models.iter().map(one).collect()
    };
    // Warm up, and see how many runs fit into two seconds.
    let began = Instant::now();
    serial(session)?;
    session.run_round_on_device_timed(round)?;
    let fitting = Duration::from_secs(2).as_nanos() / began.elapsed().as_nanos().max(1);
    let runs = repeat.unwrap_or(u32::try_from(fitting.clamp(5, 500)).unwrap_or(5));
    let (mut together, mut apart) = (vec![], vec![]);
    for _ in 0..runs {
        apart.push(serial(session)?);
        together.push(session.run_round_on_device_timed(round)?);
    }
    let times = |all: &[Duration]| Times::of(all).expect("there is a run");
    let sums: Vec<Duration> = apart.iter().map(|r| r.iter().sum()).collect();
    let (own, serial) = (times(&together), times(&sums));
    let predicted_ms = session.rounds()[round].makespan_ns as f64 / 1e6;
    let name = |m: &ModelIndex| session.plan().models[m.index()].name.clone();
    let report = Report {
        round,
        models: models.iter().map(name).collect(),
        runs,
        predicted_ms,
        median_ms: own.median_ms,
        p99_ms: own.p99_ms,
        alone_ms: (0..models.len())
            .map(|m| times(&apart.iter().map(|r| r[m]).collect::<Vec<_>>()).median_ms)
            .collect(),
        serial_median_ms: serial.median_ms,
        gain: serial.median_ms / own.median_ms,
        predicted_over_measured: predicted_ms / own.median_ms,
    };
    if as_json {
        data_json(&report)?;
    } else {
        data(text(&report).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .models
        .iter()
        .zip(&report.alone_ms)
        .map(|(name, ms)| vec![name.clone(), format!("{ms:.3} ms")])
        .collect();
    let mut text = table(&["model", "alone"], &rows);
    text += &format!(
        "one after another {:.3} ms; round {} {:.3} ms, 99 % within {:.3} ms: {:.2} times faster\n",
        report.serial_median_ms, report.round, report.median_ms, report.p99_ms, report.gain
    );
    text += &format!(
        "predicted {:.3} ms, {:+.1} %; {} runs in turns\n",
        report.predicted_ms,
        (report.predicted_over_measured - 1.0) * 100.0,
        report.runs
    );
    text
}
