//! Contractions: matrix products, convolutions and transposed convolutions, with their epilogues.

mod cost;
mod direct;
mod finish;
mod form;
mod loader;
mod products;
mod schedule;
mod stream;
mod tensor;
mod tiled;

use super::source::{Extras, START_AFTER, function, generated, launch_after};
use super::{Generated, Precision, Refused, Target};
use form::Form;
use plans::spec::{ContractSpec, Problem};
pub use schedule::{Cores, Schedule, Stream, Tiled};

/// A schedule, for people.
fn json(schedule: &Schedule) -> String {
    // Numbers in a struct have a text.
    serde_json::to_string(schedule).unwrap_or_default()
}

/// The schedule that a text stands for, as [`Generated::schedule`] gives it.
pub fn parse(schedule: &str) -> Option<Schedule> {
    serde_json::from_str(schedule).ok()
}

/// How f32 is multiplied with the schedule that a text stands for.
pub fn precision(schedule: &str) -> Precision {
    match parse(schedule) {
        Some(Schedule::Tiled(s)) => s.cores.precision(),
        _ => Precision::Fp32,
    }
}

/// The contraction's code with the schedule that [`choose`] gives.
///
/// # Errors
///
/// If it has no device code.
pub fn generate(spec: &ContractSpec, target: &Target) -> Result<Generated, Refused> {
    generate_with(spec, target, &choose(spec, target)?)
}

/// The contraction's code with a given schedule.
///
/// # Errors
///
/// If it has no device code, or none with the schedule.
pub fn generate_with(
    spec: &ContractSpec,
    target: &Target,
    schedule: &Schedule,
) -> Result<Generated, Refused> {
    let Some(form) = Form::of(spec) else {
        return Err(Refused(
            "a contraction of these types has no code".to_owned(),
        ));
    };
    if spec.problem.domain().contains(&0) {
        let code = function(
            "contract",
            &spec.args(),
            Extras::default(),
            32,
            0,
            START_AFTER,
        );
        let launches = vec![launch_after("contract", [1; 3], 32)];
        return Ok(generated(
            &code,
            launches,
            Extras::default(),
            json(schedule),
        ));
    }
    match schedule {
        Schedule::Tiled(s) => tiled::generate(&form, spec, s, target),
        Schedule::Direct => direct::generate(&form, spec),
        Schedule::Stream(s) => stream::generate(&form, spec, s),
    }
}

fn form(spec: &ContractSpec) -> Result<Form, Refused> {
    Form::of(spec).ok_or_else(|| {
        let [(x, _), (w, _)] = spec.problem.operands();
        Refused(format!(
            "there is no product of {} and {}",
            x.dtype, w.dtype
        ))
    })
}

/// The schedule of the least predicted time.
///
/// # Errors
///
/// If the contraction has no device code.
pub fn choose(spec: &ContractSpec, target: &Target) -> Result<Schedule, Refused> {
    let form = form(spec)?;
    Ok(cost::choose(&form, spec, target))
}

/// All schedules that the contraction may have.
///
/// # Errors
///
/// If the contraction has no device code.
pub fn config_space(spec: &ContractSpec, target: &Target) -> Result<Vec<Schedule>, Refused> {
    let form = form(spec)?;
    Ok(cost::config_space(&form, target))
}

/// The schedules that the contraction may have, with the seconds that each is predicted to take;
/// the best first.
///
/// # Errors
///
/// If the contraction has no device code.
pub fn ranked(spec: &ContractSpec, target: &Target) -> Result<Vec<(f64, Schedule)>, Refused> {
    let form = form(spec)?;
    Ok(cost::ranked(&form, spec, target))
}

/// The seconds that the contraction is predicted to take with a schedule; infinite if it can't
/// have it.
///
/// # Errors
///
/// If the contraction has no device code.
pub fn predict(spec: &ContractSpec, target: &Target, schedule: &Schedule) -> Result<f64, Refused> {
    let form = form(spec)?;
    Ok(cost::predict(&form, spec, target, schedule))
}

/// The order of the weight's dimensions in memory, the outermost first, in which the generated code
/// reads it best; `None` if it may lie as it is. A constant weight is best laid so when a plan is
/// made.
pub fn weight_order(problem: &Problem) -> Option<Vec<usize>> {
    let (rank, in_channels, out_channels, is_transposed) = match problem {
        Problem::MatMul { .. } => return None,
        Problem::Conv {
            in_channels,
            out_channels,
            window,
            ..
        } => (window.kernel.len(), *in_channels, *out_channels, false),
        Problem::ConvTranspose {
            in_channels,
            out_channels,
            window,
            ..
        } => (window.kernel.len(), *in_channels, *out_channels, true),
    };
    let taps = 2..2 + rank;
    match (is_transposed, in_channels % 4 == 0, out_channels % 4 == 0) {
        // By output channel and tap, the input channels next to each other.
        (false, true, _) => Some([0].into_iter().chain(taps).chain([1]).collect()),
        (false, false, _) => None,
        // By tap, the output channels next to each other; or by tap and output channel.
        (true, _, true) => Some(taps.chain([0, 1]).collect()),
        (true, _, false) => Some(taps.chain([1, 0]).collect()),
    }
}
