//! JSON, SVG and the page. The pictures are left in cargo's folder for tests' files, to be looked at.

use crate::forms::{HOSTILE, golden, named, valid};
use crate::{random_plans, samples, zoo};
use plans::{ValidPlan, json, picture};
use std::fs;
use std::path::Path;
use std::time::Instant;

fn keep(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::write(folder.join(name), text).unwrap();
}

fn medium() -> ValidPlan {
    valid(random_plans::networks(&[
        ("vision", 60),
        ("language", 40),
        ("speech", 24),
    ]))
}

#[test]
fn pictures_to_look_at() {
    for (name, plan) in [
        ("pair", valid(samples::pair())),
        ("zoo", valid(zoo::zoo())),
        ("device", valid(samples::device())),
        ("networks", medium()),
        ("hostile", named(HOSTILE)),
    ] {
        keep(&format!("{name}.svg"), &picture::svg(&plan));
        keep(&format!("{name}.html"), &picture::html(&plan));
    }
}

#[test]
fn svg_form() {
    golden("pair.svg", &picture::svg(&valid(samples::pair())));
}

#[test]
fn json_form() {
    for (name, sample) in [
        ("pair.json", samples::pair()),
        ("device.json", samples::device()),
        ("deployed.json", samples::deployed()),
    ] {
        let text = json::json(&valid(sample));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        golden(
            name,
            &(serde_json::to_string_pretty(&value).unwrap() + "\n"),
        );
    }
}

#[test]
fn pictures_are_the_same_every_time() {
    let plan = medium();
    assert_eq!(picture::svg(&plan), picture::svg(&plan));
    assert_eq!(picture::html(&plan), picture::html(&plan));
}

#[test]
fn two_thousand_steps() {
    let plan = valid(random_plans::networks(&[("large", 2000)]));
    let start = Instant::now();
    let page = picture::html(&plan);
    println!("2,000 steps: {:?}, {} bytes", start.elapsed(), page.len());
    assert!(start.elapsed().as_secs() < 5);
    keep("large.html", &page);
    let plan = valid(random_plans::networks(&[("huge", 20_000)]));
    let start = Instant::now();
    let page = picture::html(&plan);
    println!("20,000 steps: {:?}, {} bytes", start.elapsed(), page.len());
    assert!(start.elapsed().as_secs() < 60);
    keep("huge.html", &page);
}

/// The parts of an SVG or a page that names must not change: all tags, with what names give rise
/// to left out.
fn tags(markup: &str) -> Vec<&str> {
    markup
        .split('<')
        .skip(1)
        .map(|tag| tag.split(['>', ' ']).next().unwrap_or_default())
        .collect()
}

#[test]
fn names_add_no_markup() {
    let (plain, hostile) = (named("x"), named(HOSTILE));
    assert_eq!(tags(&picture::svg(&plain)), tags(&picture::svg(&hostile)));
    assert_eq!(tags(&picture::html(&plain)), tags(&picture::html(&hostile)));
    assert!(!picture::svg(&hostile).contains('\u{1b}'));
    // The data says what the names are, all the same.
    let page = picture::html(&hostile);
    let start = page.find("id=\"data\">").unwrap() + 10;
    let end = start + page[start..].find("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(&page[start..end]).unwrap();
    assert_eq!(data["plan"]["models"][0]["name"], HOSTILE);
}

#[test]
fn the_page_asks_nothing_of_a_network() {
    let page = picture::html(&medium());
    for word in [
        "http:",
        "https:",
        "src=",
        "url(",
        "@import",
        "fetch(",
        "innerHTML",
    ] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn nodes_do_not_overlap() {
    for plan in [valid(zoo::zoo()), medium()] {
        let page = picture::html(&plan);
        let start = page.find("id=\"data\">").unwrap() + 10;
        let end = start + page[start..].find("</script>").unwrap();
        let data: serde_json::Value = serde_json::from_str(&page[start..end]).unwrap();
        let numbers = |v: &serde_json::Value| -> Vec<f64> {
            let list = v.as_array().unwrap().iter();
            list.map(|x| x.as_f64().unwrap()).collect()
        };
        let nodes: Vec<Vec<f64>> = data["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| numbers(&n["at"]))
            .collect();
        for (i, a) in nodes.iter().enumerate() {
            for b in &nodes[..i] {
                let apart = a[0] + a[2] <= b[0]
                    || b[0] + b[2] <= a[0]
                    || a[1] + a[3] <= b[1]
                    || b[1] + b[3] <= a[1];
                assert!(apart, "{a:?} {b:?}");
            }
        }
        // No edge passes through a node that is not its own: no point that it goes through, at least.
        for edge in data["edges"].as_array().unwrap() {
            let own = [&edge["from"], &edge["to"]].map(|n| n.as_u64().unwrap() as usize);
            let path = edge["path"].as_str().unwrap();
            let numbers: Vec<f64> = path
                .split(|c: char| c.is_ascii_alphabetic() || c == ' ')
                .filter_map(|number| number.parse().ok())
                .collect();
            for point in numbers.chunks(2) {
                for (i, node) in nodes.iter().enumerate() {
                    let inside = point[0] > node[0]
                        && point[0] < node[0] + node[2]
                        && point[1] > node[1]
                        && point[1] < node[1] + node[3];
                    assert!(!inside || own.contains(&i), "{path} {node:?}");
                }
            }
        }
    }
}
