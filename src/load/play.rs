//! Playing scenes: who is asked what, what plays it, what is kept.

use crate::load::arrivals::{Arrival, Pattern, arrivals};
use crate::load::bounds::{Checked, check};
use crate::load::catalogue::Catalogue;
use crate::load::scene::{Kind, Scene, Service, VERSION};
use crate::load::statistics::{Collector, Statistics};
use crate::load::table::Played;
use crate::report::Diagnostic;
use plans::ValidPlan;
use runtime::schedule::{self, Options, Policy, Profile, Record, Request};
use serde::Serialize;

/// What plays scenes: a machine, or simulated time.
pub trait Player {
    /// Whether it measures.
    fn kind(&self) -> Kind;

    /// What runs the plan; empty if nothing does.
    fn device(&self) -> String;

    /// Threads on the host; 0 if none runs it.
    fn threads(&self) -> usize;

    /// The times of blocks that policies reckon with.
    fn profile(&self) -> &Profile;

    /// Lets the requests of `asked` come and hands each to `record` as it ended, in any order.
    /// `progress` is told how many have ended.
    ///
    /// # Errors
    /// What can't be run, and the errors of `record`.
    fn play(
        &mut self,
        policy: Policy,
        options: &Options,
        asked: &Asked,
        progress: &dyn Fn(u64),
        record: &mut dyn FnMut(&Record) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic>;

    /// Whether outputs are those of models alone; nothing where there are none, or none are compared.
    ///
    /// # Errors
    /// What can't be run.
    fn outputs(
        &mut self,
        policy: Policy,
        options: &Options,
        asked: &Asked,
    ) -> Result<Option<Outputs>, Diagnostic>;
}

/// Outputs of requests, compared bit for bit with those of models alone.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Outputs {
    /// Requests whose outputs were compared.
    pub checked: u64,
    /// Those whose outputs differ.
    pub wrong: Vec<String>,
}

/// How requests come.
#[derive(Clone, PartialEq, Debug)]
pub enum Source {
    /// As a pattern says, at the models' rates: so many, from this seed.
    Pattern {
        /// The pattern.
        pattern: Pattern,
        /// How many in all.
        n: u64,
        /// What they are drawn from.
        seed: u64,
    },
    /// As they were recorded.
    Recorded(Vec<Arrival>),
}

/// What is asked in a scene, whatever plays it under whatever policy.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// What the rates were made from, if from a load.
    pub load: Option<f64>,
    /// Each model of the plan.
    pub services: Vec<Service>,
    /// How requests come.
    pub source: Source,
}

impl Asked {
    /// The requests, by time, each made as it is asked for.
    pub fn requests(&self) -> Box<dyn Iterator<Item = schedule::Arrival> + '_> {
        let request = |a: Arrival| {
            let service = &self.services[a.model.index()];
            schedule::Arrival {
                at_ns: a.at_ns,
                request: Request {
                    deadline_ns: service.deadline_ns,
                    priority: service.priority,
                    ..Request::new(a.model)
                },
            }
        };
        match &self.source {
            Source::Recorded(arrivals) => Box::new(arrivals.iter().copied().map(request)),
            Source::Pattern { pattern, n, seed } => {
                let rates = self.services.iter().map(|s| (s.model.as_str(), s.rate));
                let all = arrivals(&rates.collect::<Vec<_>>(), *pattern, *seed);
                let n = usize::try_from(*n).unwrap_or(usize::MAX);
                Box::new(all.take(n).map(request))
            }
        }
    }

    /// How many there are.
    pub fn n_requests(&self) -> u64 {
        match &self.source {
            Source::Pattern { .. } if self.services.iter().all(|s| s.rate <= 0.0) => 0,
            Source::Pattern { n, .. } => *n,
            Source::Recorded(arrivals) => arrivals.len() as u64,
        }
    }

    fn name(&self) -> String {
        match &self.source {
            Source::Pattern { pattern, .. } => pattern.name().into(),
            Source::Recorded(arrivals) => {
                let mut hasher = blake3::Hasher::new();
                for a in arrivals {
                    hasher.update(&a.at_ns.to_le_bytes());
                    hasher.update(&a.model.0.to_le_bytes());
                }
                format!("file:{}", &hasher.finalize().to_hex()[..32])
            }
        }
    }
}

