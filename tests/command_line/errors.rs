//! What goes wrong is said clearly, with status 2, and leaves nothing behind.

use super::{Place, layer, model, node, npy};

#[test]
fn models_that_cannot_be_read() {
    let place = Place::new();
    let error = place.fails("compile missing.onnx -o a.dlplan", "onnx-open");
    assert!(
        error.contains("missing.onnx") && error.contains("No such file"),
        "{error}"
    );
    place.write("junk.onnx", b"not a model at all");
    place.dlirc("compile junk.onnx -o a.dlplan");
    let whole = layer(1.0);
    place.write("cut.onnx", &whole[..whole.len() - 3]);
    for bad in ["junk.onnx", "cut.onnx"] {
        let ran = place.dlirc(&format!("compile {bad} -o a.dlplan"));
        assert_eq!(ran.status, 2, "{}", ran.err);
        assert!(
            ran.err.starts_with("error[onnx-") && ran.err.contains(bad),
            "{}",
            ran.err
        );
    }
    assert_eq!(place.names(), ["cut.onnx", "junk.onnx"]);
}

#[test]
fn unsupported_operators_are_listed_all_at_once() {
    let place = Place::new();
    let nodes = vec![
        node("Frobnicate", "first", &["x"], "a"),
        node("Relu", "fine", &["a"], "b"),
        node("Twiddle", "second", &["b"], "c"),
        node("Frobnicate", "third", &["c"], "y/out:0"),
    ];
    place.write("a.onnx", model(nodes, vec![], &["2", "2"]));
    let error = place.fails("compile a.onnx -o a.dlplan", "onnx-unsupported");
    for name in ["Frobnicate", "Twiddle", "first", "second", "third"] {
        assert!(error.contains(name), "{name} in\n{error}");
    }
    assert!(!error.contains("fine"), "{error}");
}

#[test]
fn outputs_that_cannot_be_written() {
    let place = Place::new();
    place.write("a.onnx", layer(1.0));
    assert!(
        place
            .fails("compile a.onnx -o no/such/a.dlplan", "output")
            .contains("no/such")
    );
    std::fs::create_dir(place.path("folder")).unwrap();
    place.fails("compile a.onnx -o folder", "output");
    place.fails("compile a.onnx -o a.onnx", "output");
    assert_eq!(place.read("a.onnx"), layer(1.0));
    place.done("compile a.onnx -o a.dlplan");
    place.write("blocked", b"a file");
    place.fails("run a.dlplan --random 1 --output blocked", "folder");
    place.fails("inspect a.dlplan --svg no/such.svg", "write");
    // A device without room; where there is none such, there is nothing to see.
    if std::path::Path::new("/dev/full").exists() {
        let ran = place.dlirc("compile a.onnx -o /dev/full");
        assert_eq!(ran.status, 2, "{}", ran.err);
    }
    assert_eq!(place.names(), ["a.dlplan", "a.onnx", "blocked", "folder"]);
}

#[test]
fn a_failed_compilation_overwrites_nothing() {
    let place = Place::with_plan("a");
    let before = place.read("a.dlplan");
    place.write(
        "bad.onnx",
        model(vec![node("Nope", "n", &["x"], "y/out:0")], vec![], &["2"]),
    );
    place.fails("compile a.onnx bad.onnx -o a.dlplan", "onnx-unsupported");
    assert_eq!(place.read("a.dlplan"), before);
    assert_eq!(place.names(), ["a.dlplan", "a.onnx", "bad.onnx"]);
}

#[test]
fn plans_that_are_none() {
    let place = Place::with_plan("a");
    let whole = place.read("a.dlplan");
    let mut changed = whole.clone();
    let at = changed.len() - 10;
    changed[at] ^= 1;
    let mut newer = whole.clone();
    newer[8] = 0xff;
    let damaged: [(&str, &[u8]); 6] = [
        ("empty", b""),
        (
            "foreign",
            b"PK\x03\x04 some other file entirely, long enough for a header of 64 bytes",
        ),
        ("short", &whole[..40]),
        ("cut", &whole[..whole.len() - 100]),
        ("changed", &changed),
        ("newer", &newer),
    ];
    for (name, bytes) in damaged {
        place.write("bad.dlplan", bytes);
        for verb in [
            "verify bad.dlplan",
            "run bad.dlplan --random 1",
            "inspect bad.dlplan --text",
            "bench bad.dlplan",
        ] {
            let error = place.fails(verb, "plan");
            assert!(
                error.contains("file bad.dlplan") && error.contains("help: "),
                "{name}: {error}"
            );
        }
    }
    place.fails("verify missing.dlplan", "plan");
}

#[test]
fn inputs_that_do_not_fit() {
    let place = Place::with_plan("a");
    let error = place.fails("run a.dlplan", "missing-input");
    assert!(
        error.contains("x: f32[2, 3]") && error.contains("--random"),
        "{error}"
    );
    let error = place.fails("run a.dlplan --input z=x.npy", "unknown-input");
    assert!(
        error.contains("called z") && error.contains("x: f32[2, 3]"),
        "{error}"
    );
    place.fails("run a.dlplan --input x=x.npy", "input-file");
    place.write("x.npy", npy("3, 2", &[0.0; 6]));
    let error = place.fails("run a.dlplan --input x=x.npy", "port");
    assert!(
        error.contains("[2, 3]") && error.contains("[3, 2]"),
        "{error}"
    );
    let mut wrong = npy("2, 3", &[0.0; 6]);
    let at = wrong.windows(3).position(|w| w == b"<f4").unwrap();
    wrong[at + 1] = b'i';
    place.write("x.npy", wrong);
    let error = place.fails("run a.dlplan --input x=x.npy", "port");
    assert!(error.contains("f32") && error.contains("i32"), "{error}");
    place.write("x.npy", b"no array");
    place.fails("run a.dlplan --input x=x.npy", "input-file");
    let error = place.fails("run a.dlplan --model b --random 1", "unknown-model");
    assert!(error.contains("choose one of a"), "{error}");
}

#[test]
fn a_missing_onnx_runtime_is_said() {
    let place = Place::with_plan("a");
    let error = place.fails(
        "verify a.dlplan --against a.onnx --onnxruntime nowhere.so",
        "onnxruntime",
    );
    assert!(error.contains("file nowhere.so"), "{error}");
    place.write("text.so", b"no library");
    place.fails(
        "verify a.dlplan --against a.onnx --onnxruntime ./text.so",
        "onnxruntime",
    );
}

#[test]
fn wrong_usage_has_status_2() {
    let place = Place::new();
    for line in [
        "compile",
        "compile a.onnx",
        "compile a.onnx -o b --shape x",
        "compile a.onnx -o b --target abacus",
        "run a.dlplan --repeat 0",
        "verify a.dlplan --tolerance -1",
        "nothing",
    ] {
        let ran = place.dlirc(line);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "dlirc {line}");
        assert!(ran.err.starts_with("error: "), "dlirc {line}: {}", ran.err);
    }
}
