//! Kernels of well-known layers.

use super::samples::{bias_relu, f32s, relu_of, strided};
use plans::spec::*;
use plans::tape::{BinaryFn, Reg, Tape, TapeOp};
use plans::{DType, KernelSpec};

pub(crate) fn pixels() -> Window {
    Window {
        input: vec![8, 8],
        output: vec![8, 8],
        kernel: vec![3, 3],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        pads_begin: vec![1, 1],
    }
}

pub(crate) fn conv(batch: u64, c: u64, m: u64, out: Operand) -> KernelSpec {
    KernelSpec::Contract(ContractSpec {
        problem: Problem::Conv {
            batch,
            groups: 1,
            in_channels: c,
            out_channels: m,
            window: pixels(),
            x: f32s(&[batch, c, 8, 8]),
            w: f32s(&[m, c, 3, 3]),
        },
        epilogue: Epilogue {
            inputs: vec![strided(&[0, 1, 0, 0])],
            tape: bias_relu(),
            outputs: vec![out],
        },
    })
}

pub(crate) fn pool(batch: u64, c: u64, fold: WindowFold, out: Operand) -> KernelSpec {
    KernelSpec::Window(WindowSpec {
        batch,
        channels: c,
        window: pixels(),
        x: f32s(&[batch, c, 8, 8]),
        prologue: Tape::identity(DType::F32),
        weight: None,
        fold,
        epilogue: Epilogue {
            inputs: vec![],
            tape: Tape::identity(DType::F32),
            outputs: vec![out],
        },
        indices: None,
    })
}

/// A convolution of `c` channels of 8 x 8, and of the data that is added to it if there is.
pub(crate) fn conv_layer(c: u64, adds: bool) -> KernelSpec {
    let add = TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1));
    let ops = [TapeOp::Input(0), TapeOp::Input(1), add];
    let dims = [1, c, 8, 8];
    KernelSpec::Contract(ContractSpec {
        problem: Problem::Conv {
            batch: 1,
            groups: 1,
            in_channels: c,
            out_channels: c,
            window: pixels(),
            x: f32s(&dims),
            w: f32s(&[c, c, 3, 3]),
        },
        epilogue: Epilogue {
            inputs: vec![f32s(&dims); usize::from(adds)],
            tape: relu_of(if adds { &ops } else { &ops[..1] }),
            outputs: vec![f32s(&dims)],
        },
    })
}

/// Attention of `c` queries of size 64 over as many keys.
pub(crate) fn self_attention(c: u64) -> KernelSpec {
    let dims = [1, c, 64];
    KernelSpec::Attention(AttentionSpec {
        batch: vec![1],
        q_len: c,
        kv_len: c,
        qk_size: 64,
        v_size: 64,
        scale: 0.125,
        softcap: None,
        causal: None,
        q: f32s(&dims),
        k: f32s(&dims),
        v: f32s(&dims),
        mask: None,
        out: f32s(&dims),
    })
}
