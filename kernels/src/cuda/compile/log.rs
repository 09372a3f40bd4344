//! What the assembler says about the functions that it made.

use plans::Resources;

/// The functions in the log of `ptxas -v`, in the order of their names.
///
/// Lines that are of interest look like this:
///
/// ```text
/// ptxas info    : Compiling entry function 'contract' for 'sm_90'
/// ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
/// ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem
/// ```
pub(super) fn resources(log: &str) -> Vec<Resources> {
    let mut found: Vec<Resources> = vec![];
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let name = rest.split('\'').next().unwrap_or_default();
            found.push(Resources {
                function: name.into(),
                ..Resources::default()
            });
            continue;
        }
        let Some(function) = found.last_mut() else {
            continue;
        };
        if line.contains("bytes spill stores") {
            function.stack_bytes = before(line, " bytes stack frame");
            let stores = before(line, " bytes spill stores");
            function.spills = stores.max(before(line, " bytes spill loads"));
        } else if line.contains("Used ") && line.contains(" registers") {
            function.registers = before(line, " registers");
            function.shared_bytes = before(line, " bytes smem");
        }
    }
    found.sort_by(|a, b| a.function.cmp(&b.function));
    found
}

/// The number in front of `unit`; 0 if there is none.
fn before(line: &str, unit: &str) -> u32 {
    let Some(end) = line.find(unit) else {
        return 0;
    };
    let head = &line[..end];
    let digits = head.len() - head.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    head[head.len() - digits..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_what_they_take() {
        let log = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'g' for 'sm_90'
ptxas info    : Function properties for g
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
ptxas info    : Compile time = 5.059 ms
ptxas info    : Compiling entry function 'f' for 'sm_90'
ptxas info    : Function properties for f
ptxas         .     256 bytes stack frame, 24 bytes spill stores, 32 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 256 bytes cumulative stack size, 1024 bytes smem
";
        let function = |name: &str, registers, spills, stack_bytes, shared_bytes| Resources {
            function: name.into(),
            registers,
            spills,
            stack_bytes,
            shared_bytes,
        };
        assert_eq!(
            resources(log),
            [
                function("f", 255, 32, 256, 1024),
                function("g", 10, 0, 0, 0)
            ]
        );
        assert_eq!(resources("something else"), []);
    }
}
