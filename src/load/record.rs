//! What became of each request, as lines of JSON.

use plans::{Model, ModelIndex};
use runtime::schedule::{BlockTime, Outcome, Record, Refusal, Request, RequestId};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::io::{self, Write};

/// The response ratio: the time from arrival to end over the time alone, and at least 1. None of a
/// request that was not done.
pub fn ratio(record: &Record) -> Option<f64> {
    (record.outcome == Outcome::Done).then(|| record.response_ratio().max(1.0))
}

/// A line. Times are nanoseconds from the beginning of the scene.
#[derive(Serialize, Deserialize)]
struct Line<'a, Blocks> {
    request: u64,
    model: Cow<'a, str>,
    outcome: Ended,
    /// When it would have been done, of one that was refused because of its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    predicted_ns: Option<u64>,
    arrival_ns: u64,
    start_ns: u64,
    finish_ns: u64,
    total_ns: u64,
    execute_ns: u64,
    wait_ns: u64,
    limit_ns: u64,
    ratio: Option<f64>,
    /// From its arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_ns: Option<u64>,
    priority: u8,
    found_idle: bool,
    stalled_ns: u64,
    in_blocks: bool,
    blocks: Blocks,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    Done,
    RefusedQueueFull,
    RefusedDeadline,
    RefusedNoModel,
    RefusedStopped,
    Dropped,
    Cancelled,
    Failed,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct BlockLine {
    block: u16,
    lane: u16,
    level: u8,
    start_ns: u64,
    end_ns: u64,
}

impl From<&BlockTime> for BlockLine {
    fn from(b: &BlockTime) -> Self {
        Self {
            block: b.block,
            lane: b.lane,
            level: b.level,
            start_ns: b.start_ns,
            end_ns: b.end_ns,
        }
    }
}

/// Blocks as they are written.
struct Written<'r>(&'r [BlockTime]);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(BlockLine::from))
    }
}

impl From<&Outcome> for Ended {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done => Ended::Done,
            Outcome::Refused(Refusal::QueueFull) => Ended::RefusedQueueFull,
            Outcome::Refused(Refusal::Deadline { .. }) => Ended::RefusedDeadline,
            Outcome::Refused(Refusal::NoModel) => Ended::RefusedNoModel,
            Outcome::Refused(Refusal::Stopped) => Ended::RefusedStopped,
            Outcome::Dropped => Ended::Dropped,
            Outcome::Cancelled => Ended::Cancelled,
            Outcome::Failed => Ended::Failed,
        }
    }
}

