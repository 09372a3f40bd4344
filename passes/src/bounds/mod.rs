//! The longest that requests can wait and take, for each policy.
//!
//! The analysis assumes that requests of a model come no closer together than its rate says, that
//! blocks take no longer than the plan says times a margin, that starting one takes no longer than an
//! overhead, that the system keeps the runtime from starting any for no longer than a stall in each busy
//! window, and that blocks slow one another down as [`plans::co_run`] says. It is response-time
//! analysis by busy windows (Lehoczky, "Fixed priority scheduling of periodic task sets with arbitrary
//! deadlines", RTSS 1990), without preemption inside a block. A model `i` with period `T` and time `C`
//! has at most `⌈t/T⌉` requests in a window of length `t`, and `⌊t/T⌋ + 1` if both of its ends count.
//!
//! - All policies leave the device idle only when there is no request. So requests end within the
//!   longest busy window: the least `L` with `Σ ⌈L/Tⱼ⌉·Cⱼ ≤ ρ·L`. `ρ` is the least that the device does
//!   of all that runs at once, in times alone: 1 where blocks slow one another down as is predicted;
//!   less where pairs were measured to be worse together than one after another.
//! - `fifo`: a request that comes at `a` in a busy window is done at `Σ (⌊a/Tⱼ⌋ + 1)·Cⱼ`.
//! - `bnst` keeps its queue sorted by the times of models, and never interrupts: fixed priorities
//!   without preemption, the shorter model first, those of equal time both before each other (Davis,
//!   Burns, Bril and Lukkien, "Controller Area Network (CAN) schedulability analysis: Refuted,
//!   revisited and revised", Real-Time Systems 2007).
//! - `oyst` and `dlir` put a later request before an earlier one only if its model is no longer. So a
//!   request that comes at `a` waits for all that came by then, and for what comes later of models
//!   that are no longer than its own.
//! - `parallel`: where each request of a model ends before the next one comes, though every other model
//!   runs its worst block beside it, requests wait for nobody.
//! - `interleave`: the models whose requests may go before one of `i`, because their priority is no
//!   less, are `H`; the starvation cap lifts nobody over a higher priority. While one of `i` waits, one of
//!   `H` runs, slowed down by the worst blocks beside it; or, once in a busy window, all lanes have blocks
//!   of other models. So requests of `i` end within the least `L` with `B + Σ ⌈L/Tⱼ⌉·Cⱼ·Sⱼ ≤ L` over `H`
//!   and `i`. That holds for priorities above 0 only: the others have to make room for them on the device,
//!   and are held back while something runs, as are those below a priority with a deadline.
//!
//! Of several bounds the least is taken.

mod slow;
mod window;

#[cfg(test)]
mod tests;

use plans::{Bound, Plan, Service};
use slow::Slow;
use window::Task;

/// The policies by what they let happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the variants are the policies of the runtime")]
pub enum Rule {
    Fifo,
    Bnst,
    Oyst,
    Dlir,
    Parallel,
    Interleave,
}

/// What the runtime is told, and what times are to be reckoned with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Options {
    /// How much longer than the plan says blocks may take, relative to their time.
    pub margin: f64,
    /// The most that starting a block, and hearing of its end, takes, in nanoseconds.
    pub overhead_ns: u64,
    /// How long the system may keep the runtime's thread from running, in all of a busy window, in
    /// nanoseconds.
    pub stall_ns: u64,
    /// Requests that run at once: `interleave`.
    pub lanes: usize,
    /// Requests of a model that run at once: `interleave`.
    pub copies: usize,
    /// Blocks that are started ahead.
    pub ahead: usize,
}

/// What is longest for the requests of each model.
#[derive(Clone, PartialEq, Debug)]
pub struct Analysis {
    /// For each service, if there is a bound.
    pub bounds: Vec<Option<Bound>>,
    /// For each service, why there is none.
    pub reasons: Vec<Option<Reason>>,
    /// The share of the device's time that all requests take one after another; more than 1 is more
    /// than can be done. `None` if a rate is unknown.
    pub utilisation: Option<f64>,
}

/// Why there is no bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nothing is known of the times of its blocks.
    NoTimes,
    /// It depends on the rate of this service, by position, which is unknown.
    NoRate(usize),
    /// More is asked for than can be done, in the worst case.
    Overload,
}

