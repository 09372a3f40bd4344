//! Random networks of what the rules look for compute the same before and after.

use super::support::{Numbers, error, first, program, rewritten};
use std::fmt::Write;

/// A network of `n` operators, with one or two outputs.
struct Maker {
    random: Numbers,
    weights: String,
    n_weights: usize,
    body: String,
    n_values: usize,
}

impl Maker {
    fn below(&mut self, n: usize) -> usize {
        (self.random.next() * n as f64) as usize % n
    }

    fn weight(&mut self, dims: &[usize], low: f64, high: f64) -> String {
        let name = format!("w{}", self.n_weights);
        self.n_weights += 1;
        let seed = self.below(1000);
        writeln!(
            self.weights,
            "weight {name}: f32{dims:?} = uniform {seed} {low} {high}"
        )
        .unwrap();
        name
    }

    fn node(&mut self, text: &str) -> String {
        let name = format!("%v{}", self.n_values);
        self.n_values += 1;
        writeln!(self.body, "  {name} = {text}").unwrap();
        name
    }

    /// A constant that broadcasts to `dims`: one number, or along a dimension or two.
    fn broadcast(&mut self, dims: &[usize], low: f64, high: f64) -> String {
        let own: Vec<usize> = dims
            .iter()
            .map(|&d| if self.below(3) == 0 { d } else { 1 })
            .collect();
        let skip = self.below(own.len());
        let own = match own[..skip].iter().all(|&d| d == 1) {
            true => own[skip..].to_vec(),
            false => own,
        };
        self.weight(&own, low, high)
    }

    /// An operator over images `[1, 4, 5, 5]` that keeps the shape.
    fn image(&mut self, x: &str, other: &str) -> String {
        let dims = [1, 4, 5, 5];
        let text = match self.below(14) {
            0 | 1 => format!("Mul({x}, {})", self.broadcast(&dims, 0.5, 1.5)),
            2 | 3 => format!("Add({x}, {})", self.broadcast(&dims, -0.5, 0.5)),
            4 => format!("Div({x}, {})", self.broadcast(&dims, 0.5, 1.5)),
            5 => format!("Sub({}, {x})", self.broadcast(&dims, -0.5, 0.5)),
            6 => format!("Relu({x})"),
            7 => {
                let (low, high) = (self.weight(&[], -0.5, 0.0), self.weight(&[], 0.2, 0.9));
                format!("Clip({x}, {low}, {high})")
            }
            8 => {
                let w = self.weight(&[4, 4, 3, 3], -0.4, 0.4);
                format!("Conv({x}, {w}) {{pads = [1, 1, 1, 1]}}")
            }
            9 => {
                let (w, b) = (
                    self.weight(&[4, 4, 1, 1], -0.8, 0.8),
                    self.weight(&[4], -0.5, 0.5),
                );
                format!("Conv({x}, {w}, {b})")
            }
            10 => {
                let w = self.weight(&[4, 1, 3, 3], -0.8, 0.8);
                format!("Conv({x}, {w}) {{group = 4, pads = [1, 1, 1, 1]}}")
            }
            11 => format!("Transpose({x}) {{perm = [0, 1, 3, 2]}}"),
            12 => format!("Neg({x})"),
            _ => format!("Add({x}, {other})"),
        };
        self.node(&text)
    }

    /// An operator over rows `[2, 3, 6]` that keeps the shape.
    fn rows(&mut self, x: &str, other: &str) -> String {
        let dims = [2, 3, 6];
        let text = match self.below(11) {
            0 | 1 => format!("Mul({x}, {})", self.broadcast(&dims, 0.5, 1.5)),
            2 | 3 => format!("Add({x}, {})", self.broadcast(&dims, -0.5, 0.5)),
            4 => format!("Sub({x}, {})", self.broadcast(&dims, -0.5, 0.5)),
            5..=7 => format!("MatMul({x}, {})", self.weight(&[6, 6], -0.5, 0.5)),
            8 => format!("Sigmoid({x})"),
            9 => format!("Mul({x}, {other})"),
            _ => {
                let turned = self.node(&format!("Transpose({x}) {{perm = [0, 2, 1]}}"));
                let tanh = self.node(&format!("Tanh({turned})"));
                format!("Transpose({tanh}) {{perm = [0, 2, 1]}}")
            }
        };
        self.node(&text)
    }
}

fn network(seed: u64) -> String {
    let mut m = Maker {
        random: Numbers::new(seed),
        weights: String::new(),
        n_weights: 0,
        body: String::new(),
        n_values: 0,
    };
    let is_image = seed.is_multiple_of(2);
    let mut values = vec!["%x".to_string()];
    for _ in 0..3 + m.below(12) {
        let back = m.below(3).min(values.len() - 1);
        let x = values[values.len() - 1 - back].clone();
        let other = m.below(values.len());
        let other = values[other].clone();
        values.push(if is_image {
            m.image(&x, &other)
        } else {
            m.rows(&x, &other)
        });
    }
    let dims = if is_image { "1, 4, 5, 5" } else { "2, 3, 6" };
    let mut text = m.weights;
    writeln!(
        text,
        "model m {{\n  input %x \"x\": f32[{dims}]\n{}",
        m.body
    )
    .unwrap();
    let last = values.len() - 1;
    writeln!(text, "  output \"y\" = {}", values[last]).unwrap();
    writeln!(text, "  output \"z\" = {}\n}}", values[last / 2 + 1]).unwrap();
    text
}

#[test]
fn random_networks_compute_the_same() {
    let mut n_changed = 0;
    for seed in 0..400 {
        let text = network(seed);
        let before = program(&text);
        let (after, statistics) = rewritten(&before);
        n_changed += statistics.n_rewritten;
        let error = error(
            (first(&before), &before.weights),
            (first(&after), &after.weights),
            seed,
        );
        assert!(
            error < 1e-4,
            "error {error} for seed {seed}\n{text}\n{after}"
        );
    }
    assert!(n_changed > 200, "{n_changed} networks changed");
}