/// Writes `record`, a request for one of `models`, as one line.
///
/// # Errors
/// When `out` does not take it.
pub fn write(out: &mut dyn Write, models: &[Model], record: &Record) -> io::Result<()> {
    let predicted_ns = match record.outcome {
        Outcome::Refused(Refusal::Deadline { predicted_ns }) => Some(predicted_ns),
        _ => None,
    };
    let line = Line {
        request: record.id.0,
        model: Cow::Borrowed(&models[record.request.model.index()].name),
        outcome: (&record.outcome).into(),
        predicted_ns,
        arrival_ns: record.arrival_ns,
        start_ns: record.start_ns,
        finish_ns: record.finish_ns,
        total_ns: record.total_ns(),
        execute_ns: record.execute_ns,
        wait_ns: record.wait_ns(),
        limit_ns: record.solo_ns,
        ratio: ratio(record),
        deadline_ns: record.request.deadline_ns,
        priority: record.request.priority,
        found_idle: record.found_idle,
        stalled_ns: record.stalled_ns,
        in_blocks: record.in_blocks,
        blocks: Written(&record.blocks),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// What is wrong with the line.
pub fn parse(line: &str, models: &[Model]) -> Result<Record, String> {
    let line: Line<'_, Vec<BlockLine>> = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let model = models.iter().position(|m| m.name == line.model);
    let model = model.ok_or_else(|| format!("no model is called {}", line.model))?;
    Ok(Record {
        id: RequestId(line.request),
        request: Request {
            model: ModelIndex(model as u32),
            deadline_ns: line.deadline_ns,
            priority: line.priority,
        },
        outcome: match line.outcome {
            Ended::Done => Outcome::Done,
            Ended::RefusedQueueFull => Outcome::Refused(Refusal::QueueFull),
            Ended::RefusedDeadline => Outcome::Refused(Refusal::Deadline {
                predicted_ns: line.predicted_ns.unwrap_or(0),
            }),
            Ended::RefusedNoModel => Outcome::Refused(Refusal::NoModel),
            Ended::RefusedStopped => Outcome::Refused(Refusal::Stopped),
            Ended::Dropped => Outcome::Dropped,
            Ended::Cancelled => Outcome::Cancelled,
            Ended::Failed => Outcome::Failed,
        },
        arrival_ns: line.arrival_ns,
        start_ns: line.start_ns,
        finish_ns: line.finish_ns,
        execute_ns: line.execute_ns,
        solo_ns: line.limit_ns,
        found_idle: line.found_idle,
        stalled_ns: line.stalled_ns,
        in_blocks: line.in_blocks,
        blocks: line
            .blocks
            .iter()
            .map(|b| BlockTime {
                block: b.block,
                lane: b.lane,
                level: b.level,
                start_ns: b.start_ns,
                end_ns: b.end_ns,
            })
            .collect(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use plans::StepIndex;

    pub(crate) fn model(name: &str) -> Model {
        Model {
            name: name.into(),
            inputs: vec![],
            outputs: vec![],
            first_step: StepIndex(0),
            n_steps: 0,
            n_nodes: 0,
        }
    }

    /// A request for model `model` that came at `arrival_ns`, waited, and ran in one block.
    pub(crate) fn record(model: u32, arrival_ns: u64, wait_ns: u64, execute_ns: u64) -> Record {
        let start_ns = arrival_ns + wait_ns;
        let end_ns = start_ns + execute_ns;
        Record {
            id: RequestId(arrival_ns),
            request: Request::new(ModelIndex(model)),
            outcome: Outcome::Done,
            arrival_ns,
            start_ns,
            finish_ns: end_ns,
            execute_ns,
            solo_ns: 1000,
            found_idle: false,
            stalled_ns: 0,
            in_blocks: false,
            blocks: vec![BlockTime {
                block: 0,
                lane: 0,
                level: 0,
                start_ns,
                end_ns,
            }],
        }
    }

    #[test]
    fn ratios_are_at_least_one() {
        assert_eq!(ratio(&record(0, 5, 1500, 1000)), Some(2.5));
        assert_eq!(ratio(&record(0, 5, 0, 900)), Some(1.0));
        let cancelled = Record {
            outcome: Outcome::Cancelled,
            ..record(0, 5, 0, 900)
        };
        assert_eq!(ratio(&cancelled), None);
    }

    #[test]
    fn lines_are_read_back() {
        let models = [model("a"), model("b \"1\"")];
        let outcomes = [
            Outcome::Done,
            Outcome::Refused(Refusal::QueueFull),
            Outcome::Refused(Refusal::Deadline { predicted_ns: 77 }),
            Outcome::Refused(Refusal::NoModel),
            Outcome::Refused(Refusal::Stopped),
            Outcome::Dropped,
            Outcome::Cancelled,
            Outcome::Failed,
        ];
        for outcome in outcomes {
            let mut r = record(1, 5, 10, 20);
            r.outcome = outcome;
            r.found_idle = outcome == Outcome::Done;
            r.stalled_ns = 300_000;
            r.in_blocks = true;
            r.request.priority = 3;
            if outcome != Outcome::Done {
                r.blocks.clear();
                r.request.deadline_ns = Some(400);
            }
            let mut bytes = vec![];
            write(&mut bytes, &models, &r).unwrap();
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(text.matches('\n').count(), 1);
            assert_eq!(parse(&text, &models), Ok(r));
        }
        assert!(parse("{}", &models).unwrap_err().contains("missing field"));
        assert!(parse("", &models).is_err());
    }
}
