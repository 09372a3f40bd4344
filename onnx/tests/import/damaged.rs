//! Damaged models: whatever a byte says, the outcome is a model or an error.

use crate::make::*;
use dlirc_onnx::proto::*;
use dlirc_onnx::{ReadOptions, Source, read_source};
use ir::{DType, Program, Tensor};
use prost::Message;

/// Nodes of many kinds, attributes of every kind, a function, constants in several encodings.
fn varied() -> ModelProto {
    let nodes = vec![
        node("Conv", "x w b", "c")
            .with(ints("pads", &[1, 1, 1, 1]))
            .with(ints("strides", &[2, 2]))
            .with(int("group", 1)),
        node("scale", "c", "d").of("own").with(float("by", 0.5)),
        node("MaxPool", "d", "e")
            .with(ints("kernel_shape", &[2, 2]))
            .with(string("auto_pad", "VALID")),
        node("Shape", "e", "s"),
        node("Gather", "s zero", "n").with(int("axis", 0)),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "t").with(int("axis", 0)),
        node("Reshape", "e t", "f"),
        node("Gemm", "f g h", "l")
            .with(float("alpha", 1.5))
            .with(int("transB", 1)),
        node("Softmax", "l", "p").with(int("axis", -1)),
        node("ConstantOfShape", "t2", "z").with(tensor_attr(
            "value",
            constant("", &Tensor::from_slice(&[1], &[2.0f32])),
        )),
        node("Split", "p", "p1 p2")
            .with(int("axis", 1))
            .with(int("num_outputs", 2)),
        node("Expand", "p1 t3", "q"),
        node("Slice", "q st en ax", "r"),
        node("Pad", "r pd", "u"),
        node("TopK", "u k", "tv ti"),
        node("Cast", "ti", "tf").with(int("to", 1)),
        node("Resize", "e - sc", "rs").with(string("mode", "nearest")),
        node("Transpose", "rs", "tr").with(ints("perm", &[0, 2, 3, 1])),
        node("ReduceSum", "tr ra", "rd").with(int("keepdims", 0)),
        node("AveragePool", "d", "ap")
            .with(ints("kernel_shape", &[3, 3]))
            .with(int("ceil_mode", 1)),
        node("Range", "r0 r1 r2", "rg"),
        node("Tile", "rg tl", "tg"),
        node("Where", "cond p1 p2", "wh"),
    ];
    let mut m = model(
        18,
        &[("x", "1 2 8 8")],
        nodes,
        &["p", "z", "tv", "tf", "rd", "ap", "tg", "wh"],
    )
    .constant("w", ramp(&[3, 2, 3, 3]))
    .constant("b", ramp(&[3]))
    .constant("zero", Tensor::scalar(0i64))
    .constant("axes", list(&[0]))
    .constant("rest", list(&[-1]))
    .constant("g", ramp(&[4, 27]))
    .constant("h", ramp(&[4]))
    .constant("t2", list(&[2, 3]))
    .constant("t3", list(&[5, 2]))
    .constant("st", list(&[1]))
    .constant("en", list(&[4]))
    .constant("ax", list(&[0]))
    .constant("pd", list(&[0, 1, 0, 1]))
    .constant("k", list(&[2]))
    .constant("sc", Tensor::from_slice(&[4], &[1.0f32, 1.0, 2.0, 2.0]))
    .constant("ra", list(&[1, 2]))
    .constant("r0", Tensor::scalar(0i64))
    .constant("r1", Tensor::scalar(6i64))
    .constant("r2", Tensor::scalar(2i64))
    .constant("tl", list(&[3]))
    .constant("cond", Tensor::from_slice(&[1, 2], &[true, false]));
    m.opset_import.push(opset("own", 1));
    m.functions.push(FunctionProto {
        name: Some("scale".into()),
        domain: Some("own".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute: vec!["by".into()],
        node: vec![
            node("LeakyRelu", "a", "t").with(refers("alpha", attribute_type::FLOAT, "by")),
            node("Add", "t t", "b"),
        ],
        opset_import: vec![opset("", 18)],
        ..Default::default()
    });
    m.graph().value_info.push(value("c", DType::F32, "1 3 4 4"));
    m
}

