//! A bound session runs without allocating.
#![allow(clippy::unwrap_used, reason = "what panics fails the test")]

#[allow(dead_code, reason = "shared with the tests of kernels")]
#[path = "kernels/plan.rs"]
mod plan;
#[allow(dead_code, reason = "shared with the tests of kernels")]
#[path = "kernels/reference.rs"]
mod reference;
#[allow(dead_code, reason = "shared with the tests of kernels")]
#[path = "kernels/seeded.rs"]
mod seeded;

use dlirc_runtime::{Engine, Loaded, Options};
use plans::spec::{
    AttentionSpec, CumSumSpec, Epilogue, Interpolation, KernelSpec, LibrarySpec, MapInput, MapSpec,
    MovementSpec, Operand, PadMode, PadSpec, Phase, Problem, ResizeSpec, RowFold, RowSpec,
    TopKSpec, Window, WindowFold, WindowSpec,
};
use plans::tape::{BinaryFn, Reg, TapeOp, TapeStep, UnaryFn};
use plans::{DType, Tape};
use seeded::Seeded;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn dense(dtype: DType, extents: &[u64]) -> Operand {
    let mut strides = vec![1; extents.len()];
    for d in (0..extents.len().saturating_sub(1)).rev() {
        strides[d] = strides[d + 1] * extents[d + 1] as i64;
    }
    Operand { dtype, strides }
}

fn floats(extents: &[u64]) -> Operand {
    dense(DType::F32, extents)
}

/// `sin(x) + x`, which no library computes.
fn tape() -> Tape {
    let step = |op| TapeStep {
        op,
        dtype: DType::F32,
    };
    Tape {
        steps: vec![
            step(TapeOp::Input(0)),
            step(TapeOp::Unary(UnaryFn::Sin, Reg(0))),
            step(TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1))),
        ],
        results: vec![Reg(2)],
    }
}

fn epilogue(tape: Tape, extents: &[u64]) -> Epilogue {
    Epilogue {
        inputs: vec![],
        tape,
        outputs: vec![floats(extents)],
    }
}

fn window(input: u64, kernel: u64, output: u64) -> Window {
    Window {
        input: vec![input; 2],
        output: vec![output; 2],
        kernel: vec![kernel; 2],
        strides: vec![1; 2],
        dilations: vec![1; 2],
        pads_begin: vec![1; 2],
    }
}

