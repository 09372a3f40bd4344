//! Outputs whose size a run decides: what reads them is compiled soundly or refused by name.

use dlirc::inputs;
use ir::{DType, Program, Tensor};
use plans::ModelIndex;
use runtime::{Engine, Options};
use std::sync::Arc;

/// A model that selects from 6 boxes of 2 classes of 2 images, and what `body` makes of `%picked`.
fn model(body: &str) -> Program {
    let text = format!(
        "\
weight most: i64[1] = [4]
weight overlap: f32[1] = [0.4]
weight least: f32[1] = [0.3]
weight box: i64[] = 2
weight columns: i64[2] = [2, 1]
weight one: i64[1] = [1]
weight two: i64[1] = [2]
weight three: i64[1] = [3]
weight row: i64[1] = [-1]
model m {{
  input %boxes: f32[2, 6, 4]
  input %scores: f32[2, 2, 6]
  %picked = NonMaxSuppression(%boxes, %scores, most, overlap, least)
{body}}}
"
    );
    ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn operands(seed: u64) -> Vec<Tensor> {
    let boxes = models::random_tensor(
        "boxes",
        DType::F32,
        &[2, 6, 4],
        models::Values::Normal,
        seed,
    );
    let scores = models::random_tensor(
        "scores",
        DType::F32,
        &[2, 2, 6],
        models::Values::Normal,
        seed,
    );
    vec![boxes, scores]
}

/// Checks that a compiled model gives what the reference gives, of the size that it gives.
#[track_caller]
fn agrees(body: &str) {
    let program = model(body);
    let mut optimised = program.clone();
    crate::plan::optimise(&mut optimised).unwrap();
    let loaded = crate::plan::loaded(&optimised).unwrap_or_else(|e| panic!("{e}\n{body}"));
    let engine = Engine::bind(Arc::new(loaded), &Options::default()).unwrap();
    let mut session = Arc::new(engine).session().unwrap();
    let graph = &program.graphs[program.graphs.ids().next().unwrap()];
    let mut sizes = vec![];
    // The larger runs leave more behind than the smaller ones write.
    for seed in [1, 2, 3, 4, 5, 6] {
        let mut operands = operands(seed);
        if seed == 6 {
            let low = vec![-1.0f32; operands[1].n_elements()];
            operands[1] = Tensor::from_slice(&[2, 2, 6], &low);
        }
        let expected = ir::eval::graph(graph, &program.weights, &operands).unwrap();
        let model = ModelIndex(0);
        inputs::set(&mut session, model, &operands).unwrap();
        session.run(model).unwrap();
        let found = inputs::outputs(&session, model).unwrap();
        assert_eq!(found, expected, "seed {seed}");
        sizes.push(found[0].n_elements());
    }
    assert_eq!(sizes[5], 0);
    sizes.sort_unstable();
    sizes.dedup();
    assert!(sizes.len() > 2, "runs must differ in size: {sizes:?}");
}

/// Checks that a model is refused, for `operator`, with words that say why.
#[track_caller]
fn refused(body: &str, operator: &str, why: &str) {
    let mut program = model(body);
    crate::plan::optimise(&mut program).unwrap();
    let Err(error) = crate::plan::loaded(&program) else {
        panic!("it is accepted:\n{body}");
    };
    assert!(
        error.contains(&format!("({operator})")) && error.contains(why),
        "{error}"
    );
}

#[test]
fn selected_boxes_are_an_output() {
    agrees("  output \"picked\" = %picked\n");
}

#[test]
fn views_of_selected_boxes_are_outputs() {
    agrees(
        "\
  %narrow = Cast(%picked) {to = i32}
  %turned = Transpose(%picked) {perm = [1, 0]}
  %wide = Unsqueeze(%picked, one)
  %index = Slice(%picked, two, three, one)
  %list = Reshape(%index, row)
  %double = Mul(%list, box)
  %image, %class, %index2 = Split(%picked) {axis = 1, num_outputs = 3}
  output \"narrow\" = %narrow
  output \"turned\" = %turned
  output \"wide\" = %wide
  output \"index\" = %index
  output \"double\" = %double
  output \"class\" = %class
",
    );
}

#[test]
fn what_lies_at_selected_positions_is_an_output() {
    agrees(
        "\
  %pairs = Gather(%picked, columns) {axis = 1}
  %index = Gather(%picked, box) {axis = 1}
  %found = Gather(%boxes, %index) {axis = 1}
  %image = Slice(%picked, one, two, one)
  %parts = Concat(%image, %pairs, %image) {axis = 1}
  output \"pairs\" = %pairs
  output \"found\" = %found
  output \"parts\" = %parts
",
    );
}

#[test]
fn what_depends_on_the_size_is_refused() {
    let why = "known only at run time";
    refused("  %n = Shape(%picked)\n  output \"n\" = %n\n", "Shape", why);
    refused(
        "  %first = Slice(%picked, one, two)\n  output \"first\" = %first\n",
        "Slice",
        why,
    );
    refused(
        "  %sum = ReduceSum(%picked)\n  output \"sum\" = %sum\n",
        "ReduceSum",
        why,
    );
    refused(
        "  %all = Concat(%picked, %picked) {axis = 0}\n  output \"all\" = %all\n",
        "Concat",
        why,
    );
    refused(
        "  %row = Gather(%picked, box) {axis = 0}\n  output \"row\" = %row\n",
        "Gather",
        why,
    );
    refused(
        "  %where = NonZero(%scores)\n  output \"where\" = %where\n  output \"picked\" = %picked\n",
        "NonZero",
        why,
    );
}
