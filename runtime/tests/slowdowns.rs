//! How much blocks slow one another down, by a profile.
#![allow(clippy::unwrap_used, reason = "what panics fails the test")]

use dlirc_runtime::schedule::{ModelProfile, Profile, Running};
use plans::Demand;
use plans::co_run::Weight;

#[test]
fn slowdowns_are_those_of_plans() {
    // Without levels, what the others need adds up; what was measured is added.
    let mut models = vec![];
    for (name, compute, memory) in [("a", 300, 900), ("b", 800, 0), ("c", 500, 500)] {
        let mut model = ModelProfile::new(name, &[1000]);
        model.blocks[0].weight = Weight::fair(Demand { compute, memory });
        models.push(model);
    }
    let mut profile = Profile::new(models);
    let slow = |profile: &Profile, of: &[usize]| {
        let set: Vec<Running> = of
            .iter()
            .map(|&model| Running {
                model,
                block: 0,
                level: 2,
            })
            .collect();
        let mut out = vec![0.0; of.len()];
        profile.slowdowns(&set, &mut out);
        out.iter()
            .map(|s| (s * 1e3).round() / 1e3)
            .collect::<Vec<f64>>()
    };
    assert_eq!(slow(&profile, &[0, 1, 2]), [2.3, 2.4, 2.7]);
    assert_eq!(slow(&profile, &[0, 2]), [1.5, 1.9]);
    profile.set_pair((0, 0), (2, 0), [1250, 1100]);
    assert_eq!(slow(&profile, &[0, 1, 2]), [2.05, 2.4, 1.9]);
}

/// Blocks of several levels: the urgent are slowed down less than at one level, and the device does as
/// much.
#[test]
fn levels_lose_no_work() {
    let mut state = 8u64;
    let mut below = move |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for _ in 0..2000 {
        let models = (0..6).map(|_| {
            let mut model = ModelProfile::new("m", &[1000]);
            let demand = Demand {
                compute: 1 + below(1000) as u16,
                memory: 1,
            };
            model.blocks[0].weight =
                Weight::new(demand, 1000 + below(300_000), 1 + below(40) as u32);
            model
        });
        let mut profile = Profile::new(models.collect());
        profile.residual = below(1001) as u32;
        let mut set: Vec<Running> = (0..2 + below(5) as usize)
            .map(|model| Running {
                model,
                block: 0,
                level: below(4) as u8,
            })
            .collect();
        let (mut slow, mut fair) = ([0.0; 6], [0.0; 6]);
        profile.slowdowns(&set, &mut slow);
        let first = set.iter().map(|r| r.level).min().unwrap();
        let urgent: Vec<bool> = set.iter().map(|r| r.level == first).collect();
        set.iter_mut().for_each(|r| r.level = 0);
        profile.slowdowns(&set, &mut fair);
        let n = set.len();
        let work = |slow: &[f64]| slow[..n].iter().map(|s| 1.0 / s).sum::<f64>();
        assert!(work(&slow) > work(&fair) - n as f64 / 20.0 - 1e-9);
        // No block is slowed down so much that it counts as less.
        if fair[..n].iter().all(|&s| s < 20.0) {
            assert!(work(&slow) > work(&fair) - 1e-9, "{slow:?} {fair:?}");
        }
        for i in (0..n).filter(|&i| urgent[i]) {
            assert!(slow[i] < fair[i] + 1e-9, "{slow:?} {fair:?}");
        }
    }
}
