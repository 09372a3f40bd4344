//! The CPU.

pub(crate) mod exec;
pub mod conv;
pub mod gemm;
pub mod level;
pub mod pool;
pub mod rows;
mod simd;
#[cfg(test)]
mod testing;
pub mod vecmath;
