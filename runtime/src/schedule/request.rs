//! What is asked for, and what became of it.

use plans::ModelIndex;
use std::fmt;

/// A request, by number in the order of arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u64);

/// One inference asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The model.
    pub model: ModelIndex,
    /// The time from arrival by which it is to be done, in nanoseconds.
    pub deadline_ns: Option<u64>,
    /// Greater goes first.
    pub priority: u8,
}

impl Request {
    /// A request without deadline, of the least priority.
    pub fn new(model: ModelIndex) -> Self {
        Self {
            model,
            deadline_ns: None,
            priority: 0,
        }
    }
}

/// A request and when it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// What is asked for.
    pub request: Request,
}

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// As many of its model wait or run as may.
    QueueFull,
    /// It would be late.
    Deadline {
        /// When it would be done, in nanoseconds from its arrival.
        predicted_ns: u64,
    },
    /// There is no such model.
    NoModel,
    /// The server has stopped.
    Stopped,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::QueueFull => f.write_str("the queue of its model is full"),
            Refusal::Deadline { predicted_ns } => write!(
                f,
                "it would take {:.3} ms, longer than its deadline",
                *predicted_ns as f64 / 1e6
            ),
            Refusal::NoModel => f.write_str("there is no such model"),
            Refusal::Stopped => f.write_str("the server has stopped"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It ran to its end.
    Done,
    /// It was not taken.
    Refused(Refusal),
    /// Its deadline passed while it waited.
    Dropped,
    /// Whoever asked no longer wanted it.
    Cancelled,
    /// A step or the device failed.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Done => "done",
            Outcome::Refused(Refusal::Deadline { .. }) => "refused: deadline",
            Outcome::Refused(Refusal::QueueFull) => "refused: queue full",
            Outcome::Refused(Refusal::NoModel) => "refused: no such model",
            Outcome::Refused(Refusal::Stopped) => "refused: stopped",
            Outcome::Dropped => "dropped",
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
        })
    }
}

/// When a block of a request ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockTime {
    /// The block, by number in its model.
    pub block: u16,
    /// The lane that it ran in.
    pub lane: u16,
    /// Its priority on the device; 0 is the most urgent.
    pub level: u8,
    /// When it was started, in nanoseconds; of one started ahead, when the one before it ended.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
}

/// A request that ended, one way or another. Times are in nanoseconds of the scheduler's clock.
#[derive(PartialEq, Eq, Debug)]
pub struct Record {
    /// The request.
    pub id: RequestId,
    /// What was asked for.
    pub request: Request,
    /// What became of it.
    pub outcome: Outcome,
    /// When it came.
    pub arrival_ns: u64,
    /// When its first block was started; when it ended, if none was.
    pub start_ns: u64,
    /// When it ended.
    pub finish_ns: u64,
    /// The time in which one of its blocks ran; beside others, so that it may be more than alone.
    pub execute_ns: u64,
    /// The time of such a request with nothing beside it: [`Profile::alone_ns`](super::Profile::alone_ns).
    pub solo_ns: u64,
    /// Whether no other request lived when it came.
    pub found_idle: bool,
    /// While it was there, the longest that the server's thread did not look at what runs, in
    /// nanoseconds; 0 if that was never long. Systems that share processors stop threads.
    pub stalled_ns: u64,
    /// Whether it ran block by block.
    pub in_blocks: bool,
    /// The blocks that ran, in order.
    pub blocks: Vec<BlockTime>,
}

impl Clone for Record {
    fn clone(&self) -> Self {
        let mut copy = Self::empty(0);
        copy.clone_from(self);
        copy
    }

    /// Allocates nothing if there is room for the blocks.
    fn clone_from(&mut self, other: &Self) {
        let Self {
            id,
            request,
            outcome,
            arrival_ns,
            start_ns,
            finish_ns,
            execute_ns,
            solo_ns,
            found_idle,
            stalled_ns,
            in_blocks,
            blocks,
        } = other;
        self.id = *id;
        self.request = *request;
        self.outcome = *outcome;
        self.arrival_ns = *arrival_ns;
        self.start_ns = *start_ns;
        self.finish_ns = *finish_ns;
        self.execute_ns = *execute_ns;
        self.solo_ns = *solo_ns;
        self.found_idle = *found_idle;
        self.stalled_ns = *stalled_ns;
        self.in_blocks = *in_blocks;
        self.blocks.clone_from(blocks);
    }
}

impl Record {
    /// A record of nothing, with room for so many blocks.
    pub(crate) fn empty(n_blocks: usize) -> Self {
        Self {
            id: RequestId(0),
            request: Request::new(ModelIndex(0)),
            outcome: Outcome::Done,
            arrival_ns: 0,
            start_ns: 0,
            finish_ns: 0,
            execute_ns: 0,
            solo_ns: 0,
            found_idle: false,
            stalled_ns: 0,
            in_blocks: false,
            blocks: Vec::with_capacity(n_blocks),
        }
    }

    /// From arrival to end, in nanoseconds.
    pub fn total_ns(&self) -> u64 {
        self.finish_ns.saturating_sub(self.arrival_ns)
    }

    /// The time in which none of its blocks ran, in nanoseconds.
    pub fn wait_ns(&self) -> u64 {
        self.total_ns().saturating_sub(self.execute_ns)
    }

    /// The time from arrival to end in times alone; 0 where that is unknown.
    pub fn response_ratio(&self) -> f64 {
        if self.solo_ns == 0 {
            return 0.0;
        }
        self.total_ns() as f64 / self.solo_ns as f64
    }

    /// Whether it has a deadline and was not done by then.
    pub fn is_late(&self) -> bool {
        let deadline = self.request.deadline_ns;
        deadline.is_some_and(|d| self.outcome != Outcome::Done || self.total_ns() > d)
    }
}
