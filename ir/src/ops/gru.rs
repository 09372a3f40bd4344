//! Gated recurrent unit.

use super::recurrent::{Cell, Weights, recurrent_operator};

recurrent_operator! {
    /// At each time step, with gates z, r, h in the rows of the weights in that order:
    /// `z = f(Wz x + Rz h + b)`, `r = f(Wr x + Rr h + b)`,
    /// `n = g(Wh x + Wbh + Rh (r * h) + Rbh)`, `h = (1 - z) * n + z * h`.
    ///
    /// Operands: X `[steps, instances, features]`, W `[directions, 3 * hidden, features]`,
    /// R `[directions, 3 * hidden, hidden]`, optional B `[directions, 6 * hidden]` (Wb, Rb),
    /// sequence_lens `[instances]`, initial_h `[directions, instances, hidden]`.
    /// Results: Y `[steps, directions, instances, hidden]`, and optionally the last states Y_h.
    GRU, [1, 3, 7, 14, 22], 3..=6, 1..=2, {
        /// Whether r applies to `Rh h + Rbh` rather than to h.
        linear_before_reset: bool = false,
    }
}

impl Cell for GRU {
    const GATES: usize = 3;
    const ACTIVATIONS: &'static [&'static str] = &["Sigmoid", "Tanh"];

    fn step(&self, weights: &Weights<'_>, x: &[f64], hidden: &mut [f64], _memory: &mut [f64]) {
        let n = weights.n;
        let gates = weights.recur(0..2, hidden);
        let gate = |i: usize| weights.gate(0, x[i] + gates[i]);
        let update: Vec<f64> = (0..n).map(gate).collect();
        let reset: Vec<f64> = (n..2 * n).map(gate).collect();
        let times =
            |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a * b).collect() };
        let recurrent = if self.linear_before_reset {
            times(&reset, &weights.recur(2..3, hidden))
        } else {
            weights.recur(2..3, &times(&reset, hidden))
        };
        for (i, h) in hidden.iter_mut().enumerate() {
            let new = weights.gate(1, x[2 * n + i] + recurrent[i]);
            *h = (1.0 - update[i]) * new + update[i] * *h;
        }
    }
}
