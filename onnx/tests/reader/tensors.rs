//! Every encoding of constant tensors, and every way to get one wrong.

use bytes::Bytes;
use dlirc_onnx::external::ExternalFiles;
use dlirc_onnx::proto::{TensorProto, data_type};
use dlirc_onnx::tensor::{TensorError, has_data, layout, read};
use ir::{DType, Tensor};

fn of(code: i32, dims: &[i64]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(code),
        ..Default::default()
    }
}

fn ok(t: TensorProto) -> Tensor {
    read(&t, &mut ExternalFiles::default()).unwrap()
}

fn err(t: TensorProto) -> TensorError {
    read(&t, &mut ExternalFiles::default()).unwrap_err()
}

#[test]
fn raw_data_is_shared() {
    let data = Bytes::from(vec![0u8; 24]);
    let t = TensorProto {
        raw_data: Some(data.clone()),
        ..of(data_type::FLOAT, &[2, 3])
    };
    let read = ok(t);
    assert_eq!((read.dtype(), read.dims()), (DType::F32, &[2, 3][..]));
    assert_eq!(read.bytes().as_ptr(), data.as_ptr());
}

#[test]
fn typed_fields() {
    let t = TensorProto {
        float_data: vec![1.0, -2.5],
        ..of(data_type::FLOAT, &[2])
    };
    assert_eq!(ok(t), Tensor::from_slice(&[2], &[1.0f32, -2.5]));
    let t = TensorProto {
        double_data: vec![0.1],
        ..of(data_type::DOUBLE, &[])
    };
    assert_eq!(ok(t), Tensor::scalar(0.1f64));
    let t = TensorProto {
        int64_data: vec![i64::MIN, 3],
        ..of(data_type::INT64, &[1, 2])
    };
    assert_eq!(ok(t), Tensor::from_slice(&[1, 2], &[i64::MIN, 3]));
    let t = TensorProto {
        uint64_data: vec![u64::MAX],
        ..of(data_type::UINT64, &[1])
    };
    assert_eq!(ok(t), Tensor::from_slice(&[1], &[u64::MAX]));
    let t = TensorProto {
        uint64_data: vec![7],
        ..of(data_type::UINT32, &[1])
    };
    assert_eq!(ok(t), Tensor::from_slice(&[1], &[7u32]));
    let ints = |code, values: &[i32]| TensorProto {
        int32_data: values.to_vec(),
        ..of(code, &[values.len() as i64])
    };
    assert_eq!(
        ok(ints(data_type::INT32, &[-9])),
        Tensor::from_slice(&[1], &[-9i32])
    );
    assert_eq!(
        ok(ints(data_type::INT8, &[-128])),
        Tensor::from_slice(&[1], &[-128i8])
    );
    assert_eq!(
        ok(ints(data_type::UINT8, &[255])),
        Tensor::from_slice(&[1], &[255u8])
    );
    assert_eq!(
        ok(ints(data_type::INT16, &[-5])),
        Tensor::from_slice(&[1], &[-5i16])
    );
    assert_eq!(
        ok(ints(data_type::UINT16, &[65535])),
        Tensor::from_slice(&[1], &[65535u16])
    );
    assert_eq!(
        ok(ints(data_type::BOOL, &[1, 0])),
        Tensor::from_slice(&[2], &[true, false])
    );
    let half = ok(ints(data_type::FLOAT16, &[0x3c00]));
    assert_eq!((half.dtype(), half.to_f64()), (DType::F16, Some(vec![1.0])));
    let brain = ok(ints(data_type::BFLOAT16, &[0xbf80]));
    assert_eq!(
        (brain.dtype(), brain.to_f64()),
        (DType::BF16, Some(vec![-1.0]))
    );
    let t = TensorProto {
        float_data: vec![1.0, 2.0],
        ..of(data_type::COMPLEX64, &[1])
    };
    assert_eq!(&ok(t).bytes()[..], [0, 0, 128, 63, 0, 0, 0, 64]);
}

#[test]
fn bools_become_zero_or_one() {
    let data = Bytes::from_static(&[0, 1, 2, 255]);
    let t = TensorProto {
        raw_data: Some(data),
        ..of(data_type::BOOL, &[4])
    };
    assert_eq!(&ok(t).bytes()[..], [0, 1, 1, 1]);
}

#[test]
fn empty_tensors_need_no_data() {
    assert_eq!(ok(of(data_type::FLOAT, &[0])).n_elements(), 0);
    assert_eq!(ok(of(data_type::FLOAT, &[1 << 40, 0])).dims(), [1 << 40, 0]);
    let t = TensorProto {
        raw_data: Some(Bytes::new()),
        ..of(data_type::INT64, &[0])
    };
    assert_eq!(ok(t).dims(), [0]);
}

#[test]
fn wrong_sizes_are_refused() {
    assert!(matches!(
        err(of(data_type::FLOAT, &[2])),
        TensorError::NoData { .. }
    ));
    assert!(!has_data(&of(data_type::FLOAT, &[2])));
    let t = TensorProto {
        raw_data: Some(Bytes::from_static(&[0; 7])),
        ..of(data_type::FLOAT, &[2])
    };
    assert_eq!(
        err(t).to_string(),
        "its dimensions [2] take 8 bytes, and it holds 7"
    );
    let t = TensorProto {
        float_data: vec![1.0],
        ..of(data_type::FLOAT, &[3])
    };
    assert_eq!(
        err(t).to_string(),
        "its dimensions [3] take 3 numbers, and it holds 1"
    );
    let t = of(data_type::FLOAT, &[3, -1]);
    assert!(matches!(
        err(t),
        TensorError::NegativeDim { axis: 1, size: -1 }
    ));
    for dims in [
        &[1 << 32, 1 << 32][..],
        &[i64::MAX, 2],
        &[1 << 61],
        &[1 << 62, 4, 0],
    ] {
        assert!(matches!(
            layout(&of(data_type::FLOAT, dims)),
            Err(TensorError::TooLarge { .. })
        ));
    }
}

#[test]
fn wrong_fields_are_refused() {
    let t = TensorProto {
        float_data: vec![1.0],
        ..of(data_type::INT64, &[1])
    };
    assert_eq!(
        err(t).to_string(),
        "its data is in float_data, where i64 elements can't be"
    );
    let t = TensorProto {
        float_data: vec![1.0],
        raw_data: Some(Bytes::from_static(&[0; 4])),
        ..of(data_type::FLOAT, &[1])
    };
    assert_eq!(
        err(t).to_string(),
        "it holds data twice: in raw_data and in float_data"
    );
    let t = TensorProto {
        int32_data: vec![1, 300],
        ..of(data_type::UINT8, &[2])
    };
    assert!(matches!(
        err(t),
        TensorError::OutOfRange {
            index: 1,
            value: 300,
            dtype: DType::U8
        }
    ));
    let t = TensorProto {
        uint64_data: vec![u64::MAX],
        ..of(data_type::UINT32, &[1])
    };
    assert!(matches!(err(t), TensorError::OutOfRange { index: 0, .. }));
}

#[test]
fn unsupported_types_are_named() {
    for (code, name) in [
        (data_type::STRING, "string"),
        (data_type::FLOAT8E4M3FN, "float8e4m3fn"),
        (data_type::INT4, "int4"),
        (data_type::UNDEFINED, "undefined"),
        (99, "number 99"),
        (-1, "number -1"),
    ] {
        let text = err(of(code, &[1])).to_string();
        assert_eq!(text, format!("its element type, {name}, is not supported"));
    }
}
