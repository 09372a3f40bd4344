//! The CPU.
//!
//! # Kernels
//!
//! The mathematics is independent of the plan: kernels take addresses, strides and scratch, and an
//! executor decides what they point to. Every heavy kernel is an object made when a plan is bound
//! (shapes, packed weights) with three functions:
//!
//! * `new`: packs weights; may allocate.
//! * `scratch_bytes(n_threads)`: what a run needs, aligned to 64 bytes. Nothing else is allocated.
//! * `run(&pool, …, scratch)`: `unsafe`, since addresses are the caller's promise.
//!
//! | module | object | computes |
//! |---|---|---|
//! | [`gemm`] | [`Gemm`](gemm::Gemm) | a product by a constant matrix |
//! | | [`BatchGemm`](gemm::BatchGemm) | products of pairs of matrices, any strides |
//! | [`conv`] | [`Conv`](conv::Conv) | convolution, grouped, dilated, depthwise, 1-D to 3-D |
//! | | [`ConvTranspose`](conv::ConvTranspose) | transposed convolution |
//! | [`pooling`] | [`Pooling`](pooling::Pooling) | maxima and means over windows; whole planes too |
//! | [`attention`] | [`Attention`](attention::Attention) | softmax(scale Q Kᵀ + mask) V |
//! | [`recurrent`] | [`Recurrent`](recurrent::Recurrent) | LSTM, GRU and RNN over a sequence |
//! | [`rows`] | functions of one row | softmax, layer normalisation, sums, extrema |
//! | [`vecmath`] | functions of slices | exp, log, tanh, erf, sine, powers and their kin |
//!
//! Results of products and convolutions are matrices: rows are pixels or positions, columns are
//! channels. [`Output`](gemm::Output) says where they go (rows of any stride, so a slice of a
//! concatenation is a target like any other; or channels first), [`Epilogue`](gemm::Epilogue) what
//! happens to them on the way: scale, bias, residual, activation, and a callback for the rest,
//! which sees every rectangle of the result once, while it is in the cache.
//!
//! [`Pool`](pool::Pool) shares out tasks; [`Level`](level::Level) names the instructions. For one
//! level, results are bit-identical for any number of threads.

pub mod attention;
pub mod conv;
pub(crate) mod exec;
pub mod gemm;
pub mod level;
pub mod pool;
pub mod pooling;
pub mod recurrent;
pub mod rows;
mod simd;
#[cfg(test)]
mod testing;
pub mod vecmath;
