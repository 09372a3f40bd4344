//! The main job, end to end: two models, one plan, results, pictures.

use crate::{Failed, cargo, run, target};
use std::process::Command;

/// Small enough to fill, compile and run in seconds, and different enough to be worth a look.
const MODELS: [&str; 2] = ["squeezenet1_1", "mobilenet_v2"];

pub fn demo() -> Result<(), Failed> {
    run(cargo().args(["build", "--release", "--bin", "dlirc"]))?;
    let folder = target().join("demo");
    std::fs::create_dir_all(&folder)
        .map_err(|e| Failed(format!("{} cannot be made: {e}", folder.display())))?;
    let dlirc = || Command::new(target().join("release").join("dlirc"));
    let file = |name: String| folder.join(name);
    let filled = MODELS.map(|m| file(format!("{m}.onnx")));
    for (model, to) in MODELS.iter().zip(&filled) {
        run(dlirc().arg("fill").arg(model).arg("-o").arg(to))?;
    }
    let plan = file("demo.dlplan".into());
    run(dlirc().arg("compile").args(&filled).arg("-o").arg(&plan))?;
    run(dlirc()
        .arg("run")
        .arg(&plan)
        .args(["--random", "1", "--repeat", "20"]))?;
    let (svg, html) = (file("demo.svg".into()), file("demo.html".into()));
    run(dlirc()
        .arg("inspect")
        .arg(&plan)
        .arg("--svg")
        .arg(&svg)
        .arg("--html")
        .arg(&html))?;
    eprintln!("\nWritten:");
    for path in filled.iter().chain([&plan, &svg, &html]) {
        eprintln!("  {}", path.display());
    }
    eprintln!("Open {} in a browser to look at the plan.", html.display());
    Ok(())
}
