//! Blocks that run, on a device or on threads of the host.

use super::mailbox::{Mailbox, lock};
use super::server::{Message, Shared};
use crate::cuda::Io;
use crate::error::RunError;
use crate::schedule::{Slot, Start};
use crate::session::Session;
use plans::ModelIndex;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// Sessions by model and copy.
pub(super) struct Sessions {
    sessions: Vec<Mutex<Session>>,
    n_copies: usize,
}

impl Sessions {
    pub(super) fn new(sessions: Vec<Session>, n_copies: usize) -> Self {
        Self {
            sessions: sessions.into_iter().map(Mutex::new).collect(),
            n_copies,
        }
    }

    /// A session that no thread runs blocks in, or the one that does asks for it.
    pub(super) fn get(&self, model: ModelIndex, copy: u16) -> MutexGuard<'_, Session> {
        lock(&self.sessions[model.index() * self.n_copies + usize::from(copy)])
    }
}

/// Blocks for a thread of the host.
pub(super) struct Job {
    slot: Slot,
    model: ModelIndex,
    copy: u16,
    blocks: Range<u16>,
}

/// What runs blocks.
pub(super) enum Work {
    /// A device; blocks are started by the server's thread.
    Device,
    /// A thread for each lane.
    Host(Vec<Lane>),
}

pub(super) struct Lane {
    jobs: Arc<Mailbox<Option<Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Work {
    /// Threads for `n_lanes` lanes.
    pub(super) fn on_host(
        n_lanes: usize,
        sessions: &Arc<Sessions>,
        shared: &Arc<Shared>,
    ) -> std::io::Result<Self> {
        let mut work = vec![];
        for lane in 0..n_lanes {
            let jobs = Arc::new(Mailbox::new(0, 8));
            let (from, sessions, shared) =
                (Arc::clone(&jobs), Arc::clone(sessions), Arc::clone(shared));
            let thread = std::thread::Builder::new()
                .name(format!("dlirc-lane-{lane}"))
                .spawn(move || {
                    while let Some(job) = from.receive(Duration::ZERO) {
                        run(&job, &sessions, &shared);
                    }
                })?;
            work.push(Lane {
                jobs,
                thread: Some(thread),
            });
        }
        Ok(Work::Host(work))
    }

    /// Starts blocks. On the host, errors come as messages.
    pub(super) fn start(&self, start: &Start, sessions: &Sessions, io: Io) -> Result<(), RunError> {
        let blocks = start.blocks.clone();
        match self {
            Work::Device => sessions.get(start.model, start.copy).start_blocks(
                start.model,
                usize::from(blocks.start)..usize::from(blocks.end),
                start.level,
                io,
            ),
            Work::Host(lanes) => {
                lanes[usize::from(start.lane)].jobs.send(Some(Job {
                    slot: start.slot,
                    model: start.model,
                    copy: start.copy,
                    blocks,
                }));
                Ok(())
            }
        }
    }
}

/// Runs blocks one by one and says when each has ended.
fn run(job: &Job, sessions: &Sessions, shared: &Shared) {
    for block in job.blocks.clone() {
        let at = usize::from(block);
        let result =
            sessions
                .get(job.model, job.copy)
                .start_blocks(job.model, at..at + 1, 0, Io::Host);
        let failed = result.is_err();
        shared.mail.send(Message::Ran {
            slot: job.slot,
            at: shared.now(),
            error: result.err().map(Box::new),
        });
        if failed {
            return;
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Work::Host(lanes) = self {
            for lane in lanes.iter() {
                lane.jobs.send(None);
            }
            for thread in lanes.iter_mut().filter_map(|l| l.thread.take()) {
                // Kernels that panic are errors of the run; there is nothing else to say here.
                let _ = thread.join();
            }
        }
    }
}
