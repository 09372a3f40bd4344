//! Threads that share out the tasks of one call at a time.
//!
//! A call publishes `n` tasks; the caller and the workers take them one by one from an atomic
//! counter. A worker that wakes late finds nothing left and goes back to waiting: nobody waits
//! for it. Publishing costs about a microsecond while the workers still spin, and one wake-up
//! after they have gone to sleep.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What a call runs: `(task, worker)`.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Polls of a waiting worker before it sleeps: tens of microseconds, the gap between two kernels.
const SPINS_BEFORE_SLEEP: u32 = 2_000;

/// Polls of the caller for tasks that others still run, before it offers its core to them.
const SPINS_BEFORE_YIELD: u32 = 4_000;

/// Why [`Pool::run`] or [`Pool::new`] failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolError {
    /// A task panicked; the others were run, the pool stays usable.
    TaskPanicked,
    /// The system gave no thread.
    NoThread,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PoolError::TaskPanicked => "a task of a parallel kernel panicked",
            PoolError::NoThread => "the system refused to start a worker thread",
        })
    }
}

impl std::error::Error for PoolError {}

struct Shared {
    /// Low half: tasks not handed out yet; high half: number of the call.
    state: AtomicU64,
    /// Tasks of the current call that have returned.
    n_done: AtomicUsize,
    n_tasks: AtomicUsize,
    /// A `&Job` on the stack of the caller; valid while a task is handed out and not done.
    job: AtomicPtr<&'static Job<'static>>,
    panicked: AtomicBool,
    stop: AtomicBool,
    n_asleep: AtomicUsize,
    bed: Mutex<()>,
    alarm: Condvar,
}

impl Shared {
    /// Runs tasks of the current call until none is left to hand out.
    fn work(&self, worker: usize) {
        let mut state = self.state.load(Ordering::Acquire);
        while state as u32 > 0 {
            if let Err(now) = self.state.compare_exchange_weak(
                state,
                state - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                state = now;
                continue;
            }
            let task = self.n_tasks.load(Ordering::Relaxed) - (state as u32) as usize;
            // SAFETY: this task was handed out and is not counted in `n_done`, so the call that
            // published `job` before the state read above still waits and keeps it alive.
            let job = unsafe { *self.job.load(Ordering::Relaxed) };
            if catch_unwind(AssertUnwindSafe(|| job(task, worker))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.n_done.fetch_add(1, Ordering::Release);
            state = self.state.load(Ordering::Acquire);
        }
    }

    fn serve(&self, worker: usize) {
        let mut spins = 0;
        loop {
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            if self.state.load(Ordering::Acquire) as u32 > 0 {
                self.work(worker);
                spins = 0;
            } else if spins < SPINS_BEFORE_SLEEP {
                spins += 1;
                std::hint::spin_loop();
            } else {
                let mut bed = lock(&self.bed);
                self.n_asleep.fetch_add(1, Ordering::SeqCst);
                while self.state.load(Ordering::SeqCst) as u32 == 0
                    && !self.stop.load(Ordering::SeqCst)
                {
                    bed = self.alarm.wait(bed).unwrap_or_else(PoisonError::into_inner);
                }
                self.n_asleep.fetch_sub(1, Ordering::SeqCst);
                spins = 0;
            }
        }
    }

    fn wake(&self) {
        if self.n_asleep.load(Ordering::SeqCst) > 0 {
            let _bed = lock(&self.bed);
            self.alarm.notify_all();
        }
    }
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fixed number of threads, the caller of [`run`](Pool::run) being one of them.
///
/// A pool may be shared: a call that finds it busy runs its tasks on its own thread. Calls from
/// within a task do the same.
pub struct Pool {
    shared: Arc<Shared>,
    busy: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("n_threads", &self.n_threads())
            .finish()
    }
}

impl Pool {
    /// A pool of `n_threads` threads (0 counts as 1), of which `n_threads - 1` are started here.
    ///
    /// # Errors
    /// [`PoolError::NoThread`] if the system refuses one; those already started end.
    pub fn new(n_threads: usize) -> Result<Self, PoolError> {
        let mut pool = Pool {
            shared: Arc::new(Shared {
                state: AtomicU64::new(0),
                n_done: AtomicUsize::new(0),
                n_tasks: AtomicUsize::new(0),
                job: AtomicPtr::new(std::ptr::null_mut()),
                panicked: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                n_asleep: AtomicUsize::new(0),
                bed: Mutex::new(()),
                alarm: Condvar::new(),
            }),
            busy: Mutex::new(()),
            workers: Vec::new(),
        };
        for worker in 1..n_threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let started = std::thread::Builder::new()
                .name(format!("dlirc-cpu-{worker}"))
                .spawn(move || shared.serve(worker))
                .map_err(|_| PoolError::NoThread)?;
            pool.workers.push(started);
        }
        Ok(pool)
    }

