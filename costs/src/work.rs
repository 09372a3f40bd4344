//! What matters of a kernel for the time that it takes.

use serde::Serialize;
use std::fmt;

/// One run of a kernel, as plain data.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Work {
    /// Its class, as device files name them: `contract`, or more precisely `contract.conv`.
    pub class: String,
    /// The element type that it calculates with: `f32`.
    pub dtype: String,
    /// Operations; a multiply-add counts as 2.
    pub flop: u64,
    /// Bytes read, each operand once.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// What is launched on a GPU, one after the other; nothing on the host.
    pub launches: Vec<Grid>,
    /// Rounds of one launch that wait for each other, such as the steps of a recurrence; 1 if there
    /// are none.
    pub rounds: u64,
}

/// The blocks of one launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Grid {
    /// Their number.
    pub blocks: u64,
    /// Threads of each.
    pub threads: u32,
    /// How many a multiprocessor holds at once; 0 if that is not known.
    pub resident: u32,
}

/// `blocks x threads / resident`, without spaces.
impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}/{}", self.blocks, self.threads, self.resident)
    }
}

impl Work {
    /// The launches as text, one after the other.
    pub fn launches_text(&self) -> String {
        let each: Vec<String> = self.launches.iter().map(Grid::to_string).collect();
        each.join(" ")
    }

    /// Bytes read and written.
    pub fn bytes(&self) -> u64 {
        self.bytes_read.saturating_add(self.bytes_written)
    }

    /// The launch with most threads, and the first of equals: the one that does the work where there
    /// are several.
    pub fn main_launch(&self) -> Option<&Grid> {
        let threads = |g: &&Grid| g.blocks.saturating_mul(u64::from(g.threads));
        self.launches.iter().rev().max_by_key(threads)
    }
}
