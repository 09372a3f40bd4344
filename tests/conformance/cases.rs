//! Where the cases are, and what is in one.

use ir::{DType, Tensor};
use onnx::Source;
use onnx::external::ExternalFiles;
use onnx::proto::{ModelProto, TensorProto, ValueInfoProto};
use prost::Message;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the cases: what `DLIRC_ONNX_CASES` names, else where `cargo xtask test` installs
/// them, else in Python's package `onnx`.
pub(super) fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("DLIRC_ONNX_CASES") {
        let folder = PathBuf::from(folder);
        assert!(
            folder.is_dir(),
            "DLIRC_ONNX_CASES names no folder: {}",
            folder.display()
        );
        return Some(folder);
    }
    let cases = Path::new("onnx/backend/test/data/node");
    let installed = crate::target().join("python").join(cases);
    if installed.is_dir() {
        return Some(installed);
    }
    let find = "import onnx, os; print(os.path.dirname(os.path.dirname(onnx.__file__)))";
    let output = Command::new("python3").args(["-c", find]).output().ok()?;
    let site = String::from_utf8(output.stdout).ok()?;
    let folder = Path::new(site.trim()).join(cases);
    (output.status.success() && folder.is_dir()).then_some(folder)
}

/// The names of all cases, sorted.
pub(super) fn list(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let names = entries.filter(|e| e.path().join("model.onnx").exists());
    let mut names: Vec<String> = names
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no cases in {}", folder.display());
    names
}

/// A model and what it must compute.
pub(super) struct Case {
    pub(super) model: ModelProto,
    /// A value for each input of the graph; `Err` says why there is none.
    pub(super) inputs: Vec<Result<Tensor, String>>,
    /// What each output must be.
    pub(super) outputs: Vec<Result<Tensor, String>>,
}

impl Case {
    pub(super) fn open(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        let source = Source::open(&folder.join("model.onnx")).unwrap();
        let model = onnx::parse(&source).unwrap();
        let graph = model.graph.as_ref().unwrap();
        let read = |kind: &str, n: usize, info: &ValueInfoProto| {
            if info.r#type.as_ref().is_none_or(|t| t.tensor_type.is_none()) {
                return Err(format!("{kind} {n} is no tensor"));
            }
            let path = folder
                .join("test_data_set_0")
                .join(format!("{kind}_{n}.pb"));
            let bytes = std::fs::read(&path).map_err(|e| format!("{kind} {n}: {e}"))?;
            let proto = TensorProto::decode(&bytes[..]).map_err(|e| format!("{kind} {n}: {e}"))?;
            onnx::tensor::read(&proto, &mut ExternalFiles::new(None))
                .map_err(|e| format!("{kind} {n}: {e}"))
        };
        let all = |kind: &str, infos: &[ValueInfoProto]| {
            infos
                .iter()
                .enumerate()
                .map(|(n, info)| read(kind, n, info))
                .collect()
        };
        let (inputs, outputs) = (all("input", &graph.input), all("output", &graph.output));
        Self {
            model,
            inputs,
            outputs,
        }
    }

    /// Whether it holds only tensors of types that dlirc has, and ONNX's own operators.
    pub(super) fn is_core(&self) -> bool {
        let graph = self.model.graph.as_ref().unwrap();
        let own = graph.node.iter().all(|n| n.domain().is_empty());
        let plain = |i: &ValueInfoProto| {
            let ty = i.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
            ty.is_some_and(|t| onnx::tensor::dtype_of(t.elem_type()).is_ok())
        };
        own && graph.input.iter().chain(&graph.output).all(plain)
    }
}

/// `tensor` as a constant called `name`.
pub(super) fn initializer(name: &str, tensor: &Tensor) -> TensorProto {
    use onnx::proto::data_type as code;
    let data_type = match tensor.dtype() {
        DType::Bool => code::BOOL,
        DType::I8 => code::INT8,
        DType::I16 => code::INT16,
        DType::I32 => code::INT32,
        DType::I64 => code::INT64,
        DType::U8 => code::UINT8,
        DType::U16 => code::UINT16,
        DType::U32 => code::UINT32,
        DType::U64 => code::UINT64,
        DType::F16 => code::FLOAT16,
        DType::BF16 => code::BFLOAT16,
        DType::F32 => code::FLOAT,
        DType::F64 => code::DOUBLE,
        DType::C64 => code::COMPLEX64,
        DType::C128 => code::COMPLEX128,
    };
    TensorProto {
        name: Some(name.into()),
        data_type: Some(data_type),
        dims: tensor.dims().iter().map(|&d| d as i64).collect(),
        raw_data: Some(tensor.bytes().clone()),
        ..TensorProto::default()
    }
}
