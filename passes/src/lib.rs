//! The optimiser: from a program of operators, step by step, to a program of regions.
//!
//! A pass is one function over a whole [`Program`](ir::Program), in a file of its name, listed once
//! below. [`manager::run`] runs a list; [`PassCx`] is what a pass reports to.

pub mod algebra;
pub mod bounds;
pub mod fuse;
pub mod interleave;
pub mod layout;
pub mod lower;
pub mod manager;
pub mod normalise;
pub mod partition;
mod pattern;
pub mod predict;

pub use manager::{Changed, Options, Pass, PassCx, PassError, Phase, Stage};

manager::passes! {
    normalise {
        // Until nothing changes, at most eight times.
        repeat 8 {
            fold_constants
            canonicalize
            fold_padding
            cancel_views
            merge_common
            remove_dead
        }
        decompose
        recognize_softmax
        recognize_layer_norm
        recognize_rms_norm
        recognize_gelu
        recognize_gates
        recognize_rotary
        recognize_attention
        fold_batch_norm
        repeat 8 {
            fold_constants
            canonicalize
            cancel_views
            merge_common
            remove_dead
        }
    }
    algebra {
        rewrite_algebra
    }
    layout {
        share_concat_prefixes
        choose_storage
    }
    fuse {
        form_regions
    }
}

/// Runs the normalise phase.
pub fn normalise(program: &mut ir::Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    manager::run(Phase::Normalise, program, cx)
}
