//! What `load` and `simulate` share: what is asked, under which policies, and what is shown.

use crate::cli::table::table;
use crate::load::arrivals::rates;
use crate::load::catalogue::Catalogue;
use crate::load::play::{Asked, Player, Source, Stage};
use crate::load::scene::{Kind, Service, plan_hash};
use crate::load::table::{Played, csv, text};
use crate::load::{page, trace};
use crate::report::{Diagnostic, NO, data, data_json, draw, say, write_file};
use clap::Args;
use plans::{Model, ValidPlan};
use runtime::schedule::{Options, Policy};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// What is asked, under which policies, and what is shown.
#[derive(Args)]
pub(super) struct Scenes {
    /// The plan.
    pub(super) plan: PathBuf,
    /// Policies to compare on the same requests: fifo, bnst, oyst, dlir, parallel, interleave; all for
    /// all of them. If left out, the one that the plan was deployed for, or else interleave.
    #[arg(long = "policy", value_name = "P[,P…]", value_delimiter = ',', value_parser = policies)]
    policies: Vec<Policies>,
    /// How requests come: poisson, regular, periodic, bursty, or a file of recorded ones, a line of
    /// JSON each with `model` and `arrival_ns`.
    #[arg(long, value_name = "PATTERN|FILE", default_value = "poisson")]
    arrivals: String,
    /// How many requests come, as a share of what the machine can do one at a time: 1 is one over the
    /// mean time alone. Of several, each is a scene. 0.7 if the plan says no rates either.
    #[arg(long = "load", value_name = "X[,X…]", value_delimiter = ',', value_parser = positive, conflicts_with = "rates")]
    loads: Vec<f64>,
    /// How many requests a second come for a model; 0, and none where another model has a rate, is
    /// for none.
    #[arg(long = "rate", value_name = "MODEL=R", value_parser = named::<f64>)]
    rates: Vec<(String, f64)>,
    /// With --load: how often a model is asked, as a weight beside the others' 1; 0 for never.
    #[arg(long = "mix", value_name = "MODEL=W", value_parser = named::<f64>, conflicts_with = "rates")]
    mix: Vec<(String, f64)>,
    /// How many requests come in all; of recorded ones all, or the first N.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// What arrivals and inputs are drawn from.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(super) seed: u64,
    /// Multiples of the time alone within which requests should finish: those that don't are counted,
    /// and interleave aims at them.
    #[arg(long, value_name = "K[,K…]", value_delimiter = ',', value_parser = factor, default_value = "2,4,8")]
    limits: Vec<f64>,
    /// By when requests for a model are to be finished, from their arrival: 5ms, 800us.
    #[arg(long = "deadline", value_name = "MODEL=TIME", value_parser = named::<Time>)]
    deadlines: Vec<(String, Time)>,
    /// The priority of requests for a model, 0 to 255; greater goes first.
    #[arg(long = "priority", value_name = "MODEL=N", value_parser = named::<u8>)]
    priorities: Vec<(String, u8)>,
    /// Requests of a model that may wait or run at once; further ones are refused.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    queue: Option<u32>,
    /// Refuse requests that are predicted to miss their deadline.
    #[arg(long)]
    admission: bool,
    /// Give requests up that still wait when their deadline has passed.
    #[arg(long)]
    drop_late: bool,
    /// Keep finished scenes in this folder, each request as a line of JSON, and don't play those
    /// again that are there.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Play scenes again that are in the folder.
    #[arg(long, requires = "out")]
    pub(super) again: bool,
    /// Write a page with curves to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print CSV instead of text: a row for each scene and model.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// One policy, or all.
#[derive(Clone, PartialEq, Debug)]
enum Policies {
    All,
    One(Policy),
}

fn policies(text: &str) -> Result<Policies, String> {
    match text {
        "all" => Ok(Policies::All),
        _ => text
            .parse()
            .map(Policies::One)
            .map_err(|e: runtime::schedule::UnknownPolicy| e.to_string()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|v: &f64| v.is_finite() && *v > 0.0);
    number.ok_or_else(|| "expected a number above 0".into())
}

fn factor(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|v| (1.0..=1e6).contains(v));
    number.ok_or_else(|| "expected a number from 1 on".into())
}

/// A time in nanoseconds: `5ms`, `800us`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Time(pub(super) u64);

impl FromStr for Time {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
        ];
        let found = units.iter().find_map(|(unit, ns)| {
            let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            Some(number * ns)
        });
        let ns = found.filter(|ns| (1.0..1e18).contains(ns)).ok_or(())?;
        Ok(Time(ns.round() as u64))
    }
}

