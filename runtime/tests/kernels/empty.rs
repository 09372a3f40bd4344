//! Kernels with nothing to do, or nothing to do it with.

use crate::plan::{run, tensors};
use crate::seeded::Seeded;
use plans::spec::{
    AttentionSpec, Cell, ContractSpec, CumSumSpec, Direction, Epilogue, GridSampleSpec,
    Interpolation, KernelSpec, LibrarySpec, MapInput, MapSpec, MovementSpec, NonMaxSuppressionSpec,
    Operand, PadMode, PadSpec, Phase, Problem, RecurrentSpec, Reduction, ResizeSpec, RowFold,
    RowSpec, SampleMode, SamplePadding, ScatterSpec, TopKSpec, Window, WindowFold, WindowSpec,
};
use plans::{DType, Tape};

fn dense(dtype: DType, extents: &[u64]) -> Operand {
    let mut strides = vec![1i64; extents.len()];
    for d in (0..extents.len().saturating_sub(1)).rev() {
        strides[d] = strides[d + 1] * extents[d + 1].max(1) as i64;
    }
    Operand { dtype, strides }
}

fn epilogue(dtype: DType, domain: &[u64]) -> Epilogue {
    Epilogue {
        inputs: vec![],
        tape: Tape::identity(dtype),
        outputs: vec![dense(dtype, domain)],
    }
}

