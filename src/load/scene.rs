//! One run of requests under one policy.

use crate::report::Diagnostic;
use plans::ValidPlan;
use serde::{Deserialize, Serialize};

/// Whether requests were run or reckoned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Run on a machine, in its time.
    Measured,
    /// In simulated time, with the times of blocks that the plan has.
    Simulated,
}

/// All that decides what a run of requests gives, as far as it is decided.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Scene {
    /// Of the layout of what is kept, and of the meaning of what follows.
    pub version: u32,
    /// Measured or simulated.
    pub kind: Kind,
    /// BLAKE3 of the plan.
    pub plan: String,
    /// What ran it; empty if nothing did.
    pub device: String,
    /// Threads on the host; 0 if none ran it.
    pub threads: usize,
    /// BLAKE3 of the times of blocks that policies reckon with.
    pub times: String,
    /// The policy.
    pub policy: String,
    /// A pattern's name, or `file:` and BLAKE3 of the requests.
    pub arrivals: String,
    /// What the rates were made from, if from a load.
    pub load: Option<f64>,
    /// Requests in all.
    pub requests: u64,
    /// What arrivals and inputs are drawn from.
    pub seed: u64,
    /// What the policy is told besides.
    pub options: String,
    /// Each model of the plan.
    pub services: Vec<Service>,
}

/// What is asked of a model in a scene.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Service {
    /// The model.
    pub model: String,
    /// Requests a second.
    pub rate: f64,
    /// What it takes alone.
    pub solo_ns: u64,
    /// When a request has to be finished, from its arrival.
    pub deadline_ns: Option<u64>,
    /// Greater goes first.
    pub priority: u8,
}

/// The [`Scene::version`] of this compiler.
pub const VERSION: u32 = 3;

impl Scene {
    /// A name that no other scene has: 32 digits of BLAKE3.
    pub fn key(&self) -> String {
        let text = serde_json::to_vec(self).expect("a scene has no map and no other keys");
        blake3::hash(&text).to_hex()[..32].to_string()
    }
}

/// BLAKE3 of a plan, with the hashes of its weights and the checksums of its images.
///
/// # Errors
/// None that are known of.
pub fn plan_hash(plan: &ValidPlan) -> Result<String, Diagnostic> {
    let mut hasher = blake3::Hasher::new();
    serde_json::to_writer(&mut hasher, &**plan)
        .map_err(|e| Diagnostic::error("plan-hash", format!("the plan can't be hashed: {e}")))?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn scene(policy: &str) -> Scene {
        Scene {
            version: VERSION,
            kind: Kind::Simulated,
            plan: "0123".into(),
            device: String::new(),
            threads: 0,
            times: "4567".into(),
            policy: policy.into(),
            arrivals: "poisson".into(),
            load: Some(0.9),
            requests: 3,
            seed: 1,
            options: String::new(),
            services: vec![Service {
                model: "a".into(),
                rate: 12.5,
                solo_ns: 1000,
                deadline_ns: None,
                priority: 0,
            }],
        }
    }

    #[test]
    fn whatever_differs_makes_another_scene() {
        let base = scene("fifo");
        assert_eq!(base.key(), scene("fifo").key());
        let mut others = vec![scene("dlir")];
        let changes: [fn(&mut Scene); 11] = [
            |s| s.kind = Kind::Measured,
            |s| s.plan.push('4'),
            |s| s.device = "cpu".into(),
            |s| s.threads = 1,
            |s| s.times.push('8'),
            |s| s.arrivals = "bursty".into(),
            |s| s.requests = 4,
            |s| s.seed = 2,
            |s| s.options.push('x'),
            |s| s.services[0].rate = 12.6,
            |s| s.services[0].deadline_ns = Some(7),
        ];
        for change in changes {
            let mut other = base.clone();
            change(&mut other);
            others.push(other);
        }
        for other in others {
            assert_ne!(base.key(), other.key(), "{other:?}");
        }
    }
}
