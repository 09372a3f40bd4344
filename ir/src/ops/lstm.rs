//! Long short-term memory.

use super::recurrent::{Cell, Weights, recurrent_operator};

recurrent_operator! {
    /// At each time step, with gates i, o, f, c in the rows of the weights in that order:
    /// `i = f(Wi x + Ri h + Pi * C + b)`, `f = f(Wf x + Rf h + Pf * C + b)`,
    /// `C = f * C + i * g(Wc x + Rc h + b)`, `o = f(Wo x + Ro h + Po * C + b)`, `H = o * h(C)`.
    ///
    /// Operands: X `[steps, instances, features]`, W `[directions, 4 * hidden, features]`,
    /// R `[directions, 4 * hidden, hidden]`, optional B `[directions, 8 * hidden]` (Wb, Rb),
    /// sequence_lens `[instances]`, initial_h and initial_c `[directions, instances, hidden]`,
    /// peepholes P `[directions, 3 * hidden]` (i, o, f). Results:
    /// Y `[steps, directions, instances, hidden]`, and optionally the last states Y_h and Y_c.
    LSTM, [1, 7, 14, 22], 3..=8, 1..=3, {
        /// Whether the forget gate is `1 - i`.
        input_forget: bool = false,
    }
}

impl Cell for LSTM {
    const GATES: usize = 4;
    const ACTIVATIONS: &'static [&'static str] = &["Sigmoid", "Tanh", "Tanh"];
    const HAS_MEMORY: bool = true;

    fn step(&self, weights: &Weights<'_>, x: &[f64], hidden: &mut [f64], memory: &mut [f64]) {
        let n = weights.n;
        let recurrent = weights.recur(0..4, hidden);
        let peephole = |gate: usize, i: usize| weights.peepholes.get(gate * n + i).unwrap_or(&0.0);
        for (i, (h, c)) in hidden.iter_mut().zip(memory).enumerate() {
            let sum = |gate: usize| x[gate * n + i] + recurrent[gate * n + i];
            let input = weights.gate(0, sum(0) + peephole(0, i) * *c);
            let forget = if self.input_forget {
                1.0 - input
            } else {
                weights.gate(0, sum(2) + peephole(2, i) * *c)
            };
            *c = forget * *c + input * weights.gate(1, sum(3));
            let output = weights.gate(0, sum(1) + peephole(1, i) * *c);
            *h = output * weights.activate(2, *c);
        }
    }
}
