//! Busy windows.

use super::{Options, Reason, Rule, bound};
use plans::{Bound, Plan, Service};

/// A model as its requests load the device.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// Its position among the services.
    pub(super) number: usize,
    /// The least time between requests.
    pub(super) period: Option<u64>,
    /// The time of a request, with margin and overheads.
    pub(super) ns: u64,
    /// What of that its blocks run, without overheads.
    pub(super) run_ns: u64,
    /// The time of its blocks by the plan.
    pub(super) alone_ns: u64,
    /// The longest time of blocks that are started at once, without overheads.
    pub(super) started_ns: u64,
}

/// The longest window that is looked at: an hour.
const MOST_NS: u64 = 3_600_000_000_000;

/// Steps towards a fixed point before it is given up.
const MOST_STEPS: u32 = 1_000_000;

impl Task {
    pub(super) fn new(plan: &Plan, service: &Service, rule: Rule, options: &Options) -> Self {
        let blocks = plan.blocks.iter().filter(|b| b.model == service.model);
        let alone: Vec<u64> = blocks.map(plans::Block::ns).collect();
        let known = alone.iter().all(|&ns| ns > 0);
        let blocks: Vec<u64> = alone.iter().map(|&ns| with_margin(ns, options)).collect();
        let run_ns = blocks.iter().sum::<u64>();
        let n_starts = match rule {
            Rule::Fifo | Rule::Bnst | Rule::Parallel => 1,
            Rule::Oyst | Rule::Dlir | Rule::Interleave => blocks.len() as u64,
        };
        let at_once = blocks.windows((1 + options.ahead).min(blocks.len()).max(1));
        Self {
            number: service.model.index(),
            period: service.period_ns(),
            ns: match known {
                true => run_ns.saturating_add(n_starts.saturating_mul(options.overhead_ns)),
                false => 0,
            },
            run_ns,
            alone_ns: alone.iter().sum(),
            started_ns: at_once.map(|b| b.iter().sum()).max().unwrap_or(0),
        }
    }

    /// The share of the device's time that it takes.
    pub(super) fn utilisation(&self) -> Option<f64> {
        Some(self.ns as f64 / self.period? as f64)
    }

    fn period(&self) -> Result<u64, Reason> {
        self.period.ok_or(Reason::NoRate(self.number))
    }
}

/// A time with the margin, rounded up.
pub(super) fn with_margin(ns: u64, options: &Options) -> u64 {
    (ns as f64 * (1.0 + options.margin)).ceil() as u64
}

/// The time in which what takes `ns` is done at `rate`.
pub(super) fn scaled(ns: u64, rate: f64) -> u64 {
    if rate >= 1.0 {
        ns
    } else {
        (ns as f64 / rate).ceil() as u64
    }
}

/// The least fixed point of a function that grows, from `start` on.
fn fixed_point(start: u64, mut step: impl FnMut(u64) -> u64) -> Result<u64, Reason> {
    let mut at = start;
    for _ in 0..MOST_STEPS {
        let next = step(at);
        if next <= at {
            return Ok(at);
        }
        if next > MOST_NS {
            return Err(Reason::Overload);
        }
        at = next;
    }
    Err(Reason::Overload)
}

/// The longest window in which requests of `tasks` are never all done, if `blocking` comes first and
/// the device does `rate` of all that runs.
pub(super) fn busy(tasks: &[Task], blocking: u64, rate: f64) -> Result<u64, Reason> {
    let periods = tasks.iter().map(Task::period);
    let periods: Vec<u64> = periods.collect::<Result<_, _>>()?;
    let load: f64 = tasks.iter().filter_map(Task::utilisation).sum();
    if load >= rate.min(1.0) {
        return Err(Reason::Overload);
    }
    let work = |t: u64| {
        let all = tasks.iter().zip(&periods);
        all.fold(0u64, |sum, (task, &period)| {
            let n = t.div_ceil(period).max(1);
            sum.saturating_add(n.saturating_mul(task.ns))
        })
    };
    fixed_point(1, |t| blocking.saturating_add(scaled(work(t), rate)))
}

/// A request of task `i` that waits for all that came before or with it, and for what comes later of
/// those that `overtakes` names, in a window in which nothing runs for `stall`.
pub(super) fn in_order(
    tasks: &[Task],
    i: usize,
    stall: u64,
    overtakes: impl Fn(usize) -> bool,
) -> Result<Bound, Reason> {
    let end = busy(tasks, stall, 1.0)?;
    let periods: Vec<u64> = tasks.iter().map(Task::period).collect::<Result<_, _>>()?;
    let arrived = |j: usize, t: u64| t / periods[j] + 1;
    // Only where somebody else arrives does it get longer.
    let mut arrivals: Vec<u64> = periods
        .iter()
        .flat_map(|&period| (0..=end / period).map(move |k| k * period))
        .collect();
    arrivals.sort_unstable();
    arrivals.dedup();
    let mut worst = Bound {
        wait_ns: 0,
        response_ns: 0,
    };
    for at in arrivals {
        let before = (0..tasks.len()).fold(stall, |sum, j| {
            sum.saturating_add(arrived(j, at).saturating_mul(tasks[j].ns))
        });
        let done = fixed_point(before, |t| {
            let later = (0..tasks.len()).filter(|&j| j != i && overtakes(j));
            later.fold(before, |sum, j| {
                let n = arrived(j, t).saturating_sub(arrived(j, at));
                sum.saturating_add(n.saturating_mul(tasks[j].ns))
            })
        })?;
        let found = bound(done.saturating_sub(at), tasks[i].run_ns);
        worst.wait_ns = worst.wait_ns.max(found.wait_ns);
        worst.response_ns = worst.response_ns.max(found.response_ns);
    }
    Ok(worst)
}

/// A request of task `i` if shorter tasks go first, and whoever runs runs to its end, in a window in which
/// nothing runs for `stall`.
pub(super) fn by_length(tasks: &[Task], i: usize, stall: u64) -> Result<Bound, Reason> {
    let own = &tasks[i];
    let goes_first = |j: usize| j != i && tasks[j].alone_ns <= own.alone_ns;
    let first: Vec<&Task> = (0..tasks.len())
        .filter(|&j| goes_first(j))
        .map(|j| &tasks[j])
        .collect();
    let blocking = (0..tasks.len())
        .filter(|&j| j != i && !goes_first(j))
        .map(|j| tasks[j].ns)
        .max()
        .unwrap_or(0)
        .saturating_add(stall);
    let mut level: Vec<Task> = first.iter().map(|&t| t.clone()).collect();
    level.push(own.clone());
    let length = busy(&level, blocking, 1.0)?;
    let period = own.period()?;
    let mut worst = bound(0, 0);
    for q in 0..length.div_ceil(period).max(1) {
        let earlier = blocking.saturating_add(q.saturating_mul(own.ns));
        // When the request gets the device.
        let start = fixed_point(earlier, |t| {
            first.iter().fold(earlier, |sum, task| {
                let n = task.period.map_or(1, |p| t / p + 1);
                sum.saturating_add(n.saturating_mul(task.ns))
            })
        })?;
        let done = start.saturating_add(own.ns).saturating_sub(q * period);
        let found = bound(done, own.run_ns);
        worst.wait_ns = worst.wait_ns.max(found.wait_ns);
        worst.response_ns = worst.response_ns.max(found.response_ns);
    }
    Ok(worst)
}
