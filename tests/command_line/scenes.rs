//! Requests for the models of a plan: reckoned, run, kept, shown.

use super::{Place, layer, names};
use serde_json::Value;
use std::collections::BTreeMap;

/// A plan of the layers `a` and `b`.
fn two() -> Place {
    let place = Place::new();
    place.write("a.onnx", layer(1.0));
    place.write("b.onnx", layer(2.0));
    place.done("compile a.onnx b.onnx -o both.dlplan --quiet");
    place
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The requests of the only scene in `folder`.
fn requests(place: &Place, folder: &str) -> Vec<Value> {
    let scene = scenes(place, folder).remove(0);
    let text = place.read(&format!("{folder}/{scene}/requests.jsonl"));
    let text = String::from_utf8(text).unwrap();
    text.lines().map(json).collect()
}

/// The folders of scenes in `folder`.
fn scenes(place: &Place, folder: &str) -> Vec<String> {
    let mut found = names(&place.path(folder));
    found.retain(|n| n.len() == 32);
    found
}

#[test]
fn simulations_always_give_the_same() {
    let place = two();
    let line = "simulate both.dlplan --policy all --load 0.6,1.1 --requests 300";
    let first = place.done(line);
    assert_eq!(first.out, place.done(line).out);
    assert!(
        first.out.contains("load 0.6: 300 poisson requests"),
        "{}",
        first.out
    );
    assert!(
        first.out.contains("load 1.1: 300 poisson requests"),
        "{}",
        first.out
    );
    for policy in ["fifo", "bnst", "oyst", "dlir", "parallel", "interleave"] {
        let lines = first.out.lines().filter(|l| l.starts_with(policy));
        assert_eq!(lines.count(), 2, "{}", first.out);
    }
    let line = line.replace("--requests 300", "--json --requests 200");
    let report = place.done(&line).out;
    assert_eq!(report, place.done(&line).out);
    assert_eq!(json(&report)["scenes"].as_array().unwrap().len(), 12);
    let other = place.done(&format!("{line} --seed 2")).out;
    assert_ne!(report, other);
}

#[test]
fn patterns_differ() {
    let place = two();
    let mut seen = vec![];
    for pattern in ["poisson", "regular", "periodic", "bursty"] {
        let line =
            format!("simulate both.dlplan --arrivals {pattern} --rate a=100 --requests 50 --json");
        let report = json(&place.done(&line).out);
        let scene = &report["scenes"][0];
        assert_eq!(scene["scene"]["arrivals"], pattern);
        assert_eq!(scene["scene"]["services"][0]["rate"], 100.0);
        assert_eq!(scene["scene"]["services"][1]["rate"], 0.0);
        // Nobody asks for b.
        let models = scene["statistics"]["models"].as_array().unwrap();
        assert_eq!((models.len(), &models[0]["model"]), (1, &"a".into()));
        seen.push(scene["statistics"]["span_ns"].as_u64().unwrap());
    }
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

/// The statistics of records, from their definitions.
fn reckoned(requests: &[Value]) -> BTreeMap<&'static str, f64> {
    let number = |r: &Value, key: &str| r[key].as_u64().unwrap() as f64;
    let mut ratios: Vec<f64> = requests
        .iter()
        .filter(|r| r["outcome"] == "done")
        .map(|r| {
            ((number(r, "finish_ns") - number(r, "arrival_ns")) / number(r, "limit_ns")).max(1.0)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let n = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / n;
    let variance = ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let over = |k: f64| {
        let within = ratios.iter().filter(|&&r| r <= k).count() as f64;
        1.0 - within / requests.len() as f64
    };
    let rank = |share: f64| ratios[(share * n).ceil() as usize - 1];
    [
        ("requests", requests.len() as f64),
        ("finished", n),
        ("min", ratios[0]),
        ("mean", mean),
        ("max", ratios[ratios.len() - 1]),
        ("std", variance.sqrt()),
        ("p50", rank(0.5)),
        ("p99", rank(0.99)),
        ("p999", rank(0.999)),
        ("over 2", over(2.0)),
        ("over 3.5", over(3.5)),
    ]
    .into()
}

#[test]
fn statistics_are_those_of_the_requests() {
    let place = two();
    let line = "simulate both.dlplan --policy fifo --load 1.3 --requests 700 --queue 40 --limits 2,3.5 --out kept --json";
    let report = json(&place.done(line).out);
    let statistics = &report["scenes"][0]["statistics"];
    let all = requests(&place, "kept");
    assert_eq!(all.len(), 700);
    for r in &all {
        let of = |key: &str| r[key].as_u64().unwrap();
        assert_eq!(of("total_ns"), of("finish_ns") - of("arrival_ns"));
        assert_eq!(of("total_ns"), of("execute_ns") + of("wait_ns"));
        let blocks = r["blocks"].as_array().unwrap();
        let ran = blocks
            .iter()
            .map(|b| b["end_ns"].as_u64().unwrap() - b["start_ns"].as_u64().unwrap());
        assert_eq!(ran.sum::<u64>(), of("execute_ns"));
    }
    assert!(all.iter().any(|r| r["outcome"] == "refused_queue_full"));
    let of = |model: &str| -> Vec<Value> {
        all.iter()
            .filter(|r| r["model"] == model)
            .cloned()
            .collect()
    };
    let models = statistics["models"].as_array().unwrap();
    let found = [
        (&statistics["total"], all.clone()),
        (&models[0], of("a")),
        (&models[1], of("b")),
    ];
    for (summary, own) in found {
        let violation = |k: f64| {
            let all = summary["violations"].as_array().unwrap();
            all.iter().find(|v| v[0] == k).unwrap()[1].as_f64().unwrap()
        };
        for (key, expected) in reckoned(&own) {
            let found = match key {
                "requests" | "finished" => summary[key].as_f64().unwrap(),
                "over 2" => violation(2.0),
                "over 3.5" => violation(3.5),
                _ => summary["ratio"][key].as_f64().unwrap(),
            };
            assert!(
                (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
                "{key}: {found} not {expected}"
            );
        }
    }
    // CSV says the same.
    let csv = place.done(&line.replace("--json", "--csv")).out;
    let lines: Vec<Vec<&str>> = csv.lines().map(|l| l.split(',').collect()).collect();
    assert_eq!(lines.len(), 4);
    let column = |name: &str| lines[0].iter().position(|c| *c == name).unwrap();
    let total = reckoned(&all);
    for (name, key) in [
        ("ratio_mean", "mean"),
        ("ratio_p99", "p99"),
        ("over_3.5", "over 3.5"),
    ] {
        let found: f64 = lines[1][column(name)].parse().unwrap();
        assert!((found - total[key]).abs() < 1e-9, "{name}");
    }
    assert_eq!(
        (lines[1][column("model")], lines[3][column("model")]),
        ("total", "b")
    );
}

#[test]
fn finished_scenes_are_not_played_again() {
    let place = two();
    let line = "simulate both.dlplan --policy fifo,dlir --requests 60 --out kept --json";
    let first = place.done(line).out;
    assert_eq!(scenes(&place, "kept").len(), 2);
    assert_eq!(place.done(line).out, first);
    let list = json(&String::from_utf8(place.read("kept/catalogue.json")).unwrap());
    let policies: Vec<&str> = list
        .as_object()
        .unwrap()
        .values()
        .map(|s| s["policy"].as_str().unwrap())
        .collect();
    assert_eq!(policies.len(), 2);
    assert!(policies.contains(&"fifo") && policies.contains(&"dlir"));
    // Whether a scene was played can be told by requests that nobody would reckon.
    for scene in scenes(&place, "kept") {
        let name = format!("kept/{scene}/requests.jsonl");
        let text = String::from_utf8(place.read(&name)).unwrap();
        let half: Vec<&str> = text.lines().take(30).collect();
        place.write(&name, half.join("\n") + "\n");
    }
    let kept = json(&place.done(line).out);
    assert_eq!(kept["scenes"][1]["statistics"]["total"]["requests"], 30);
    let more = json(&place.done(&line.replace("fifo,dlir", "dlir,bnst")).out);
    assert_eq!(more["scenes"][0]["statistics"]["total"]["requests"], 30);
    assert_eq!(more["scenes"][1]["statistics"]["total"]["requests"], 60);
    assert_eq!(place.done(&format!("{line} --again")).out, first);
    assert_eq!(place.done(line).out, first);
    // Other requests are another scene.
    place.done(&line.replace("--requests 60", "--requests 61"));
    assert_eq!(scenes(&place, "kept").len(), 5);
    let left: Vec<String> = names(&place.path("kept"))
        .into_iter()
        .filter(|n| n.starts_with('.'))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn recorded_requests_come_again() {
    let place = two();
    let line = "simulate both.dlplan --policy parallel --requests 80";
    place.done(&format!("{line} --out first"));
    let scene = scenes(&place, "first").remove(0);
    let recorded = format!("first/{scene}/requests.jsonl");
    let again = format!("simulate both.dlplan --policy parallel --arrivals {recorded}");
    let ran = place.done(&format!("{again} --out second"));
    assert!(ran.out.starts_with("80 recorded requests"), "{}", ran.out);
    assert_eq!(requests(&place, "first"), requests(&place, "second"));
    place.done(&format!("{again} --requests 20 --out third"));
    assert_eq!(requests(&place, "third").len(), 20);
    for option in ["--load 0.5", "--rate a=1", "--mix a=2"] {
        let error = place.fails(&format!("{again} {option}"), "arrivals");
        assert!(error.contains(option.split(' ').next().unwrap()), "{error}");
    }
}

#[test]
fn deadlines_and_priorities_are_recorded() {
    let place = two();
    let line = "simulate both.dlplan --policy fifo --load 1.5 --requests 200 --out kept --json --deadline a=1ns --priority b=7";
    let report = json(&place.done(line).out);
    let models = &report["scenes"][0]["statistics"]["models"];
    assert_eq!(models[0]["late"], models[0]["requests"]);
    assert_eq!(models[1]["late"], 0);
    for r in requests(&place, "kept") {
        let is_a = r["model"] == "a";
        assert_eq!(r["deadline_ns"], if is_a { 1.into() } else { Value::Null });
        assert_eq!(r["priority"], if is_a { 0 } else { 7 });
    }
    let admitted = json(&place.done(&format!("{line} --admission")).out);
    let models = &admitted["scenes"][0]["statistics"]["models"];
    assert_eq!(models[0]["rejected"], models[0]["requests"]);
}

#[test]
fn a_page_compares_policies() {
    let place = two();
    let ran = place.done("simulate both.dlplan --policy fifo,parallel --load 0.5,0.9 --requests 100 --html both.html");
    assert_eq!(ran.err, "wrote both.html\n");
    let page = String::from_utf8(place.read("both.html")).unwrap();
    let start = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
    let data = json(page[start..].split("</script>").next().unwrap());
    let scenes = data["scenes"].as_array().unwrap();
    assert_eq!(scenes.len(), 4);
    assert_eq!(
        (&data["title"], &data["limits"]),
        (&"a, b".into(), &vec![2.0, 4.0, 8.0].into())
    );
    for scene in scenes {
        assert!(scene["distribution"].as_array().unwrap().len() > 10);
        assert_eq!(scene["total"]["violations"].as_array().unwrap().len(), 49);
    }
}

#[test]
fn what_is_asked_wrongly_is_named() {
    let place = two();
    let error = place.fails("simulate both.dlplan --rate c=1", "unknown-model");
    assert!(error.contains("choose one of a, b"), "{error}");
    place.fails("simulate both.dlplan --rate a=0", "no-requests");
    place.fails("simulate both.dlplan --mix a=0 --mix b=0", "no-requests");
    place.fails("simulate both.dlplan --deadline c=1ms", "unknown-model");
    place.fails("simulate both.dlplan --arrivals nowhere.jsonl", "arrivals");
    place.fails("simulate none.dlplan", "plan");
    place.write("empty.jsonl", "\n");
    place.fails("simulate both.dlplan --arrivals empty.jsonl", "arrivals");
    place.write("c.jsonl", "{\"model\": \"c\", \"arrival_ns\": 1}\n");
    let error = place.fails("simulate both.dlplan --arrivals c.jsonl", "arrivals");
    assert!(error.contains("line 1 asks for c"), "{error}");
    for wrong in [
        "--policy lifo",
        "--load 0",
        "--load 0.5 --rate a=1",
        "--deadline a=5",
        "--priority a=256",
        "--limits 0.5",
        "--again",
        "--csv --json",
    ] {
        let ran = place.dlirc(&format!("simulate both.dlplan {wrong}"));
        assert_eq!(ran.status, 2, "{wrong}: {}", ran.err);
        assert!(
            ran.out.is_empty() && ran.err.contains("error: "),
            "{wrong}: {}",
            ran.err
        );
    }
}

#[test]
fn requests_are_run_in_real_time() {
    let place = two();
    let line = "load both.dlplan --policy fifo,interleave --rate a=600 --rate b=300 --requests 120 --seed 4 \
                --check 30 --solo-runs 5 --threads 1 --against-simulation --out kept --json";
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let report = json(&place.done(&line).out);
    let played = report["scenes"].as_array().unwrap();
    let kinds: Vec<&str> = played
        .iter()
        .map(|p| p["scene"]["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["measured", "simulated", "measured", "simulated"]);
    for measured in played.iter().step_by(2) {
        let total = &measured["statistics"]["total"];
        assert_eq!(
            (&total["requests"], &total["finished"]),
            (&120.into(), &120.into())
        );
        assert_eq!(measured["outputs"]["checked"], 30);
        assert_eq!(measured["outputs"]["wrong"].as_array().unwrap().len(), 0);
        // 120 at 900 a second.
        let seconds = measured["statistics"]["span_ns"].as_f64().unwrap() / 1e9;
        assert!((0.08..10.0).contains(&seconds), "{seconds}");
        assert!(total["ratio"]["p99"].as_f64().unwrap() >= 1.0);
        // The first one at least finds nobody.
        assert!(total["overhead_us"]["p50"].as_f64().unwrap() >= 0.0);
    }
    let against = report["against_simulation"].as_array().unwrap();
    assert_eq!(against.len(), 6);
    assert_eq!(
        (&against[0]["policy"], &against[0]["requests"]),
        (&"fifo".into(), &"total".into())
    );
    assert!(
        against
            .iter()
            .all(|a| a["measured_p99"].as_f64().unwrap() >= 1.0)
    );
    // Requests came when they should have, and ran from their arrival to their end.
    let kept = scenes(&place, "kept");
    assert_eq!(kept.len(), 4);
    for scene in kept {
        let lines = String::from_utf8(place.read(&format!("kept/{scene}/requests.jsonl"))).unwrap();
        assert_eq!(lines.lines().count(), 120);
        for line in lines.lines().map(json) {
            let of = |key: &str| line[key].as_u64().unwrap();
            assert!(
                of("arrival_ns") <= of("start_ns") && of("start_ns") <= of("finish_ns"),
                "{line}"
            );
            let blocks = line["blocks"].as_array().unwrap();
            assert!(!blocks.is_empty());
            assert!(
                blocks
                    .iter()
                    .all(|b| b["end_ns"].as_u64().unwrap() <= of("finish_ns")),
                "{line}"
            );
        }
    }
    // All of it is kept, what models take alone included, so nothing is run.
    let again = json(&place.done(&line).out);
    assert_eq!(again["against_simulation"], report["against_simulation"]);
    assert_eq!(
        again["scenes"][0]["statistics"],
        report["scenes"][0]["statistics"]
    );
    assert_eq!(again["scenes"][0]["outputs"], Value::Null);
}

#[test]
fn recorded_requests_are_run_as_they_came() {
    let place = two();
    let lines: Vec<String> = (0..40)
        .map(|i| {
            let model = if i % 4 == 0 { "b" } else { "a" };
            format!(
                "{{\"model\": \"{model}\", \"arrival_ns\": {}}}\n",
                i * 2_000_000
            )
        })
        .collect();
    place.write("came.jsonl", lines.concat());
    let ran = place.done("load both.dlplan --policy parallel --arrivals came.jsonl --out kept --check 0 --times plan");
    assert!(ran.out.starts_with("40 recorded requests"), "{}", ran.out);
    assert!(!ran.out.contains("outputs of"), "{}", ran.out);
    for (i, line) in requests(&place, "kept").iter().enumerate() {
        assert_eq!(line["request"], i);
        assert_eq!(line["model"], if i % 4 == 0 { "b" } else { "a" });
        // Not before their time; how long after depends on what else the machine does.
        assert!(
            line["arrival_ns"].as_u64().unwrap() >= i as u64 * 2_000_000,
            "{line}"
        );
    }
}
