//! Models cut into blocks, from outside.

use super::{Place, model, names, node, tensor};
use serde_json::Value;

/// `a.onnx`: three nodes in a chain, of which each is a step, of `x: f32[2, 2]`.
fn chain() -> Place {
    let place = Place::new();
    let w = tensor("w", &[2, 2], &[1.0, -1.0, 0.5, 2.0]);
    let nodes = vec![
        node("Softmax", "one", &["x"], "p"),
        node("MatMul", "two", &["p", "w"], "q"),
        node("Softmax", "three", &["q"], "y/out:0"),
    ];
    place.write("a.onnx", model(nodes, vec![w], &["2", "2"]));
    place
}

fn json(bytes: impl AsRef<[u8]>) -> Value {
    serde_json::from_slice(bytes.as_ref()).unwrap()
}

#[test]
fn plans_are_cut_as_asked_and_say_so() {
    let place = chain();
    let made = place.done("compile a.onnx -o cut.dlplan --blocks 2 --json");
    let blocks = json(&made.out)["models"][0]["blocks"].clone();
    assert_eq!(blocks["n_blocks"], 2);
    let plan = json(place.done("inspect cut.dlplan --json").out);
    assert_eq!(plan["models"][0]["blocks"], blocks);
    let options = plan["options"].as_str().unwrap();
    assert!(options.contains(" blocks=2 splitter=dp"), "{options}");
    let cut = &plan["blocks"][1];
    assert_eq!(cut["live_tensors"], 1);
    assert_eq!(cut["live_bytes"], 16);
    let [cut_ns, ns] = ["cut_ns", "predicted_ns"].map(|k| cut[k].as_u64().unwrap());
    assert!(0 < cut_ns && cut_ns < ns);
    let text = place.done("inspect cut.dlplan --text").out;
    assert!(text.contains("  2 blocks, the longest "), "{text}");
    assert!(text.contains(" ns of it for the cut, needs "), "{text}");
    let summary = place.done("inspect cut.dlplan").out;
    assert!(summary.contains("tensors cut"), "{summary}");

    // The same outputs, cut or not.
    place.done("compile a.onnx -o whole.dlplan");
    let hashes = ["cut", "whole"].map(|p| {
        place.done(&format!("run {p}.dlplan --random 1 --output {p}"));
        let file = names(&place.path(p)).pop().unwrap();
        place.read(&format!("{p}/{file}"))
    });
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn steps_are_not_cut_and_the_plan_says_so() {
    let place = chain();
    let made = place.done("compile a.onnx -o a.dlplan --max-block 1ns");
    assert!(
        made.err.contains("a single step is never cut"),
        "{}",
        made.err
    );
    let made = place.done("compile a.onnx -o a.dlplan --blocks 9");
    assert!(made.err.contains("3 blocks, not 9"), "{}", made.err);
    place.fails("compile a.onnx -o a.dlplan --splitter dp", "splitter");
    place.fails(
        "compile a.onnx -o a.dlplan --blocks 2 --stall 3",
        "splitter",
    );
}

#[test]
fn genetic_searches_write_their_generations() {
    let place = chain();
    let line = "compile a.onnx -o a.dlplan --blocks 2 --splitter ga --generations 4 --stall 9 \
                --splitter-seed 3 --splitter-log log.csv";
    place.done(line);
    let log = String::from_utf8(place.read("log.csv")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines[0],
        "step,model-name,std,solution-best,runtime-bench (ms),overhead,total cost (ms)"
    );
    assert_eq!(lines.len(), 6, "{log}");
    for (step, line) in lines[1..].iter().enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!((fields.len(), fields[1]), (7, "a"), "{line}");
        assert_eq!(fields[0], step.to_string());
        assert!(["1", "2"].contains(&fields[3]), "{line}");
        let [whole, overhead, total] = [4, 5, 6].map(|i| fields[i].parse::<f64>().unwrap());
        assert!(
            (whole * (1.0 + overhead) - total).abs() < 1e-4 * total,
            "{line}"
        );
    }
    place.done(&line.replace("log.csv", "again.csv"));
    assert_eq!(place.read("again.csv"), log.as_bytes());
}

#[test]
fn blocks_leave_as_models() {
    let place = chain();
    place.done("compile a.onnx -o a.dlplan --splitter every --emit-children parts");
    let list = json(place.read("parts/a/params.json"));
    assert_eq!(list["-1"]["model_path"], "a.onnx");
    assert_eq!(list["-1"]["from"], 0);
    assert_eq!(list["-1"]["to"], 2);
    for (i, name) in ["one", "two", "three"].iter().enumerate() {
        let entry = &list[i.to_string()];
        assert_eq!(entry["nodes"], Value::from(vec![*name]));
        assert_eq!(entry["from"], i);
        assert_eq!(entry["to"], i);
        assert_eq!(entry["model_path"], format!("{i}/a-{i}.onnx"));
        let own = json(place.read(&format!("parts/a/{i}/params.json")));
        assert_eq!(own["model_path"], format!("a-{i}.onnx"));
        place.done(&format!("compile parts/a/{i}/a-{i}.onnx -o part.dlplan"));
    }
    assert_eq!(list["1"]["inputs"][0]["name"], "p");
    assert_eq!(list["2"]["outputs"][0]["shape"], Value::from(vec![2, 2]));
    place.write("file", "");
    place.fails(
        "compile a.onnx -o a.dlplan --emit-children file",
        "children",
    );
}
