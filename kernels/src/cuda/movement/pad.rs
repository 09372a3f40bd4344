//! Borders around tensors: a thread for each element of the output.

use super::item;
use crate::cuda::dims;
use crate::cuda::source::{self, START, Width};
use crate::cuda::{Generated, Refused};
use plans::spec::{ArgSpec, PadMode, PadSpec};
use std::fmt::Write;

pub(super) fn generate(spec: &PadSpec, args: &[ArgSpec]) -> Result<Generated, Refused> {
    let n: u64 = spec.output.iter().product();
    let width = Width::of(args, n);
    let signed = width.signed();
    let mut body = START.to_owned();
    body.push_str(&item(n, width));
    // In the order of the output's memory.
    let mut all = dims::dims(&spec.output, &[&spec.out.strides], &|_| true);
    dims::sort(&mut all, 0);
    let names = source::split("item", &dims::extents(&all), "o", width, &mut body);
    let (mut from, mut to, mut inside) = (vec![], vec![], vec![]);
    for (name, dim) in names.into_iter().zip(&all) {
        let Some(d) = dim.index else { continue };
        let (input, begin) = (spec.input[d], spec.begin[d]);
        let is_whole = begin == 0 && input == spec.output[d];
        to.push((name.clone(), spec.out.strides[d]));
        if is_whole {
            from.push((name, spec.x.strides[d]));
            continue;
        }
        let place = match spec.mode {
            PadMode::Constant => format!("{name} - {}", width.literal(begin)),
            PadMode::Edge => {
                format!(
                    "minimum(maximum(({signed})({name} - {}), ({signed})0), ({signed}){})",
                    width.literal(begin),
                    input as i64 - 1
                )
            }
            PadMode::Wrap => format!("wrapped({name} - {}, {input}ll)", width.literal(begin)),
            PadMode::Reflect => {
                format!("mirrored({name} - {}, {input}ll)", width.literal(begin))
            }
        };
        let _ = writeln!(body, "const {signed} i{d} = ({signed})({place});");
        if spec.mode == PadMode::Constant {
            inside.push(format!(
                "i{d} >= 0 && i{d} < {}",
                width.literal(input as i64)
            ));
        }
        from.push((format!("i{d}"), spec.x.strides[d]));
    }
    let offset = |terms: &[(String, i64)]| {
        source::offset(terms.iter().map(|(name, s)| (name.as_str(), *s)), width)
    };
    let element = format!("a0[{}]", offset(&from));
    let (out, value) = match (spec.mode, inside.is_empty()) {
        (PadMode::Constant, false) => {
            ("a2", format!("{} ? {element} : a1[0]", inside.join(" && ")))
        }
        (PadMode::Constant, true) => ("a2", element),
        _ => ("a1", element),
    };
    // Nothing of an empty tensor is read.
    let value = if spec.mode == PadMode::Constant && spec.input.contains(&0) {
        "a1[0]".to_owned()
    } else {
        value
    };
    let _ = writeln!(body, "{out}[{}] = {value};", offset(&to));
    super::of_items("", "pad", args, &body, n)
}
