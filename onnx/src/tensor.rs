//! Constant tensors: from ONNX's several encodings to one, without copying weights.

use crate::external::{ExternalError, ExternalFiles};
use crate::proto::{DATA_LOCATION_EXTERNAL, TensorProto, data_type};
use bytes::Bytes;
use ir::{DType, Tensor};
use std::ops::RangeInclusive;

/// Why a tensor is refused.
#[derive(Debug, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "the fields carry the values that the messages show"
)]
pub enum TensorError {
    /// An element type that dlirc doesn't have, or that doesn't exist.
    #[error("its element type, {}, is not supported", data_type_name(*code))]
    UnsupportedType { code: i32 },
    /// A dimension below zero.
    #[error("dimension {axis} is {size}")]
    NegativeDim { axis: usize, size: i64 },
    /// More bytes than the address space has.
    #[error("its dimensions {dims:?} are too large")]
    TooLarge { dims: Vec<i64> },
    /// No field holds data.
    #[error("it has dimensions {dims:?} but no data")]
    NoData { dims: Vec<usize> },
    /// Data in more than one place.
    #[error("it holds data twice: in {first} and in {second}")]
    TwoData {
        first: &'static str,
        second: &'static str,
    },
    /// Data in a field meant for another element type.
    #[error("its data is in {field}, where {dtype} elements can't be")]
    WrongField { field: &'static str, dtype: DType },
    /// Too much or too little data.
    #[error("its dimensions {dims:?} take {expected} {unit}, and it holds {given}")]
    WrongLength {
        dims: Vec<usize>,
        expected: u64,
        given: u64,
        unit: &'static str,
    },
    /// An element outside the range of its type.
    #[error("element {index} is {value}, which is no {dtype}")]
    OutOfRange {
        index: usize,
        value: i64,
        dtype: DType,
    },
    /// The data in another file can't be had.
    #[error(transparent)]
    External(#[from] ExternalError),
}

/// The element type for a code of [`data_type`].
///
/// # Errors
/// When the code names a type that dlirc doesn't have, or none.
pub fn dtype_of(code: i32) -> Result<DType, TensorError> {
    Ok(match code {
        data_type::FLOAT => DType::F32,
        data_type::UINT8 => DType::U8,
        data_type::INT8 => DType::I8,
        data_type::UINT16 => DType::U16,
        data_type::INT16 => DType::I16,
        data_type::INT32 => DType::I32,
        data_type::INT64 => DType::I64,
        data_type::BOOL => DType::Bool,
        data_type::FLOAT16 => DType::F16,
        data_type::DOUBLE => DType::F64,
        data_type::UINT32 => DType::U32,
        data_type::UINT64 => DType::U64,
        data_type::COMPLEX64 => DType::C64,
        data_type::COMPLEX128 => DType::C128,
        data_type::BFLOAT16 => DType::BF16,
        code => return Err(TensorError::UnsupportedType { code }),
    })
}

/// ONNX's name for a code of [`data_type`], or the code itself.
pub fn data_type_name(code: i32) -> String {
    const NAMES: [&str; 27] = [
        "undefined",
        "float",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "double",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "uint4",
        "int4",
        "float4e2m1",
        "float8e8m0",
        "uint2",
        "int2",
    ];
    match usize::try_from(code).ok().and_then(|c| NAMES.get(c)) {
        Some(name) => (*name).to_owned(),
        None => format!("number {code}"),
    }
}

/// Element type, dimensions and size in bytes of `tensor`, without looking at its data.
///
/// # Errors
/// When the type is unsupported, a dimension is negative, or the size overflows.
pub fn layout(tensor: &TensorProto) -> Result<(DType, Vec<usize>, usize), TensorError> {
    let dtype = dtype_of(tensor.data_type.unwrap_or(data_type::UNDEFINED))?;
    let too_large = || TensorError::TooLarge {
        dims: tensor.dims.clone(),
    };
    let mut dims = Vec::with_capacity(tensor.dims.len());
    for (axis, &size) in tensor.dims.iter().enumerate() {
        if size < 0 {
            return Err(TensorError::NegativeDim { axis, size });
        }
        dims.push(usize::try_from(size).map_err(|_| too_large())?);
    }
    // Zeros apart, so that no order of the dimensions overflows where another doesn't.
    let nonzero = dims.iter().filter(|&&d| d != 0);
    let n_bytes = nonzero
        .copied()
        .try_fold(dtype.size(), usize::checked_mul)
        .filter(|&n| isize::try_from(n).is_ok())
        .ok_or_else(too_large)?;
    let n_bytes = if dims.contains(&0) { 0 } else { n_bytes };
    Ok((dtype, dims, n_bytes))
}

/// Whether some field, or another file, holds data for `tensor`.
pub fn has_data(tensor: &TensorProto) -> bool {
    data_fields(tensor).next().is_some()
}

/// Reads `tensor`. Data in `raw_data` or in another file stays where it is, mapped.
///
/// # Errors
/// When the type is unsupported, dimensions and data don't match, or the data can't be had.
pub fn read(tensor: &TensorProto, files: &mut ExternalFiles) -> Result<Tensor, TensorError> {
    let (dtype, dims, n_bytes) = layout(tensor)?;
    let mut places = data_fields(tensor);
    let place = places.next();
    if let (Some(first), Some(second)) = (place, places.next()) {
        return Err(TensorError::TwoData {
            first: first.name(),
            second: second.name(),
        });
    }
    let data = match place {
        None if n_bytes == 0 => Bytes::new(),
        None => return Err(TensorError::NoData { dims }),
        Some(Place::External) => as_bools(dtype, files.data(tensor, n_bytes as u64)?),
        Some(Place::Raw) => as_bools(dtype, tensor.raw_data.clone().unwrap_or_default()),
        Some(place) => typed(tensor, place, dtype, &dims)?,
    };
    let given = data.len() as u64;
    Tensor::new(dtype, &dims, data).map_err(|_| TensorError::WrongLength {
        dims,
        expected: n_bytes as u64,
        given,
        unit: "bytes",
    })
}

/// A field that may hold a tensor's data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    External,
    Raw,
    Floats,
    Ints,
    Strings,
    Longs,
    Doubles,
    UnsignedLongs,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::External => "another file",
            Place::Raw => "raw_data",
            Place::Floats => "float_data",
            Place::Ints => "int32_data",
            Place::Strings => "string_data",
            Place::Longs => "int64_data",
            Place::Doubles => "double_data",
            Place::UnsignedLongs => "uint64_data",
        }
    }
}

