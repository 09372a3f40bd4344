//! Looking into plans and programs.

use super::Place;
use serde_json::Value;

#[test]
fn plans_have_several_forms() {
    let place = Place::with_plan("a");
    assert!(
        place
            .done("inspect a.dlplan --text")
            .out
            .starts_with("plan for")
    );
    assert!(
        place
            .done("inspect a.dlplan --dot")
            .out
            .starts_with("digraph")
    );
    let json: Value = serde_json::from_str(&place.done("inspect a.dlplan --json").out).unwrap();
    assert_eq!(json["models"][0]["name"], "a");
    let ran = place.done("inspect a.dlplan --svg a.svg --html a.html");
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("", "wrote a.svg\nwrote a.html\n")
    );
    let text = |name: &str| String::from_utf8(place.read(name)).unwrap();
    assert!(text("a.svg").contains("<svg") && text("a.svg").contains("</svg>"));
    assert!(text("a.html").to_lowercase().starts_with("<!doctype html>"));
    let summary = place.done("inspect a.dlplan").out;
    assert!(summary.contains("model a: 3 nodes in 1 steps"), "{summary}");
}

#[test]
fn programs_pass_through_single_passes() {
    let place = Place::new();
    place.write(
        "before.dlir",
        "weight w0: f32[3, 2] = random 1
         weight w1: f32[2] = [0.5, 2]
         model m {
           input %0 \"x\": f32[2, 3]
           %1 = MatMul(%0, w0)
           %2 = Mul(%1, w1)
           output \"y\" = %2
         }",
    );
    let ran = place.done("pass rewrite_algebra before.dlir");
    assert!(
        ran.out.contains("= MatMul(") && !ran.out.contains("= Mul("),
        "{}",
        ran.out
    );
    assert_eq!(ran.err, "1 changes\n");
    let stopped = place.done("pass rewrite_algebra before.dlir --stop-after 0");
    assert!(stopped.out.contains("= Mul("), "{}", stopped.out);
    // What a pass prints, another reads.
    place.write("after.dlir", &ran.out);
    assert_eq!(place.done("pass normalise after.dlir").out, ran.out);
    let listed = place.done("pass --list").out;
    assert!(
        listed
            .lines()
            .any(|l| l.split_whitespace().eq(["rewrite_algebra", "algebra"])),
        "{listed}"
    );

    place.fails("pass no_such_pass before.dlir", "unknown-pass");
    place.write("bad.dlir", "model m {\n  %1 = Nonsense()\n}");
    let error = place.fails("pass normalise bad.dlir", "syntax");
    assert!(error.contains("bad.dlir:2:"), "{error}");
    place.fails("pass normalise missing.dlir", "read");
}

#[test]
fn models_have_a_text_form() {
    let place = Place::with_plan("a");
    let text = place.done("inspect a.onnx --text").out;
    assert!(
        text.contains("MatMul") && text.contains("input %0 \"x\": f32[2, 3]"),
        "{text}"
    );
    place.fails("inspect a.onnx --dot", "no-plan");
}

#[test]
fn optimisations_are_explained() {
    let place = Place::with_plan("a");
    let all = place.done("explain a.onnx").out;
    assert!(all.contains("rewrite_algebra"), "{all}");
    let one = place.done("explain a.onnx --node sum").out;
    assert!(one.contains("`sum`") || one.contains("to `sum`"), "{one}");
    assert_eq!(place.dlirc("explain a.onnx --node nowhere").status, 1);
    place.fails("explain a.onnx --pass nothing", "unknown-pass");
}

#[test]
fn shells_and_man_get_theirs() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            place
                .done(&format!("completions {shell}"))
                .out
                .contains("compile")
        );
    }
    place.done("man pages");
    let pages = super::names(&place.path("pages"));
    assert!(
        pages.contains(&"dlirc.1".into()) && pages.contains(&"dlirc-compile.1".into()),
        "{pages:?}"
    );
    let page = String::from_utf8(place.read("pages/dlirc-run.1")).unwrap();
    assert!(page.starts_with(".ie") && page.contains("repeat"), "{page}");
}

#[test]
fn architectures_are_listed_and_filled() {
    let place = Place::new();
    let list = place.done("fill").out;
    assert!(
        list.lines().any(|l| l.starts_with("squeezenet1_1:")),
        "{list}"
    );
    let error = place.fails("fill resnet -o a.onnx", "unknown-model");
    assert!(error.contains("resnet50"), "{error}");
    place.done("fill squeezenet1_1 -o a.onnx");
    assert!(place.read("a.onnx").len() > 4_000_000);
}
