//! ONNX Runtime, to compare with: its library is found and loaded when it is asked for.

use crate::report::Diagnostic;
use half::{bf16, f16};
use ir::{DType, Tensor};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, TensorElementType, Value};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The variable that names the library.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// What a Python prints to say where its `onnxruntime` lies, without loading it.
const FIND_PACKAGE: &str = "import importlib.util as u; s = u.find_spec('onnxruntime'); \
print(s.submodule_search_locations[0] if s and s.submodule_search_locations else '')";

/// ONNX Runtime, loaded.
pub struct Oracle {
    environment: ort::environment::Environment,
    /// The library's file.
    pub library: PathBuf,
}

/// Where the library lies: as asked, else by the variable, else in Python's packages.
fn find_library(asked: Option<&Path>) -> Result<PathBuf, Diagnostic> {
    if let Some(path) = asked {
        return Ok(path.to_path_buf());
    }
    if let Some(path) = std::env::var_os(LIBRARY_VARIABLE).filter(|p| !p.is_empty()) {
        return Ok(path.into());
    }
    ["python3", "python"].into_iter().find_map(python_library).ok_or_else(|| {
        Diagnostic::error("no-onnxruntime", "ONNX Runtime's library is not found")
            .note(format!("--onnxruntime and {LIBRARY_VARIABLE} are not given"))
            .note("Python has no package onnxruntime")
            .help(format!(
                "`pip install onnxruntime`, or give the path of libonnxruntime.so by --onnxruntime or {LIBRARY_VARIABLE}"
            ))
    })
}

fn python_library(python: &str) -> Option<PathBuf> {
    let output = Command::new(python)
        .args(["-c", FIND_PACKAGE])
        .output()
        .ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    let folder = Path::new(folder.trim());
    if folder.as_os_str().is_empty() {
        return None;
    }
    let is_library = |path: &PathBuf| {
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        name.starts_with("libonnxruntime.so")
            || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
            || name == "onnxruntime.dll"
    };
    let entries = std::fs::read_dir(folder.join("capi")).ok()?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(is_library)
        .collect();
    found.sort();
    found.pop()
}

fn failed(what: &str, e: impl Display) -> Diagnostic {
    Diagnostic::error("onnxruntime", format!("ONNX Runtime {what}")).note(e.to_string())
}

impl Oracle {
    /// Loads the library: `asked`, else the one that `ORT_DYLIB_PATH` names, else that of Python's
    /// package.
    ///
    /// # Errors
    /// If there is none, or what there is can't be loaded or is too old.
    pub fn load(asked: Option<&Path>) -> Result<Self, Diagnostic> {
        let library = find_library(asked)?;
        let place = format!("file {}", library.display());
        let environment = ort::init_from(&library).map_err(|e| {
            failed("can't be loaded", e)
                .at(&place)
                .help("dlirc needs ONNX Runtime 1.22 or newer")
        })?;
        let environment = environment
            .with_name("dlirc")
            .build()
            .map_err(|e| failed("can't be started", e).at(place))?;
        Ok(Self {
            environment,
            library,
        })
    }

    /// `model`, ready to run on `threads` threads; 0: as many as it likes.
    ///
    /// # Errors
    /// What ONNX Runtime says about the model.
    pub fn open(&self, model: &Path, threads: usize) -> Result<Peer, Diagnostic> {
        let place = || format!("file {}", model.display());
        let refused = |e: &dyn Display| failed("refuses the model", e).at(place());
        let builder = Session::builder(&self.environment).map_err(|e| refused(&e))?;
        let mut builder = builder
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|e| refused(&e))?;
        if threads > 0 {
            builder = builder
                .with_intra_threads(threads)
                .map_err(|e| refused(&e))?;
        }
        let session = builder.commit_from_file(model).map_err(|e| refused(&e))?;
        Ok(Peer { session })
    }
}

/// A model in ONNX Runtime.
pub struct Peer {
    session: Session,
}

impl Peer {
    /// The names of the model's outputs, in order.
    pub fn output_names(&self) -> Vec<String> {
        self.session
            .outputs()
            .iter()
            .map(|o| o.name().to_string())
            .collect()
    }

    /// Runs the model once on these inputs by name.
    ///
    /// Returns its outputs in order, and the time that the run took.
    ///
    /// # Errors
    /// What ONNX Runtime says, and outputs of a type that `dlirc` doesn't have.
    pub fn run(
        &mut self,
        inputs: &[(&str, &Tensor)],
    ) -> Result<(Vec<Tensor>, Duration), Diagnostic> {
        let mut values = vec![];
        for (name, tensor) in inputs {
            values.push(((*name).to_string(), value(tensor)?));
        }
        let started = Instant::now();
        let outputs = self.session.run(values).map_err(|e| failed("fails", e))?;
        let time = started.elapsed();
        let mut tensors = vec![];
        for (name, output) in &outputs {
            tensors.push(tensor(name, &output)?);
        }
        Ok((tensors, time))
    }
}

