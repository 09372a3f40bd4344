//! Device functions that generated code may use.

const PRELUDE: &str = include_str!("prelude.cuh");

/// What starts the text of a part, followed by the names that it defines.
const PART: &str = "// part: ";

/// `code` after the parts of the prelude that it needs, in the order of the prelude.
pub(super) fn before(code: &str) -> String {
    let parts: Vec<(&str, &str)> = PRELUDE
        .split(PART)
        .skip(1)
        .filter_map(|part| part.split_once('\n'))
        .collect();
    let mut needed = vec![false; parts.len()];
    let mut known: Vec<&str> = words(code).collect();
    known.push("always");
    known.sort_unstable();
    known.dedup();
    // Parts use earlier parts only.
    for (n, (names, text)) in parts.iter().enumerate().rev() {
        let is_known = |name: &str| known.binary_search(&name).is_ok();
        needed[n] = names.split(' ').any(is_known);
        if needed[n] {
            known.extend(words(text));
            known.sort_unstable();
            known.dedup();
        }
    }
    let texts = parts.iter().zip(needed);
    let mut source: String = texts
        .filter(|(_, needed)| *needed)
        .map(|((_, text), _)| *text)
        .collect();
    source.push_str(code);
    source
}

/// The words of some C, those of comment lines left out.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_the_parts_that_it_uses() {
        let source = before("float f(double x) { return round_bf16(x); }");
        for used in ["to_odd(double", "to_bf16(float", "from_bf16(unsigned"] {
            assert!(source.contains(used), "{used} is missing:\n{source}");
        }
        assert!(!source.contains("from_f16"), "{source}");
        assert!(source.find("to_odd(") < source.find("round_bf16(double"));
    }

    #[test]
    fn every_part_uses_earlier_parts_only() {
        let parts: Vec<_> = PRELUDE.split(PART).skip(1).collect();
        let names = |part: &'static str| part.lines().next().unwrap_or("").split(' ');
        for (n, part) in parts.iter().enumerate() {
            let own: Vec<_> = names(part).collect();
            for later in parts[n + 1..].iter().flat_map(|p| names(p)) {
                let text = part.split_once('\n').map_or("", |(_, text)| text);
                assert!(
                    own.contains(&later) || words(text).all(|word| word != later),
                    "{own:?} uses {later}"
                );
            }
        }
    }
}
