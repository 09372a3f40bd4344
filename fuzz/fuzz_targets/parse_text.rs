//! Any text as a program: read or refused; what is read is the same after it is printed and parsed.

#![no_main]

use ir::text::{parse, parse_with, print};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let program = match parse(text) {
        Ok(program) => program,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    let is_valid = ir::verify::program(&program).is_ok();
    let printed = print(&program);
    match parse_with(&printed, &program.weights) {
        Ok(again) => {
            // Programs are compared as text: NaN in an attribute does not equal itself.
            assert_eq!(print(&again), printed);
            assert_eq!(ir::verify::program(&again).is_ok(), is_valid);
        }
        Err(error) => panic!("{error}\n{printed}"),
    }
});
