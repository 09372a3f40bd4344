//! Random programs, made from a stream of choices so that failures shrink.

use bytes::Bytes;
use dlirc_ir::attrs::{Attr, Attrs};
use dlirc_ir::patch::infer_node;
use dlirc_ir::{
    DType, Dim, Graph, Op, Origin, Program, Region, RegionKind, Shape, StorageOrder, Tensor,
    TensorType, ValueId,
};

/// Numbers that decide what is made; 0 once they have run out.
pub(crate) struct Choices<'a>(std::slice::Iter<'a, u32>);

impl<'a> Choices<'a> {
    pub(crate) fn new(choices: &'a [u32]) -> Self {
        Self(choices.iter())
    }

    fn below(&mut self, n: usize) -> usize {
        self.0.next().map_or(0, |&c| c as usize % n)
    }

    fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

const NAMES: [&str; 7] = [
    "x",
    "conv 1",
    "a\"b\\c",
    "größe\n",
    "\u{7}bell",
    "",
    "%0: f32[2]",
];

fn name(c: &mut Choices<'_>) -> Option<String> {
    (c.below(3) == 0).then(|| c.of(&NAMES).to_string())
}

fn dims(c: &mut Choices<'_>) -> Vec<usize> {
    (0..c.below(4)).map(|_| c.of(&[1, 2, 3, 4, 0])).collect()
}

fn weight(c: &mut Choices<'_>) -> Tensor {
    let dtype = c.of(&DType::ALL);
    let mut dims = dims(c);
    if c.below(5) == 0 {
        dims = vec![13, 7];
    }
    let n = dims.iter().product::<usize>() * dtype.size();
    let data: Vec<u8> = match c.below(3) {
        0 => vec![c.below(256) as u8; n],
        1 => (0..n)
            .map(|_| c.of(&[0, 1, 0x7f, 0x80, 0xff, 0x3c]))
            .collect(),
        _ => (0..n).map(|_| c.below(256) as u8).collect(),
    };
    Tensor::new(dtype, &dims, Bytes::from(data)).unwrap()
}

fn attr(c: &mut Choices<'_>) -> Attr {
    match c.below(8) {
        0 => Attr::Int(c.of(&[0, 1, -1, 2, i64::MAX, i64::MIN])),
        1 => Attr::Float(c.of(&[0.0, -0.0, 1.0, 1e-5, 0.1, f32::MAX, f32::MIN_POSITIVE, 3e38])),
        2 => Attr::Str(c.of(&NAMES).into()),
        3 => Attr::Ints((0..c.below(4)).map(|i| i as i64 - 1).collect()),
        4 => Attr::Floats((0..c.below(3)).map(|i| i as f32 / 3.0).collect()),
        5 => Attr::Floats(vec![1.0, f32::INFINITY, f32::NEG_INFINITY]),
        6 => Attr::Strs((0..c.below(3)).map(|i| NAMES[i].to_string()).collect()),
        _ => Attr::Type(c.of(&DType::ALL)),
    }
}

/// Attributes that operators really have, with values of every kind.
fn attrs(c: &mut Choices<'_>) -> Attrs {
    let mut attrs = Attrs::new();
    for _ in 0..c.below(3) {
        let name = c.of(&[
            "axis",
            "alpha",
            "epsilon",
            "perm",
            "keepdims",
            "to",
            "pads",
            "strides",
            "auto_pad",
            "approximate",
            "kernel_shape",
            "num_outputs",
            "beta",
            "group",
            "dilations",
            "value",
        ]);
        attrs.insert(name.into(), attr(c));
    }
    attrs
}

fn storage(c: &mut Choices<'_>) -> StorageOrder {
    c.of(&[
        StorageOrder::RowMajor,
        StorageOrder::RowMajor,
        StorageOrder::ChannelsLast,
    ])
}

/// A program of one to three models. Its nodes type where the operator allows it; where it does
/// not, types are made up, which the text form does not mind.
pub(crate) fn program(c: &mut Choices<'_>) -> Program {
    let mut program = Program::default();
    let operators: Vec<&str> = Op::catalogue().map(|(name, ..)| name).collect();
    for m in 0..1 + c.below(3) {
        let mut graph =
            Graph::new(c.of(&["m", "résumé", "resnet 50"]).to_string() + &m.to_string());
        let mut values: Vec<ValueId> = vec![];
        for i in 0..1 + c.below(3) {
            let shape: Shape = (0..c.below(5))
                .map(|_| {
                    let symbol = |s| Dim::Symbol(dlirc_ir::Symbol::new(s));
                    c.of(&[
                        Dim::Known(2),
                        Dim::Known(3),
                        symbol("N"),
                        symbol("batch size"),
                        symbol("3"),
                    ])
                })
                .collect();
            let dtype = c.of(&[DType::F32, DType::F16, DType::I64, DType::Bool]);
            let v = graph.add_input(&format!("in {i}"), TensorType::new(dtype, shape));
            graph.values[v].storage = storage(c);
            values.push(v);
        }
        for _ in 0..c.below(5) {
            let tensor = weight(c);
            let ty = tensor.ty();
            let w = program.weights.add(tensor);
            let v = graph.add_weight(name(c).as_deref(), ty, w);
            graph.values[v].storage = storage(c);
            values.push(v);
        }
        for _ in 0..c.below(12) {
            node(c, &operators, &mut graph, &program, &mut values);
        }
        if c.below(2) == 0 {
            regions(c, &mut graph);
        }
        for i in 0..c.below(3) {
            graph
                .outputs
                .push((format!("out {i}").into(), c.of(&values)));
        }
        program.graphs.push(graph);
    }
    program
}

fn node(
    c: &mut Choices<'_>,
    operators: &[&str],
    graph: &mut Graph,
    program: &Program,
    values: &mut Vec<ValueId>,
) {
    let attrs = attrs(c);
    // Choose again until the attributes fit; most operators have none.
    let op = (0..8).find_map(|k| {
        let attrs = if k < 4 { attrs.clone() } else { Attrs::new() };
        Op::read(c.of(operators), &attrs)?.ok()
    });
    let Some(op) = op else { return };
    let (least, most) = (*op.arity().start(), *op.arity().end());
    let n = least + c.below(most.saturating_sub(least).min(3) + 1);
    let inputs: Vec<_> = (0..n)
        .map(|_| (c.below(6) > 0).then(|| c.of(values)))
        .collect();
    let n_outputs = (*op.results().start()).max(1) + c.below(2);
    let types = infer_node(graph, &program.weights, &op, &inputs, n_outputs);
    let made_up = || vec![TensorType::known(DType::F32, &[2, 3]); n_outputs];
    let types = types
        .ok()
        .filter(|t| t.len() == n_outputs)
        .unwrap_or_else(made_up);
    let origin: Origin = (0..c.below(3)).map(|i| NAMES[i]).collect();
    let node = graph.add_node(op, inputs, types, origin);
    for v in graph.nodes[node].outputs.clone() {
        graph.values[v].name = name(c).map(Into::into);
        graph.values[v].storage = storage(c);
        values.push(v);
    }
}

fn regions(c: &mut Choices<'_>, graph: &mut Graph) {
    let mut region = None;
    for n in graph.order.clone() {
        if region.is_none() || c.below(2) == 0 {
            let kind = c.of(&RegionKind::ALL);
            region = Some(graph.regions.push(Region { kind }));
        }
        graph.nodes[n].region = region;
    }
}
