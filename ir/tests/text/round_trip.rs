//! Print and parse are inverses, and printing is canonical.

use crate::generate::{Choices, program};
use dlirc_ir::text::{parse, parse_with, print};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn printed_programs_parse_back(choices in prop::collection::vec(any::<u32>(), 0..400)) {
        let original = program(&mut Choices::new(&choices));
        let text = print(&original);
        let back = parse_with(&text, &original.weights)
            .map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        let mut canonical = original.clone();
        canonical.compact();
        // NaN in attributes is not equal to itself, and is not generated.
        prop_assert_eq!(&back, &canonical, "{}", text);
        prop_assert_eq!(print(&back), text);
    }

    #[test]
    fn damaged_text_never_panics(
        choices in prop::collection::vec(any::<u32>(), 0..200),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0..3u8), 1..6),
    ) {
        let mut text: Vec<char> = print(&program(&mut Choices::new(&choices))).chars().collect();
        for (at, c, kind) in edits {
            let at = at.index(text.len() + 1);
            match kind {
                0 => text.insert(at, c),
                1 => text.truncate(at),
                _ => if at < text.len() { text[at] = c },
            }
        }
        if let Err(e) = parse(&text.into_iter().collect::<String>()) {
            prop_assert!(e.line >= 1 && e.column >= 1);
            let _ = e.to_string();
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }
}

const EXAMPLE: &str = r#"// Names, labels and types as a person writes them.
weight bias: f32[3] = [0.5, -1, 2e3]
weight filter: f32[3, 2, 1, 1] = random 7
weight unused: i64[] = 3

model "tiny net" {
  input %data: f32[N, 2, 4, 4]
  %c "conv" = Conv(%data, filter "conv.weight", bias) {strides = [2, 2]} @"b", "a"
  %r: f32[N, 3, 2, 2] channels_last = Relu(%c)
  %clipped = Clip(%r, _, _)
  output "y" = %clipped
}
"#;

#[test]
fn text_by_hand_prints_canonically() {
    let program = parse(EXAMPLE).unwrap();
    let expected = r#"weight w0: f32[3, 2, 1, 1] = [RANDOM]
weight w1: f32[3] = [0.5, -1.0, 2000.0]
model "tiny net" {
  input %0 "data": f32[N, 2, 4, 4]
  %3 "conv": f32[N, 3, 2, 2] = Conv(%0, w0 "conv.weight", w1) {strides = [2, 2]} @"a", "b"
  %4: f32[N, 3, 2, 2] channels_last = Relu(%3)
  %5: f32[N, 3, 2, 2] = Clip(%4, _, _)
  output "y" = %5
}
"#;
    let printed = print(&program);
    let numbers = printed
        .lines()
        .next()
        .and_then(|l| l.split_once("= ["))
        .unwrap()
        .1;
    assert_eq!(printed.replace(numbers, "RANDOM]"), expected);
    dlirc_ir::verify::program(&program).unwrap();
}

#[test]
fn big_weights_are_written_as_hashes_and_need_their_content() {
    let program = parse(
        "weight a: f32[100] = random 1\nweight b: f32[100] = splat 0.25\n\
         model m { output \"a\" = a output \"b\" = b }",
    )
    .unwrap();
    let text = print(&program);
    assert!(
        text.contains("weight w1: f32[100] = splat 0.25\n"),
        "{text}"
    );
    assert!(text.starts_with("weight w0: f32[100] = hash "), "{text}");
    assert_eq!(parse_with(&text, &program.weights).unwrap(), program);
    let e = parse(&text).unwrap_err();
    assert!(e.message.contains("not at hand"), "{e}");
}

#[test]
fn every_element_type_keeps_its_bits() {
    let text = "\
weight w0: bool[3] = [true, false, bool(7)]
weight w1: f16[4] = [nan, nan(0xfe01), -0.0, 5.9604645e-8]
weight w2: bf16[4] = [nan, nan(0x7fc1), inf, 9.1835e-41]
weight w3: f32[4] = [nan, nan(0xffc00000), -inf, 1e-45]
weight w4: f64[3] = [nan, nan(0x7ff8000000000001), 0.1]
weight w5: c64[2] = [(nan(0x7fc00001), -0.0), (1.5, inf)]
weight w6: c128[] = (0.1, 5e-324)
weight w7: u64[2] = [18446744073709551615, 0]
weight w8: i8[5] = splat -128
weight w9: f32[0, 3] = []
model m {
  output \"0\" = w0
  output \"1\" = w1
  output \"2\" = w2
  output \"3\" = w3
  output \"4\" = w4
  output \"5\" = w5
  output \"6\" = w6
  output \"7\" = w7
  output \"8\" = w8
  output \"9\" = w9
}
";
    assert_eq!(print(&parse(text).unwrap()), text);
}

#[test]
fn seeded_numbers_are_the_same_everywhere() {
    let text = "weight w: f32[3] = random 42\nweight u: f32[2] = uniform 42 0.5 1.5\n\
                weight i: i64[4] = random 42\nmodel m { output \"w\" = w output \"u\" = u output \"i\" = i }";
    let printed = print(&parse(text).unwrap());
    let weights: Vec<&str> = printed.lines().take(3).collect();
    assert_eq!(
        weights,
        [
            "weight w0: f32[3] = [-0.89413345, -0.4665348, 1.5925395]",
            "weight w1: f32[2] = [1.2415649, 0.6599104]",
            "weight w2: i64[4] = [3, 1, 8, 4]"
        ]
    );
}

#[test]
fn the_depth_of_brackets_is_bounded_by_the_grammar() {
    let deep = format!("weight w: f32[1] = {}", "[(".repeat(200_000));
    assert!(parse(&deep).is_err());
    let regions = format!("model m {{ {}", "region map { ".repeat(200_000));
    assert!(parse(&regions).is_err());
}
