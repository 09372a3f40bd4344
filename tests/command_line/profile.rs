//! Times that are measured, kept, predicted and used.

use super::{Place, layer};
use serde_json::Value;

/// A folder with the plan `two.dlplan`: a network in three blocks, and the layer `a` in one.
fn two() -> Place {
    let place = Place::new();
    place.done("fill squeezenet1_1 -o net.onnx");
    place.write("a.onnx", layer(1.0));
    place.done("compile net.onnx a.onnx -o two.dlplan --blocks 3 --quiet");
    place
}

fn json(place: &Place, line: &str) -> Value {
    serde_json::from_str(&place.done(line).out).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// All steps and blocks of all models.
fn rows(report: &Value) -> impl Iterator<Item = &Value> {
    let models = list(report, "models").iter();
    models.flat_map(|m| list(m, "steps").iter().chain(list(m, "blocks")))
}

#[test]
fn what_was_measured_is_kept() {
    let place = two();
    let line = "profile two.dlplan --device cpu --threads 1 --repeat 3 --db below/p.db --json";
    let first = json(&place, &format!("{line} --csv p.csv"));
    assert!(rows(&first).count() > 30);
    for row in rows(&first) {
        assert_eq!(row["origin"], "measured", "{row}");
        assert!(row["measured"]["mean_ns"].as_f64() > Some(0.0), "{row}");
        assert!(row["predicted_ns"].as_f64() > Some(0.0), "{row}");
        assert!(row["error"].is_number(), "{row}");
    }
    let net = &first["models"][0];
    assert_eq!(list(net, "blocks").len(), 3);
    let sum = |key: &str, of: &str| -> f64 {
        let numbers = list(net, key).iter().filter_map(|row| row[of].as_f64());
        numbers.sum()
    };
    assert!((sum("steps", "share") - 1.0).abs() < 1e-9);
    assert!(sum("blocks", "ns") > 0.999 * sum("steps", "ns"));
    let errors = list(&first, "errors");
    assert_eq!(errors.last().unwrap()["class"], "all");

    let csv = String::from_utf8(place.read("p.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 1 + rows(&first).count());
    for line in &lines {
        assert_eq!(
            line.split(',').count(),
            lines[0].split(',').count(),
            "{line}"
        );
    }

    // Nothing is measured again unless asked.
    let second = json(&place, line);
    for (row, before) in rows(&second).zip(rows(&first)) {
        assert_eq!(row["origin"], "database", "{row}");
        assert_eq!(row["measured"], before["measured"]);
    }
    let again = json(&place, &format!("{line} --again"));
    assert!(rows(&again).all(|row| row["origin"] == "measured"));
    assert!(
        rows(&again)
            .zip(rows(&first))
            .any(|(a, b)| a["ns"] != b["ns"])
    );

    // Nothing is measured at all.
    let dry = json(&place, "profile two.dlplan --dry --db below/p.db --json");
    assert!(rows(&dry).all(|row| row["origin"] == "database"));
    let dry = place.done("profile two.dlplan --dry --db below/none.db");
    assert!(
        dry.out.contains("predicted") && !dry.out.contains("measured"),
        "{}",
        dry.out
    );
    assert!(!place.path("below/none.db").exists());
}

#[test]
fn a_description_is_fitted_to_what_was_measured() {
    let place = two();
    let measured = "profile two.dlplan --device cpu --threads 1 --repeat 3 --db p.db";
    let said = place.done(&format!("{measured} --fit this.toml")).err;
    let percents: Vec<f64> = said
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [after, before] = percents[..] else {
        panic!("{said}");
    };
    assert!(after < before, "{said}");

    let with = |model: &str| {
        let line = format!("{measured} --dry --json --device-model {model}");
        let report = json(&place, &line);
        let mut errors = list(&report, "errors").iter();
        let all = errors.rfind(|e| e["class"] == "all").unwrap();
        (report["device"].clone(), all["mean"].as_f64().unwrap())
    };
    let ((name, fitted), (_, known)) = (with("this.toml"), with("cpu"));
    assert!(name.as_str().unwrap().contains("1 threads"), "{name}");
    assert!(fitted < known, "{fitted} {known}");

    let refused = place.fails(
        "profile two.dlplan --dry --db none.db --fit none.toml",
        "nothing-measured",
    );
    assert!(refused.contains("no step was measured"), "{refused}");
    assert!(!place.path("none.toml").exists());
}

#[test]
fn blocks_are_measured_side_by_side() {
    let place = two();
    let line = "profile two.dlplan --device cpu --threads 1 --repeat 3 --db p.db --pairs";
    let first = json(&place, &format!("{line} --json"));
    let pairs = list(&first, "pairs");
    assert_eq!(pairs.len(), 3);
    for pair in pairs {
        assert_eq!(pair["origin"], "measured");
        for slowdown in list(pair, "slowdown") {
            assert!(slowdown.as_f64() >= Some(1.0), "{pair}");
        }
    }
    let second = place.done(line);
    assert!(second.out.contains("net[2] beside a[0]"), "{}", second.out);
    let row = second
        .out
        .lines()
        .find(|l| l.starts_with("net[0] beside a[0]"));
    assert!(row.unwrap().ends_with("database"), "{}", second.out);
}

#[test]
fn plans_take_what_was_measured() {
    let place = Place::new();
    place.write("a.onnx", layer(1.0));
    place.write("b.onnx", layer(2.0));
    let compile = |name: &str, more: &str| {
        place.done(&format!("compile a.onnx b.onnx -o {name} --quiet{more}"));
        json(&place, &format!("inspect {name} --json"))
    };
    let predicted = compile("predicted.dlplan", "");
    for block in list(&predicted, "blocks") {
        assert!(block["predicted_ns"].as_u64() > Some(0), "{block}");
        assert!(block["measured_ns"].is_null(), "{block}");
    }
    let text = place.done("inspect predicted.dlplan --text").out;
    assert!(text.contains("block 0, predicted "), "{text}");

    place.done("profile predicted.dlplan --device cpu --repeat 3 --db p.db --pairs");
    let measured = compile("measured.dlplan", " --costs p.db");
    for block in list(&measured, "blocks") {
        assert!(block["measured_ns"].as_u64() > Some(0), "{block}");
    }
    assert!(list(&predicted, "co_run").is_empty());
    assert_eq!(list(&measured, "co_run").len(), 1);
    let options = |plan: &Value| plan["options"].as_str().unwrap().to_owned();
    assert!(!options(&predicted).contains("costs="));
    assert!(options(&measured).contains("costs="));

    // The same measurements give the same plan, others another.
    compile("same.dlplan", " --costs p.db");
    assert_eq!(place.read("measured.dlplan"), place.read("same.dlplan"));
    place.done("profile predicted.dlplan --device cpu --repeat 4 --db p.db --again");
    let other = compile("other.dlplan", " --costs p.db");
    assert_ne!(options(&measured), options(&other));
}

#[test]
fn databases_that_cannot_be_used() {
    let place = Place::with_plan("a");
    place.write("text.db", "this is no database\n".repeat(200));
    let code = "profile-database";
    let damaged = place.fails("profile a.dlplan --device cpu --db text.db", code);
    assert!(damaged.contains("is damaged"), "{damaged}");
    place.fails("compile a.onnx -o b.dlplan --costs text.db", code);
    let missing = place.fails("compile a.onnx -o b.dlplan --costs none.db", code);
    assert!(missing.contains("none.db"), "{missing}");
    assert!(!place.path("none.db").exists() && !place.path("b.dlplan").exists());
    drop(costs::Database::open(&place.path("empty.db")).unwrap());
    let ran = place.done("compile a.onnx -o b.dlplan --costs empty.db");
    assert!(ran.err.contains("has no measurement of"), "{}", ran.err);
}

#[test]
fn the_device_that_is_present_is_described() {
    let place = Place::new();
    place.write("a.onnx", layer(1.0));
    place.done("profile device --device cpu --threads 1 -o this.toml");
    let device = costs::Device::load(&place.path("this.toml")).unwrap();
    assert_eq!((device.kind, device.units), (costs::Kind::Cpu, 1));
    assert!(device.bytes_per_s > 1e8 && device.cache_bytes_per_s >= device.bytes_per_s);
    assert!(device.flop_per_s("f32") > 1e8);
    place.done("compile a.onnx -o a.dlplan --device-model this.toml");
    let plan = json(&place, "inspect a.dlplan --json");
    assert!(plan["options"].as_str().unwrap().contains("device-model="));

    let code = "device-model";
    let error = place.fails("compile a.onnx -o b.dlplan --device-model h200", code);
    assert!(error.contains("no device of the target cpu"), "{error}");
    place.write("wrong.toml", "name = 1");
    place.fails("compile a.onnx -o b.dlplan --device-model wrong.toml", code);
    place.fails("compile a.onnx -o b.dlplan --device-model none.toml", code);
}

#[test]
fn models_are_compiled_for_the_device() {
    let place = Place::new();
    place.write("a.onnx", layer(1.0));
    place.write("b.onnx", layer(2.0));
    let line = "profile a.onnx b.onnx --device cpu --repeat 2 --db p.db --json";
    let report = json(&place, line);
    let names: Vec<&Value> = list(&report, "models").iter().map(|m| &m["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(rows(&report).all(|row| row["origin"] == "measured"));
}
