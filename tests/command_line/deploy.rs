//! Models that run together, from outside.

use super::{Place, layer, names};
use serde_json::Value;

/// `deploy.toml`: two models, of which the second has a deadline and runs before the first.
fn place(deadline: &str, more: &str) -> Place {
    let place = Place::new();
    place.write("a.onnx", layer(0.0));
    place.write("b.onnx", layer(1.0));
    let text = format!(
        "{more}\n[[model]]\npath = \"a.onnx\"\nrate = 10\n\n\
         [[model]]\npath = \"b.onnx\"\nname = \"urgent\"\nrate = \"5/s\"\ndeadline = \"{deadline}\"\npriority = 1\n"
    );
    place.write("deploy.toml", text);
    place
}

fn json(bytes: impl AsRef<[u8]>) -> Value {
    serde_json::from_slice(bytes.as_ref()).unwrap()
}

#[test]
fn deployments_have_rounds_and_bounds() {
    let place = place("900ms", "");
    let made = place.done("compile --deploy deploy.toml --require-deadlines -o all.dlplan --json");
    let summary = json(&made.out)["deploy"].clone();
    assert_eq!(summary["policy"], "interleave");
    assert_eq!(summary["rounds"][0]["late_ns"], serde_json::json!([0, 0]));
    assert_eq!(summary["bounds"].as_object().unwrap().len(), 6);
    let plan = json(place.done("inspect all.dlplan --json").out);
    assert_eq!(plan["models"][1]["name"], "urgent");
    let services = &plan["deploy"]["services"];
    assert_eq!(services[1]["deadline_ns"], 900_000_000);
    assert_eq!(services[0]["rate_mhz"], 10_000);
    assert!(services[1]["worst_response_ns"].as_u64().unwrap() < 900_000_000);
    let options = plan["options"].as_str().unwrap();
    assert!(options.contains(" policy=interleave "), "{options}");
    let text = place.done("inspect all.dlplan --text").out;
    assert!(text.contains("\nround 0: "), "{text}");
    // The same file, the same plan.
    place.done("compile --deploy deploy.toml -o again.dlplan");
    assert!(place.read("all.dlplan") == place.read("again.dlplan"));
}

#[test]
fn rounds_run_and_are_drawn() {
    let place = place("900ms", "");
    place.done("compile --deploy deploy.toml -o all.dlplan");
    let ran = place.done(
        "run all.dlplan --random 1 --round --repeat 2 --json --output together --trace t.json",
    );
    let report = json(&ran.out);
    assert_eq!(report["round"]["number"], 0);
    assert!(report["round"]["predicted_ms"].as_f64().unwrap() > 0.0);
    place.done("run all.dlplan --random 1 --output apart");
    for model in ["a", "urgent"] {
        let outputs = names(&place.path(&format!("apart/{model}")));
        assert!(!outputs.is_empty());
        for file in outputs {
            let [together, apart] =
                ["together", "apart"].map(|folder| place.read(&format!("{folder}/{model}/{file}")));
            assert!(together == apart, "{model}/{file}");
        }
    }
    let measured = json(
        place
            .done("bench all.dlplan --round 0 --repeat 3 --json")
            .out,
    );
    assert_eq!(measured["models"], serde_json::json!(["a", "urgent"]));
    place.done("inspect all.dlplan --html all.html --trace t.json");
    let page = String::from_utf8(place.read("all.html")).unwrap();
    assert!(page.contains("\"measured\":[[") && page.contains("makespan_ns"));
    // The trace of another plan, no trace, no such round.
    place.done("compile a.onnx -o a.dlplan");
    place.write("no.json", "{}");
    place.fails(
        "inspect all.dlplan --html all.html --trace no.json",
        "trace",
    );
    place.fails("run a.dlplan --random 1 --round", "run");
    place.fails("run all.dlplan --random 1 --round 3", "run");
}

#[test]
fn deadlines_that_can_not_be_kept_are_refused() {
    let place = place("1us", "");
    let ran = place.dlirc("compile --deploy deploy.toml --require-deadlines -o all.dlplan");
    assert_eq!(ran.status, 1, "{}", ran.err);
    assert!(
        ran.err
            .contains("error[deadlines]: a deadline can't be promised")
    );
    assert!(ran.err.contains("urgent"), "{}", ran.err);
    assert!(ran.err.contains("help: "), "{}", ran.err);
    assert!(!place.path("all.dlplan").exists());
    // Without asking for it, a warning.
    let ran = place.done("compile --deploy deploy.toml -o all.dlplan");
    assert!(ran.err.contains("warning[deadlines]"), "{}", ran.err);
    assert!(place.path("all.dlplan").exists());
}

#[test]
fn models_that_never_run_at_once_share_memory() {
    let place = place("900ms", "exclusive = [[\"a\", \"urgent\"]]");
    place.done("compile --deploy deploy.toml -o all.dlplan");
    let plan = json(place.done("inspect all.dlplan --json").out);
    let arenas = plan["arenas"].as_array().unwrap().iter();
    let shared: Vec<&Value> = arenas.filter(|a| a["kind"] == "scratch").collect();
    assert!(
        shared
            .iter()
            .all(|a| a["models"].as_array().unwrap().len() == 2)
    );
}

#[test]
fn what_is_wrong_with_a_deployment_is_said_by_line() {
    let place = place("soon", "");
    let said = place.fails("compile --deploy deploy.toml -o all.dlplan", "deployment");
    assert!(said.contains("deploy.toml:10:12"), "{said}");
    assert!(said.contains("10 | deadline = \"soon\""), "{said}");
}
