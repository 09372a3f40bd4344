//! Tensors that change hands without a copy, as [DLPack] lays them out (version 1.1, `dlpack.h`).
//!
//! [DLPack]: https://dmlc.github.io/dlpack/latest/c_api.html

use super::DevicePtr;
use super::memory::DeviceMemory;
use plans::DType;
use std::ffi::c_void;
use std::sync::Arc;

/// `kDLCPU`: memory of the host.
pub const CPU: i32 = 1;
/// `kDLCUDA`: memory of a CUDA device.
pub const CUDA: i32 = 2;
/// `kDLCUDAHost`: memory of the host within reach of CUDA devices.
pub const CUDA_HOST: i32 = 3;

/// `DLDevice`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device {
    /// [`CPU`], [`CUDA`] or another kind.
    pub device_type: i32,
    /// The number of the device.
    pub device_id: i32,
}

/// `DLDataType`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataType {
    /// 0: signed integers, 1: unsigned ones, 2: IEEE floats, 4: bfloat, 5: complex, 6: bool.
    pub code: u8,
    /// Bits of an element.
    pub bits: u8,
    /// 1: no vectors.
    pub lanes: u16,
}

impl DataType {
    /// The type as DLPack writes it.
    pub fn new(dtype: DType) -> Self {
        let code = match dtype {
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => 0,
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => 1,
            DType::F16 | DType::F32 | DType::F64 => 2,
            DType::BF16 => 4,
            DType::C64 | DType::C128 => 5,
            DType::Bool => 6,
        };
        Self {
            code,
            bits: (8 * dtype.size()) as u8,
            lanes: 1,
        }
    }
}

/// `DLTensor`.
#[repr(C)]
#[derive(Debug)]
pub struct Tensor {
    /// Where the memory starts; an address of the device that it is on.
    pub data: *mut c_void,
    /// What memory it is.
    pub device: Device,
    /// The number of dimensions.
    pub ndim: i32,
    /// The element type.
    pub dtype: DataType,
    /// The dimensions.
    pub shape: *mut i64,
    /// The strides in elements; null for a row-major tensor without gaps.
    pub strides: *mut i64,
    /// Where the tensor starts in the memory, in bytes.
    pub byte_offset: u64,
}

/// `DLManagedTensor`, which `dltensor` capsules hold.
#[repr(C)]
#[derive(Debug)]
pub struct ManagedTensor {
    /// The tensor.
    pub dl_tensor: Tensor,
    /// The producer's.
    pub manager_ctx: *mut c_void,
    /// What the consumer calls when it is done.
    pub deleter: Option<unsafe extern "C" fn(*mut ManagedTensor)>,
}

/// `DLManagedTensorVersioned`, which `dltensor_versioned` capsules hold.
#[repr(C)]
#[derive(Debug)]
pub struct ManagedTensorVersioned {
    /// `DLPackVersion`: major, minor.
    pub version: [u32; 2],
    /// The producer's.
    pub manager_ctx: *mut c_void,
    /// What the consumer calls when it is done.
    pub deleter: Option<unsafe extern "C" fn(*mut ManagedTensorVersioned)>,
    /// 1: read only, 2: a copy. None of them here.
    pub flags: u64,
    /// The tensor.
    pub dl_tensor: Tensor,
}

/// A tensor on a device that is about to be handed out. It keeps the memory of its session alive,
/// but not what is in it: the next run of its model writes there again.
pub struct Exported {
    memory: Arc<DeviceMemory>,
    at: DevicePtr,
    dtype: DType,
    dims: Vec<i64>,
}

/// What a handed-out tensor of layout `T` lives by.
struct Manager<T> {
    managed: T,
    dims: Vec<i64>,
    _memory: Arc<DeviceMemory>,
}

impl Exported {
    pub(crate) fn new(
        memory: &Arc<DeviceMemory>,
        at: DevicePtr,
        dtype: DType,
        dims: &[u64],
    ) -> Self {
        Self {
            memory: Arc::clone(memory),
            at,
            dtype,
            // A valid plan's tensors are smaller than 2^52 bytes.
            dims: dims.iter().map(|&d| d as i64).collect(),
        }
    }

    /// Where the tensor lies.
    pub fn device_ptr(&self) -> DevicePtr {
        self.at
    }

    /// Hands the tensor out. Whoever gets it calls its deleter once, or the memory is never freed.
    pub fn into_managed(self) -> *mut ManagedTensor {
        self.hand_out(
            |dl_tensor, manager_ctx| ManagedTensor {
                dl_tensor,
                manager_ctx,
                deleter: Some(delete_managed),
            },
            |managed| &mut managed.dl_tensor,
        )
    }

