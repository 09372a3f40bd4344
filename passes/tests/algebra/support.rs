//! Graphs from text, random inputs, comparison of results.

use dlirc_passes::algebra::{self, Options, RULES, Rule, Statistics};
use ir::id::EntityId;
use ir::{Graph, GraphId, Program, Tensor, Weights};

/// The program that `text` says, verified.
pub(crate) fn program(text: &str) -> Program {
    let program = ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    if let Err(violations) = ir::verify::program(&program) {
        panic!("{violations:?}\n{text}");
    }
    program
}

/// The only graph of `program`.
pub(crate) fn first(program: &Program) -> &Graph {
    &program.graphs[GraphId::from_index(0)]
}

/// Random numbers that depend on a seed only (Steele et al. 2014, SplitMix64).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to 1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

/// Numbers between -2 and 2 that depend on `seed` only.
fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut numbers = Numbers::new(seed);
    (0..n).map(|_| 4.0 * numbers.next() - 2.0).collect()
}

/// Random inputs for `graph`, whose dimensions are known.
pub(crate) fn inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let input = |(i, &v): (usize, &ir::ValueId)| {
        let ty = graph.ty(v);
        let dims = ty.shape.dims().unwrap();
        let n = dims.iter().product();
        Tensor::from_f64(ty.dtype, &dims, &numbers(seed * 1000 + i as u64, n))
    };
    graph.inputs.iter().enumerate().map(input).collect()
}

/// The largest relative error ‖b - a‖ / ‖a‖ of the outputs.
pub(crate) fn error(a: (&Graph, &Weights), b: (&Graph, &Weights), seed: u64) -> f64 {
    let inputs = inputs(a.0, seed);
    let run = |(g, w): (&Graph, &Weights)| ir::eval::graph(g, w, &inputs).unwrap();
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let (a, b) = (run(a), run(b));
    assert_eq!(a.len(), b.len());
    let one = |(a, b): (&Tensor, &Tensor)| {
        assert_eq!(a.ty(), b.ty());
        let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
        let difference = norm(&mut a.iter().zip(&b).map(|(x, y)| x - y));
        difference / norm(&mut a.iter().copied()).max(1e-30)
    };
    a.iter().zip(&b).map(one).fold(0.0, f64::max)
}

/// The rule called `name`.
pub(crate) fn rule(name: &str) -> Rule {
    *RULES
        .iter()
        .find(|r| r.name == name)
        .unwrap_or_else(|| panic!("no rule {name}"))
}

/// `program` rewritten by all rules, verified, with what was counted.
pub(crate) fn rewritten(program: &Program) -> (Program, Statistics) {
    let mut program = program.clone();
    let readers = algebra::weight_readers(&program);
    let mut statistics = Statistics::default();
    let Program { graphs, weights } = &mut program;
    for (_, graph) in graphs.iter_mut() {
        algebra::rewrite(
            graph,
            weights,
            &readers,
            RULES,
            &Options::default(),
            &mut statistics,
            &mut || true,
        )
        .unwrap();
    }
    program.compact();
    if let Err(violations) = ir::verify::program(&program) {
        panic!("{violations:?}\n{program}");
    }
    (program, statistics)
}

/// The operators of `graph`, in order.
pub(crate) fn operators(graph: &Graph) -> Vec<&'static str> {
    graph
        .order
        .iter()
        .map(|&n| graph.nodes[n].op.name())
        .collect()
}