/// A value that may stand after `MODEL=`.
trait Valued: FromStr {
    /// What it looks like.
    const LIKE: &'static str;

    fn is_valid(&self) -> bool {
        true
    }
}

impl Valued for f64 {
    const LIKE: &'static str = "a number from 0 on";

    fn is_valid(&self) -> bool {
        self.is_finite() && *self >= 0.0
    }
}

impl Valued for u8 {
    const LIKE: &'static str = "a whole number from 0 to 255";
}

impl Valued for Time {
    const LIKE: &'static str = "a time such as 5ms or 800us";
}

/// `MODEL=VALUE`; names of models may have `=` in them.
fn named<T: Valued>(text: &str) -> Result<(String, T), String> {
    let (name, value) = text
        .rsplit_once('=')
        .ok_or_else(|| format!("expected MODEL= and {}", T::LIKE))?;
    let value = value.parse().ok().filter(T::is_valid);
    let value = value.ok_or_else(|| format!("expected {} after {name}=", T::LIKE))?;
    Ok((name.to_string(), value))
}

/// Where the requests of a pattern end if that is not said.
const REQUESTS: u64 = 1000;
/// The load if nothing says how many requests come.
const LOAD: f64 = 0.7;

impl Scenes {
    /// The policies, each once.
    pub(super) fn policies(&self, plan: &ValidPlan) -> Result<Vec<Policy>, Diagnostic> {
        let mut chosen = vec![];
        for choice in &self.policies {
            match choice {
                Policies::All => chosen.extend(Policy::ALL),
                Policies::One(policy) => chosen.push(*policy),
            }
        }
        if let (true, Some(deploy)) = (chosen.is_empty(), &plan.deploy) {
            chosen.push(deploy.policy.parse().map_err(|e| {
                Diagnostic::from_error("policy", &e as &runtime::schedule::UnknownPolicy)
                    .at("the plan's policy")
                    .help("choose one by --policy")
            })?);
        }
        if chosen.is_empty() {
            chosen.push(Policy::Interleave);
        }
        let mut once = vec![];
        for policy in chosen {
            if !once.contains(&policy) {
                once.push(policy);
            }
        }
        Ok(once)
    }

    /// What policies are told.
    pub(super) fn options(&self) -> Options {
        let mut limits: Vec<u32> = self
            .limits
            .iter()
            .map(|k| (k * 1e3).round() as u32)
            .collect();
        limits.sort_unstable();
        limits.dedup();
        let default = Options::default();
        Options {
            queue: self.queue.unwrap_or(default.queue),
            limits,
            admission: self.admission,
            drop_late: self.drop_late,
            ..default
        }
    }

    /// What is asked, at each load; `solo_ns` is what each model takes alone.
    pub(super) fn asked(
        &self,
        plan: &ValidPlan,
        solo_ns: &[u64],
    ) -> Result<Vec<Asked>, Diagnostic> {
        let models = &plan.models;
        let services = self.services(plan, solo_ns)?;
        let Ok(pattern) = self.arrivals.parse() else {
            return self.recorded(models, services).map(|asked| vec![asked]);
        };
        let at = |load: Option<f64>, rates: &[f64]| Asked {
            load,
            services: services
                .iter()
                .zip(rates)
                .map(|(s, &rate)| Service { rate, ..s.clone() })
                .collect(),
            source: Source::Pattern {
                pattern,
                n: self.requests.unwrap_or(REQUESTS),
                seed: self.seed,
            },
        };
        if !self.rates.is_empty() {
            let given = by_model(models, &self.rates, 0.0)?;
            some_rate(&given, "--rate")?;
            return Ok(vec![at(None, &given)]);
        }
        let mix = by_model(models, &self.mix, 1.0)?;
        some_rate(&mix, "--mix")?;
        let stated = stated_rates(plan);
        if let (true, true, Some(stated)) = (self.loads.is_empty(), self.mix.is_empty(), stated) {
            return Ok(vec![at(None, &stated)]);
        }
        let loads = match self.loads.as_slice() {
            [] => &[LOAD],
            loads => loads,
        };
        Ok(loads
            .iter()
            .map(|&load| at(Some(load), &rates(load, solo_ns, &mix)))
            .collect())
    }

