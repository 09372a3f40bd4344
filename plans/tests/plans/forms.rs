//! Forms of a plan for people: golden files, and names that want to be something else.

use crate::samples::{self, Sample};
use crate::{random_plans, zoo};
use plans::flow::{End, flows};
use plans::stats::stats;
use plans::{Lengths, ModelIndex, StepIndex, ValidPlan, validate};
use std::fs;
use std::path::Path;

pub(crate) fn valid(sample: Sample) -> ValidPlan {
    let lengths = Lengths::needed(&sample.plan);
    validate(sample.plan, lengths).expect("a sample is valid")
}

/// Compares with a file in `golden/`; `DLIRC_BLESS=1` writes it.
#[track_caller]
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    if std::env::var_os("DLIRC_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if let Some((n, (found, expected))) = text
        .lines()
        .chain([""])
        .zip(expected.lines().chain([""]))
        .enumerate()
        .find(|(_, (a, b))| a != b)
    {
        panic!(
            "golden/{name}, line {}:\nfound    {found}\nexpected {expected}\nDLIRC_BLESS=1 makes the new text the expected one",
            n + 1
        );
    }
    assert_eq!(text.len(), expected.len(), "golden/{name}");
}

#[test]
fn text_forms() {
    golden("mlp.txt", &plans::text::text(&samples::mlp().plan));
    golden("pair.txt", &plans::text::text(&samples::pair().plan));
    golden("zoo.txt", &plans::text::text(&zoo::zoo().plan));
    golden("device.txt", &plans::text::text(&samples::device().plan));
}

#[test]
fn dot_forms() {
    golden("pair.dot", &plans::dot::dot(&valid(samples::pair())));
    golden("device.dot", &plans::dot::dot(&valid(samples::device())));
}

/// A plan whose names are all `name`.
pub(crate) fn named(name: &str) -> ValidPlan {
    let mut sample = samples::mlp();
    let plan = &mut sample.plan;
    plan.warnings = vec![name.into()];
    plan.fingerprint.options = name.into();
    plan.fingerprint.target = name.into();
    for buffer in &mut plan.buffers {
        buffer.name = name.into();
    }
    for model in &mut plan.models {
        model.name = name.into();
        for port in model.inputs.iter_mut().chain(&mut model.outputs) {
            port.name = name.into();
        }
    }
    for step in &mut plan.steps {
        step.label = name.into();
        step.origin = vec![name.into(); 2];
    }
    valid(sample)
}

pub(crate) const HOSTILE: &str =
    "a\"b\\ \n\u{1b}[31m\u{202e}</script><script>alert(1)</script><!--&amp;'`";

#[test]
fn names_stay_names() {
    let plain = named("x");
    let hostile = named(HOSTILE);
    let text = plans::text::text(&hostile);
    assert_eq!(
        text.lines().count(),
        plans::text::text(&plain).lines().count()
    );
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(!text.contains('\u{202e}'));
    let dot = plans::dot::dot(&hostile);
    assert_eq!(dot.lines().count(), plans::dot::dot(&plain).lines().count());
    // Outside of strings, both say the same.
    let outside = |dot: &str| {
        let mut out = String::new();
        let (mut inside, mut escaped) = (false, false);
        for c in dot.chars() {
            if escaped {
                escaped = false;
            } else if inside && c == '\\' {
                escaped = true;
            } else if c == '"' {
                inside = !inside;
            } else if !inside {
                out.push(c);
            }
        }
        out
    };
    assert_eq!(outside(&dot), outside(&plans::dot::dot(&plain)));
}

#[test]
fn any_plan_has_a_text_form() {
    let mut random = crate::random(5);
    let originals = [samples::pair(), samples::device()]
        .map(|sample| postcard::to_stdvec(&sample.plan).unwrap());
    let mut n_decoded = 0;
    for i in 0..3000 {
        let mut bytes = originals[i % 2].clone();
        let at = random(bytes.len());
        bytes[at] = random(256) as u8;
        if let Ok(plan) = postcard::from_bytes::<plans::Plan>(&bytes) {
            n_decoded += 1;
            assert!(plans::text::text(&plan).starts_with("plan for "));
        }
    }
    assert!(n_decoded > 500, "{n_decoded}");
}

#[test]
fn flows_lead_from_writers_to_readers() {
    let plan = valid(samples::branches());
    let (m, step) = (ModelIndex(0), |i| End::Step(StepIndex(i)));
    let found: Vec<_> = flows(&plan).iter().map(|f| (f.from, f.to)).collect();
    assert_eq!(
        found,
        [
            (End::Input(m, 0), step(0)),
            (step(0), step(1)),
            (step(0), step(2)),
            (step(1), step(3)),
            (step(2), step(3)),
            (step(3), End::Output(m, 0)),
        ]
    );
    // An update takes the place of what it updates.
    let zoo = valid(zoo::zoo());
    let scatter = zoo
        .steps
        .iter()
        .position(|s| s.label == "ScatterND")
        .unwrap();
    let scatter = scatter as u32;
    let from_fill: Vec<_> = flows(&zoo)
        .into_iter()
        .filter(|f| f.from == step(scatter - 1))
        .map(|f| f.to)
        .collect();
    assert_eq!(from_fill, [step(scatter)]);
}

#[test]
fn numbers_of_a_chain() {
    // Three slots in turns for layers that read the last two results: all three are live at once.
    let stats = stats(&valid(samples::chain(10, 64)));
    let scratch = &stats.arenas[1];
    assert_eq!(scratch.n_buffers, 9);
    assert_eq!(scratch.planned_bytes, 3 * 256);
    assert_eq!(scratch.sum_bytes, 9 * 256);
    assert_eq!(scratch.live_bytes, 3 * 256);
    assert_eq!(stats.arenas[0].live_bytes, 2 * 256);
    assert_eq!(stats.classes.len(), 1);
    assert_eq!(
        (stats.classes[0].class, stats.classes[0].n_steps),
        ("map", 10)
    );
    assert_eq!(stats.classes[0].n_kernels, 2);
    assert_eq!(stats.models[0].n_steps, 10);
}

#[test]
fn sums_of_buffers_that_share_bytes_end_at_the_largest_number() {
    let mut sample = samples::chain(10, 64);
    let large = (1 << 52) - 256;
    sample.plan.arenas[1].bytes = large;
    let mut buffer = sample.plan.buffers[2].clone();
    assert_eq!(buffer.arena.index(), 1);
    (buffer.offset, buffer.bytes) = (0, large);
    sample
        .plan
        .buffers
        .extend(std::iter::repeat_n(buffer, 4100));
    assert_eq!(stats(&valid(sample)).arenas[1].sum_bytes, u64::MAX);
}

#[test]
fn no_plan_needs_less_than_is_live() {
    for seed in 0..200 {
        for arena in stats(&valid(random_plans::plan(seed))).arenas {
            assert!(arena.live_bytes <= arena.planned_bytes, "{seed}: {arena:?}");
            assert!(arena.live_bytes <= arena.sum_bytes);
        }
    }
}