/// The longest that requests of `services`, those of all models of the plan, wait and take under
/// `rule`.
pub fn bounds(plan: &Plan, services: &[Service], rule: Rule, options: &Options) -> Analysis {
    let tasks: Vec<Task> = services
        .iter()
        .map(|s| Task::new(plan, s, rule, options))
        .collect();
    let utilisation = tasks.iter().map(Task::utilisation).sum();
    let slow = Slow::new(plan, services, rule, options);
    let mut found: Vec<Result<Bound, Reason>> = (0..tasks.len())
        .map(|i| one(&tasks, i, rule, &slow, options.stall_ns))
        .collect();
    if rule == Rule::Interleave {
        for (i, found) in found.iter_mut().enumerate() {
            let own = urgent(&tasks, services, i, &slow, options);
            *found = least(found.clone(), own);
        }
    }
    Analysis {
        reasons: found.iter().map(|f| f.clone().err()).collect(),
        bounds: found.into_iter().map(Result::ok).collect(),
        utilisation,
    }
}

/// The lesser of two bounds; of two reasons the first.
fn least(a: Result<Bound, Reason>, b: Result<Bound, Reason>) -> Result<Bound, Reason> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok(Bound {
            wait_ns: a.wait_ns.min(b.wait_ns),
            response_ns: a.response_ns.min(b.response_ns),
        }),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        (Err(reason), Err(_)) => Err(reason),
    }
}

fn bound(response_ns: u64, own_ns: u64) -> Bound {
    Bound {
        wait_ns: response_ns.saturating_sub(own_ns),
        response_ns,
    }
}

/// What all of the device's requests allow, and what the rule does.
fn one(tasks: &[Task], i: usize, rule: Rule, slow: &Slow, stall_ns: u64) -> Result<Bound, Reason> {
    if tasks.iter().any(|t| t.ns == 0) {
        return Err(Reason::NoTimes);
    }
    let everything = window::busy(tasks, stall_ns, slow.rate).map(|l| bound(l, tasks[i].run_ns));
    let own = match rule {
        Rule::Fifo => window::in_order(tasks, i, stall_ns, |_| false),
        Rule::Bnst => window::by_length(tasks, i, stall_ns),
        Rule::Oyst | Rule::Dlir => {
            window::in_order(tasks, i, stall_ns, |j| tasks[j].ns <= tasks[i].ns)
        }
        Rule::Parallel => beside(&tasks[i], slow.beside(i), stall_ns),
        Rule::Interleave => Err(Reason::Overload),
    };
    least(everything, own)
}

/// A model with a lane of its own.
fn beside(task: &Task, run_ns: u64, stall_ns: u64) -> Result<Bound, Reason> {
    let others = task.ns - task.run_ns;
    let response = run_ns.saturating_add(others).saturating_add(stall_ns);
    match task.period {
        Some(period) if response <= period => Ok(bound(response, run_ns)),
        Some(_) => Err(Reason::Overload),
        None => Err(Reason::NoRate(task.number)),
    }
}

/// What priorities allow under `interleave`.
fn urgent(
    tasks: &[Task],
    services: &[Service],
    i: usize,
    slow: &Slow,
    options: &Options,
) -> Result<Bound, Reason> {
    let own = u64::from(services[i].priority);
    if own == 0 || tasks.iter().any(|t| t.ns == 0) {
        return Err(Reason::Overload);
    }
    // Room is kept for promises to those of higher priority, even while none of them is there.
    let is_promised = |s: &Service| u64::from(s.priority) > own && s.deadline_ns.is_some();
    if services.iter().any(is_promised) {
        return Err(Reason::Overload);
    }
    let urgent: Vec<usize> = (0..tasks.len())
        .filter(|&j| j != i && u64::from(services[j].priority) >= own)
        .collect();
    let others = tasks.len() - 1 - urgent.len();
    // Who holds all lanes lets go of the first at the end of what it has started.
    let mut blocking = 0u64;
    if others * options.copies >= options.lanes {
        let longest = |j: &usize| *j != i && !urgent.contains(j);
        let started = (0..tasks.len())
            .filter(longest)
            .map(|j| tasks[j].started_ns);
        let started = started.max().unwrap_or(0);
        blocking = window::scaled(started.saturating_mul(options.lanes as u64), slow.rate);
    }
    let slowed = |j: usize| Task {
        ns: slow.beside(j).saturating_add(tasks[j].ns - tasks[j].run_ns),
        ..tasks[j].clone()
    };
    let mut set: Vec<Task> = urgent.iter().map(|&j| slowed(j)).collect();
    set.push(slowed(i));
    let response = window::busy(&set, blocking.saturating_add(options.stall_ns), 1.0)?;
    Ok(bound(response, slow.beside(i)))
}