    /// Each model without its rate: as given, else as the plan says.
    fn services(&self, plan: &ValidPlan, solo_ns: &[u64]) -> Result<Vec<Service>, Diagnostic> {
        let deadlines: Vec<(String, Option<u64>)> = self
            .deadlines
            .iter()
            .map(|(m, t)| (m.clone(), Some(t.0)))
            .collect();
        let deadlines = by_model(&plan.models, &deadlines, None)?;
        let priorities: Vec<(String, Option<u8>)> = self
            .priorities
            .iter()
            .map(|(m, p)| (m.clone(), Some(*p)))
            .collect();
        let priorities = by_model(&plan.models, &priorities, None)?;
        let service = |(i, model): (usize, &Model)| {
            let services = plan.deploy.iter().flat_map(|d| &d.services);
            let stated = services.into_iter().find(|s| s.model.index() == i);
            Service {
                model: model.name.clone(),
                rate: 0.0,
                solo_ns: solo_ns[i],
                deadline_ns: deadlines[i].or(stated.and_then(|s| s.deadline_ns)),
                priority: priorities[i].or(stated.map(|s| s.priority)).unwrap_or(0),
            }
        };
        Ok(plan.models.iter().enumerate().map(service).collect())
    }

    fn recorded(&self, models: &[Model], mut services: Vec<Service>) -> Result<Asked, Diagnostic> {
        let given = [
            ("--load", self.loads.len()),
            ("--rate", self.rates.len()),
            ("--mix", self.mix.len()),
        ];
        if let Some((option, _)) = given.iter().find(|(_, n)| *n > 0) {
            return Err(Diagnostic::error(
                "arrivals",
                format!(
                    "{option} says how many requests come, and the file {} says when",
                    self.arrivals
                ),
            )
            .help(format!(
                "leave out {option}, or let requests come by a pattern"
            )));
        }
        let mut arrivals = trace::read(self.arrivals.as_ref(), models)?;
        arrivals.truncate(self.requests.map_or(usize::MAX, |n| n as usize));
        let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else {
            return Err(Diagnostic::error("arrivals", "there is no request")
                .at(format!("file {}", self.arrivals)));
        };
        let seconds = (last.at_ns - first.at_ns) as f64 / 1e9;
        for (i, service) in services.iter_mut().enumerate() {
            let n = arrivals.iter().filter(|a| a.model.index() == i).count();
            if seconds > 0.0 {
                service.rate = n as f64 / seconds;
            }
        }
        Ok(Asked {
            load: None,
            services,
            source: Source::Recorded(arrivals),
        })
    }

    /// Plays every scene by each of `players`, whose profiles are the same, shows what they came to, and
    /// says whether what the plan promises held, and outputs were right.
    pub(super) fn play(
        &self,
        plan: &ValidPlan,
        players: &mut [&mut dyn Player],
    ) -> Result<ExitCode, Diagnostic> {
        let catalogue = match &self.out {
            Some(folder) => Some(Catalogue::open(folder)?),
            None => None,
        };
        let (options, hash) = (self.options(), plan_hash(plan)?);
        let stage = Stage {
            plan,
            plan_hash: &hash,
            limits: &self.limits,
            options: &options,
            catalogue: catalogue.as_ref(),
            again: self.again,
        };
        let policies = self.policies(plan)?;
        let profile = players.first().map(|p| p.profile());
        let solo = profile
            .iter()
            .flat_map(|p| (0..p.models().len()).map(|m| p.alone_ns(m)));
        let asked = self.asked(plan, &solo.collect::<Vec<_>>())?;
        let n_scenes = (asked.len() * policies.len() * players.len()) as u64;
        let bar = crate::cli::progress::bar("scenes");
        let mut played = vec![];
        for asked in &asked {
            for &policy in &policies {
                for player in players.iter_mut() {
                    let load = asked.load.map_or_else(String::new, |l| format!(" at {l}"));
                    bar.say(&format!("{policy}{load}"));
                    let done = played.len() as u64;
                    let n = asked.n_requests().max(1);
                    let progress = |ended: u64| bar.show(done * n + ended, n_scenes * n);
                    played.push(stage.play(*player, asked, policy, &progress)?);
                }
            }
        }
        bar.finish();
        self.show(plan, played)
    }

