//! Every rule by itself, on random operands: each graph that it finds equal computes the same.

use super::support::{error, first, program, rule};
use dlirc_passes::algebra::{self, Options, RULES};

/// A rule, the inputs and the body of a graph that it changes, and the graph's result.
///
/// `$` in a weight's content is a seed.
struct Case(&'static str, &'static str);

const CASES: &[Case] = &[
    Case(
        "constant_second",
        "weight w0: f32[4] = random $
        input %x: f32[2, 4]
        %y = Add(w0, %x)",
    ),
    Case(
        "constant_second",
        "weight w0: f32[4] = random $
        input %x: f32[2, 4]
        %y = Mul(w0, %x)",
    ),
    Case(
        "divide_as_scale",
        "weight w0: f32[4] = uniform $ 0.5 2
        input %x: f32[2, 4]
        %y = Div(%x, w0)",
    ),
    Case(
        "subtract_as_offset",
        "weight w0: f32[2, 1] = random $
        input %x: f32[2, 4]
        %y = Sub(%x, w0)",
    ),
    Case(
        "subtract_as_offset",
        "weight w0: f32[2, 1] = random $
        input %x: f32[2, 4]
        %y = Sub(w0, %x)",
    ),
    Case(
        "negate_as_scale",
        "
        input %x: f32[2, 4]
        %y = Neg(%x)",
    ),
    Case(
        "scale_by_one",
        "weight w0: f32[1, 4] = splat 1
        input %x: f32[2, 4]
        %y = Mul(%x, w0)",
    ),
    Case(
        "offset_by_zero",
        "weight w0: f32[] = splat 0
        input %x: f32[2, 4]
        %y = Add(%x, w0)",
    ),
    Case(
        "merge_scales",
        "weight w0: f32[4] = random $
        weight w1: f32[1] = random $
        input %x: f32[2, 4]
        %a = Mul(%x, w0)
        %y = Mul(%a, w1)",
    ),
    Case(
        "merge_offsets",
        "weight w0: f32[4] = random $
        weight w1: f32[1, 4] = random $
        input %x: f32[2, 4]
        %a = Add(%x, w0)
        %y = Add(%a, w1)",
    ),
    Case(
        "scale_offset",
        "weight w0: f32[4] = random $
        weight w1: f32[2, 1] = random $
        input %x: f32[2, 4]
        %a = Add(%x, w0)
        %y = Mul(%a, w1)",
    ),
    Case(
        "clamp_of_clamp",
        "
        input %x: f32[2, 40]
        %a = Relu(%x)
        %y = Relu(%a)",
    ),
    Case(
        "clamp_of_clamp",
        "weight w0: f32[] = uniform $ -1.5 1.5
        weight w1: f32[] = uniform 1$ -1.5 1.5
        input %x: f32[2, 40]
        %a = Relu(%x)
        %y = Clip(%a, w0, w1)",
    ),
    Case(
        "clamp_of_clamp",
        "weight w0: f32[] = uniform $ -1.5 1.5
        weight w1: f32[] = uniform 1$ -1.5 1.5
        input %x: f32[2, 40]
        %a = Clip(%x, w0, w1)
        %y = Relu(%a)",
    ),
    Case(
        "clamp_of_clamp",
        "weight w0: f32[] = uniform $ -1.5 1.5
        weight w1: f32[] = uniform 1$ -1.5 1.5
        weight w2: f32[] = uniform 2$ -1.5 1.5
        weight w3: f32[] = uniform 3$ -1.5 1.5
        input %x: f32[2, 40]
        %a = Clip(%x, w0, w1)
        %y = Clip(%a, w2, w3)",
    ),
    Case(
        "clamp_of_clamp",
        "weight w0: f32[] = uniform $ -1.5 1.5
        weight w1: f32[] = uniform 1$ -1.5 1.5
        weight w2: f32[] = uniform 2$ -1.5 1.5
        input %x: f32[2, 40]
        %a = Clip(%x, _, w0)
        %y = Clip(%a, w1, w2)",
    ),
    Case(
        "clamp_of_clamp",
        "weight w0: f32[1, 1] = uniform $ -1.5 1.5
        weight w1: f32[] = uniform 1$ -1.5 1.5
        weight w2: f32[] = uniform 2$ -1.5 1.5
        input %x: f32[2, 40]
        %a = Clip(%x, w0)
        %y = Clip(%a, w1, w2)",
    ),
    Case(
        "clamp_of_clamp",
        "weight w0: f32[] = uniform $ -1.5 1.5
        weight w1: f32[] = uniform 1$ -1.5 1.5
        input %x: f32[2, 40]
        %a = Clip(%x, w0)
        %y = Clip(%a, _, w1)",
    ),
    Case(
        "clamp_of_clamp",
        "weight w0: f32[] = uniform $ -1.5 1.5
        weight w1: f32[] = uniform 1$ -1.5 1.5
        weight w2: f32[] = uniform 2$ -1.5 1.5
        input %x: f32[2, 40]
        %a = Clip(%x, w0, w1)
        %y = Clip(%a, w2)",
    ),
    Case(
        "scale_before_relu",
        "weight w0: f32[4] = uniform $ 0.1 2
        input %x: f32[2, 4]
        %a = Relu(%x)
        %y = Mul(%a, w0)",
    ),
    Case(
        "swish",
        "
        input %x: f32[2, 4]
        %a = Sigmoid(%x)
        %y = Mul(%x, %a)",
    ),
    Case(
        "swish",
        "weight w0: f32[] = splat 1.702
        input %x: f32[2, 4]
        %s = Mul(%x, w0)
        %a = Sigmoid(%s)
        %y = Mul(%a, %x)",
    ),
    Case(
        "scale_into_conv",
        "weight w0: f32[6, 3, 2, 2] = random $
        weight w1: f32[6] = random $
        weight w2: f32[6, 1, 1] = random $
        input %x: f32[2, 3, 5, 4]
        %a = Conv(%x, w0, w1) {pads = [1, 0, 1, 0]}
        %y = Mul(%a, w2)",
    ),
    Case(
        "scale_into_conv",
        "weight w0: f32[6, 1, 2, 2] = random $
        weight w2: f32[] = random $
        input %x: f32[2, 3, 5, 4]
        %a = Conv(%x, w0) {group = 3}
        %y = Mul(%a, w2)",
    ),
    Case(
        "scale_into_conv",
        "weight w0: f32[4, 3, 2, 2] = random $
        weight w1: f32[6] = random $
        weight w2: f32[1, 6, 1, 1] = random $
        input %x: f32[2, 4, 5, 4]
        %a = ConvTranspose(%x, w0, w1) {group = 2, strides = [2, 2]}
        %y = Mul(%a, w2)",
    ),
    Case(
        "scale_into_conv",
        "weight w0: f32[4, 6, 2] = random $
        weight w2: f32[6, 1] = random $
        input %x: f32[2, 4, 5]
        %a = ConvTranspose(%x, w0)
        %y = Mul(%a, w2)",
    ),
    Case(
        "offset_into_conv",
        "weight w0: f32[6, 3, 2, 2] = random $
        weight w1: f32[6] = random $
        weight w2: f32[6, 1, 1] = random $
        input %x: f32[2, 3, 5, 4]
        %a = Conv(%x, w0, w1) {pads = [1, 0, 1, 0]}
        %y = Add(%a, w2)",
    ),
    Case(
        "offset_into_conv",
        "weight w0: f32[6, 1, 2, 2] = random $
        weight w2: f32[1] = random $
        input %x: f32[2, 3, 5, 4]
        %a = Conv(%x, w0) {group = 3}
        %y = Add(%a, w2)",
    ),
    Case(
        "scale_into_matmul",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[5] = random $
        input %x: f32[2, 3, 4]
        %a = MatMul(%x, w0)
        %y = Mul(%a, w1)",
    ),
    Case(
        "scale_into_matmul",
        "weight w0: f32[3, 4] = random $
        weight w1: f32[3, 1] = random $
        input %x: f32[2, 4, 5]
        %a = MatMul(w0, %x)
        %y = Mul(%a, w1)",
    ),
    Case(
        "scale_into_matmul",
        "weight w0: f32[4] = random $
        weight w1: f32[1] = random $
        input %x: f32[2, 3, 4]
        %a = MatMul(%x, w0)
        %y = Mul(%a, w1)",
    ),
    Case(
        "scale_into_matmul",
        "weight w1: f32[1, 1, 1] = random $
        input %x: f32[2, 3, 4]
        input %z: f32[2, 4, 5]
        %a = MatMul(%x, %z)
        %y = Mul(%a, w1)",
    ),
    Case(
        "scale_into_gemm",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[5] = random $
        weight w2: f32[1, 5] = random $
        input %x: f32[3, 4]
        %a = Gemm(%x, w0, w1) {alpha = 0.5, beta = 2.0}
        %y = Mul(%a, w2)",
    ),
    Case(
        "scale_into_gemm",
        "weight w0: f32[5, 4] = random $
        weight w2: f32[5] = random $
        input %x: f32[4, 3]
        %a = Gemm(%x, w0) {transA = 1, transB = 1}
        %y = Mul(%a, w2)",
    ),
    Case(
        "offset_into_gemm",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[3, 1] = random $
        weight w2: f32[1, 5] = random $
        input %x: f32[3, 4]
        %a = Gemm(%x, w0, w1) {alpha = 0.5, beta = 2.0}
        %y = Add(%a, w2)",
    ),
    Case(
        "offset_into_gemm",
        "weight w2: f32[5] = random $
        input %x: f32[3, 4]
        input %z: f32[4, 5]
        %a = Gemm(%x, %z)
        %y = Add(%a, w2)",
    ),
    Case(
        "scale_before_conv",
        "weight w0: f32[6, 4, 3, 3] = random $
        weight w1: f32[6] = random $
        weight w2: f32[4, 1, 1] = random $
        input %x: f32[2, 4, 5, 4]
        %a = Mul(%x, w2)
        %y = Conv(%a, w0, w1) {pads = [1, 1, 1, 1]}",
    ),
    Case(
        "scale_before_conv",
        "weight w0: f32[6, 2, 3, 3] = random $
        weight w2: f32[4, 1, 1] = random $
        input %x: f32[2, 4, 5, 4]
        %a = Mul(%x, w2)
        %y = Conv(%a, w0) {group = 2}",
    ),
    Case(
        "scale_before_conv",
        "weight w0: f32[4, 3, 2, 2] = random $
        weight w2: f32[1, 4, 1, 1] = random $
        input %x: f32[2, 4, 5, 4]
        %a = Mul(%x, w2)
        %y = ConvTranspose(%a, w0) {group = 2}",
    ),
    Case(
        "offset_before_conv",
        "weight w0: f32[6, 4, 1, 1] = random $
        weight w1: f32[6] = random $
        weight w2: f32[4, 1, 1] = random $
        input %x: f32[2, 4, 5, 4]
        %a = Add(%x, w2)
        %y = Conv(%a, w0, w1)",
    ),
    Case(
        "offset_before_conv",
        "weight w0: f32[6, 2, 2, 3] = random $
        weight w2: f32[4, 1, 1] = random $
        input %x: f32[2, 4, 5, 4]
        %a = Add(%x, w2)
        %y = Conv(%a, w0) {group = 2}",
    ),
    Case(
        "scale_before_matmul",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[4] = random $
        input %x: f32[2, 3, 4]
        %a = Mul(%x, w1)
        %y = MatMul(%a, w0)",
    ),
    Case(
        "scale_before_matmul",
        "weight w0: f32[4] = random $
        weight w1: f32[4] = random $
        input %x: f32[2, 3, 4]
        %a = Mul(%x, w1)
        %y = MatMul(%a, w0)",
    ),
    Case(
        "offset_before_matmul",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[4] = random $
        input %x: f32[2, 3, 4]
        %a = Add(%x, w1)
        %y = MatMul(%a, w0)",
    ),
    Case(
        "offset_before_matmul",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[] = random $
        input %x: f32[2, 3, 4]
        %a = Add(%x, w1)
        %y = MatMul(%a, w0)",
    ),
    Case(
        "scale_before_gemm",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[5] = random $
        weight w2: f32[1, 4] = random $
        input %x: f32[3, 4]
        %a = Mul(%x, w2)
        %y = Gemm(%a, w0, w1) {alpha = 0.5, beta = 2.0}",
    ),
    Case(
        "scale_before_gemm",
        "weight w0: f32[5, 4] = random $
        weight w2: f32[4] = random $
        input %x: f32[3, 4]
        %a = Mul(%x, w2)
        %y = Gemm(%a, w0) {transB = 1}",
    ),
    Case(
        "offset_before_gemm",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[5] = random $
        weight w2: f32[1, 4] = random $
        input %x: f32[3, 4]
        %a = Add(%x, w2)
        %y = Gemm(%a, w0, w1) {alpha = 0.5, beta = 2.0}",
    ),
    Case(
        "offset_before_gemm",
        "weight w0: f32[5, 4] = random $
        weight w2: f32[4] = random $
        input %x: f32[3, 4]
        %a = Add(%x, w2)
        %y = Gemm(%a, w0) {transB = 1}",
    ),
    Case(
        "scale_into_attention",
        "weight w0: f32[] = random $
        input %q: f32[2, 2, 3, 4]
        input %k: f32[2, 2, 5, 4]
        input %v: f32[2, 2, 5, 6]
        %a = Mul(%q, w0)
        %y = Attention(%a, %k, %v)",
    ),
    Case(
        "scale_into_attention",
        "weight w0: f32[] = random $
        input %q: f32[2, 3, 8]
        input %k: f32[2, 5, 8]
        input %v: f32[2, 5, 8]
        %a = Mul(%k, w0)
        %y = Attention(%q, %a, %v) {q_num_heads = 2, kv_num_heads = 2, scale = 0.5, is_causal = 1}",
    ),
    Case(
        "plain_view",
        "
        input %x: f32[2, 1, 4]
        %a = Transpose(%x) {perm = [0, 1, 2]}
        %b = Transpose(%a) {perm = [0, 2, 1]}
        %y = Relu(%b)",
    ),
    Case(
        "plain_view",
        "weight w0: i64[2] = [3, 4]
        input %x: f32[3, 4]
        %a = Reshape(%x, w0)
        %y = Relu(%a)",
    ),
    Case(
        "plain_view",
        "weight w0: i64[2] = [3, 4]
        input %x: f32[3, 4]
        %a = Expand(%x, w0)
        %y = Relu(%a)",
    ),
    Case(
        "merge_views",
        "
        input %x: f32[2, 3, 4]
        %a = Transpose(%x) {perm = [2, 0, 1]}
        %y = Transpose(%a) {perm = [0, 2, 1]}",
    ),
    Case(
        "merge_views",
        "
        input %x: f32[2, 3, 4]
        %a = Transpose(%x) {perm = [2, 0, 1]}
        %b = Transpose(%a) {perm = [1, 2, 0]}
        %y = Relu(%b)",
    ),
    Case(
        "merge_views",
        "weight w0: i64[2] = [6, -1]
        weight w1: i64[4] = [2, 3, 2, 2]
        input %x: f32[2, 3, 4]
        %a = Reshape(%x, w0)
        %y = Reshape(%a, w1)",
    ),
    Case(
        "view_after_map",
        "
        input %x: f32[2, 3, 4]
        %a = Transpose(%x) {perm = [2, 0, 1]}
        %y = Tanh(%a)",
    ),
    Case(
        "view_after_map",
        "weight w0: f32[2, 1] = random $
        input %x: f32[2, 3, 4]
        %a = Transpose(%x) {perm = [2, 0, 1]}
        %y = Mul(%a, w0)",
    ),
    Case(
        "view_after_map",
        "weight w0: f32[4, 2, 3] = random $
        input %x: f32[2, 3, 4]
        %a = Transpose(%x) {perm = [2, 0, 1]}
        %y = Sub(w0, %a)",
    ),
    Case(
        "view_after_map",
        "weight w0: f32[] = splat -0.5
        weight w1: f32[] = splat 0.5
        weight w2: i64[3] = [2, 4, 3]
        input %x: f32[2, 3, 4]
        %a = Reshape(%x, w2)
        %y = Clip(%a, w0, w1)",
    ),
    Case(
        "view_after_map",
        "weight w2: i64[3] = [2, 4, 3]
        input %x: f32[2, 3, 4]
        input %z: f32[2, 3, 4]
        %a = Reshape(%x, w2)
        %b = Reshape(%z, w2)
        %y = Add(%a, %b)",
    ),
    Case(
        "add_before_transpose",
        "weight w0: f32[4, 5] = random $
        input %x: f32[2, 3, 4]
        input %z: f32[5, 2, 3]
        %a = MatMul(%x, w0)
        %b = Transpose(%a) {perm = [2, 0, 1]}
        %y = Add(%b, %z)",
    ),
    Case(
        "merge_matmuls",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[4, 3] = random 1$
        weight w2: f32[4, 5] = random 2$
        input %x: f32[2, 3, 4]
        %a = MatMul(%x, w0)
        %b = MatMul(%x, w1)
        %c = MatMul(%x, w2)
        %y = Mul(%a, %c)
        output \"b\" = %b",
    ),
    Case(
        "merge_matmuls",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[4, 3] = random 1$
        weight w2: f32[5] = random 2$
        weight w3: f32[] = random 3$
        input %x: f32[2, 3, 4]
        %a = MatMul(%x, w0)
        %b = MatMul(%x, w1)
        %c = Add(%a, w2)
        %y = Add(%b, w3)
        output \"c\" = %c",
    ),
    Case(
        "merge_matmuls",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[4, 3] = random 1$
        weight w2: f32[5] = random 2$
        input %x: f32[2, 3, 4]
        %a = MatMul(%x, w0)
        %y = MatMul(%x, w1)
        %c = Add(%a, w2)
        output \"c\" = %c",
    ),
    Case(
        "merge_gemms",
        "weight w0: f32[4, 5] = random $
        weight w1: f32[4, 3] = random 1$
        weight w2: f32[5] = random 2$
        input %x: f32[3, 4]
        %a = Gemm(%x, w0, w2) {alpha = 0.5}
        %y = Gemm(%x, w1) {alpha = 0.5}
        output \"a\" = %a",
    ),
    Case(
        "merge_gemms",
        "weight w0: f32[5, 4] = random $
        weight w1: f32[3, 4] = random 1$
        weight w2: f32[1, 5] = random 2$
        weight w3: f32[] = random 3$
        input %x: f32[3, 4]
        %a = Gemm(%x, w0, w2) {transB = 1, beta = 0.5}
        %y = Gemm(%x, w1, w3) {transB = 1, beta = 0.5}
        output \"a\" = %a",
    ),
    Case(
        "merge_convs",
        "weight w0: f32[6, 4, 1, 1] = random $
        weight w1: f32[3, 4, 1, 1] = random 1$
        weight w2: f32[] = splat 0.25
        input %x: f32[2, 4, 5, 4]
        %a = Conv(%x, w0)
        %b = Relu(%a)
        %d = Clip(%b, _, w2)
        %c = Conv(%x, w1)
        %e = Relu(%c)
        %y = Clip(%e, _, w2)
        output \"d\" = %d",
    ),
    Case(
        "merge_convs",
        "weight w0: f32[6, 4, 1, 1] = random $
        weight w1: f32[3, 4, 1, 1] = random 1$
        weight w2: f32[6] = random 2$
        input %x: f32[2, 4, 5, 4]
        %a = Conv(%x, w0, w2)
        %y = Conv(%x, w1)
        output \"a\" = %a",
    ),
    Case(
        "merge_convs",
        "weight w0: f32[6, 4, 3, 3] = random $
        weight w1: f32[6, 4, 3, 3] = random 1$
        weight w2: f32[2, 4, 1, 1] = random 2$
        input %x: f32[2, 4, 5, 4]
        %c = Conv(%x, w2)
        %a = Conv(%x, w0) {strides = [2, 1], pads = [1, 1, 1, 1]}
        %y = Conv(%x, w1) {strides = [2, 1], pads = [1, 1, 1, 1]}
        output \"a\" = %a
        output \"c\" = %c",
    ),
];