    /// Threads that may run tasks at once: worker numbers are below this.
    pub fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job(task, worker)` for every `task` below `n_tasks`, each once, in no given order,
    /// and returns when all have returned. No two calls with the same `worker` overlap. Nothing
    /// is allocated.
    ///
    /// # Errors
    /// [`PoolError::TaskPanicked`] if a task panicked; the others have run.
    pub fn run(&self, n_tasks: usize, job: &Job<'_>) -> Result<(), PoolError> {
        if self.workers.is_empty() || n_tasks <= 1 || n_tasks > u32::MAX as usize {
            return run_inline(n_tasks, job);
        }
        let Ok(_busy) = self.busy.try_lock() else {
            return run_inline(n_tasks, job);
        };
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The pointer is followed only by holders of a task
        // that was handed out and is not done, and this function returns after all are done.
        let mut job = unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job) };
        shared.job.store(&raw mut job, Ordering::Relaxed);
        shared.n_tasks.store(n_tasks, Ordering::Relaxed);
        shared.n_done.store(0, Ordering::Relaxed);
        shared.panicked.store(false, Ordering::Relaxed);
        let call = (shared.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        shared
            .state
            .store((call << 32) | n_tasks as u64, Ordering::SeqCst);
        shared.wake();
        shared.work(0);
        let mut spins = 0;
        while shared.n_done.load(Ordering::Acquire) < n_tasks {
            spins += 1;
            if spins < SPINS_BEFORE_YIELD {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        if shared.panicked.load(Ordering::Relaxed) {
            return Err(PoolError::TaskPanicked);
        }
        Ok(())
    }
}

fn run_inline(n_tasks: usize, job: &Job<'_>) -> Result<(), PoolError> {
    let mut result = Ok(());
    for task in 0..n_tasks {
        if catch_unwind(AssertUnwindSafe(|| job(task, 0))).is_err() {
            result = Err(PoolError::TaskPanicked);
        }
    }
    result
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _bed = lock(&self.shared.bed);
            self.shared.alarm.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches every panic of a task, so it has none of its own to report.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn every_task_runs_once_on_any_number_of_threads() {
        for n_threads in 1..=4 {
            let pool = Pool::new(n_threads).unwrap();
            for n_tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicU32> = (0..n_tasks).map(|_| AtomicU32::new(0)).collect();
                pool.run(n_tasks, &|task, worker| {
                    assert!(worker < n_threads);
                    counts[task].fetch_add(1, Ordering::Relaxed);
                })
                .unwrap();
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn many_calls_in_a_row_and_after_sleep() {
        let pool = Pool::new(3).unwrap();
        let sum = AtomicUsize::new(0);
        for round in 0..5_000 {
            pool.run(3, &|task, _| {
                sum.fetch_add(task, Ordering::Relaxed);
            })
            .unwrap();
            if round % 1_000 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        assert_eq!(sum.into_inner(), 15_000);
    }

    #[test]
    fn a_panic_is_an_error_and_the_pool_lives_on() {
        for n_threads in [1, 2] {
            let pool = Pool::new(n_threads).unwrap();
            let n_run = AtomicUsize::new(0);
            let result = pool.run(10, &|task, _| {
                n_run.fetch_add(1, Ordering::Relaxed);
                assert!(task != 3, "task three fails on purpose");
            });
            assert_eq!(result, Err(PoolError::TaskPanicked));
            assert_eq!(n_run.into_inner(), 10);
            assert_eq!(pool.run(10, &|_, _| {}), Ok(()));
        }
    }

    #[test]
    fn calls_from_several_threads_and_from_within_tasks() {
        let pool = Pool::new(2).unwrap();
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        pool.run(4, &|_, _| {
                            pool.run(2, &|_, _| {
                                sum.fetch_add(1, Ordering::Relaxed);
                            })
                            .unwrap();
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 200 * 8);
    }
}
