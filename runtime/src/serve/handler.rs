//! What is told of requests as they begin and end.

use crate::error::RunError;
use crate::schedule::{Record, Request, RequestId};
use crate::session::Session;

/// Fills inputs and takes outputs and records. Called on the server's thread, which starts nothing
/// meanwhile.
pub trait Handler: Send + 'static {
    /// A request is about to start in `session`, whose inputs are those of an earlier one.
    fn begin(&mut self, id: RequestId, request: &Request, session: &mut Session) {
        let _ = (id, request, session);
    }

    /// A request has ended, one way or another. `session` holds its outputs if it was done; there is
    /// none if it never started. `error` says why it failed.
    fn end(&mut self, record: &Record, session: Option<&Session>, error: Option<&RunError>);
}

/// Keeps records, in memory that is there from the start.
#[derive(Clone, Debug)]
pub struct Records {
    records: Vec<Record>,
    n: usize,
    n_lost: u64,
    first_error: Option<RunError>,
}

impl Records {
    /// Room for so many records of models with so many blocks at most.
    pub fn new(capacity: usize, n_blocks: usize) -> Self {
        Self {
            records: (0..capacity).map(|_| Record::empty(n_blocks)).collect(),
            n: 0,
            n_lost: 0,
            first_error: None,
        }
    }

    /// The records, in the order in which requests ended.
    pub fn records(&self) -> &[Record] {
        &self.records[..self.n]
    }

    /// Records for which there was no room.
    pub fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// Why the first request that failed did.
    pub fn first_error(&self) -> Option<&RunError> {
        self.first_error.as_ref()
    }
}

impl Handler for Records {
    fn end(&mut self, record: &Record, _session: Option<&Session>, error: Option<&RunError>) {
        if self.first_error.is_none() {
            self.first_error = error.cloned();
        }
        match self.records.get_mut(self.n) {
            Some(place) => {
                place.clone_from(record);
                self.n += 1;
            }
            None => self.n_lost += 1,
        }
    }
}