/// The places where `tensor` holds data.
fn data_fields(t: &TensorProto) -> impl Iterator<Item = Place> {
    [
        (
            Place::External,
            t.data_location == Some(DATA_LOCATION_EXTERNAL),
        ),
        (
            Place::Raw,
            t.raw_data.as_ref().is_some_and(|d| !d.is_empty()),
        ),
        (Place::Floats, !t.float_data.is_empty()),
        (Place::Ints, !t.int32_data.is_empty()),
        (Place::Strings, !t.string_data.is_empty()),
        (Place::Longs, !t.int64_data.is_empty()),
        (Place::Doubles, !t.double_data.is_empty()),
        (Place::UnsignedLongs, !t.uint64_data.is_empty()),
    ]
    .into_iter()
    .filter_map(|(place, present)| present.then_some(place))
}

/// The data of a typed field as raw bytes.
fn typed(
    t: &TensorProto,
    place: Place,
    dtype: DType,
    dims: &[usize],
) -> Result<Bytes, TensorError> {
    let n: usize = dims.iter().product();
    let check = |given: usize, per_element: usize| {
        if given == n * per_element {
            return Ok(());
        }
        Err(TensorError::WrongLength {
            dims: dims.to_vec(),
            expected: (n * per_element) as u64,
            given: given as u64,
            unit: "numbers",
        })
    };
    let out = match (place, dtype) {
        (Place::Floats, DType::F32) => {
            check(t.float_data.len(), 1)?;
            t.float_data.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        (Place::Floats, DType::C64) => {
            check(t.float_data.len(), 2)?;
            t.float_data.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        (Place::Doubles, DType::F64) => {
            check(t.double_data.len(), 1)?;
            t.double_data.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        (Place::Doubles, DType::C128) => {
            check(t.double_data.len(), 2)?;
            t.double_data.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        (Place::Longs, DType::I64) => {
            check(t.int64_data.len(), 1)?;
            t.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        (Place::UnsignedLongs, DType::U64) => {
            check(t.uint64_data.len(), 1)?;
            t.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        (place, dtype) => {
            let wrong_field = TensorError::WrongField {
                field: place.name(),
                dtype,
            };
            let range = narrow_range(place, dtype).ok_or(wrong_field)?;
            check(t.int32_data.len() + t.uint64_data.len(), 1)?;
            let ints = t.int32_data.iter().map(|&v| i64::from(v));
            let longs = t
                .uint64_data
                .iter()
                .map(|&v| i64::try_from(v).unwrap_or(i64::MAX));
            narrow(ints.chain(longs), range, dtype)?
        }
    };
    Ok(Bytes::from(out))
}

/// What a field of wider numbers may hold for elements of at most 32 bits, if it may hold
/// them at all; 16-bit floats are given by their bits.
fn narrow_range(place: Place, dtype: DType) -> Option<RangeInclusive<i64>> {
    Some(match (place, dtype) {
        (Place::Ints, DType::Bool) => 0..=1,
        (Place::Ints, DType::I8) => i64::from(i8::MIN)..=i64::from(i8::MAX),
        (Place::Ints, DType::U8) => 0..=i64::from(u8::MAX),
        (Place::Ints, DType::I16) => i64::from(i16::MIN)..=i64::from(i16::MAX),
        (Place::Ints, DType::U16 | DType::F16 | DType::BF16) => 0..=i64::from(u16::MAX),
        (Place::Ints, DType::I32) => i64::from(i32::MIN)..=i64::from(i32::MAX),
        (Place::UnsignedLongs, DType::U32) => 0..=i64::from(u32::MAX),
        (_, _) => return None,
    })
}

/// Numbers within `range` as elements of `dtype`, which has at most 32 bits.
fn narrow(
    values: impl Iterator<Item = i64>,
    range: RangeInclusive<i64>,
    dtype: DType,
) -> Result<Vec<u8>, TensorError> {
    let mut out = Vec::with_capacity(values.size_hint().0 * dtype.size());
    for (index, value) in values.enumerate() {
        if !range.contains(&value) {
            return Err(TensorError::OutOfRange {
                index,
                value,
                dtype,
            });
        }
        out.extend_from_slice(&value.to_le_bytes()[..dtype.size()]);
    }
    Ok(out)
}

/// Makes every true of a bool tensor a 1; other data, and most bools, stay where they are.
fn as_bools(dtype: DType, data: Bytes) -> Bytes {
    if dtype == DType::Bool && data.iter().any(|&b| b > 1) {
        data.iter().map(|&b| u8::from(b != 0)).collect()
    } else {
        data
    }
}
