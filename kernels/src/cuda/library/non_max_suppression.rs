//! Boxes picked greedily by score: a block for each class of an image takes the best box that is
//! left and drops those that overlap it, again and again; then one block puts the picks together.

use super::grid;
use crate::cuda::source::{self, Extras, START};
use crate::cuda::tape::float_literal;
use crate::cuda::{Generated, Refused};
use plans::spec::{ArgSpec, NonMaxSuppressionSpec};
use std::fmt::Write;

const PROGRAM: &str = include_str!("non_max_suppression.cuh");

pub(super) fn generate(
    spec: &NonMaxSuppressionSpec,
    args: &[ArgSpec],
) -> Result<Generated, Refused> {
    let pairs = spec.batch * spec.classes;
    let most = spec.max_output.min(spec.boxes);
    if spec.boxes >= 1 << 31 {
        return Err(Refused(format!("suppression of {} boxes", spec.boxes)));
    }
    // Keys of boxes, picks, numbers of picks.
    let extras = Extras {
        workspace: (8 * pairs * spec.boxes + 4 * pairs * most + 4 * pairs).max(8),
        ..Extras::default()
    };
    let threads = (spec.boxes.div_ceil(4).next_power_of_two()).clamp(64, 1024) as u32;
    let mut code = PROGRAM.to_owned();
    let mut launches = vec![];
    if pairs > 0 {
        let body = picking(spec, pairs, most, threads);
        code.push_str(&source::function(
            "suppress", args, extras, threads, 0, &body,
        ));
        launches.push(source::launch("suppress", grid(pairs)?, threads));
    }
    let threads_after = 256;
    let body = collecting(spec, pairs, most, threads_after);
    code.push_str(&source::function(
        "collect",
        args,
        extras,
        threads_after,
        0,
        &body,
    ));
    launches.push(source::launch("collect", [1; 3], threads_after));
    let schedule = format!("{{\"threads\":{threads}}}");
    Ok(source::generated(&code, launches, extras, schedule))
}

/// Where the picks and their numbers lie.
fn places(spec: &NonMaxSuppressionSpec, pairs: u64, most: u64) -> String {
    let picks = 8 * pairs * spec.boxes;
    format!(
        "int* const picks = (int*)(workspace + {picks}ull);\n\
         unsigned* const numbers = (unsigned*)(workspace + {}ull);\n",
        picks + 4 * pairs * most
    )
}

fn picking(spec: &NonMaxSuppressionSpec, pairs: u64, most: u64, threads: u32) -> String {
    let mut body = START.to_owned();
    body.push_str(&places(spec, pairs, most));
    let (boxes, scores) = (&spec.boxes_in.strides, &spec.scores.strides);
    let corner = |i: i64| format!("at[{}]", i * boxes[2]);
    let eligible = match spec.score_threshold {
        None => "true".to_owned(),
        Some(least) => format!("score > {}", float_literal(least)),
    };
    let n = spec.boxes;
    let _ = writeln!(
        body,
        "const unsigned pair = blockIdx.x, image = pair / {classes}u, class_ = pair % {classes}u;\n\
         unsigned long long* const keys = (unsigned long long*)workspace + (size_t)pair * {n};\n\
         auto area = [&](unsigned i) -> Area {{\n\
         const float* at = a0 + (long long)image * {}ll + (long long)i * {}ll;\n\
         return area_of({}, {}, {}, {}, {});\n}};",
        boxes[0],
        boxes[1],
        corner(0),
        corner(1),
        corner(2),
        corner(3),
        spec.center_point,
        classes = spec.classes,
    );
    let _ = writeln!(
        body,
        "for (unsigned i = threadIdx.x; i < {n}u; i += {threads}u) {{\n\
         const float score = a1[(long long)image * {}ll + (long long)class_ * {}ll + (long long)i * {}ll];\n\
         keys[i] = {eligible} ? ((unsigned long long)totally_ordered(score) + 1) << 31 | (0x7fffffffu - i) : 0;\n}}\n\
         unsigned n_picked = 0;\n\
         while (n_picked < {most}u) {{\n\
         unsigned long long best = 0;\n\
         for (unsigned i = threadIdx.x; i < {n}u; i += {threads}u) if (keys[i] > best) best = keys[i];\n\
         best = greatest_of_block<{}>(best);\n\
         if (best == 0) break;\n\
         const unsigned picked = 0x7fffffffu - (unsigned)(best & 0x7fffffffu);\n\
         const Area own = area(picked);\n\
         for (unsigned i = threadIdx.x; i < {n}u; i += {threads}u) {{\n\
         if (keys[i] != 0 && (i == picked || overlap(area(i), own) > (double){})) keys[i] = 0;\n}}\n\
         if (threadIdx.x == 0) picks[(size_t)pair * {most} + n_picked] = (int)picked;\n\
         n_picked += 1;\n}}\n\
         if (threadIdx.x == 0) numbers[pair] = n_picked;",
        scores[0],
        scores[1],
        scores[2],
        threads / 32,
        float_literal(spec.iou_threshold),
    );
    body
}

fn collecting(spec: &NonMaxSuppressionSpec, pairs: u64, most: u64, threads: u32) -> String {
    let mut body = START.to_owned();
    body.push_str(&places(spec, pairs, most));
    let strides = &spec.out.strides;
    let put = |row: &str, values: [&str; 3]| {
        let mut text = String::new();
        for (i, value) in values.iter().enumerate() {
            let _ = writeln!(
                text,
                "a2[({row}) * {}ll + {}ll] = {value};",
                strides[0],
                i as i64 * strides[1]
            );
        }
        text
    };
    let _ = writeln!(
        body,
        "long long n_rows = 0;\n\
         for (unsigned pair = 0; pair < {pairs}u; pair++) {{\n\
         const unsigned n = numbers[pair];\n\
         for (unsigned i = threadIdx.x; i < n; i += {threads}u) {{\n{}}}\n\
         n_rows += n;\n}}\n\
         for (long long row = n_rows + threadIdx.x; row < {}ll; row += {threads}) {{\n{}}}\n\
         if (threadIdx.x == 0) a3[0] = n_rows;",
        put(
            "n_rows + i",
            [
                &format!("pair / {}u", spec.classes.max(1)),
                &format!("pair % {}u", spec.classes.max(1)),
                &format!("picks[(size_t)pair * {most} + i]"),
            ]
        ),
        spec.rows(),
        put("row", ["0"; 3]),
    );
    body
}
