//! Models to plans, plans to results.

use super::{Place, layer, names, npy};
use serde_json::Value;

#[test]
fn a_model_is_compiled_and_run() {
    let place = Place::with_plan("a");
    assert_eq!(place.names(), ["a.dlplan", "a.onnx"]);
    place.write("x.npy", npy("2, 3", &[1.0, 2.0, 3.0, -1.0, -2.0, -3.0]));
    let ran = place.done("run a.dlplan --input x=x.npy --output out");
    assert!(
        ran.out
            .contains("a\n  y/out:0 f32[2, 2]\n    largest 3: 7.00000  0: 6.00000"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("median"), "{}", ran.out);
    assert_eq!(names(&place.path("out")), ["y_out_0.npy"]);
    let output = dlirc::npy::read(&place.path("out/y_out_0.npy")).unwrap();
    assert_eq!(
        output,
        ir::Tensor::from_slice(&[2, 2], &[6.0f32, 0.0, 0.0, 7.0])
    );
}

#[test]
fn several_models_share_a_plan() {
    let place = Place::new();
    place.write("a.onnx", layer(1.0));
    place.write("b.onnx", layer(2.0));
    let ran = place.done("compile a.onnx b.onnx -o both.dlplan");
    assert_eq!(ran.out, "");
    assert!(ran.err.ends_with("wrote both.dlplan\n"), "{}", ran.err);
    place.write("x.npy", npy("2, 3", &[-1.0; 6]));
    let ran =
        place.done("run both.dlplan --input x=x.npy --repeat 3 --threads 1 --json --output out");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    for key in ["median_ms", "min_ms", "p99_ms"] {
        assert!(json[key].as_f64().unwrap() > 0.0);
        assert!(json["models"][1][key].as_f64().unwrap() > 0.0);
    }
    assert_eq!((&json["threads"], &json["repeat"]), (&1.into(), &3.into()));
    let outputs = json["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 2);
    for (output, (model, most)) in outputs.iter().zip([("a", 4.0), ("b", 5.0)]) {
        assert_eq!(output["model"], model);
        assert_eq!(
            (&output["dtype"], &output["shape"]),
            (&"f32".into(), &vec![2, 2].into())
        );
        assert_eq!(output["top"][0][1].as_f64(), Some(most));
        assert_eq!(names(&place.path("out").join(model)), ["y_out_0.npy"]);
    }
    let ran = place.done("run both.dlplan --model b --random 3 --json");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["outputs"].as_array().unwrap().len(), 1);
}

#[test]
fn the_same_models_give_the_same_bytes() {
    let place = Place::with_plan("a");
    place.done("compile a.onnx -o again.dlplan --quiet");
    assert_eq!(place.read("a.dlplan"), place.read("again.dlplan"));
}

#[test]
fn the_same_seed_gives_the_same_results() {
    let place = Place::with_plan("a");
    let outputs = |line: &str| {
        let json: Value = serde_json::from_str(&place.done(line).out).unwrap();
        json["outputs"].clone()
    };
    assert_eq!(
        outputs("run a.dlplan --random 5 --json"),
        outputs("run a.dlplan --random 5 --json")
    );
    assert_ne!(
        outputs("run a.dlplan --random 5 --json"),
        outputs("run a.dlplan --random 6 --json")
    );
}

#[test]
fn open_dimensions_are_bound() {
    let place = Place::new();
    place.write(
        "a.onnx",
        super::model(
            vec![super::node("Relu", "r", &["x"], "y/out:0")],
            vec![],
            &["batch", "2"],
        ),
    );
    let error = place.fails("compile a.onnx -o a.dlplan", "lower");
    assert!(
        error.contains("batch") && error.contains("--shape"),
        "{error}"
    );
    assert_eq!(place.names(), ["a.onnx"]);
    for shape in ["batch=2", "x=2,2"] {
        place.done(&format!("compile a.onnx -o a.dlplan --shape {shape}"));
        let ran = place.done("inspect a.dlplan");
        assert!(ran.out.contains("input x: f32[2,2]"), "{}", ran.out);
    }
}

#[test]
fn a_summary_is_json_if_asked() {
    let place = Place::new();
    place.write("a.onnx", layer(1.0));
    let ran = place.done("compile a.onnx -o a.dlplan --json");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["models"][0]["nodes"], 3);
    assert!(json["arenas"][0]["planned_bytes"].as_u64().unwrap() > 0);
    assert!(json["phases_ms"]["read"].as_f64().is_some());
    assert!(json["algebra"]["regions"].as_u64().is_some());
}

#[test]
fn a_plan_is_verified_beside_onnx_runtime() {
    let place = Place::with_plan("a");
    let ran = place.done("verify a.dlplan");
    assert_eq!(ran.out, "a.dlplan is whole: 1 models, 1 steps\n");
    place.write("other.onnx", layer(3.0));
    let ran = place.dlirc("verify a.dlplan --against a.onnx --samples 3");
    if ran.status == 2 && ran.err.starts_with("error[no-onnxruntime]") {
        println!("skipped: no ONNX Runtime");
        return;
    }
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("a: y/out:0") && ran.out.contains("ok\n"),
        "{}",
        ran.out
    );
    let ran = place.dlirc("verify a.dlplan --against a=other.onnx --json");
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&json["ok"], &json["outputs"][0]["ok"]),
        (&false.into(), &false.into())
    );
    let ran = place.dlirc("verify a.dlplan --against other.onnx --tolerance 1e9");
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let ran = place.done("bench a.dlplan --against a.onnx --repeat 3 --threads 1 --json --steps 2");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(json["models"][0]["speed"].as_f64().unwrap() > 0.0);
    assert_eq!(json["models"][0]["runs"], 3);
}
