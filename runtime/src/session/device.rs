//! Inputs and outputs where they lie on a device, and tensors of other libraries.

use super::{Session, not_on_device, port};
use crate::cuda::DevicePtr;
use crate::cuda::dlpack::{self, Described, Exported};
use crate::error::{PortError, RunError};
use plans::ModelIndex;

impl Session {
    /// Where input `n` of a model lies on the device: the same place for the life of the session.
    ///
    /// # Errors
    ///
    /// If there is no such model or input, or it lies on the host.
    pub fn device_input(&self, model: ModelIndex, n: usize) -> Result<DevicePtr, PortError> {
        self.device_ptr(model, "input", n)
    }

    /// Where output `n` of a model lies on the device: the same place for the life of the session.
    ///
    /// # Errors
    ///
    /// If there is no such model or output, or it lies on the host.
    pub fn device_output(&self, model: ModelIndex, n: usize) -> Result<DevicePtr, PortError> {
        self.device_ptr(model, "output", n)
    }

    fn device_ptr(
        &self,
        model: ModelIndex,
        kind: &'static str,
        n: usize,
    ) -> Result<DevicePtr, PortError> {
        let of = self.of(model)?;
        let port = port(of, kind, n)?;
        let device = self.device.as_ref();
        device
            .and_then(|d| d.device_ptr(self.plan(), port))
            .ok_or_else(|| not_on_device(of, port))
    }

    /// Copies input `n` of a model from elsewhere on its device, for [`Session::run_on_device`].
    ///
    /// # Safety
    /// `from` is memory of the device on which the input lies, that the engine's context can read, at
    /// least as large as the input; what writes it has been waited for, and nobody writes it during
    /// the call.
    ///
    /// # Errors
    ///
    /// If there is no such model or input, it lies on the host, or the device fails.
    pub unsafe fn copy_device_input(
        &mut self,
        model: ModelIndex,
        n: usize,
        from: DevicePtr,
    ) -> Result<(), RunError> {
        let to = self.device_input(model, n).map_err(RunError::Model)?;
        if from.device != to.device || from.bytes != to.bytes {
            let of = self.of(model).map_err(RunError::Model)?;
            let said = |at: DevicePtr| format!("{} bytes on CUDA device {}", at.bytes, at.device);
            return Err(RunError::Model(PortError::Tensor {
                model: of.name.clone(),
                port: of.inputs[n].name.clone(),
                expected: said(to),
                found: said(from),
            }));
        }
        match &mut self.device {
            // SAFETY: as the caller says.
            Some(device) => unsafe {
                device.copy_input(self.engine.plan(), model, to, from.address)
            },
            None => Ok(()),
        }
    }

    /// Output `n` of a model where it lies on the device, to be handed to another library without a
    /// copy. It holds what the last run of the model left there, and the next run writes to it. Where
    /// a run decides the size of a dimension, it is of the most; [`Session::output_dims`] says the size.
    ///
    /// # Errors
    ///
    /// If there is no such model or output, or it lies on the host.
    pub fn export_output(&self, model: ModelIndex, n: usize) -> Result<Exported, PortError> {
        let at = self.device_output(model, n)?;
        let of = self.of(model)?;
        let port = port(of, "output", n)?;
        let memory = self.device.as_ref().map(|d| d.memory());
        memory
            .map(|memory| Exported::new(memory, at, port.dtype, &port.dims))
            .ok_or_else(|| not_on_device(of, port))
    }

    /// Copies a tensor of another library to input `n` of a model: for [`Session::run_on_device`] if
    /// it lies on the device, for both ways to run if it lies on the host.
    ///
    /// # Safety
    /// `tensor` is a tensor as DLPack lays it out, with data that the engine's device, or the host,
    /// can read; what writes it has been waited for, and nobody writes it during the call.
    ///
    /// # Errors
    ///
    /// If there is no such model or input, the tensor is of another type, other dimensions, not
    /// row-major or on another device, or the device fails.
    pub unsafe fn import_input(
        &mut self,
        model: ModelIndex,
        n: usize,
        tensor: &dlpack::Tensor,
    ) -> Result<(), RunError> {
        // SAFETY: as the caller says.
        let found = unsafe { Described::new(tensor) };
        let (name, port) = {
            let of = self.of(model).map_err(RunError::Model)?;
            let port = port(of, "input", n).map_err(RunError::Model)?;
            (of.name.clone(), port.clone())
        };
        let bytes = self.place(&port).1.len();
        let refused = |expected: String, found: String| {
            RunError::Model(PortError::Tensor {
                model: name.clone(),
                port: port.name.clone(),
                expected,
                found,
            })
        };
        if found.dtype != dlpack::DataType::new(port.dtype) {
            let found = format!("one of type {:?}", found.dtype);
            return Err(refused(port.dtype.to_string(), found));
        }
        if !found
            .dims
            .iter()
            .map(|&d| d as u64)
            .eq(port.dims.iter().copied())
        {
            let found = format!("dimensions {:?}", found.dims);
            return Err(refused(format!("dimensions {:?}", port.dims), found));
        }
        if let Some(strides) = found.strides {
            let found = format!("strides {strides:?}");
            return Err(refused("a row-major tensor".to_owned(), found));
        }
        match found.device.device_type {
            dlpack::CUDA => {
                let from = DevicePtr {
                    address: found.data.addr() as u64,
                    bytes: bytes as u64,
                    device: u16::try_from(found.device.device_id).unwrap_or(u16::MAX),
                };
                // SAFETY: as the caller says.
                unsafe { self.copy_device_input(model, n, from) }
            }
            dlpack::CPU | dlpack::CUDA_HOST => {
                let input = self.input_mut(model, n).map_err(RunError::Model)?;
                if !input.is_empty() {
                    // SAFETY: so many bytes are there, as the caller says.
                    let data = unsafe { std::slice::from_raw_parts(found.data, bytes) };
                    input.copy_from_slice(data);
                }
                self.upload_inputs(model)
            }
            other => Err(refused(
                "memory of the host or of a CUDA device".to_owned(),
                format!("memory of kind {other}"),
            )),
        }
    }
}