    /// As [`Exported::into_managed`], in the layout of version 1 and later.
    pub fn into_versioned(self) -> *mut ManagedTensorVersioned {
        self.hand_out(
            |dl_tensor, manager_ctx| ManagedTensorVersioned {
                version: [1, 1],
                manager_ctx,
                deleter: Some(delete_versioned),
                flags: 0,
                dl_tensor,
            },
            |managed| &mut managed.dl_tensor,
        )
    }

    fn hand_out<T>(
        self,
        layout: impl FnOnce(Tensor, *mut c_void) -> T,
        tensor_of: impl FnOnce(&mut T) -> &mut Tensor,
    ) -> *mut T {
        let tensor = Tensor {
            data: std::ptr::with_exposed_provenance_mut(self.at.address as usize),
            device: Device {
                device_type: CUDA,
                device_id: i32::from(self.at.device),
            },
            ndim: self.dims.len() as i32,
            dtype: DataType::new(self.dtype),
            shape: std::ptr::null_mut(),
            strides: std::ptr::null_mut(),
            byte_offset: 0,
        };
        let manager = Box::into_raw(Box::new(Manager {
            managed: layout(tensor, std::ptr::null_mut()),
            dims: self.dims,
            _memory: self.memory,
        }));
        // SAFETY: the box was just let go, and nobody else knows of it. Its parts stay where they are
        // until a deleter makes a box of it again.
        unsafe {
            let dims = (*manager).dims.as_mut_ptr();
            tensor_of(&mut (*manager).managed).shape = dims;
            &raw mut (*manager).managed
        }
    }
}

/// # Safety
/// `managed` came from [`Exported::hand_out`] and is not used again.
unsafe fn delete<T>(managed: *mut T) {
    if managed.is_null() {
        return;
    }
    let manager = managed
        .cast::<u8>()
        .wrapping_sub(std::mem::offset_of!(Manager<T>, managed));
    // SAFETY: `managed` is a part of a `Manager` that was a box.
    drop(unsafe { Box::from_raw(manager.cast::<Manager<T>>()) });
}

unsafe extern "C" fn delete_managed(managed: *mut ManagedTensor) {
    // SAFETY: as consumers promise.
    unsafe { delete(managed) }
}

unsafe extern "C" fn delete_versioned(managed: *mut ManagedTensorVersioned) {
    // SAFETY: as consumers promise.
    unsafe { delete(managed) }
}

/// What a tensor says of itself.
pub(crate) struct Described {
    pub(crate) dtype: DataType,
    pub(crate) dims: Vec<i64>,
    /// None if the tensor is row-major and without gaps.
    pub(crate) strides: Option<Vec<i64>>,
    pub(crate) device: Device,
    pub(crate) data: *const u8,
}

impl Described {
    /// # Safety
    /// `tensor` is a tensor as DLPack lays it out, its lists as long as it says.
    pub(crate) unsafe fn new(tensor: &Tensor) -> Self {
        let n = usize::try_from(tensor.ndim).unwrap_or(0);
        let list = |at: *const i64| {
            if at.is_null() || n == 0 {
                return None;
            }
            // SAFETY: so many numbers are there, as the caller says.
            Some(unsafe { std::slice::from_raw_parts(at, n) }.to_vec())
        };
        let dims = list(tensor.shape).unwrap_or_default();
        let strides = list(tensor.strides).filter(|strides| !is_row_major(&dims, strides));
        let data = tensor.data.cast_const().cast::<u8>();
        Self {
            dtype: tensor.dtype,
            dims,
            strides,
            device: tensor.device,
            data: data.wrapping_add(tensor.byte_offset as usize),
        }
    }
}

fn is_row_major(dims: &[i64], strides: &[i64]) -> bool {
    let mut distance = 1i64;
    dims.iter().zip(strides).rev().all(|(&dim, &stride)| {
        let fits = dim == 1 || stride == distance;
        distance = distance.saturating_mul(dim);
        fits
    }) || dims.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_header() {
        assert_eq!(size_of::<Tensor>(), 48);
        assert_eq!(std::mem::offset_of!(Tensor, shape), 24);
        assert_eq!(size_of::<ManagedTensor>(), 64);
        assert_eq!(size_of::<ManagedTensorVersioned>(), 80);
        assert_eq!(std::mem::offset_of!(ManagedTensorVersioned, dl_tensor), 32);
    }

    #[test]
    fn row_major_strides_are_told_from_others() {
        assert!(is_row_major(&[2, 3, 4], &[12, 4, 1]));
        assert!(is_row_major(&[2, 1, 4], &[4, 99, 1]));
        assert!(is_row_major(&[], &[]));
        assert!(!is_row_major(&[2, 3], &[1, 2]));
        assert!(!is_row_major(&[2, 3], &[4, 1]));
    }
}