fn value(t: &Tensor) -> Result<DynValue, Diagnostic> {
    macro_rules! of {
        ($ty:ty) => {{
            let data: Vec<$ty> = t.to_vec().expect("the type was looked at");
            Value::from_array((t.dims().to_vec(), data)).map(Value::into_dyn)
        }};
    }
    let made = match t.dtype() {
        DType::Bool => of!(bool),
        DType::I8 => of!(i8),
        DType::I16 => of!(i16),
        DType::I32 => of!(i32),
        DType::I64 => of!(i64),
        DType::U8 => of!(u8),
        DType::U16 => of!(u16),
        DType::U32 => of!(u32),
        DType::U64 => of!(u64),
        DType::F16 => of!(f16),
        DType::BF16 => of!(bf16),
        DType::F32 => of!(f32),
        DType::F64 => of!(f64),
        DType::C64 | DType::C128 => {
            return Err(failed("takes no input of this type", t.dtype()));
        }
    };
    made.map_err(|e| failed("refuses an input", e))
}

fn tensor(name: &str, output: &ort::value::ValueRef<'_>) -> Result<Tensor, Diagnostic> {
    let other = || {
        failed(
            "gives an output of a type that dlirc doesn't have",
            format!("{name}: {:?}", output.dtype()),
        )
    };
    macro_rules! of {
        ($ty:ty) => {{
            let (shape, data) = output
                .try_extract_tensor::<$ty>()
                .map_err(|e| failed("gives no tensor", e))?;
            let dims: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
            Tensor::from_slice(&dims, data)
        }};
    }
    let Some(ty) = output.dtype().tensor_type() else {
        return Err(other());
    };
    Ok(match ty {
        TensorElementType::Bool => of!(bool),
        TensorElementType::Int8 => of!(i8),
        TensorElementType::Int16 => of!(i16),
        TensorElementType::Int32 => of!(i32),
        TensorElementType::Int64 => of!(i64),
        TensorElementType::Uint8 => of!(u8),
        TensorElementType::Uint16 => of!(u16),
        TensorElementType::Uint32 => of!(u32),
        TensorElementType::Uint64 => of!(u64),
        TensorElementType::Float16 => of!(f16),
        TensorElementType::Bfloat16 => of!(bf16),
        TensorElementType::Float32 => of!(f32),
        TensorElementType::Float64 => of!(f64),
        _ => return Err(other()),
    })
}

/// ‖a − b‖ / ‖b‖ in `f64`: 0 where both are empty or the same, infinite where one has a number and
/// the other NaN, or they have other shapes or types.
pub fn relative_error(a: &Tensor, b: &Tensor) -> f64 {
    if a.ty() != b.ty() {
        return f64::INFINITY;
    }
    if a.bytes() == b.bytes() {
        return 0.0;
    }
    let (Some(a), Some(b)) = (a.to_f64(), b.to_f64()) else {
        return f64::INFINITY;
    };
    let (mut difference, mut norm) = (0.0, 0.0);
    for (&a, &b) in a.iter().zip(&b) {
        if a == b || (a.is_nan() && b.is_nan()) {
            norm += if b.is_finite() { b * b } else { 0.0 };
        } else if !a.is_finite() || !b.is_finite() {
            return f64::INFINITY;
        } else {
            difference += (a - b) * (a - b);
            norm += b * b;
        }
    }
    if difference == 0.0 {
        0.0
    } else {
        (difference / norm).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative() {
        let t = |v: &[f32]| Tensor::from_slice(&[v.len()], v);
        assert_eq!(relative_error(&t(&[3.0, 4.5]), &t(&[3.0, 4.0])), 0.1);
        assert_eq!(
            relative_error(&t(&[f32::NAN, 1.0]), &t(&[f32::NAN, 1.0])),
            0.0
        );
        assert_eq!(relative_error(&t(&[f32::NAN]), &t(&[1.0])), f64::INFINITY);
        assert_eq!(
            relative_error(&t(&[f32::INFINITY]), &t(&[f32::INFINITY])),
            0.0
        );
        assert_eq!(relative_error(&t(&[0.0]), &t(&[-0.0])), 0.0);
        assert_eq!(relative_error(&t(&[1.0]), &t(&[0.0])), f64::INFINITY);
        assert_eq!(relative_error(&t(&[1.0]), &t(&[1.0, 1.0])), f64::INFINITY);
    }
}