fn kernels() -> Vec<KernelSpec> {
    let identity = || Tape::identity(DType::F32);
    let product = |tape| plans::spec::ContractSpec {
        problem: Problem::MatMul {
            batch: vec![2],
            m: 40,
            n: 50,
            k: 60,
            a: floats(&[2, 40, 60]),
            b: Operand {
                dtype: DType::F32,
                strides: vec![0, 50, 1],
            },
        },
        epilogue: epilogue(tape, &[2, 40, 50]),
    };
    let conv = |x: Operand| plans::spec::ContractSpec {
        problem: Problem::Conv {
            batch: 1,
            groups: 1,
            in_channels: 8,
            out_channels: 16,
            window: window(20, 3, 20),
            x,
            w: floats(&[16, 8, 3, 3]),
        },
        epilogue: epilogue(identity(), &[1, 16, 20, 20]),
    };
    let pooled = |fold| WindowSpec {
        batch: 1,
        channels: 8,
        window: window(20, 3, 20),
        x: floats(&[1, 8, 20, 20]),
        prologue: identity(),
        weight: None,
        fold,
        epilogue: epilogue(identity(), &[1, 8, 20, 20]),
        indices: None,
    };
    let axis = |taps: u32| Interpolation {
        output: 20,
        taps,
        positions: (0..20 * taps as i32).map(|i| i % 10).collect(),
        factors: vec![0.5; 20 * taps as usize],
    };
    vec![
        KernelSpec::Map(MapSpec {
            domain: vec![300, 400],
            inputs: vec![MapInput::affine(Operand {
                dtype: DType::F32,
                strides: vec![1, 300],
            })],
            tape: tape(),
            outputs: vec![floats(&[300, 400])],
        }),
        KernelSpec::Row(RowSpec {
            rows: vec![100],
            columns: vec![1000],
            inputs: vec![floats(&[100, 1000])],
            phases: vec![Phase::Fold {
                tape: tape(),
                fold: RowFold::Sum,
            }],
            element_tape: tape(),
            element_outputs: vec![floats(&[100, 1000])],
            row_outputs: vec![(0, floats(&[100]))],
        }),
        KernelSpec::Contract(product(identity())),
        KernelSpec::Contract(product(tape())),
        KernelSpec::Contract(conv(floats(&[1, 8, 20, 20]))),
        KernelSpec::Contract(conv(Operand {
            dtype: DType::F32,
            strides: vec![3200, 1, 160, 8],
        })),
        KernelSpec::Window(pooled(WindowFold::Max)),
        KernelSpec::Window(pooled(WindowFold::Sum)),
        KernelSpec::Attention(AttentionSpec {
            batch: vec![4],
            q_len: 30,
            kv_len: 40,
            qk_size: 16,
            v_size: 16,
            scale: 0.25,
            softcap: None,
            causal: None,
            q: floats(&[4, 30, 16]),
            k: floats(&[4, 40, 16]),
            v: floats(&[4, 40, 16]),
            mask: Some(dense(DType::Bool, &[4, 30, 40])),
            out: floats(&[4, 30, 16]),
        }),
        KernelSpec::Movement(MovementSpec::Pad(PadSpec {
            input: vec![50, 60],
            output: vec![54, 63],
            begin: vec![2, 1],
            mode: PadMode::Reflect,
            x: floats(&[50, 60]),
            out: floats(&[54, 63]),
        })),
        KernelSpec::Movement(MovementSpec::Resize(ResizeSpec {
            input: vec![10, 10],
            axes: vec![axis(2), axis(2)],
            outside: 0.0,
            x: floats(&[10, 10]),
            out: floats(&[20, 20]),
        })),
        KernelSpec::Library(LibrarySpec::TopK(TopKSpec {
            domain: vec![30, 200],
            k: 5,
            largest: true,
            x: floats(&[30, 200]),
            values: floats(&[30, 5]),
            indices: dense(DType::I64, &[30, 5]),
        })),
        KernelSpec::Library(LibrarySpec::CumSum(CumSumSpec {
            domain: vec![30, 200],
            exclusive: false,
            reverse: true,
            x: floats(&[30, 200]),
            out: floats(&[30, 200]),
        })),
    ]
}

// One test: another one at the same time would count here.
#[test]
fn runs_of_every_class_allocate_nothing() {
    for spec in kernels() {
        for is_weight in [false, true] {
            let mut args = plan::tensors(&spec, &mut Seeded::new(1));
            if matches!(spec, KernelSpec::Contract(_)) {
                args[1].is_weight = is_weight;
            }
            let (plan, weights) = plan::plan_of(&spec, &args);
            let loaded = Arc::new(Loaded::from_parts(plan, &weights).unwrap());
            let options = Options {
                threads: 3,
                ..Options::default()
            };
            let engine = Arc::new(Engine::bind(loaded, &options).unwrap());
            let mut session = engine.session().unwrap();
            let model = session.model("tested").unwrap();
            let mut n_observed = 0;
            let before = COUNT.load(Ordering::SeqCst);
            session.run(model).unwrap();
            session
                .run_observed(model, &mut |_, _| n_observed += 1)
                .unwrap();
            let after = COUNT.load(Ordering::SeqCst);
            assert_eq!(after - before, 0, "allocations while running {spec:?}");
            assert_eq!(n_observed, session.plan().steps.len());
        }
    }
    let before = COUNT.load(Ordering::SeqCst);
    drop(std::hint::black_box(vec![1]));
    assert!(COUNT.load(Ordering::SeqCst) > before, "nothing is counted");
}
