//! Files made to hurt: an error each, at once, on a small stack.

use dlirc_onnx::budget::BudgetError;
use dlirc_onnx::wire::{WireError, put_bytes_header, put_varint};
use dlirc_onnx::{OnnxError, Source, parse};
use std::time::{Duration, Instant};

/// Parses on a stack of 512 KiB and gives the error, which must come within two seconds.
fn refused(bytes: Vec<u8>) -> OnnxError {
    let start = Instant::now();
    let parsed = std::thread::Builder::new()
        .stack_size(512 << 10)
        .spawn(move || parse(&Source::from_bytes("hostile", bytes)))
        .unwrap()
        .join()
        .unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "took {:?}",
        start.elapsed()
    );
    parsed.unwrap_err()
}

fn budget_error(bytes: Vec<u8>) -> BudgetError {
    match refused(bytes) {
        OnnxError::Budget { source, .. } => source,
        other => panic!("{other}"),
    }
}

/// `content` as field `number`.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes_header(&mut out, number, content.len() as u64);
    out.extend_from_slice(content);
    out
}

/// A model whose graph is `graph`.
fn model(graph: &[u8]) -> Vec<u8> {
    let mut out = vec![0x08, 8];
    out.extend(field(7, graph));
    out
}

#[test]
fn nested_groups() {
    let error = budget_error(vec![0x0b; 400_000]);
    assert_eq!(error, BudgetError::Wire(WireError::Group { at: 0 }));
    let mut in_unknown_field = vec![0x08, 8];
    in_unknown_field.extend(std::iter::repeat_n([0xfb, 0x07], 200_000).flatten());
    let error = budget_error(in_unknown_field);
    assert_eq!(error, BudgetError::Wire(WireError::Group { at: 2 }));
}

#[test]
fn truncated_and_endless_varints() {
    let truncated = |at| BudgetError::Wire(WireError::Truncated { at });
    assert_eq!(budget_error(vec![0x08, 0x80]), truncated(1));
    assert_eq!(budget_error(vec![0x80]), truncated(0));
    let endless = BudgetError::Wire(WireError::LongVarint { at: 1 });
    let mut bytes = vec![0x08];
    bytes.extend(std::iter::repeat_n(0xff, 4_000_000));
    assert_eq!(budget_error(bytes), endless);
}

#[test]
fn every_cut_of_a_real_model_is_refused() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/gru.onnx");
    let whole = std::fs::read(path).unwrap();
    assert!(parse(&Source::from_bytes("whole", whole.clone())).is_ok());
    // The model's last field is its opset; the graph, before it, holds the rest.
    let graph_end = whole.len() - 4;
    for cut in 0..graph_end {
        assert!(
            parse(&Source::from_bytes("cut", whole[..cut].to_vec())).is_err(),
            "{cut}"
        );
    }
}

#[test]
fn empty_messages_do_not_amplify() {
    // One node with two million empty attributes: 4 MB that would become half a gigabyte.
    let attributes = std::iter::repeat_n([0x2a, 0], 2_000_000)
        .flatten()
        .collect::<Vec<u8>>();
    let nodes = std::iter::repeat_n([0x0a, 0], 2_000_000)
        .flatten()
        .collect::<Vec<u8>>();
    let tensors = std::iter::repeat_n([0x2a, 0], 2_000_000)
        .flatten()
        .collect::<Vec<u8>>();
    let functions = std::iter::repeat_n([0xca, 0x01, 0], 1_400_000).flatten();
    let functions = [0x08, 8].into_iter().chain(functions).collect::<Vec<u8>>();
    // Nodes of one empty attribute each: vectors start with room for four.
    let small = std::iter::repeat_n([0x0a, 2, 0x2a, 0], 1_000_000)
        .flatten()
        .collect::<Vec<u8>>();
    for bytes in [
        model(&field(1, &attributes)),
        model(&nodes),
        model(&tensors),
        functions,
        model(&small),
    ] {
        let BudgetError::Memory {
            needed,
            allowed,
            structure,
        } = budget_error(bytes)
        else {
            panic!("not refused for its memory");
        };
        assert!(structure < 4_300_000 && allowed < 210 << 20 && needed > allowed);
    }
}

#[test]
fn empty_strings_and_numbers_do_not_amplify() {
    let inputs = std::iter::repeat_n([0x0a, 0], 2_000_000)
        .flatten()
        .collect::<Vec<u8>>();
    // 24 bytes of memory for 2 of file: within the budget, and so is the memory.
    let parsed = parse(&Source::from_bytes("inputs", model(&field(1, &inputs)))).unwrap();
    assert_eq!(parsed.graph.unwrap().node[0].input.len(), 2_000_000);
}

#[test]
fn deep_graphs() {
    // A graph in an attribute of a node of a graph, a thousand times.
    let mut graph = Vec::new();
    for _ in 0..1000 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    match budget_error(model(&graph)) {
        BudgetError::Depth { limit, .. } => assert_eq!(limit, 96),
        other => panic!("{other}"),
    }
    // Within the limit, it parses.
    let mut graph = Vec::new();
    for _ in 0..30 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    assert!(parse(&Source::from_bytes("deep", model(&graph))).is_ok());
}

#[test]
fn lengths_beyond_the_file() {
    let mut bytes = vec![0x08, 8, 0x3a];
    put_varint(&mut bytes, u64::MAX);
    assert_eq!(
        budget_error(bytes),
        BudgetError::Wire(WireError::Truncated { at: 2 })
    );
}

#[test]
fn other_files_are_not_models() {
    for (bytes, expected) in [
        (&b""[..], "empty"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            "not a field|past the end|group",
        ),
        (b"# Some text\n", "not a field|past the end|group"),
        (b"\x08\x08", "no graph"),
        (b"\x12\x03abc", "no graph"),
        // op_type that is no UTF-8.
        (b"\x08\x08\x3a\x05\x0a\x03\x22\x01\xff", "damaged"),
        // A node where a number should be.
        (b"\x08\x08\x3a\x02\x08\x05", "damaged"),
    ] {
        let error = refused(bytes.to_vec());
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(c) = cause {
            text += &c.to_string();
            cause = c.source();
        }
        assert!(expected.split('|').any(|e| text.contains(e)), "{text}");
        assert!(text.len() < 500);
    }
}
