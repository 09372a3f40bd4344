//! Recurrences: cells, directions, lengths, states, activations, one block and several.

use crate::emulate::{Case, check_all};
use crate::seeded::Seeded;
use dlirc_kernels::cuda::{Target, recurrent};
use plans::DType;
use plans::spec::{Activation, Cell, Direction, KernelSpec, Operand, RecurrentSpec};

/// A recurrence with everything that its cell takes; `seeded` chooses layouts and activations.
fn spec(
    cell: Cell,
    direction: Direction,
    [time, batch, input_size, hidden_size]: [u64; 4],
    dtype: DType,
    seeded: &mut Seeded,
) -> RecurrentSpec {
    let d = direction.count();
    let gates = cell.n_gates() * hidden_size;
    let state = [d, batch, hidden_size];
    let is_lstm = matches!(cell, Cell::Lstm { .. });
    let all = [
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Affine(0.5, 0.1),
        Activation::LeakyRelu(0.1),
        Activation::ThresholdedRelu(0.2),
        Activation::ScaledTanh(0.9, 0.8),
        Activation::HardSigmoid(0.2, 0.5),
        Activation::Elu(0.7),
        Activation::Softsign,
        Activation::Softplus,
        Activation::Relu,
    ];
    let n_activations = cell.n_activations() * d as usize;
    RecurrentSpec {
        cell,
        direction,
        time,
        batch,
        input_size,
        hidden_size,
        activations: (0..n_activations).map(|_| seeded.pick(&all)).collect(),
        clip: seeded.chance(30).then_some(0.8),
        x: seeded.dense(dtype, &[time, batch, input_size]),
        w: seeded.dense(dtype, &[d, gates, input_size]),
        r: seeded.dense(dtype, &[d, gates, hidden_size]),
        bias: Some(seeded.dense(dtype, &[d, 2 * gates])),
        lengths: Some(seeded.dense(DType::I32, &[batch])),
        initial_h: Some(seeded.dense(dtype, &state)),
        initial_c: is_lstm.then(|| seeded.dense(dtype, &state)),
        peepholes: is_lstm.then(|| seeded.dense(dtype, &[d, 3 * hidden_size])),
        y: Some(seeded.dense(dtype, &[time, d, batch, hidden_size])),
        y_h: Some(seeded.dense(dtype, &state)),
        y_c: is_lstm.then(|| seeded.dense(dtype, &state)),
    }
}

const CELLS: [Cell; 5] = [
    Cell::Lstm {
        input_forget: false,
    },
    Cell::Lstm { input_forget: true },
    Cell::Gru {
        linear_before_reset: false,
    },
    Cell::Gru {
        linear_before_reset: true,
    },
    Cell::Rnn,
];

#[test]
fn cells() {
    let mut seeded = Seeded::new(1);
    let mut cases = vec![];
    for cell in CELLS {
        for direction in [
            Direction::Forward,
            Direction::Reverse,
            Direction::Bidirectional,
        ] {
            for (dtype, sizes) in [
                (DType::F32, [5, 3, 9, 12]),
                (DType::F32, [3, 2, 40, 70]),
                (DType::F64, [4, 2, 5, 33]),
            ] {
                let spec = spec(cell, direction, sizes, dtype, &mut seeded);
                let name = format!("{cell:?} {direction:?} {sizes:?} of {dtype}");
                cases.push(Case::new(name, KernelSpec::Recurrent(spec), 1));
            }
        }
    }
    check_all(cases);
}

#[test]
fn what_is_absent() {
    let mut seeded = Seeded::new(2);
    let mut cases = vec![];
    for cell in CELLS {
        let sizes = [4, 2, 7, 20];
        let full = spec(cell, Direction::Forward, sizes, DType::F32, &mut seeded);
        let bare = RecurrentSpec {
            clip: None,
            bias: None,
            lengths: None,
            initial_h: None,
            initial_c: None,
            peepholes: None,
            y: None,
            y_c: None,
            ..full.clone()
        };
        cases.push(Case::new("bare", KernelSpec::Recurrent(bare), 1));
        let mut still = full;
        still.time = 0;
        still.x = Operand {
            dtype: DType::F32,
            strides: vec![0; 3],
        };
        cases.push(Case::new("no step", KernelSpec::Recurrent(still), 1));
    }
    check_all(cases);
}

#[test]
fn every_schedule() {
    let mut seeded = Seeded::new(3);
    let target = Target::of_arch(90).unwrap();
    let sizes = [3, 2, 10, 140];
    let mut cases = vec![];
    for cell in CELLS {
        let spec = spec(
            cell,
            Direction::Bidirectional,
            sizes,
            DType::F32,
            &mut seeded,
        );
        let mut space = recurrent::config_space(&spec, &target);
        let last = *space.last().unwrap();
        space.push(recurrent::Schedule {
            hold: false,
            ..last
        });
        for schedule in space {
            let code = recurrent::generate_with(&spec, schedule).unwrap();
            let kernel = KernelSpec::Recurrent(spec.clone());
            cases.push(Case::of(code, format!("{cell:?} {schedule:?}"), kernel, 1));
        }
    }
    check_all(cases);
}
