//! Recurrent layer of plain cells.

use super::recurrent::{Cell, Weights, recurrent_operator};

recurrent_operator! {
    /// `h = f(W x + Wb + R h + Rb)` at each time step.
    ///
    /// Operands: X `[steps, instances, features]`, W `[directions, hidden, features]`,
    /// R `[directions, hidden, hidden]`, optional B `[directions, 2 * hidden]` (Wb, Rb),
    /// sequence_lens `[instances]`, initial_h `[directions, instances, hidden]`.
    /// Results: Y `[steps, directions, instances, hidden]`, and optionally the last states Y_h.
    RNN, [1, 7, 14, 22], 3..=6, 1..=2, {}
}

impl Cell for RNN {
    const GATES: usize = 1;
    const ACTIVATIONS: &'static [&'static str] = &["Tanh"];

    fn step(&self, weights: &Weights<'_>, x: &[f64], hidden: &mut [f64], _memory: &mut [f64]) {
        let recurrent = weights.recur(0..1, hidden);
        for (i, h) in hidden.iter_mut().enumerate() {
            *h = weights.gate(0, x[i] + recurrent[i]);
        }
    }
}
