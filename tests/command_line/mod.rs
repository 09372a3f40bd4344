//! The command line, from outside: data, talk, status, files.

mod blocks;
mod deploy;
mod errors;
mod help;
mod plans;
mod profile;
mod scenes;
mod tools;

use onnx::proto::{
    DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use prost::Message;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder of its own, in which commands run.
struct Place {
    folder: TempDir,
}

/// What a command did.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `dlirc` with these arguments in the folder.
    fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_dlirc"))
            .args(args)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        Ran {
            status: output.status.code().expect("the command was not killed"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs `dlirc` with the words of `line`.
    fn dlirc(&self, line: &str) -> Ran {
        self.run(&line.split(' ').collect::<Vec<_>>())
    }

    /// As [`Place::dlirc`]; the command must be done.
    fn done(&self, line: &str) -> Ran {
        let ran = self.dlirc(line);
        assert_eq!(ran.status, 0, "dlirc {line}\n{}{}", ran.out, ran.err);
        ran
    }

    /// As [`Place::dlirc`]; the command must fail with the error of this code.
    fn fails(&self, line: &str, code: &str) -> String {
        let ran = self.dlirc(line);
        assert_eq!(ran.status, 2, "dlirc {line}\n{}{}", ran.out, ran.err);
        assert_eq!(ran.out, "", "dlirc {line}");
        let start = format!("error[{code}]: ");
        assert!(
            ran.err.starts_with(&start),
            "dlirc {line}: expected {start}…\n{}",
            ran.err
        );
        ran.err
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The names in the folder, sorted.
    fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }

    /// A plan `NAME.dlplan` of the [`layer`] NAME.
    fn with_plan(name: &str) -> Self {
        let place = Self::new();
        place.write(&format!("{name}.onnx"), layer(1.0));
        place.done(&format!("compile {name}.onnx -o {name}.dlplan"));
        place
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(1),
        float_data: values.to_vec(),
        ..Default::default()
    }
}

fn port(name: &str, dims: &[&str]) -> ValueInfoProto {
    let dim = |d: &&str| match d.parse() {
        Ok(n) => DimensionProto {
            dim_value: Some(n),
            ..Default::default()
        },
        Err(_) => DimensionProto {
            dim_param: Some(d.to_string()),
            ..Default::default()
        },
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    };
    let ty = TensorTypeProto {
        elem_type: Some(1),
        shape: Some(shape),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            tensor_type: Some(ty),
            ..Default::default()
        }),
    }
}

fn node(op: &str, name: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        name: Some(name.into()),
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn model(nodes: Vec<NodeProto>, weights: Vec<TensorProto>, dims: &[&str]) -> Vec<u8> {
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto {
            domain: None,
            version: Some(17),
        }],
        graph: Some(GraphProto {
            name: Some("g".into()),
            node: nodes,
            initializer: weights,
            input: vec![port("x", dims)],
            output: vec![port("y/out:0", &["2", "2"])],
            ..Default::default()
        }),
        ..Default::default()
    };
    model.encode_to_vec()
}

/// `relu(x @ [[1, -1], [1, -1], [1, -1]] + [0, offset])` of `x: f32[2, 3]`, as `y/out:0`.
fn layer(offset: f32) -> Vec<u8> {
    let w = tensor("w", &[3, 2], &[1.0, -1.0, 1.0, -1.0, 1.0, -1.0]);
    let b = tensor("b", &[2], &[0.0, offset]);
    let nodes = vec![
        node("MatMul", "product", &["x", "w"], "p"),
        node("Add", "sum", &["p", "b"], "s"),
        node("Relu", "positive", &["s"], "y/out:0"),
    ];
    model(nodes, vec![w, b], &["2", "3"])
}

/// A file of NumPy's with `f32` numbers.
fn npy(dims: &str, values: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}