fn text(case: &str, seed: u64) -> String {
    let case = case.replace('$', &seed.to_string());
    let (mut weights, mut body) = (String::new(), String::new());
    let mut outputs = String::from("output \"y\" = %y\n");
    for line in case.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let part = match line.split(' ').next() {
            Some("weight") => &mut weights,
            Some("output") => &mut outputs,
            _ => &mut body,
        };
        let named = line.strip_prefix("input %").and_then(|l| l.split_once(':'));
        match named {
            Some((name, ty)) => part.push_str(&format!("input %{name} \"{name}\":{ty}\n")),
            None => part.push_str(&format!("{line}\n")),
        }
    }
    format!("{weights}model m {{\n{body}{outputs}}}\n")
}

#[test]
fn rules_are_sound() {
    for Case(name, case) in CASES {
        for seed in 1..=5 {
            let text = text(case, seed);
            let program = program(&text);
            let graph = first(&program);
            let all =
                algebra::alternatives(graph, &program.weights, &[rule(name)], &Options::default())
                    .unwrap();
            assert!(!all.is_empty(), "{name} finds nothing in\n{text}");
            for (other, weights) in &all {
                let error = error((graph, &program.weights), (other, weights), seed);
                assert!(error < 1e-5, "{name}: error {error} in\n{text}");
            }
        }
    }
}

/// Rules must also be sound together: each may take what another made.
#[test]
fn rules_are_sound_together() {
    let mut n = 0;
    for Case(name, case) in CASES {
        let text = text(case, 7);
        let program = program(&text);
        let graph = first(&program);
        let all =
            algebra::alternatives(graph, &program.weights, RULES, &Options::default()).unwrap();
        n += all.len();
        for (other, weights) in &all {
            let error = error((graph, &program.weights), (other, weights), 3);
            assert!(error < 1e-5, "{name}: error {error} in\n{text}");
        }
    }
    assert!(n > CASES.len(), "{n} graphs");
}

#[test]
fn every_rule_has_a_case() {
    for rule in RULES.iter().filter(|r| r.name != "join_kernel") {
        assert!(
            CASES.iter().any(|c| c.0 == rule.name),
            "{} has no case",
            rule.name
        );
    }
}
