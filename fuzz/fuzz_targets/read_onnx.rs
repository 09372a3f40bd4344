//! Any bytes as an ONNX model: read or refused; what is read keeps the rules of the IR and can be
//! printed and parsed.

#![no_main]

use ir::Program;
use ir::text::{parse_with, print};
use libfuzzer_sys::fuzz_target;
use onnx::{ReadOptions, Source, read_source};

fuzz_target!(|bytes: &[u8]| {
    let source = Source::from_bytes("fuzz", bytes.to_vec());
    let mut program = Program::default();
    if let Err(error) = read_source(&source, &ReadOptions::default(), &mut program) {
        let _ = error.to_string();
        return;
    }
    if let Err(violations) = ir::verify::program(&program) {
        panic!("the model that was read breaks rules: {violations:?}");
    }
    let text = print(&program);
    match parse_with(&text, &program.weights) {
        Ok(parsed) => assert_eq!(print(&parsed), text),
        Err(error) => panic!("{error}\n{text}"),
    }
});
