//! When steps ran, and traces for people.

use plans::{Device, ModelIndex, Step, StepIndex, ValidPlan};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

/// Something that was done in a run, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// What was done.
    pub work: Work,
    /// When it began, from the beginning of the run.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
}

/// What a [`Span`] is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// A step.
    Step(StepIndex),
    /// The copy of a model's inputs to its device.
    Inputs(ModelIndex),
    /// The copy of a model's outputs from its device.
    Outputs(ModelIndex),
}

/// The lane of a trace that a span belongs to: process and thread, as the format calls them.
type Lane = (Device, u32);

/// The lane of copies of inputs and outputs, after all lanes of plans.
const COPIES: u32 = 1 << 16;

/// Runs as a trace in the [Trace Event Format], for Perfetto and `chrome://tracing`: a process for
/// each device, a thread for each lane of the plan; each step with its model, operators and nodes.
/// Times are in microseconds; each run comes with the time at which it began.
///
/// [Trace Event Format]: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
pub fn chrome_trace(plan: &ValidPlan, runs: &[(Duration, Vec<Span>)]) -> String {
    let mut text = String::from("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
    let mut lanes: BTreeSet<Lane> = BTreeSet::new();
    let mut events = vec![];
    for (began, spans) in runs {
        for span in spans {
            let lane = lane(plan, span.work);
            lanes.insert(lane);
            events.push(event(plan, lane, *began, span));
        }
    }
    let mut named = BTreeSet::new();
    let mut names = vec![];
    for &(device, lane) in &lanes {
        let process = process(device);
        if named.insert(device) {
            names.push(name("process_name", process, 0, &device.to_string()));
        }
        let thread = match lane {
            COPIES => "inputs and outputs".to_owned(),
            lane => format!("lane {lane}"),
        };
        names.push(name("thread_name", process, lane, &thread));
    }
    text += &names
        .into_iter()
        .chain(events)
        .collect::<Vec<_>>()
        .join(",\n");
    text += "\n]}\n";
    text
}

fn process(device: Device) -> u32 {
    match device {
        Device::Cpu => 0,
        Device::Cuda(n) => 1 + u32::from(n),
    }
}

fn name(what: &str, process: u32, thread: u32, name: &str) -> String {
    format!(
        "{{\"ph\":\"M\",\"name\":\"{what}\",\"pid\":{process},\"tid\":{thread},\"args\":{{\"name\":{}}}}}",
        quoted(name)
    )
}

/// The device that a model's copies are of: that of its first step on one.
fn device_of(plan: &ValidPlan, model: ModelIndex) -> Device {
    let steps = &plan.steps[plan.models[model.index()].steps()];
    let devices = steps.iter().map(|s| s.device);
    devices.max().unwrap_or(Device::Cpu)
}

fn lane(plan: &ValidPlan, work: Work) -> Lane {
    match work {
        Work::Step(step) => {
            let step = &plan.steps[step.index()];
            (step.device, u32::from(step.lane))
        }
        Work::Inputs(model) | Work::Outputs(model) => (device_of(plan, model), COPIES),
    }
}

fn event(plan: &ValidPlan, lane: Lane, began: Duration, span: &Span) -> String {
    let microseconds = |time: Duration| time.as_nanos() as f64 / 1e3;
    let (label, args) = match span.work {
        Work::Step(index) => {
            let step = &plan.steps[index.index()];
            (step.label.as_str(), step_args(plan, index, step))
        }
        Work::Inputs(model) => ("inputs", model_args(plan, model)),
        Work::Outputs(model) => ("outputs", model_args(plan, model)),
    };
    format!(
        "{{\"ph\":\"X\",\"name\":{},\"pid\":{},\"tid\":{},\"ts\":{:.3},\"dur\":{:.3},\"args\":{{{args}}}}}",
        quoted(label),
        process(lane.0),
        lane.1,
        microseconds(began + span.start),
        microseconds(span.duration)
    )
}

fn model_args(plan: &ValidPlan, model: ModelIndex) -> String {
    format!("\"model\":{}", quoted(&plan.models[model.index()].name))
}

fn step_args(plan: &ValidPlan, index: StepIndex, step: &Step) -> String {
    let nodes: Vec<String> = step.origin.iter().map(|node| quoted(node)).collect();
    format!(
        "{},\"step\":{},\"kernel\":{},\"nodes\":[{}],\"flop\":{},\"bytes\":{}",
        model_args(plan, step.model),
        index.0,
        quoted(plan.kernels[step.kernel.index()].class()),
        nodes.join(","),
        step.flop,
        step.bytes_read.saturating_add(step.bytes_written)
    )
}

/// A string as JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => {
                // Writing to a string can't fail.
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn strings_are_quoted() {
        assert_eq!(quoted("a\"b\\c\n\u{1}é"), r#""a\"b\\c\u000a\u0001é""#);
    }
}
