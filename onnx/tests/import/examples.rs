//! The example architectures, with zeros for weights.

use crate::make::chain;
use bytes::Bytes;
use dlirc_onnx::{ReadOptions, Source, read_source, tensor};
use ir::Program;
use prost::Message;
use std::path::Path;

#[test]
fn every_example_imports_with_static_shapes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 19);
    for path in paths {
        let (_, mut model) = dlirc_onnx::open(&path).unwrap();
        for t in &mut model.graph.as_mut().unwrap().initializer {
            if !tensor::has_data(t) {
                let (_, _, n_bytes) = tensor::layout(t).unwrap();
                t.raw_data = Some(Bytes::from(vec![0; n_bytes]));
            }
        }
        let declared = model.graph.as_ref().unwrap().output.clone();
        let source = Source::from_bytes("example", model.encode_to_vec());
        let mut program = Program::default();
        let imported = read_source(&source, &ReadOptions::default(), &mut program)
            .unwrap_or_else(|e| panic!("{}: {}", path.display(), chain(&e)));
        let graph = &program.graphs[imported.graph];
        for (id, value) in graph.values.iter() {
            assert!(
                value.ty.shape.dims().is_some(),
                "{}: {id} is {}",
                path.display(),
                value.ty
            );
        }
        for (&(_, value), declared) in graph.outputs.iter().zip(declared) {
            let ty = declared.r#type.unwrap().tensor_type.unwrap();
            let dims = ty
                .shape
                .unwrap()
                .dim
                .iter()
                .map(|d| d.dim_value.unwrap() as usize)
                .collect();
            assert_eq!(
                graph.ty(value).shape.dims(),
                Some::<Vec<_>>(dims),
                "{}",
                path.display()
            );
        }
        assert!(
            graph
                .order
                .iter()
                .all(|&n| graph.nodes[n].origin.names().count() == 1)
        );
    }
}
