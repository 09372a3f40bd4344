//! What a model is given to run on: arrays from files, or random ones.

use crate::npy;
use crate::report::Diagnostic;
use ir::{DType, Tensor};
use models::Values;
use plans::{Model, ModelIndex, Port};
use runtime::Session;
use std::path::PathBuf;

/// The plan's name for an element type.
pub fn plan_dtype(dtype: DType) -> plans::DType {
    match dtype {
        DType::Bool => plans::DType::Bool,
        DType::I8 => plans::DType::I8,
        DType::I16 => plans::DType::I16,
        DType::I32 => plans::DType::I32,
        DType::I64 => plans::DType::I64,
        DType::U8 => plans::DType::U8,
        DType::U16 => plans::DType::U16,
        DType::U32 => plans::DType::U32,
        DType::U64 => plans::DType::U64,
        DType::F16 => plans::DType::F16,
        DType::BF16 => plans::DType::BF16,
        DType::F32 => plans::DType::F32,
        DType::F64 => plans::DType::F64,
        DType::C64 => plans::DType::C64,
        DType::C128 => plans::DType::C128,
    }
}

/// The language's name for an element type.
pub fn ir_dtype(dtype: plans::DType) -> DType {
    match dtype {
        plans::DType::Bool => DType::Bool,
        plans::DType::I8 => DType::I8,
        plans::DType::I16 => DType::I16,
        plans::DType::I32 => DType::I32,
        plans::DType::I64 => DType::I64,
        plans::DType::U8 => DType::U8,
        plans::DType::U16 => DType::U16,
        plans::DType::U32 => DType::U32,
        plans::DType::U64 => DType::U64,
        plans::DType::F16 => DType::F16,
        plans::DType::BF16 => DType::BF16,
        plans::DType::F32 => DType::F32,
        plans::DType::F64 => DType::F64,
        plans::DType::C64 => DType::C64,
        plans::DType::C128 => DType::C128,
    }
}

/// The dimensions of a port.
pub fn dims(port: &Port) -> Vec<usize> {
    port.dims.iter().map(|&d| d as usize).collect()
}

/// A random value for each input of `model`, in order: as the example of its name says where there
/// is one, else by the inputs' names and types.
pub fn random(model: &Model, seed: u64) -> Vec<Tensor> {
    model
        .inputs
        .iter()
        .map(|port| random_one(model, port, seed))
        .collect()
}

fn random_one(model: &Model, port: &Port, seed: u64) -> Tensor {
    let dtype = ir_dtype(port.dtype);
    let example = models::find(&model.name);
    let known = example
        .and_then(|a| {
            a.inputs
                .iter()
                .find(|i| i.name == port.name && i.dtype == dtype)
        })
        .map(|i| i.values);
    let values: Values = known.unwrap_or_else(|| models::guess_values(&port.name, dtype));
    models::random_tensor(&port.name, dtype, &dims(port), values, seed)
}

/// A file for an input: `NAME=FILE.npy`.
pub type InputFile = (String, PathBuf);

/// Reads `NAME=FILE.npy` as it is written on the command line.
///
/// # Errors
/// What was expected.
pub fn input_file(text: &str) -> Result<InputFile, String> {
    let (name, file) = text.split_once('=').ok_or("expected NAME=FILE.npy")?;
    if name.is_empty() || file.is_empty() {
        return Err("expected NAME=FILE.npy".into());
    }
    Ok((name.to_string(), PathBuf::from(file)))
}

/// A value for each input of `model`, in order: from `files`, else random where there is a seed.
///
/// # Errors
/// Inputs that have neither, and files that can't be used.
pub fn gather(
    model: &Model,
    files: &[InputFile],
    seed: Option<u64>,
) -> Result<Vec<Tensor>, Diagnostic> {
    let mut missing = vec![];
    let mut values = vec![];
    for port in &model.inputs {
        match (
            files.iter().rev().find(|(name, _)| *name == port.name),
            seed,
        ) {
            (Some((name, file)), _) => {
                values.push(npy::read(file).map_err(|e| {
                    Diagnostic::error("input-file", format!("input {name}: {e}"))
                        .at(format!("file {}", file.display()))
                        .help("write it by `numpy.save`")
                })?);
            }
            (None, Some(seed)) => values.push(random_one(model, port, seed)),
            (None, None) => missing.push(format!("{}: {}{:?}", port.name, port.dtype, port.dims)),
        }
    }
    if missing.is_empty() {
        return Ok(values);
    }
    let mut error = Diagnostic::error("missing-input", "some inputs are not given")
        .at(format!("model {}", model.name))
        .help("give each by --input NAME=FILE.npy, or all that are left out by --random SEED");
    error.notes = missing;
    Err(error)
}