/// Plays scenes of one plan.
pub struct Stage<'s> {
    /// The plan.
    pub plan: &'s ValidPlan,
    /// What tells it from other plans.
    pub plan_hash: &'s str,
    /// Multiples of solo times for which late requests are counted.
    pub limits: &'s [f64],
    /// What policies are told.
    pub options: &'s Options,
    /// Where finished scenes are, if they are kept.
    pub catalogue: Option<&'s Catalogue>,
    /// Whether finished scenes are played again.
    pub again: bool,
}

impl Stage<'_> {
    /// Plays what is asked under `policy`, or finds it finished. `progress` is told how many requests
    /// have ended.
    ///
    /// # Errors
    /// Those of the player, and when a scene can't be kept or read. Nothing is kept then.
    pub fn play(
        &self,
        player: &mut dyn Player,
        asked: &Asked,
        policy: Policy,
        progress: &dyn Fn(u64),
    ) -> Result<Played, Diagnostic> {
        let scene = self.scene(player, asked, policy);
        let (statistics, outputs) = match self.finished(&scene)? {
            Some(statistics) => (statistics, None),
            None => self.make(player, &scene, policy, asked, progress)?,
        };
        let bounds = self.bounds(policy, asked, &statistics);
        Ok(Played {
            scene,
            statistics,
            bounds,
            outputs,
        })
    }

    fn scene(&self, player: &dyn Player, asked: &Asked, policy: Policy) -> Scene {
        let Options {
            queue,
            lanes,
            copies,
            ahead,
            levels,
            limits,
            starvation_cap,
            admission,
            drop_late,
        } = self.options;
        Scene {
            version: VERSION,
            kind: player.kind(),
            plan: self.plan_hash.into(),
            device: player.device(),
            threads: player.threads(),
            times: blake3::hash(format!("{:?}", player.profile()).as_bytes()).to_hex()[..32].into(),
            policy: policy.to_string(),
            arrivals: asked.name(),
            load: asked.load,
            requests: asked.n_requests(),
            seed: match asked.source {
                Source::Pattern { seed, .. } => seed,
                Source::Recorded(_) => 0,
            },
            options: format!(
                "queue {queue}, lanes {lanes}, copies {copies}, ahead {ahead}, levels {levels}, \
                 limits {limits:?}, starvation cap {starvation_cap}, admission {admission}, \
                 drop late {drop_late}"
            ),
            services: asked.services.clone(),
        }
    }

    fn finished(&self, scene: &Scene) -> Result<Option<Statistics>, Diagnostic> {
        match self.catalogue.filter(|_| !self.again) {
            Some(catalogue) => catalogue.finished(scene, &self.plan.models, self.limits),
            None => Ok(None),
        }
    }

    fn make(
        &self,
        player: &mut dyn Player,
        scene: &Scene,
        policy: Policy,
        asked: &Asked,
        progress: &dyn Fn(u64),
    ) -> Result<(Statistics, Option<Outputs>), Diagnostic> {
        let models = &self.plan.models;
        let mut draft = match self.catalogue {
            Some(catalogue) => Some(catalogue.begin(scene, models)?),
            None => None,
        };
        let mut collector = Collector::new(models.len(), self.limits);
        let mut n = 0;
        player.play(policy, self.options, asked, progress, &mut |record| {
            collector.add(record);
            n += 1;
            match &mut draft {
                Some(draft) => draft.record(record),
                None => Ok(()),
            }
        })?;
        if n != asked.n_requests() {
            return Err(Diagnostic::error(
                "lost-requests",
                format!("{} requests came, and {n} ended", asked.n_requests()),
            )
            .at(format!("policy {policy}"))
            .help("this is a defect of dlirc"));
        }
        let outputs = player.outputs(policy, self.options, asked)?;
        let statistics = collector.statistics(models);
        // A scene that gives wrong outputs is not kept.
        if let Some(draft) = draft
            && outputs.as_ref().is_none_or(|o| o.wrong.is_empty())
        {
            draft.finish(&statistics)?;
        }
        Ok((statistics, outputs))
    }

    fn bounds(&self, policy: Policy, asked: &Asked, statistics: &Statistics) -> Option<Checked> {
        let deploy = self.plan.deploy.as_ref()?;
        check(
            &self.plan.models,
            deploy,
            policy.name(),
            asked.requests(),
            statistics,
        )
    }
}