    fn show(&self, plan: &ValidPlan, mut played: Vec<Played>) -> Result<ExitCode, Diagnostic> {
        if let Some(file) = &self.html {
            let names: Vec<&str> = plan.models.iter().map(|m| m.name.as_str()).collect();
            let html = page::html(&names.join(", "), &played, &self.limits);
            write_file(file, html.as_bytes())?;
            say(&format!("wrote {}", file.display()));
        }
        let status = broken(&played);
        if self.csv {
            data(csv(&played, &self.limits).as_bytes())?;
        } else if self.json {
            // What is needed to draw; the requests are in the catalogue.
            played
                .iter_mut()
                .for_each(|p| p.statistics.distribution.clear());
            data_json(&Report {
                plan: self.plan.display().to_string(),
                against_simulation: against_simulation(&played),
                scenes: played,
            })?;
        } else {
            data(text(&played, &self.limits).as_bytes())?;
            data(beside_simulation(&against_simulation(&played)).as_bytes())?;
        }
        Ok(status)
    }
}

/// What was played, as JSON.
#[derive(Serialize)]
struct Report {
    plan: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    against_simulation: Vec<Against>,
    scenes: Vec<Played>,
}

/// A scene that was measured and simulated.
#[derive(Serialize)]
struct Against {
    policy: String,
    load: Option<f64>,
    /// A model, or `total`.
    requests: String,
    measured_p99: f64,
    simulated_p99: f64,
    /// Simulated over measured, less 1.
    error: f64,
}

/// What [`Against::requests`] says of all.
const TOTAL: &str = "total";

/// Those of `played` that were measured and simulated, in total and by model.
fn against_simulation(played: &[Played]) -> Vec<Against> {
    let mut all = vec![];
    for measured in played.iter().filter(|p| p.scene.kind == Kind::Measured) {
        let twin = played.iter().find(|p| {
            p.scene.kind == Kind::Simulated
                && (&p.scene.policy, p.scene.load) == (&measured.scene.policy, measured.scene.load)
        });
        let Some(simulated) = twin else {
            continue;
        };
        let own = |p: &Played, model: Option<&str>| match model {
            None => Some(p.statistics.total.ratio?.p99),
            Some(name) => {
                let found = p.statistics.models.iter().find(|m| m.model == name)?;
                Some(found.summary.ratio?.p99)
            }
        };
        let models = measured
            .statistics
            .models
            .iter()
            .map(|m| Some(m.model.as_str()));
        for model in std::iter::once(None).chain(models) {
            if let (Some(measured_p99), Some(simulated_p99)) =
                (own(measured, model), own(simulated, model))
            {
                all.push(Against {
                    policy: measured.scene.policy.clone(),
                    load: measured.scene.load,
                    requests: model.unwrap_or(TOTAL).into(),
                    measured_p99,
                    simulated_p99,
                    error: simulated_p99 / measured_p99 - 1.0,
                });
            }
        }
    }
    all
}

fn beside_simulation(all: &[Against]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let percent = |v: f64| format!("{:+.1} %", 100.0 * v);
    // Each total comes before its models.
    let scenes = all.chunk_by(|_, next| next.requests != TOTAL);
    let row = |scene: &[Against]| {
        let (total, models) = (&scene[0], &scene[1..]);
        let load = total.load.map_or_else(String::new, |l| format!(" at {l}"));
        let farthest = models
            .iter()
            .max_by(|a, b| a.error.abs().total_cmp(&b.error.abs()));
        vec![
            format!("{}{load}", total.policy),
            format!("{:.3}", total.simulated_p99),
            format!("{:.3}", total.measured_p99),
            percent(total.error),
            farthest.map_or_else(String::new, |m| {
                format!("{} {}", m.requests, percent(m.error))
            }),
        ]
    };
    let header = [
        "p99 of ratios",
        "simulated",
        "measured",
        "off by",
        "a model at most",
    ];
    format!("\n{}", table(&header, &scenes.map(row).collect::<Vec<_>>()))
}

