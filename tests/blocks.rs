//! Models cut into blocks: the same bits whatever the cuts, and blocks as models of their own.

use crate::models::{Unwatched, filled};
use dlirc::driver::{self, Compiled, Request};
use dlirc::oracle::{Oracle, relative_error};
use dlirc::{children, inputs};
use ir::Tensor;
use passes::partition::{GeneticOptions, Goal, Splitter};
use runtime::{Engine, Loaded, Options, Session};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn compile(model: &Path, splitter: Splitter) -> (Request, Compiled) {
    let request = Request {
        models: vec![model.into()],
        splitter,
        ..Request::default()
    };
    let compiled = driver::compile(&request, &mut Unwatched);
    (request, compiled.unwrap_or_else(|e| panic!("{}", e.text())))
}

fn session(compiled: &Compiled) -> Session {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.dlplan");
    driver::write(compiled, &file).unwrap_or_else(|e| panic!("{}", e.text()));
    let options = Options {
        threads: 2,
        ..Options::default()
    };
    let plan = Arc::new(Loaded::open(&file).unwrap());
    let engine = Engine::bind(plan, &options).unwrap();
    Arc::new(engine).session().unwrap()
}

fn run(compiled: &Compiled, values: &[Tensor]) -> Vec<Tensor> {
    let mut session = session(compiled);
    let model = plans::ModelIndex(0);
    inputs::set(&mut session, model, values).unwrap_or_else(|e| panic!("{}", e.text()));
    session.run(model).unwrap();
    inputs::outputs(&session, model).unwrap_or_else(|e| panic!("{}", e.text()))
}

#[test]
fn cuts_change_no_bit() {
    for name in ["squeezenet1_1", "gcn", "gru"] {
        let architecture = models::find(name).unwrap();
        let path = filled(architecture);
        let values: Vec<Tensor> = models::random_inputs(architecture, 1)
            .into_iter()
            .map(|(_, t)| t)
            .collect();
        let (_, whole) = compile(&path, Splitter::Whole);
        assert_eq!(whole.plan.blocks.len(), 1);
        let total = whole.plan.blocks[0].predicted_ns;
        assert!(total > 0);
        let expected = run(&whole, &values);
        for splitter in [
            Splitter::Dp(Goal::Blocks(2)),
            Splitter::Dp(Goal::Within(total / 5)),
            Splitter::Greedy(Goal::Blocks(4)),
            Splitter::Genetic(3, GeneticOptions::default()),
            Splitter::Every,
            Splitter::Converge,
        ] {
            let (_, cut) = compile(&path, splitter);
            let n = cut.plan.blocks.len();
            assert!(n > 1, "{name} {splitter:?}");
            assert!(cut.plan.fingerprint.options.contains(" splitter="));
            let found = run(&cut, &values);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    found.ty() == expected.ty() && found.bytes() == expected.bytes(),
                    "{name} in {n} blocks ({splitter:?}) gives other bits"
                );
            }
        }
    }
}

/// The blocks of a manifest, in order: path, names of inputs, names of outputs.
struct Listed {
    path: PathBuf,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

fn listed(manifest: &Path) -> Vec<Listed> {
    let text = std::fs::read_to_string(manifest).unwrap();
    let all: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let names = |ports: &Value| {
        let ports = ports.as_array().unwrap().iter();
        ports
            .map(|p| p["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut next = 0;
    let mut blocks = vec![];
    for i in 0..all.len() - 1 {
        let entry = &all[&i.to_string()];
        let home = manifest.with_file_name(i.to_string());
        let own = std::fs::read_to_string(home.join("params.json")).unwrap();
        let own: Value = serde_json::from_str(&own).unwrap();
        assert_eq!(
            (&own["from"], &own["outputs"]),
            (&entry["from"], &entry["outputs"])
        );
        let Some(path) = entry["model_path"].as_str() else {
            continue;
        };
        // Nodes follow one another without a gap.
        assert_eq!(entry["from"].as_u64().unwrap(), next);
        next = entry["to"].as_u64().unwrap() + 1;
        blocks.push(Listed {
            path: manifest.with_file_name(path),
            inputs: names(&entry["inputs"]),
            outputs: names(&entry["outputs"]),
        });
    }
    assert_eq!(all["-1"]["from"], 0);
    assert_eq!(all["-1"]["to"].as_u64().unwrap() + 1, next);
    blocks
}

#[test]
fn blocks_run_in_a_chain_as_models_of_their_own() {
    let oracle = Oracle::load(None);
    if let Err(why) = &oracle {
        crate::skipped(&format!("blocks in ONNX Runtime: {}", why.text()));
    }
    for (name, splitter) in [
        ("squeezenet1_1", Splitter::Dp(Goal::Blocks(3))),
        ("googlenet", Splitter::Dp(Goal::Blocks(4))),
        ("dcgan", Splitter::Every),
        ("gcn", Splitter::Converge),
        ("gru", Splitter::Dp(Goal::Blocks(2))),
    ] {
        let architecture = models::find(name).unwrap();
        let path = filled(architecture);
        let named = models::random_inputs(architecture, 1);
        let values: Vec<Tensor> = named.iter().map(|(_, t)| t.clone()).collect();
        let (request, whole) = compile(&path, splitter);
        let expected = run(&whole, &values);
        let folder = tempfile::tempdir().unwrap();
        let manifests = children::emit(&whole.plan, &request, folder.path());
        let manifests = manifests.unwrap_or_else(|e| panic!("{}", e.text()));
        let blocks = listed(&manifests[0]);
        assert!(blocks.len() > 1, "{name}: {} blocks", blocks.len());
        let inputs: BTreeMap<String, Tensor> = named
            .iter()
            .map(|(n, t)| (n.to_string(), t.clone()))
            .collect();
        let check = |found: &BTreeMap<String, Tensor>, by: &str| {
            for (port, expected) in whole.plan.models[0].outputs.iter().zip(&expected) {
                let error = relative_error(&found[&port.name], expected);
                assert!(
                    error < 1e-4,
                    "{name}: {} by {by} differs by {error:e}",
                    port.name
                );
            }
        };

        let mut env = inputs.clone();
        for block in &blocks {
            let (_, compiled) = compile(&block.path, Splitter::Whole);
            let given: Vec<Tensor> = block.inputs.iter().map(|n| env[n].clone()).collect();
            let found = run(&compiled, &given);
            env.extend(block.outputs.iter().cloned().zip(found));
        }
        check(&env, "dlirc");

        let Ok(oracle) = &oracle else { continue };
        let mut env = inputs;
        for block in &blocks {
            let mut peer = oracle
                .open(&block.path, 2)
                .unwrap_or_else(|e| panic!("{}", e.text()));
            assert_eq!(peer.output_names(), block.outputs);
            let given: Vec<(&str, &Tensor)> =
                block.inputs.iter().map(|n| (n.as_str(), &env[n])).collect();
            let (found, _) = peer.run(&given).unwrap_or_else(|e| panic!("{}", e.text()));
            env.extend(block.outputs.iter().cloned().zip(found));
        }
        check(&env, "ONNX Runtime");
    }
}