/// Specs of every class in which each extent is 0 in turn.
fn specs(dtype: DType) -> Vec<KernelSpec> {
    let identity = || Tape::identity(dtype);
    let mut all = vec![];
    for zero in 0..6 {
        let e = |i: usize, n: u64| if i == zero { 0 } else { n };
        let domain = [e(0, 3), e(1, 5)];
        all.push(KernelSpec::Map(MapSpec {
            domain: domain.to_vec(),
            inputs: vec![MapInput::affine(dense(dtype, &domain))],
            tape: identity(),
            outputs: vec![dense(dtype, &domain)],
        }));
        all.push(KernelSpec::Row(RowSpec {
            rows: vec![e(0, 3)],
            columns: vec![e(1, 5)],
            inputs: vec![dense(dtype, &domain)],
            phases: vec![Phase::Fold {
                tape: identity(),
                fold: RowFold::Sum,
            }],
            element_tape: identity(),
            element_outputs: vec![dense(dtype, &domain)],
            row_outputs: vec![(0, dense(dtype, &domain[..1]))],
        }));
        let (b, m, n, k) = (e(0, 2), e(1, 3), e(2, 4), e(3, 5));
        all.push(KernelSpec::Contract(ContractSpec {
            problem: Problem::MatMul {
                batch: vec![b],
                m,
                n,
                k,
                a: dense(dtype, &[b, m, k]),
                b: dense(dtype, &[b, k, n]),
            },
            epilogue: epilogue(dtype, &[b, m, n]),
        }));
        let (groups, c_in, c_out) = (e(1, 2), e(2, 3), e(3, 4));
        let window = |input: u64, output: u64| Window {
            input: vec![input],
            output: vec![output],
            kernel: vec![3],
            strides: vec![1],
            dilations: vec![1],
            pads_begin: vec![1],
        };
        let spatial = window(e(4, 7), e(5, 7));
        let (x, y) = (spatial.input[0], spatial.output[0]);
        for transposed in [false, true] {
            let (outer, inner) = if transposed {
                (c_in, c_out)
            } else {
                (c_out, c_in)
            };
            let w = dense(dtype, &[groups * outer, inner, 3]);
            let data = dense(dtype, &[b, groups * c_in, x]);
            let domain = [b, groups * c_out, y];
            let problem = if transposed {
                Problem::ConvTranspose {
                    batch: b,
                    groups,
                    in_channels: c_in,
                    out_channels: c_out,
                    window: spatial.clone(),
                    x: data,
                    w,
                }
            } else {
                Problem::Conv {
                    batch: b,
                    groups,
                    in_channels: c_in,
                    out_channels: c_out,
                    window: spatial.clone(),
                    x: data,
                    w,
                }
            };
            all.push(KernelSpec::Contract(ContractSpec {
                problem,
                epilogue: epilogue(dtype, &domain),
            }));
        }
        for fold in [WindowFold::Max, WindowFold::Sum, WindowFold::Average] {
            let (b, c) = (e(0, 2), e(1, 3));
            all.push(KernelSpec::Window(WindowSpec {
                batch: b,
                channels: c,
                window: spatial.clone(),
                x: dense(dtype, &[b, c, x]),
                prologue: identity(),
                weight: None,
                fold,
                epilogue: epilogue(dtype, &[b, c, y]),
                indices: None,
            }));
        }
        let (q, kv, d, dv) = (e(1, 3), e(2, 4), e(3, 5), e(4, 6));
        all.push(KernelSpec::Attention(AttentionSpec {
            batch: vec![b],
            q_len: q,
            kv_len: kv,
            qk_size: d,
            v_size: dv,
            scale: 1.0,
            softcap: None,
            causal: None,
            q: dense(dtype, &[b, q, d]),
            k: dense(dtype, &[b, kv, d]),
            v: dense(dtype, &[b, kv, dv]),
            mask: Some(dense(DType::Bool, &[b, q, kv])),
            out: dense(dtype, &[b, q, dv]),
        }));
        let domain = [e(0, 3), e(1, 5)];
        let padded = [e(2, 5), e(3, 7)];
        all.push(KernelSpec::Movement(MovementSpec::Pad(PadSpec {
            input: domain.to_vec(),
            output: padded.to_vec(),
            begin: vec![1, 1],
            mode: PadMode::Constant,
            x: dense(dtype, &domain),
            out: dense(dtype, &padded),
        })));
        let axis = |input: u64, output: u64| Interpolation {
            output,
            taps: 1,
            positions: vec![if input == 0 { -1 } else { 0 }; output as usize],
            factors: vec![1.0; output as usize],
        };
        all.push(KernelSpec::Movement(MovementSpec::Resize(ResizeSpec {
            input: domain.to_vec(),
            axes: vec![axis(domain[0], padded[0]), axis(domain[1], padded[1])],
            outside: 0.5,
            x: dense(dtype, &domain),
            out: dense(dtype, &padded),
        })));
        all.push(KernelSpec::Movement(MovementSpec::Scatter(ScatterSpec {
            domain: domain.to_vec(),
            updates: dense(dtype, &domain),
            indices: vec![],
            axes: vec![],
            out: dense(dtype, &domain),
            reduction: Reduction::Add,
        })));
        let k = domain[1].min(2);
        let taken = [domain[0], k];
        all.push(KernelSpec::Library(LibrarySpec::TopK(TopKSpec {
            domain: domain.to_vec(),
            k,
            largest: true,
            x: dense(dtype, &domain),
            values: dense(dtype, &taken),
            indices: dense(DType::I64, &taken),
        })));
        all.push(KernelSpec::Library(LibrarySpec::CumSum(CumSumSpec {
            domain: domain.to_vec(),
            exclusive: false,
            reverse: false,
            x: dense(dtype, &domain),
            out: dense(dtype, &domain),
        })));
        let (b, c, x, y) = (e(0, 2), e(1, 3), e(2, 4), e(3, 5));
        all.push(KernelSpec::Library(LibrarySpec::GridSample(
            GridSampleSpec {
                batch: b,
                channels: c,
                input: vec![x],
                output: vec![y],
                mode: SampleMode::Cubic,
                padding: SamplePadding::Zeros,
                align_corners: false,
                x: dense(dtype, &[b, c, x]),
                grid: dense(dtype, &[b, y, 1]),
                out: dense(dtype, &[b, c, y]),
            },
        )));
        let (boxes, classes, most) = (e(1, 4), e(2, 2), e(3, 3));
        all.push(KernelSpec::Library(LibrarySpec::NonMaxSuppression(
            NonMaxSuppressionSpec {
                batch: b,
                classes,
                boxes,
                max_output: most,
                iou_threshold: 0.5,
                score_threshold: None,
                center_point: false,
                boxes_in: dense(DType::F32, &[b, boxes, 4]),
                scores: dense(DType::F32, &[b, classes, boxes]),
                out: dense(DType::I64, &[b * classes * most, 3]),
            },
        )));
        let (time, b, i, h) = (e(0, 3), e(1, 2), e(2, 4), e(3, 5));
        for cell in [
            Cell::Rnn,
            Cell::Gru {
                linear_before_reset: false,
            },
            Cell::Lstm {
                input_forget: false,
            },
        ] {
            let gates = cell.n_gates() * h;
            all.push(KernelSpec::Recurrent(RecurrentSpec {
                cell,
                direction: Direction::Bidirectional,
                time,
                batch: b,
                input_size: i,
                hidden_size: h,
                activations: vec![plans::spec::Activation::Tanh; 2 * cell.n_activations()],
                clip: None,
                x: dense(dtype, &[time, b, i]),
                w: dense(dtype, &[2, gates, i]),
                r: dense(dtype, &[2, gates, h]),
                bias: None,
                lengths: None,
                initial_h: None,
                initial_c: None,
                peepholes: None,
                y: Some(dense(dtype, &[time, 2, b, h])),
                y_h: Some(dense(dtype, &[2, b, h])),
                y_c: None,
            }));
        }
    }
    all
}

#[test]
fn extents_of_zero_leave_nothing_undefined() {
    let mut n_run = 0;
    for dtype in [DType::F32, DType::F64] {
        for spec in specs(dtype) {
            if spec.check().is_err() {
                // Such as an average of nothing that is not to be had.
                continue;
            }
            for is_weight in [false, true] {
                let mut args = tensors(&spec, &mut Seeded::new(1));
                if let KernelSpec::Contract(_) | KernelSpec::Recurrent(_) = spec {
                    args[1].is_weight = is_weight;
                    if matches!(spec, KernelSpec::Recurrent(_)) {
                        args[2].is_weight = is_weight;
                    }
                }
                for threads in [1, 3] {
                    run(&spec, &args, threads, None).unwrap();
                    n_run += 1;
                }
            }
        }
    }
    assert!(n_run > 600, "{n_run}");
}
