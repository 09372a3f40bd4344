//! What scattering operators share.

use super::OpError;
use super::operands::Number;
use crate::eval::copy;
use crate::tensor::Tensor;
use crate::{DType, attr_enum};

attr_enum! {
    /// What becomes of an element that an update hits.
    ScatterReduction {
        /// The update takes its place; of several the last one stays.
        None = "none",
        /// The sum of both.
        Add = "add",
        /// The product of both.
        Mul = "mul",
        /// The greater; NaN if either is NaN.
        Max = "max",
        /// The lesser; NaN if either is NaN.
        Min = "min",
    }
}

impl ScatterReduction {
    /// Refuses element types without the arithmetic.
    pub(super) fn check(self, dtype: DType) -> Result<(), OpError> {
        if self != ScatterReduction::None && !super::map::is_real(dtype) {
            return Err(OpError::Type(format!(
                "operand of type {dtype}, expected a number or bool"
            )));
        }
        Ok(())
    }

    fn apply<T: Number>(self, old: T, new: T) -> T {
        // An element that does not equal itself is NaN.
        let is_nan = |x: T| x.partial_cmp(&x).is_none();
        match self {
            ScatterReduction::None => new,
            ScatterReduction::Add => old.plus(new),
            ScatterReduction::Mul => old.times(new),
            _ if is_nan(old) => old,
            ScatterReduction::Max if new > old || is_nan(new) => new,
            ScatterReduction::Min if new < old || is_nan(new) => new,
            ScatterReduction::Max | ScatterReduction::Min => old,
        }
    }

    /// `x` after each run of `run` elements of `updates` has been brought to its offset of
    /// `starts`, in order.
    pub(super) fn scatter(
        self,
        x: &Tensor,
        updates: &Tensor,
        run: usize,
        starts: &[usize],
    ) -> Result<Tensor, OpError> {
        match self {
            ScatterReduction::None => {
                let length = run * x.dtype().size();
                let mut data = x.bytes().to_vec();
                for (i, &start) in starts.iter().enumerate() {
                    let at = start * x.dtype().size();
                    data[at..at + length]
                        .copy_from_slice(&updates.bytes()[i * length..(i + 1) * length]);
                }
                copy::new(x, x.dims(), data)
            }
            _ if x.dtype().is_float() => self.reduce::<f64>(x, updates, run, starts),
            _ => self.reduce::<i128>(x, updates, run, starts),
        }
    }

    fn reduce<T: Number>(
        self,
        x: &Tensor,
        updates: &Tensor,
        run: usize,
        starts: &[usize],
    ) -> Result<Tensor, OpError> {
        let (mut data, updates) = (T::read(x)?, T::read(updates)?);
        for (i, &start) in starts.iter().enumerate() {
            for j in 0..run {
                let element = &mut data[start + j];
                *element = self.apply(*element, updates[i * run + j]);
            }
        }
        Ok(T::write(x.dtype(), x.dims(), &data))
    }
}
