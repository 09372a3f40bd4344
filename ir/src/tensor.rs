//! Concrete tensors: constants, and what reference evaluation works on.

use crate::DType;
use crate::shape::{Shape, TensorType};
use bytes::Bytes;
use half::{bf16, f16};

/// A tensor with its data: row-major, little-endian, of any alignment.
///
/// Data is shared, never copied on clone; a weight may be a window of a mapped file.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    dtype: DType,
    dims: Vec<usize>,
    data: Bytes,
}

/// Why bytes do not make a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizeMismatch {
    /// Bytes that type and shape ask for; `None` where the product overflows.
    pub expected: Option<usize>,
    /// Bytes that were given.
    pub given: usize,
}

/// A Rust type that is the element of some [`DType`].
pub trait Element: Copy + PartialEq + std::fmt::Debug + 'static {
    /// The matching element type.
    const DTYPE: DType;
    /// Reads one element from exactly [`DType::size`] bytes.
    fn read_le(bytes: &[u8]) -> Self;
    /// Appends the element's bytes.
    fn put_le(self, out: &mut Vec<u8>);
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident),* $(,)?) => {$(
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
            fn read_le(bytes: &[u8]) -> Self {
                let mut b = [0; size_of::<$ty>()];
                b.copy_from_slice(bytes);
                <$ty>::from_le_bytes(b)
            }
            fn put_le(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
elements!(i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32,
    u64 => U64, f16 => F16, bf16 => BF16, f32 => F32, f64 => F64);

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn read_le(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }
    fn put_le(self, out: &mut Vec<u8>) {
        out.push(self.into());
    }
}

impl Tensor {
    /// A tensor over `data`, which must hold exactly the elements that type and dimensions say.
    pub fn new(dtype: DType, dims: &[usize], data: Bytes) -> Result<Self, SizeMismatch> {
        let expected = dims.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
        if expected != Some(data.len()) {
            return Err(SizeMismatch {
                expected,
                given: data.len(),
            });
        }
        Ok(Self {
            dtype,
            dims: dims.to_vec(),
            data,
        })
    }

    /// A tensor of the elements of `values`, in row-major order.
    ///
    /// # Panics
    /// When the number of values is not the product of `dims`: a bug in the caller.
    pub fn from_slice<T: Element>(dims: &[usize], values: &[T]) -> Self {
        assert_eq!(
            dims.iter().product::<usize>(),
            values.len(),
            "one value per element"
        );
        let mut data = Vec::with_capacity(values.len() * T::DTYPE.size());
        for &v in values {
            v.put_le(&mut data);
        }
        Self {
            dtype: T::DTYPE,
            dims: dims.to_vec(),
            data: data.into(),
        }
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self::from_slice(&[], &[value])
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The number of elements.
    pub fn n_elements(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// Type and shape.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, Shape::known(&self.dims))
    }

    /// The raw bytes, row-major and little-endian.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    /// The same data under other dimensions with as many elements.
    pub fn reshaped(&self, dims: &[usize]) -> Result<Self, SizeMismatch> {
        Self::new(self.dtype, dims, self.data.clone())
    }

    /// The elements, if they are of type `T`.
    pub fn to_vec<T: Element>(&self) -> Option<Vec<T>> {
        (self.dtype == T::DTYPE).then(|| {
            self.data
                .chunks_exact(self.dtype.size())
                .map(T::read_le)
                .collect()
        })
    }

    /// The elements as `f64`; complex numbers have none.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        macro_rules! read {
            ($ty:ty, $f:expr) => {
                self.data
                    .chunks_exact(size_of::<$ty>())
                    .map(|b| $f(<$ty>::read_le(b)))
                    .collect()
            };
        }
        Some(match self.dtype {
            DType::Bool => read!(bool, |v: bool| f64::from(u8::from(v))),
            DType::I8 => read!(i8, f64::from),
            DType::I16 => read!(i16, f64::from),
            DType::I32 => read!(i32, f64::from),
            DType::I64 => read!(i64, |v| v as f64),
            DType::U8 => read!(u8, f64::from),
            DType::U16 => read!(u16, f64::from),
            DType::U32 => read!(u32, f64::from),
            DType::U64 => read!(u64, |v| v as f64),
            DType::F16 => read!(f16, f64::from),
            DType::BF16 => read!(bf16, f64::from),
            DType::F32 => read!(f32, f64::from),
            DType::F64 => read!(f64, |v| v),
            DType::C64 | DType::C128 => return None,
        })
    }

    /// The elements as `i64`, if they are integers or bools; `u64` above `i64::MAX` wraps.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        macro_rules! read {
            ($ty:ty, $f:expr) => {
                self.data
                    .chunks_exact(size_of::<$ty>())
                    .map(|b| $f(<$ty>::read_le(b)))
                    .collect()
            };
        }
        Some(match self.dtype {
            DType::Bool => read!(bool, i64::from),
            DType::I8 => read!(i8, i64::from),
            DType::I16 => read!(i16, i64::from),
            DType::I32 => read!(i32, i64::from),
            DType::I64 => read!(i64, |v| v),
            DType::U8 => read!(u8, i64::from),
            DType::U16 => read!(u16, i64::from),
            DType::U32 => read!(u32, i64::from),
            DType::U64 => read!(u64, |v| v as i64),
            _ => return None,
        })
    }

    /// A tensor of `dtype` whose elements are those of `values`, rounded or wrapped to the type.
    ///
    /// # Panics
    /// When `dtype` is complex, or the number of values is not the product of `dims`.
    pub fn from_f64(dtype: DType, dims: &[usize], values: &[f64]) -> Self {
        assert_eq!(
            dims.iter().product::<usize>(),
            values.len(),
            "one value per element"
        );
        let mut data = Vec::with_capacity(values.len() * dtype.size());
        for &v in values {
            match dtype {
                DType::Bool => (v != 0.0).put_le(&mut data),
                DType::I8 => (v as i64 as i8).put_le(&mut data),
                DType::I16 => (v as i64 as i16).put_le(&mut data),
                DType::I32 => (v as i64 as i32).put_le(&mut data),
                DType::I64 => (v as i64).put_le(&mut data),
                DType::U8 => (v as i64 as u8).put_le(&mut data),
                DType::U16 => (v as i64 as u16).put_le(&mut data),
                DType::U32 => (v as i64 as u32).put_le(&mut data),
                DType::U64 => (v as u64).put_le(&mut data),
                DType::F16 => f16::from_f64(v).put_le(&mut data),
                DType::BF16 => bf16::from_f64(v).put_le(&mut data),
                DType::F32 => (v as f32).put_le(&mut data),
                DType::F64 => v.put_le(&mut data),
                DType::C64 | DType::C128 => panic!("complex tensors have no real elements"),
            }
        }
        Self {
            dtype,
            dims: dims.to_vec(),
            data: data.into(),
        }
    }

    /// A tensor of integer or bool `dtype` whose elements are those of `values`, wrapped to the type.
    ///
    /// # Panics
    /// When `dtype` is neither, or the number of values is not the product of `dims`.
    pub fn from_i64(dtype: DType, dims: &[usize], values: &[i64]) -> Self {
        assert_eq!(
            dims.iter().product::<usize>(),
            values.len(),
            "one value per element"
        );
        let mut data = Vec::with_capacity(values.len() * dtype.size());
        for &v in values {
            match dtype {
                DType::Bool => (v != 0).put_le(&mut data),
                DType::I8 => (v as i8).put_le(&mut data),
                DType::I16 => (v as i16).put_le(&mut data),
                DType::I32 => (v as i32).put_le(&mut data),
                DType::I64 => v.put_le(&mut data),
                DType::U8 => (v as u8).put_le(&mut data),
                DType::U16 => (v as u16).put_le(&mut data),
                DType::U32 => (v as u32).put_le(&mut data),
                DType::U64 => (v as u64).put_le(&mut data),
                _ => panic!("{dtype} is not an integer type"),
            }
        }
        Self {
            dtype,
            dims: dims.to_vec(),
            data: data.into(),
        }
    }
}
