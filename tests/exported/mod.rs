//! Small networks as PyTorch's two exporters write them: what becomes of their operators, and that
//! they compute the same.
//!
//! `models/NAME.export.onnx` is what the newer exporter writes, `models/NAME.trace.onnx` what the
//! older one writes; `make.py` makes both. The list of what is left of each after all passes is
//! `expectations.txt`, which `DLIRC_BLESS=1` writes anew.

use dlirc::inputs;
use dlirc::oracle::relative_error;
use ir::dtype::Kind;
use ir::{Graph, Program, RegionKind, Tensor, TensorType};
use onnx::ReadOptions;
use plans::ModelIndex;
use runtime::{Engine, Options};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HEAD: &str = "\
# Models, the steps of their plans, and the operators that are left after all passes, views apart.
# DLIRC_BLESS=1 writes this file anew.
";

/// The largest ‖out − reference‖ / ‖reference‖ of an output.
const TOLERANCE: f64 = 1e-5;

/// Operators that compute shapes, and those that a pattern is made of which must be recognised.
const GONE: &[&str] = &[
    "BatchNormalization",
    "ConstantOfShape",
    "Einsum",
    "Erf",
    "GatherND",
    "IsNaN",
    "Range",
    "ScatterND",
    "Shape",
    "Size",
    "Softmax",
    "Trilu",
];

/// Models that are one attention and nothing of it left beside it.
const ATTENTION: &[&str] = &[
    "attention_layer",
    "causal_heads",
    "cosine",
    "grid",
    "heads",
    "padded_heads",
    "rotary",
    "shared_heads",
    "shifted_windows",
    "windows",
];

fn folder() -> PathBuf {
    crate::root().join("tests/exported")
}

#[test]
fn exported_models_keep_their_meaning_and_lose_their_detours() {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder().join("models"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 2 * ATTENTION.len(), "{} models", paths.len());
    let mut found = HEAD.to_owned();
    let mut wrong = vec![];
    for path in &paths {
        let name = path.file_stem().unwrap().to_string_lossy();
        match check(path) {
            Ok(left) => found += &format!("{name}: {left}\n"),
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let list = folder().join("expectations.txt");
    if std::env::var_os("DLIRC_BLESS").is_some() {
        std::fs::write(&list, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&list).unwrap();
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.lines().count(), found.lines().count());
}

/// The steps of the model's plan and its operators, if it computes what it should.
fn check(path: &Path) -> Result<String, String> {
    let mut program = Program::default();
    let read = onnx::read(path, &ReadOptions::default(), &mut program);
    let id = read.map_err(|e| e.to_string())?.graph;
    let given = seeded(&program.graphs[id]);
    let reference = ir::eval::graph(&program.graphs[id], &program.weights, &given)
        .map_err(|e| format!("the reference: {e}"))?;

    crate::plan::optimise(&mut program)?;
    let optimised = ir::eval::graph(&program.graphs[id], &program.weights, &given)
        .map_err(|e| format!("the optimised program: {e}"))?;
    compare(&optimised, &reference, "the optimised program")?;
    let left = left(&program.graphs[id], path)?;

    let loaded = crate::plan::loaded(&program)?;
    let n_steps = loaded.plan().steps.len();
    let engine = Engine::bind(Arc::new(loaded), &Options::default()).map_err(|e| e.to_string())?;
    let mut session = Arc::new(engine).session().map_err(|e| e.to_string())?;
    let model = ModelIndex(0);
    inputs::set(&mut session, model, &given).map_err(|e| e.text())?;
    session.run(model).map_err(|e| e.to_string())?;
    let run = inputs::outputs(&session, model).map_err(|e| e.text())?;
    compare(&run, &reference, "the plan")?;
    Ok(format!("{n_steps} steps, {left}"))
}

/// Numbers between -2 and 2, or 0 and 1 in turns that no pattern follows.
fn seeded(graph: &Graph) -> Vec<Tensor> {
    let mut state = 0x9e37_79b9_u64;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    let mut tensor = |ty: &TensorType| {
        let dims = ty.shape.dims().unwrap();
        let n = dims.iter().product();
        if ty.dtype.kind() == Kind::Float {
            let values: Vec<f64> = (0..n)
                .map(|_| (next() % 4096) as f64 / 1024.0 - 2.0)
                .collect();
            Tensor::from_f64(ty.dtype, &dims, &values)
        } else {
            let values: Vec<i64> = (0..n).map(|_| (next() % 2) as i64).collect();
            Tensor::from_i64(ty.dtype, &dims, &values)
        }
    };
    graph.inputs.iter().map(|&v| tensor(graph.ty(v))).collect()
}

fn compare(found: &[Tensor], reference: &[Tensor], way: &str) -> Result<(), String> {
    for (i, (found, reference)) in found.iter().zip(reference).enumerate() {
        let error = relative_error(found, reference);
        if error > TOLERANCE {
            return Err(format!("{way}: output {i} is off by {error:.1e}"));
        }
    }
    Ok(())
}

/// How often each operator that is no view is left.
fn left(graph: &Graph, path: &Path) -> Result<String, String> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for &node in &graph.order {
        let node = &graph.nodes[node];
        let region = node.region.map(|r| graph.regions[r].kind);
        if region != Some(RegionKind::View) {
            *count.entry(node.op.name()).or_default() += 1;
        }
    }
    if let Some(op) = GONE.iter().find(|op| count.contains_key(*op)) {
        return Err(format!("{op} is left"));
    }
    let name = path.file_name().unwrap().to_string_lossy();
    let model = name.split('.').next().unwrap_or_default();
    if ATTENTION.contains(&model) && count.get("Attention") != Some(&1) {
        return Err("its attention was not recognised".into());
    }
    let counts = count.iter().map(|(op, n)| format!("{op} {n}"));
    Ok(counts.collect::<Vec<_>>().join(", "))
}
