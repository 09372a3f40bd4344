use super::*;
use std::fs;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.onnx", "b.onnx"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    folder
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let folder = folder();
    let path = folder.path().join("deploy.toml");
    fs::write(&path, text).unwrap();
    let said = Deployment::read(&path).unwrap_err().text();
    let folder = format!("{}/", folder.path().display());
    assert_eq!(said.replace(&folder, ""), expected);
}

#[test]
fn a_whole_deployment() {
    let folder = folder();
    let text = r#"
policy = "dlir"
target = "cuda:sm_90"
margin = 0.25
overhead = "20us"
lanes = 4
exclusive = [["a", "second"]]

[[model]]
path = "a.onnx"
rate = "1800/min"
deadline = "20ms"
priority = 2
target = "cuda:sm_90"

[[model]]
path = "b.onnx"
name = "second"
rate = 0.5
deadline = "1.5s"
"#;
    let found = Deployment::parse(text, folder.path()).unwrap();
    let expected = Deployment {
        policy: Policy::Dlir,
        target: Some("cuda:sm_90".into()),
        margin: 0.25,
        overhead: Duration::from_micros(20),
        lanes: 4,
        exclusive: vec![vec![0, 1]],
        models: vec![
            Deployed {
                name: "a".into(),
                path: folder.path().join("a.onnx"),
                rate_mhz: 30_000,
                deadline: Some(Duration::from_millis(20)),
                priority: 2,
            },
            Deployed {
                name: "second".into(),
                path: folder.path().join("b.onnx"),
                rate_mhz: 500,
                deadline: Some(Duration::from_millis(1500)),
                priority: 0,
            },
        ],
    };
    assert_eq!(found, expected);
    assert_eq!(
        found.options(),
        " policy=dlir margin=0.25 overhead=20000ns lanes=4 exclusive=a,second \
         a:rate=30000,deadline=20000000ns,priority=2 second:rate=500,deadline=1500000000ns,priority=0"
    );
}

#[test]
fn what_is_not_said() {
    let folder = folder();
    let found = Deployment::parse("[[model]]\npath = \"a.onnx\"\n", folder.path()).unwrap();
    assert_eq!(found.policy, Policy::Interleave);
    assert_eq!((found.target, found.lanes), (None, 8));
    assert_eq!(found.models[0].name, "a");
    assert_eq!(
        (found.models[0].rate_mhz, found.models[0].deadline),
        (0, None)
    );
}

#[test]
fn no_toml() {
    refused(
        "policy = \n",
        "error[deployment]: string values must be quoted, expected literal string
  --> file deploy.toml:1:10
    = 1 | policy =
  help: see https://toml.io for how TOML is written
",
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    refused(
        r#"policy = "lifo"
[[model]]
path = "a.onnx"
rat = 30
deadline = 20

[[model]]
rate = "often"
"#,
        r#"error[deployment]: no policy lifo; there are fifo, bnst, oyst, dlir, parallel, interleave
  --> file deploy.toml:1:10
    = 1 | policy = "lifo"
    = line 4 too: a model has no field `rat`: did you mean `rate`?
      4 | rat = 30
    = line 5 too: `deadline` is 20: it must be a time with its unit, such as "20ms", "500us" or "1.5s"
      5 | deadline = 20
    = line 7 too: this model has no path: add path = "FILE.onnx"
      7 | [[model]]
    = line 8 too: `rate` is "often": it must be requests a second, such as 30, "30/s" or "1800/min"
      8 | rate = "often"
  help: write policy = "interleave", or leave it out
"#,
    );
}

#[test]
fn names_and_files() {
    refused(
        "exclusive = [[\"a\", \"c\", \"a\"]]\n[[model]]\npath = \"a.onnx\"\n[[model]]\nname = \"a\"\npath = \"x.onnx\"\n",
        r#"error[deployment]: no model is called `c`
  --> file deploy.toml:1:20
    = 1 | exclusive = [["a", "c", "a"]]
    = line 1 too: `a` is in two lists, or twice in one: put all models that never run at once with it into one list
      1 | exclusive = [["a", "c", "a"]]
    = line 4 too: another model is called `a` too: give each model a `name` of its own
      4 | [[model]]
    = line 6 too: there is no file x.onnx: paths are relative to the deployment's folder
      6 | path = "x.onnx"
  help: the models are a, a
"#,
    );
}

#[test]
fn one_target() {
    refused(
        "target = \"cpu\"\n[[model]]\npath = \"a.onnx\"\ntarget = \"cuda:sm_90\"\n",
        r#"error[deployment]: the target is cuda:sm_90 here and cpu before
  --> file deploy.toml:4:10
    = 4 | target = "cuda:sm_90"
  help: a plan has one target: compile models for another into a plan of their own
"#,
    );
}

#[test]
fn no_models() {
    refused(
        "policy = \"fifo\"\n",
        r#"error[deployment]: the deployment has no model
  --> file deploy.toml:1:16
    = 1 | policy = "fifo"
  help: add one: [[model]] in a line, then path = "FILE.onnx"
"#,
    );
}

#[test]
fn times_have_units() {
    let ns = |text| fields::duration(text).map(|t| t.as_nanos());
    assert_eq!(ns("20ms"), Some(20_000_000));
    assert_eq!(ns(" 1.5 us"), Some(1500));
    assert_eq!(ns("2min"), Some(120_000_000_000));
    for wrong in ["20", "ms", "20 days", "-1ms", "1e9s"] {
        assert_eq!(ns(wrong), None, "{wrong}");
    }
}