/// Refuses a file for an input that none of `models` has.
///
/// # Errors
/// The first such file, with the inputs that there are.
pub fn check_names(models: &[&Model], files: &[InputFile]) -> Result<(), Diagnostic> {
    for (name, _) in files {
        if models
            .iter()
            .any(|m| m.inputs.iter().any(|p| p.name == *name))
        {
            continue;
        }
        let mut error =
            Diagnostic::error("unknown-input", format!("there is no input called {name}"));
        for model in models {
            error.location.push(format!("model {}", model.name));
            let port = |p: &Port| format!("{}: {}{:?}", p.name, p.dtype, p.dims);
            error.notes.extend(model.inputs.iter().map(port));
        }
        return Err(error.help("the inputs that there are stand above"));
    }
    Ok(())
}

/// Puts `values` into the inputs of a model.
///
/// # Errors
/// A value of another type or shape than its input.
pub fn set(session: &mut Session, model: ModelIndex, values: &[Tensor]) -> Result<(), Diagnostic> {
    let ports: Vec<String> = session.plan().models[model.index()]
        .inputs
        .iter()
        .map(|p| p.name.clone())
        .collect();
    for (name, value) in ports.iter().zip(values) {
        let dims: Vec<u64> = value.dims().iter().map(|&d| d as u64).collect();
        session.set_input(model, name, plan_dtype(value.dtype()), &dims, value.bytes())?;
    }
    Ok(())
}

/// The outputs of a model after a run, in order, each of the size that the run gave it.
///
/// # Errors
/// If there is no such model.
pub fn outputs(session: &Session, model: ModelIndex) -> Result<Vec<Tensor>, Diagnostic> {
    let ports = &session.plan().models[model.index()].outputs;
    let mut outputs = vec![];
    for (n, port) in ports.iter().enumerate() {
        let data = session.output(model, n)?;
        let found: Vec<usize> = session
            .output_dims(model, n)?
            .iter()
            .map(|&d| d as usize)
            .collect();
        let data = match port.size {
            Some(size) => leading(
                data,
                &dims(port),
                size.axis as usize,
                found[size.axis as usize],
            ),
            None => data.to_vec(),
        };
        let tensor = Tensor::new(ir_dtype(port.dtype), &found, data.into());
        outputs.push(tensor.expect("a valid plan's output has the bytes of its type and shape"));
    }
    Ok(outputs)
}

/// The first `n` positions along `axis` of a row-major tensor of dimensions `dims`.
fn leading(data: &[u8], dims: &[usize], axis: usize, n: usize) -> Vec<u8> {
    let rows: usize = dims[..axis].iter().product();
    let row = data.len() / rows.max(1);
    let kept = row / dims[axis].max(1) * n;
    (0..rows)
        .flat_map(|r| &data[r * row..][..kept])
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::leading;

    #[test]
    fn tensors_are_cut_along_an_axis() {
        let data: Vec<u8> = (0..12).collect();
        assert_eq!(leading(&data, &[4, 3], 0, 2), [0, 1, 2, 3, 4, 5]);
        assert_eq!(leading(&data, &[3, 4], 1, 2), [0, 1, 4, 5, 8, 9]);
        assert_eq!(leading(&data, &[2, 3, 2], 1, 1), [0, 1, 6, 7]);
        assert_eq!(leading(&data, &[3, 4], 1, 4), data);
        assert_eq!(leading(&data, &[3, 4], 1, 0), Vec::<u8>::new());
        assert_eq!(leading(&[], &[0, 4], 1, 2), Vec::<u8>::new());
        assert_eq!(leading(&[], &[3, 0], 1, 0), Vec::<u8>::new());
    }
}
