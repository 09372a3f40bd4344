//! Elements moved to computed positions.

mod pad;
mod resize;
mod scatter;

use super::source::{self, Extras, Width};
use super::{Generated, Refused, Target};
use plans::spec::{ArgSpec, MovementSpec};

/// Threads of a block.
const THREADS: u32 = 256;

/// Device code.
pub(super) fn generate(spec: &MovementSpec, _target: &Target) -> Result<Generated, Refused> {
    match spec {
        MovementSpec::Pad(s) => pad::generate(s, &spec.args()),
        MovementSpec::Resize(s) => resize::generate(s, &spec.args()),
        MovementSpec::Scatter(s) => scatter::generate(s, &spec.args()),
    }
}

/// A statement that names the thread's item of `n`, and one that ends the others.
fn item(n: u64, width: Width) -> String {
    let unsigned = width.unsigned();
    let long = match width {
        Width::Bits32 => "",
        Width::Bits64 => "ll",
    };
    format!(
        "const {unsigned} item = ({unsigned})blockIdx.x * {THREADS}u + threadIdx.x;\n\
         if (item >= {n}u{long}) return;\n"
    )
}

/// Blocks for `n` items.
fn blocks(n: u64) -> Result<[u32; 3], Refused> {
    let blocks = n.div_ceil(THREADS.into());
    match u32::try_from(blocks) {
        Ok(blocks) if blocks < 1 << 31 => Ok([blocks, 1, 1]),
        _ => Err(Refused(format!("a movement kernel of {blocks} blocks"))),
    }
}

/// A kernel of one function, `before` which there may be data, with one thread for each of `n` items.
fn of_items(
    before: &str,
    name: &str,
    args: &[ArgSpec],
    body: &str,
    n: u64,
) -> Result<Generated, Refused> {
    let extras = Extras::default();
    let schedule = format!("{{\"threads\":{THREADS}}}");
    if n == 0 {
        return Ok(source::generated("", vec![], extras, schedule));
    }
    let mut code = before.to_owned();
    code.push_str(&source::function(name, args, extras, THREADS, 0, body));
    let launches = vec![source::launch(name, blocks(n)?, THREADS)];
    Ok(source::generated(&code, launches, extras, schedule))
}
