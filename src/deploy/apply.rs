//! From a deployment to a plan's rounds and bounds.

use super::Deployment;
use passes::bounds::{self, Analysis, Rule};
use passes::interleave::{self, Found};
use passes::partition::{Goal, Splitter};
use plans::{Deploy, Device, ModelIndex, Plan, Service};
use runtime::schedule::{Options, Policy};

/// What became of a deployment.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The longest that requests wait and take under each policy.
    pub policies: Vec<(Policy, Analysis)>,
    /// The rounds, in the plan's order.
    pub rounds: Vec<Found>,
    /// Bytes that models share because they never run at once.
    pub shared_bytes: u64,
}

impl Deployment {
    /// How models are cut where nobody says how: into blocks of at most 0.2 ms on a GPU, into four on
    /// the host.
    pub fn splitter(on_gpu: bool) -> Splitter {
        Splitter::Dp(match on_gpu {
            true => Goal::Within(200_000),
            false => Goal::Blocks(4),
        })
    }

    /// What is asked of each model.
    fn services(&self) -> Vec<Service> {
        (0..)
            .zip(&self.models)
            .map(|(m, model)| Service {
                model: ModelIndex(m),
                rate_mhz: model.rate_mhz,
                deadline_ns: model.deadline.map(|d| d.as_nanos() as u64),
                priority: model.priority,
                bound: None,
            })
            .collect()
    }

    /// Lets models that never run at once share memory, makes rounds, and finds bounds. The plan's
    /// models are those of the deployment, in order, and its blocks have times.
    pub fn apply(&self, plan: &mut Plan) -> Outcome {
        let mut services = self.services();
        let all: Vec<ModelIndex> = services.iter().map(|s| s.model).collect();
        let mut shared_bytes = 0;
        if matches!(self.policy, Policy::Fifo | Policy::Bnst) {
            // Requests run whole, one at a time.
            shared_bytes += interleave::share_arenas(plan, &all);
        } else {
            for group in &self.exclusive {
                let group: Vec<ModelIndex> = group.iter().map(|&m| all[m]).collect();
                shared_bytes += interleave::share_arenas(plan, &group);
            }
        }
        let sets = interleave::sets(&services);
        let on_host = plan.steps.iter().all(|s| s.device == Device::Cpu);
        let default = interleave::Options::default();
        let options = interleave::Options {
            // The host runs a block at a time, on all of its threads.
            lanes: if on_host { 1 } else { self.lanes },
            events: default.events / sets.len().max(1) as u32,
            exact_nodes: default.exact_nodes / sets.len().max(1) as u32,
        };
        let rounds: Vec<Found> = sets
            .iter()
            .map(|set| {
                let of_set = services.iter().filter(|s| set.contains(&s.model));
                let of_set: Vec<Service> = of_set.copied().collect();
                interleave::round(plan, &of_set, &options)
            })
            .collect();
        let policies: Vec<(Policy, Analysis)> = Policy::ALL
            .into_iter()
            .map(|policy| (policy, self.analysis(plan, &services, policy)))
            .collect();
        if let Some((_, chosen)) = policies.iter().find(|(p, _)| *p == self.policy) {
            for (service, bound) in services.iter_mut().zip(&chosen.bounds) {
                service.bound = *bound;
            }
        }
        plan.deploy = Some(Deploy {
            policy: self.policy.name().to_owned(),
            services,
            rounds: rounds.iter().map(|f| f.round.clone()).collect(),
        });
        Outcome {
            policies,
            rounds,
            shared_bytes,
        }
    }

    /// The longest that requests wait and take under a policy with the runtime's own settings.
    pub fn analysis(&self, plan: &Plan, services: &[Service], policy: Policy) -> Analysis {
        let runtime = Options::default();
        let options = bounds::Options {
            margin: self.margin,
            overhead_ns: self.overhead.as_nanos() as u64,
            stall_ns: self.stall.as_nanos() as u64,
            lanes: usize::from(runtime.lanes),
            copies: usize::from(runtime.copies),
            ahead: usize::from(runtime.ahead),
        };
        bounds::bounds(plan, services, rule(policy), &options)
    }
}

/// What a policy lets happen.
pub fn rule(policy: Policy) -> Rule {
    match policy {
        Policy::Fifo => Rule::Fifo,
        Policy::Bnst => Rule::Bnst,
        Policy::Oyst => Rule::Oyst,
        Policy::Dlir => Rule::Dlir,
        Policy::Parallel => Rule::Parallel,
        Policy::Interleave => Rule::Interleave,
    }
}
