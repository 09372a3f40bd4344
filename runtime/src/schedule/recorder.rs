//! Records of requests, written while they live.

use super::core::Slot;
use super::profile::Profile;
use super::request::{BlockTime, Outcome, Record, Refusal, Request, RequestId};
use super::scheduler::Start;

/// A record for each slot; memory is there from the start.
pub(crate) struct Recorder {
    records: Vec<Record>,
    solo: Vec<u64>,
    /// Requests that live.
    n_live: usize,
    /// Of those that were refused.
    refused: Record,
}

impl Recorder {
    pub(crate) fn new(profile: &Profile, capacity: usize) -> Self {
        let models = profile.models();
        let most = models.iter().map(|m| m.blocks.len()).max().unwrap_or(0);
        Self {
            records: (0..capacity).map(|_| Record::empty(most)).collect(),
            solo: (0..models.len()).map(|m| profile.alone_ns(m)).collect(),
            n_live: 0,
            refused: Record::empty(0),
        }
    }

    fn begin(record: &mut Record, solo: &[u64], now: u64, id: RequestId, request: Request) {
        record.id = id;
        record.request = request;
        record.arrival_ns = now;
        record.start_ns = now;
        record.finish_ns = now;
        record.execute_ns = 0;
        record.solo_ns = solo.get(request.model.index()).copied().unwrap_or(0);
        record.found_idle = false;
        record.stalled_ns = 0;
        record.in_blocks = false;
        record.blocks.clear();
    }

    pub(crate) fn refused(
        &mut self,
        now: u64,
        id: RequestId,
        request: Request,
        why: Refusal,
    ) -> &Record {
        Self::begin(&mut self.refused, &self.solo, now, id, request);
        self.refused.outcome = Outcome::Refused(why);
        &self.refused
    }

    pub(crate) fn arrived(&mut self, slot: Slot, now: u64, id: RequestId, request: Request) {
        let record = &mut self.records[slot.index()];
        Self::begin(record, &self.solo, now, id, request);
        record.found_idle = self.n_live == 0;
        self.n_live += 1;
    }

    /// The server's thread did not look at what runs for so long.
    pub(crate) fn stalled(&mut self, ns: u64) {
        // Of those that have ended nobody asks any more.
        for record in &mut self.records {
            record.stalled_ns = record.stalled_ns.max(ns);
        }
    }

    pub(crate) fn started(&mut self, start: &Start, now: u64) {
        let record = &mut self.records[start.slot.index()];
        if start.blocks.start == 0 {
            record.start_ns = now;
            record.in_blocks = start.in_blocks;
        }
    }

    pub(crate) fn block(&mut self, slot: Slot, time: BlockTime) {
        let record = &mut self.records[slot.index()];
        record.execute_ns += time.end_ns.saturating_sub(time.start_ns);
        record.blocks.push(time);
    }

    pub(crate) fn ended(&mut self, slot: Slot, now: u64, outcome: Outcome) -> &Record {
        self.n_live = self.n_live.saturating_sub(1);
        let record = &mut self.records[slot.index()];
        record.outcome = outcome;
        record.finish_ns = now;
        if record.blocks.is_empty() {
            record.start_ns = now;
        }
        record
    }
}