/// Numbers that look random: a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

fn import(bytes: Vec<u8>) -> bool {
    let source = Source::from_bytes("damaged", bytes);
    read_source(&source, &ReadOptions::default(), &mut Program::default()).is_ok()
}

#[test]
fn ten_thousand_damaged_models() {
    let whole = varied().encode_to_vec();
    let imported = varied().import();
    assert!(
        imported.is_ok(),
        "{}",
        chain(&imported.map(|_| ()).unwrap_err())
    );
    let mut numbers = Numbers(1);
    let mut n_refused = 0;
    for i in 0..10_000 {
        let mut bytes = whole.clone();
        match i % 4 {
            // One byte is another.
            0 => {
                let at = numbers.below(bytes.len());
                bytes[at] = numbers.below(256) as u8;
            }
            // One bit is another, in several places.
            1 => {
                for _ in 0..=numbers.below(4) {
                    let at = numbers.below(bytes.len());
                    bytes[at] ^= 1 << numbers.below(8);
                }
            }
            // A piece is missing, or stands in another place.
            2 => {
                let (start, len) = (numbers.below(bytes.len()), numbers.below(40));
                let piece: Vec<u8> = bytes.drain(start..bytes.len().min(start + len)).collect();
                if numbers.below(2) == 0 {
                    let at = numbers.below(bytes.len());
                    bytes.splice(at..at, piece);
                }
            }
            // A small number becomes a huge one.
            _ => {
                let at = numbers.below(bytes.len() - 8);
                let huge = [u64::MAX, i64::MAX as u64, 1 << 40, 0x7fff_ffff][numbers.below(4)];
                bytes[at..at + 8].copy_from_slice(&huge.to_le_bytes());
            }
        }
        n_refused += usize::from(!import(bytes));
    }
    // Some damage does no harm: names nobody reads, numbers of a weight.
    assert!((5_000..10_000).contains(&n_refused), "{n_refused}");
}

#[test]
fn hostile_numbers_in_attributes_and_shapes() {
    let hostile = [
        i64::MAX,
        i64::MIN,
        i64::MIN + 1,
        -1,
        0,
        1 << 32,
        1 << 62,
        u32::MAX.into(),
    ];
    let base = varied();
    let n_nodes = base.graph.as_ref().unwrap().node.len();
    for node in 0..n_nodes {
        for k in 0..base.graph.as_ref().unwrap().node[node].attribute.len() {
            for number in hostile {
                let mut m = base.clone();
                let a = &mut m.graph().node[node].attribute[k];
                if a.i.is_some() {
                    a.i = Some(number);
                    import(m.encode_to_vec());
                    continue;
                }
                for j in 0..a.ints.len() {
                    let mut m = base.clone();
                    m.graph().node[node].attribute[k].ints[j] = number;
                    import(m.encode_to_vec());
                }
            }
        }
    }
    for t in 0..base.graph.as_ref().unwrap().initializer.len() {
        let tensor = &base.graph.as_ref().unwrap().initializer[t];
        if tensor.data_type != Some(data_type::INT64) {
            continue;
        }
        let n = tensor.raw_data.as_ref().unwrap().len() / 8;
        for (i, number) in (0..n).flat_map(|i| hostile.map(|h| (i, h))) {
            let mut m = base.clone();
            let data = &mut m.graph().initializer[t].raw_data;
            let mut bytes = data.as_ref().unwrap().to_vec();
            bytes[8 * i..8 * i + 8].copy_from_slice(&number.to_le_bytes());
            *data = Some(bytes.into());
            import(m.encode_to_vec());
        }
    }
    for axis in 0..4 {
        for number in hostile {
            let mut m = base.clone();
            let tensor = m.graph().input[0]
                .r#type
                .as_mut()
                .unwrap()
                .tensor_type
                .as_mut()
                .unwrap();
            tensor.shape.as_mut().unwrap().dim[axis].dim_value = Some(number);
            import(m.encode_to_vec());
        }
    }
}
