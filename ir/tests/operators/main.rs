//! Operators against cases in text files: attributes, operands, and the results or the error.
//!
//! A case is a block of lines; blocks are separated by empty lines, `#` starts a comment line:
//!
//! ```text
//! Gemm transB=1 alpha=0.5        operator and attributes
//! f32[2,3] = 1 2 3 4 5 6         an operand; `-` is one left out, a type without `=` is not constant
//! f32[1,3] = 1 0 1
//! -> f32[2,1] = 2 5              a result; where an operand has no content, only its type
//! ```
//!
//! `@ 48` is the number of operations; `-> -` is a result that the case does not look at;
//! `!! text` in place of results: typing or evaluation fails, and the message contains the text.

mod any_operands;
mod cases;

macro_rules! case_files {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            cases::check(include_str!(concat!(stringify!($name), ".txt")));
        }
    )*};
}

case_files! {
    attention,
    contract,
    elementwise,
    library,
    movement,
    normalize,
    recurrent,
    reduce,
    resize,
    views,
    window,
    work,
}
