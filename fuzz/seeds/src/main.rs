//! Makes first inputs for the fuzz targets: `seeds ROOT TO`.
//!
//! From the repository at `ROOT` come windows of a few nodes cut out of the example models, the
//! programs of the pass tests, and the plans of both. Where the environment's `DLIRC_ONNX_CASES` names
//! a folder of ONNX's node tests, as for the conformance tests, they are seeds too: one model for
//! every form of every operator.

mod compile;
mod cut;
mod files;

use files::{Failed, Folder};
use ir::Program;
use onnx::{ReadOptions, Source};
use std::path::Path;

/// Longer files make a target slow and teach it little.
const MAX_MODEL: usize = 8 << 10;
const MAX_TEXT: usize = 8 << 10;
const MAX_PLAN: usize = 24 << 10;

/// Weights of longer plans would be most of the file.
const MAX_WEIGHTS: u64 = 12 << 10;

/// Plans whose arenas are larger are not run.
const MAX_ARENAS: u64 = 256 << 10;

fn main() -> Result<(), Failed> {
    let mut args = std::env::args_os().skip(1);
    let (Some(root), Some(to)) = (args.next(), args.next()) else {
        return Err(Failed("usage: seeds ROOT TO".into()));
    };
    let (root, to) = (Path::new(&root), Path::new(&to));
    let mut models = Folder::new(to.join("read_onnx"))?;
    let mut texts = Folder::new(to.join("parse_text"))?;
    let mut plans = Folder::new(to.join("load_plan"))?;

    for path in files::with_extension(&root.join("models"), "onnx")? {
        for window in cut::windows(&files::read(&path)?) {
            add_model(&window, &mut models, &mut texts, &mut plans)?;
        }
    }
    if let Some(cases) = std::env::var_os("DLIRC_ONNX_CASES") {
        for path in files::with_extension(Path::new(&cases), "onnx")? {
            add_model(&files::read(&path)?, &mut models, &mut texts, &mut plans)?;
        }
    }
    for path in files::with_extension(&root.join("passes/tests"), "dlir")? {
        let text = String::from_utf8_lossy(&files::read(&path)?).into_owned();
        // Up to the verdict; what follows is a program too, or nothing.
        let before = text.find("\n-- ").map_or(&*text, |at| &text[..=at]);
        if let Ok(program) = ir::text::parse(before) {
            add_program(before, &program, &mut texts, &mut plans)?;
        }
    }
    for (what, folder) in [("models", models), ("texts", texts), ("plans", plans)] {
        eprintln!("{} {what}", folder.n_files());
    }
    Ok(())
}

fn add_model(
    bytes: &[u8],
    models: &mut Folder,
    texts: &mut Folder,
    plans: &mut Folder,
) -> Result<(), Failed> {
    if bytes.len() > MAX_MODEL {
        return Ok(());
    }
    models.add(bytes)?;
    let source = Source::from_bytes("m", bytes.to_vec());
    let mut program = Program::default();
    if onnx::read_source(&source, &ReadOptions::default(), &mut program).is_ok() {
        let text = ir::text::print(&program);
        add_program(&text, &program, texts, plans)?;
    }
    Ok(())
}

fn add_program(
    text: &str,
    program: &Program,
    texts: &mut Folder,
    plans: &mut Folder,
) -> Result<(), Failed> {
    if text.len() <= MAX_TEXT {
        texts.add(text.as_bytes())?;
    }
    for plan in compile::compile(program.clone(), MAX_WEIGHTS, MAX_ARENAS) {
        if plan.len() <= MAX_PLAN {
            plans.add(&plan)?;
        }
    }
    Ok(())
}
