//! The parser of case files, and the comparison.

use dlirc_ir::attrs::{Attr, Attrs};
use dlirc_ir::infer::InferCx;
use dlirc_ir::{DType, Dim, Op, Shape, Symbol, Tensor, TensorType};

/// An operand or a result: its type, and its content if the case gives one.
struct Value {
    ty: TensorType,
    content: Option<Tensor>,
}

struct Case<'a> {
    line: usize,
    name: &'a str,
    attrs: Attrs,
    operands: Vec<Option<Value>>,
    results: Vec<Option<Value>>,
    error: Option<&'a str>,
    flop: Option<u64>,
}

/// Checks every case of a file; reports all that fail.
pub(crate) fn check(text: &str) {
    let cases = parse(text);
    assert!(!cases.is_empty(), "a file without cases");
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let why = run(case).err()?;
            Some(format!(
                "line {}, {} {:?}: {why}",
                case.line, case.name, case.attrs
            ))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

fn run(case: &Case<'_>) -> Result<(), String> {
    let outcome = results(case);
    match (case.error, outcome) {
        (None, Err(why)) => Err(why),
        (Some(error), Ok(_)) => Err(format!("no error, expected `{error}`")),
        (Some(error), Err(why)) if why.contains(error) => Ok(()),
        (Some(error), Err(why)) => Err(format!("error `{why}`, expected `{error}`")),
        (None, Ok(got)) => {
            if got.len() != case.results.len() {
                return Err(format!(
                    "{} results, expected {}",
                    got.len(),
                    case.results.len()
                ));
            }
            got.iter()
                .zip(&case.results)
                .enumerate()
                .filter_map(|(i, (a, b))| Some((i, a, b.as_ref()?)))
                .try_for_each(|(i, a, b)| same(a, b).map_err(|why| format!("result {i}: {why}")))
        }
    }
}

/// What the case's operator makes of its operands: by evaluation if all have content, else by typing.
fn results(case: &Case<'_>) -> Result<Vec<Value>, String> {
    let op = Op::read(case.name, &case.attrs)
        .ok_or("no such operator")?
        .map_err(|e| e.to_string())?;
    let again = Op::read(case.name, &op.attrs());
    if again != Some(Ok(op.clone())) {
        return Err(format!("attributes {:?} read as {again:?}", op.attrs()));
    }
    let types: Vec<_> = case
        .operands
        .iter()
        .map(|v| v.as_ref().map(|v| &v.ty))
        .collect();
    let contents: Vec<_> = case
        .operands
        .iter()
        .map(|v| v.as_ref().and_then(|v| v.content.as_ref()))
        .collect();
    let n_outputs = case.results.len().max(1);
    let inferred = op
        .infer(&InferCx::new(&types, &contents, n_outputs))
        .map_err(|e| e.to_string())?;
    if inferred.len() != n_outputs {
        return Err(format!("{} types for {n_outputs} results", inferred.len()));
    }
    if case.operands.iter().flatten().any(|v| v.content.is_none()) {
        return Ok(inferred
            .into_iter()
            .map(|ty| Value { ty, content: None })
            .collect());
    }
    let tensors = op.eval(&contents, n_outputs).map_err(|e| e.to_string())?;
    for (ty, t) in inferred.iter().zip(&tensors) {
        let fits = ty.shape.rank() == t.dims().len()
            && ty
                .shape
                .0
                .iter()
                .zip(t.dims())
                .all(|(d, &n)| d.known().is_none_or(|k| k == n));
        if ty.dtype != t.dtype() || !fits {
            return Err(format!("a result of type {}, inferred as {ty}", t.ty()));
        }
    }
    Ok(tensors
        .into_iter()
        .map(|t| Value {
            ty: t.ty(),
            content: Some(t),
        })
        .collect())
}

fn same(got: &Value, expected: &Value) -> Result<(), String> {
    if got.ty != expected.ty {
        return Err(format!("type {}, expected {}", got.ty, expected.ty));
    }
    let (Some(a), Some(b)) = (&got.content, &expected.content) else {
        return match got.content {
            None if expected.content.is_none() => Ok(()),
            _ => Err("content on one side only".into()),
        };
    };
    if let (Some(a), Some(b)) = (a.to_i64(), b.to_i64()) {
        return if a == b {
            Ok(())
        } else {
            Err(format!("{a:?}, expected {b:?}"))
        };
    }
    if a.to_f64().is_none() {
        return if a == b {
            Ok(())
        } else {
            Err(format!("{a:?}, expected {b:?}"))
        };
    }
    let tolerance = match a.dtype() {
        DType::F16 => 2e-3,
        DType::BF16 => 2e-2,
        DType::F32 => 1e-5,
        _ => 1e-12,
    };
    let (a, b) = (
        a.to_f64().unwrap_or_default(),
        b.to_f64().unwrap_or_default(),
    );
    let close = |(x, y): (&f64, &f64)| {
        x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tolerance * y.abs().max(1.0)
    };
    if a.iter().zip(&b).all(close) {
        Ok(())
    } else {
        Err(format!("{a:?}, expected {b:?}"))
    }
}

fn parse(text: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = vec![];
    let mut inside = false;
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        if line.is_empty() {
            inside = false;
        } else if !inside {
            inside = true;
            let (name, attrs) = line.split_once(' ').unwrap_or((line, ""));
            let (operands, results) = (vec![], vec![]);
            let attrs = parse_attrs(attrs);
            cases.push(Case {
                line: i + 1,
                name,
                attrs,
                operands,
                results,
                error: None,
                flop: None,
            });
        } else if let Some(case) = cases.last_mut() {
            let here = || format!("line {}: {line}", i + 1);
            if let Some(error) = line.strip_prefix("!! ") {
                case.error = Some(error);
            } else if let Some(flop) = line.strip_prefix("@ ") {
                case.flop = Some(flop.parse().unwrap_or_else(|_| panic!("{}", here())));
            } else if let Some(result) = line.strip_prefix("-> ") {
                case.results
                    .push(parse_optional(result).unwrap_or_else(|| panic!("{}", here())));
            } else {
                case.operands
                    .push(parse_optional(line).unwrap_or_else(|| panic!("{}", here())));
            }
        }
    }
    cases
}

