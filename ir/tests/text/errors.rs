//! What the reader says about text that is no program.

use dlirc_ir::text::parse;

/// `text` is refused at `line:column` with a message that holds `message`.
fn refused(text: &str, at: &str, message: &str) {
    let e = parse(text).expect_err(text);
    assert_eq!(format!("{}:{}", e.line, e.column), at, "{e}");
    assert!(e.message.contains(message), "{e}");
    assert_eq!(
        e.text,
        text.lines().nth(e.line - 1).unwrap_or_default(),
        "{e}"
    );
}

#[test]
fn errors_show_line_column_and_what_was_expected() {
    let e = parse("model m {\n  %0 = Relu)\n}").unwrap_err();
    assert_eq!(
        e.to_string(),
        "2:12: expected `(`, found `)`\n    %0 = Relu)\n             ^"
    );
}

#[test]
fn syntax() {
    refused(
        "modal m {}",
        "1:1",
        "expected `weight`, `model` or the end of the text, found `modal`",
    );
    refused("model m {", "1:10", "or `}`, found the end of the text");
    refused("weight w f32[]", "1:10", "expected `:`, found `f32`");
    refused(
        "weight w: f33[] = 1",
        "1:11",
        "expected an element type such as `f32`, found `f33`",
    );
    refused(
        "weight w: f32[2 3] = 1",
        "1:17",
        "expected `,` or `]`, found `3`",
    );
    refused(
        "weight w: f32[N] = 1",
        "1:11",
        "a weight's dimensions must be numbers",
    );
    refused("model m { ? }", "1:11", "unexpected character '?'");
    refused("model \"m", "1:7", "the string does not end on its line");
    refused("model \"a\\q\" {}", "1:9", "unknown escape");
    refused("model m { % }", "1:11", "expected a number after `%`");
    refused(
        "model m { region warp {} }",
        "1:18",
        "a kind of region (map, ",
    );
}

#[test]
fn weights() {
    refused(
        "weight w: f32[2] = [1]",
        "1:20",
        "expected 2 elements, found 1",
    );
    refused(
        "weight w: i8[1] = [200]",
        "1:20",
        "expected an integer of 8 bits",
    );
    refused(
        "weight w: bool[1] = [1]",
        "1:22",
        "expected `true` or `false`",
    );
    refused(
        "weight w: c64[1] = [1]",
        "1:21",
        "expected a complex number such as `(1.0, -2.0)`",
    );
    refused(
        "weight w: f32[1] = [(1, 2)]",
        "1:21",
        "expected a number, not a pair",
    );
    refused(
        "weight w: c64[2] = random 1",
        "1:20",
        "no random numbers of type c64",
    );
    refused(
        "weight w: f32[] = 1\nweight w: f32[] = 2",
        "2:8",
        "weight `w` is there twice",
    );
    refused(
        "weight w: f32[2] = hash 12",
        "1:25",
        "64 hexadecimal digits",
    );
    refused(
        "weight w: f32[99999999999] = splat 0",
        "1:30",
        "more than 256 MiB",
    );
    refused(
        "weight w: f32[9999999999, 9999999999] = splat 0",
        "1:11",
        "too many elements",
    );
}

#[test]
fn models() {
    let input = "model m {\n  input %0: f32[2]\n";
    refused(
        &format!("{input}  %1 = Relu(%2)\n}}"),
        "3:13",
        "no value `%2` is defined before",
    );
    refused(
        &format!("{input}  %0 = Relu(%0)\n}}"),
        "3:3",
        "value `%0` is defined twice",
    );
    refused(
        &format!("{input}  %1 = Relux(%0)\n}}"),
        "3:8",
        "there is no operator `Relux`",
    );
    refused(
        &format!("{input}  %1 = Relu(w)\n}}"),
        "3:13",
        "there is no weight `w`",
    );
    refused(
        &format!("{input}  %1 = Relu(%0) {{a = 1}}\n}}"),
        "3:8",
        "unknown attributes: a",
    );
    refused(
        &format!("{input}  %1 = Transpose(%0) {{perm = [0], perm = [0]}}\n}}"),
        "3:35",
        "twice",
    );
    refused(
        &format!("{input}  %1 = Transpose(%0) {{perm = 1}}\n}}"),
        "3:8",
        "must be a list of integers",
    );
    refused(
        &format!("{input}  %1 = Transpose(%0) {{perm = [0, \"a\"]}}\n}}"),
        "3:34",
        "items of one kind",
    );
    refused(
        &format!("{input}  %1 = Relu(%0, %0)\n}}"),
        "3:8",
        "cannot be inferred: 2 inputs, expected 1",
    );
    refused(
        &format!("{input}  output \"y\" = _\n}}"),
        "4:1",
        "an output must have a value",
    );
    refused(
        "model m {\n  input %0\n}",
        "3:1",
        "expected `:` and the input's type, found `}`",
    );
}
