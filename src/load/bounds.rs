//! What a plan promises, beside what was observed.

use crate::load::statistics::Statistics;
use plans::{Deploy, Model};
use runtime::schedule;
use serde::Serialize;

/// The plan's bounds for a scene.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Checked {
    /// Why the bounds say nothing about the scene, if they don't.
    pub because: Option<String>,
    /// Each model that has a bound and was asked.
    pub models: Vec<CheckedModel>,
}

/// A model's bound.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CheckedModel {
    /// The model.
    pub model: String,
    /// The longest time from arrival to the start of the first block, as promised.
    pub wait_bound_ns: u64,
    /// As observed.
    pub wait_ns: u64,
    /// The longest time from arrival to the end, as promised.
    pub response_bound_ns: u64,
    /// As observed.
    pub response_ns: u64,
}

impl CheckedModel {
    /// Whether nothing took longer than promised.
    pub fn holds(&self) -> bool {
        self.wait_ns <= self.wait_bound_ns && self.response_ns <= self.response_bound_ns
    }
}

impl Checked {
    /// The models that took longer than was promised for such scenes.
    pub fn broken(&self) -> impl Iterator<Item = &CheckedModel> {
        let counts = self.because.is_none();
        self.models.iter().filter(move |m| counts && !m.holds())
    }
}

/// Holds what was observed against what `deploy` promises; nothing if it promises nothing about the
/// models that were asked. The promise is for one policy, and for requests of a model that come no
/// closer to each other than its rate says.
pub fn check(
    models: &[Model],
    deploy: &Deploy,
    policy: &str,
    requests: impl Iterator<Item = schedule::Arrival>,
    statistics: &Statistics,
) -> Option<Checked> {
    let of = |service: &plans::Service| {
        let name = &models.get(service.model.index())?.name;
        let seen = statistics.models.iter().find(|m| m.model == *name)?;
        let bound = service.bound?;
        Some(CheckedModel {
            model: name.clone(),
            wait_bound_ns: bound.wait_ns,
            wait_ns: seen.summary.max_start_ns,
            response_bound_ns: bound.response_ns,
            response_ns: seen.summary.max_response_ns,
        })
    };
    let checked: Vec<CheckedModel> = deploy.services.iter().filter_map(of).collect();
    if checked.is_empty() {
        return None;
    }
    let because = if deploy.policy != policy {
        Some(format!("they are for the policy {}", deploy.policy))
    } else {
        too_close(models, deploy, requests)
    };
    Some(Checked {
        because,
        models: checked,
    })
}

/// The first request that comes closer to the one before than the rate of its model says.
fn too_close(
    models: &[Model],
    deploy: &Deploy,
    requests: impl Iterator<Item = schedule::Arrival>,
) -> Option<String> {
    let mut last: Vec<Option<u64>> = vec![None; models.len()];
    for (i, arrival) in requests.enumerate() {
        let model = arrival.request.model;
        let before = last[model.index()].replace(arrival.at_ns);
        let service = deploy.services.iter().find(|s| s.model == model);
        let Some(period) = service.and_then(plans::Service::period_ns) else {
            let name = &models[model.index()].name;
            return Some(format!("they are for no rate of {name}"));
        };
        if before.is_some_and(|before| arrival.at_ns - before < period) {
            return Some(format!(
                "request {i}, for {}, comes {:.3} ms after the one before, and they are for {:.3} ms",
                models[model.index()].name,
                (arrival.at_ns - before.unwrap_or(0)) as f64 / 1e6,
                period as f64 / 1e6
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::tests::{model, record};
    use crate::load::statistics::Collector;
    use plans::{Bound, ModelIndex, Service};
    use runtime::schedule::{Arrival, Request};

    fn deploy(wait_ns: u64, response_ns: u64) -> Deploy {
        Deploy {
            policy: "fifo".into(),
            services: vec![Service {
                model: ModelIndex(0),
                // 5 µs apart.
                rate_mhz: 200_000_000,
                deadline_ns: None,
                priority: 0,
                bound: Some(Bound {
                    wait_ns,
                    response_ns,
                }),
            }],
            rounds: vec![],
        }
    }

    /// A scene whose longest wait is 300 ns, and longest response 1,300 ns.
    fn checked(deploy: &Deploy, policy: &str, gap: u64) -> Option<Checked> {
        let mut collector = Collector::new(1, &[]);
        let mut requests = vec![];
        for i in 0..4 {
            collector.add(&record(0, i * gap, i * 100, 1000));
            requests.push(Arrival {
                at_ns: i * gap,
                request: Request::new(ModelIndex(0)),
            });
        }
        let models = [model("a")];
        let statistics = collector.statistics(&models);
        check(&models, deploy, policy, requests.into_iter(), &statistics)
    }

    #[test]
    fn bounds_hold_or_not() {
        let within = checked(&deploy(300, 1300), "fifo", 5000).unwrap();
        assert_eq!(
            (within.because.as_deref(), within.broken().count()),
            (None, 0)
        );
        assert!(within.models[0].holds());
        for short in [deploy(299, 1300), deploy(300, 1299)] {
            let broken = checked(&short, "fifo", 5000).unwrap();
            assert_eq!(broken.broken().count(), 1);
        }
    }

    #[test]
    fn bounds_are_for_a_policy_and_rates() {
        let other = checked(&deploy(0, 0), "dlir", 5000).unwrap();
        assert!(other.because.as_ref().unwrap().contains("fifo"));
        assert_eq!(other.broken().count(), 0);
        let close = checked(&deploy(0, 0), "fifo", 4999).unwrap();
        assert!(
            close
                .because
                .as_ref()
                .unwrap()
                .contains("request 1, for a, comes 0.005 ms")
        );
        let mut none = deploy(0, 0);
        none.services[0].bound = None;
        assert_eq!(checked(&none, "fifo", 5000), None);
    }
}