/// A value, or `-` for none; `None` if the text is neither.
fn parse_optional(text: &str) -> Option<Option<Value>> {
    if text == "-" {
        Some(None)
    } else {
        parse_value(text).map(Some)
    }
}

fn parse_value(text: &str) -> Option<Value> {
    let (ty, content) = match text.split_once('=') {
        Some((ty, content)) => (ty.trim(), Some(content)),
        None => (text, None),
    };
    let (dtype, dims) = ty.strip_suffix(']')?.split_once('[')?;
    let dim = |d: &str| match d.trim().parse() {
        Ok(n) => Dim::Known(n),
        Err(_) => Dim::Symbol(Symbol::new(d.trim())),
    };
    let shape: Shape = if dims.trim().is_empty() {
        Shape::default()
    } else {
        dims.split(',').map(dim).collect()
    };
    let ty = TensorType::new(dtype.parse().ok()?, shape);
    let content = match content {
        Some(content) => Some(parse_content(&ty, content)?),
        None => None,
    };
    Some(Value { ty, content })
}

fn parse_content(ty: &TensorType, text: &str) -> Option<Tensor> {
    let dims = ty.shape.dims()?;
    let words = text.split_whitespace();
    if ty.dtype.is_float() {
        let values = words
            .map(|w| w.parse().ok())
            .collect::<Option<Vec<f64>>>()?;
        return (Some(values.len()) == ty.shape.n_elements())
            .then(|| Tensor::from_f64(ty.dtype, &dims, &values));
    }
    if matches!(ty.dtype, DType::C64 | DType::C128) {
        // The real and the imaginary part of each element.
        let parts = words
            .map(|w| w.parse().ok())
            .collect::<Option<Vec<f64>>>()?;
        let real = if ty.dtype == DType::C64 {
            DType::F32
        } else {
            DType::F64
        };
        let bytes = Tensor::from_f64(real, &[parts.len()], &parts)
            .bytes()
            .clone();
        return Tensor::new(ty.dtype, &dims, bytes).ok();
    }
    let integer = |w: &str| match w {
        "true" => Some(1),
        "false" => Some(0),
        w => w.parse::<i128>().ok().map(|v| v as i64),
    };
    let values = words.map(integer).collect::<Option<Vec<i64>>>()?;
    (Some(values.len()) == ty.shape.n_elements())
        .then(|| Tensor::from_i64(ty.dtype, &dims, &values))
}

fn parse_attrs(text: &str) -> Attrs {
    text.split_whitespace()
        .map(|word| {
            let (name, value) = word
                .split_once('=')
                .unwrap_or_else(|| panic!("attribute {word}"));
            (
                name.to_string(),
                parse_attr(value).unwrap_or_else(|| panic!("attribute {word}")),
            )
        })
        .collect()
}

/// A number, a string in quotes, a list of either in brackets, or an element type, without spaces.
fn parse_attr(text: &str) -> Option<Attr> {
    if let Ok(dtype) = text.parse::<DType>() {
        return Some(Attr::Type(dtype));
    }
    let string = |w: &str| Some(w.strip_prefix('"')?.strip_suffix('"')?.to_string());
    if let Some(list) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let words: Vec<&str> = list.split(',').filter(|w| !w.is_empty()).collect();
        return if words.iter().any(|w| w.starts_with('"')) {
            Some(Attr::Strs(
                words.into_iter().map(string).collect::<Option<_>>()?,
            ))
        } else if words.iter().any(|w| w.contains('.')) {
            Some(Attr::Floats(
                words
                    .iter()
                    .map(|w| w.parse().ok())
                    .collect::<Option<_>>()?,
            ))
        } else {
            Some(Attr::Ints(
                words
                    .iter()
                    .map(|w| w.parse().ok())
                    .collect::<Option<_>>()?,
            ))
        };
    }
    if text.starts_with('"') {
        return string(text).map(Attr::Str);
    }
    if text.contains('.') || text.contains("e-") {
        return text.parse().ok().map(Attr::Float);
    }
    text.parse().ok().map(Attr::Int)
}