/// Says which promises did not hold, and which outputs were wrong; the answer is no if any was.
fn broken(played: &[Played]) -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for one in played {
        let wrong = one.outputs.as_ref().map_or(&[][..], |o| &o.wrong);
        if !wrong.is_empty() {
            status = ExitCode::from(NO);
            let mut diagnostic =
                Diagnostic::warning("outputs", "outputs are not those of the models alone")
                    .at(format!("policy {}", one.scene.policy))
                    .help("this is a defect of dlirc; the scene was not kept");
            diagnostic.notes = wrong.iter().take(10).cloned().collect();
            draw(&diagnostic);
        }
        for model in one.bounds.iter().flat_map(|b| b.broken()) {
            status = ExitCode::from(NO);
            let ms = |ns: u64| format!("{:.3} ms", ns as f64 / 1e6);
            draw(
                &Diagnostic::warning("bound", "a request took longer than the plan promises")
                    .at(format!("model {}, policy {}", model.model, one.scene.policy))
                    .note(format!(
                        "it waited {}, promised are {}; from arrival to end it took {}, promised are {}",
                        ms(model.wait_ns),
                        ms(model.wait_bound_ns),
                        ms(model.response_ns),
                        ms(model.response_bound_ns)
                    ))
                    .help("promises rest on the plan's block times: measure them on this machine"),
            );
        }
    }
    status
}

/// The rates that the plan was deployed for, if it says any.
fn stated_rates(plan: &ValidPlan) -> Option<Vec<f64>> {
    let mut rates = vec![0.0; plan.models.len()];
    for service in &plan.deploy.as_ref()?.services {
        rates[service.model.index()] = service.rate_mhz as f64 / 1e3;
    }
    rates.iter().any(|&r| r > 0.0).then_some(rates)
}

/// The value for each model: as `given`, the last of several, or `default`.
fn by_model<T: Clone>(
    models: &[Model],
    given: &[(String, T)],
    default: T,
) -> Result<Vec<T>, Diagnostic> {
    let mut values = vec![default; models.len()];
    for (name, value) in given {
        let found = models.iter().position(|m| m.name == *name);
        let index = found.ok_or_else(|| {
            let all: Vec<&str> = models.iter().map(|m| m.name.as_str()).collect();
            Diagnostic::error(
                "unknown-model",
                format!("the plan has no model called {name}"),
            )
            .help(format!("choose one of {}", all.join(", ")))
        })?;
        values[index] = value.clone();
    }
    Ok(values)
}

fn some_rate(values: &[f64], option: &str) -> Result<(), Diagnostic> {
    if values.iter().any(|&v| v > 0.0) {
        return Ok(());
    }
    Err(
        Diagnostic::error("no-requests", "no model is asked for anything")
            .help(format!("give at least one model more than 0 by {option}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ns) in [
            ("5ms", 5_000_000),
            ("800us", 800_000),
            ("1.5 s", 1_500_000_000),
            ("20ns", 20),
            ("3µs", 3_000),
        ] {
            assert_eq!(text.parse(), Ok(Time(ns)), "{text}");
        }
        for wrong in ["5", "ms", "-1ms", "0ms", "1e30s", "5m", "nans"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_stand_after_models() {
        assert_eq!(named::<f64>("a=b=2.5"), Ok(("a=b".into(), 2.5)));
        assert_eq!(named::<u8>("m=255"), Ok(("m".into(), 255)));
        for wrong in ["m", "m=", "m=-1", "m=inf", "m=nan"] {
            assert!(named::<f64>(wrong).is_err(), "{wrong}");
        }
        assert!(named::<u8>("m=256").unwrap_err().contains("0 to 255"));
        assert!(named::<Time>("m=7").unwrap_err().contains("5ms"));
    }

    #[test]
    fn loads_and_limits_are_numbers() {
        assert_eq!((positive("0.9"), factor("1")), (Ok(0.9), Ok(1.0)));
        for wrong in ["0", "-1", "inf", "x"] {
            assert!(
                positive(wrong).is_err() && factor(wrong).is_err(),
                "{wrong}"
            );
        }
        assert!(factor("0.5").is_err());
    }
}
