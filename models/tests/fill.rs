//! The list against the files, and what filling makes of them.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails as it should"
)]

use dlirc_models::{FillError, Filled, fill, find, folder, list};
use onnx::proto::{GraphProto, ModelProto};
use onnx::tensor::{dtype_of, has_data};
use std::path::Path;

fn open(path: &Path) -> ModelProto {
    onnx::open(path).unwrap().1
}

fn filled(name: &str, to: &Path) -> Filled {
    fill(&find(name).unwrap().graph_path(folder()), to, &mut |_| ()).unwrap()
}

#[test]
fn the_list_says_what_the_files_say() {
    let mut files = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        files += usize::from(
            entry
                .unwrap()
                .path()
                .extension()
                .is_some_and(|e| e == "onnx"),
        );
    }
    assert_eq!(files, list().len());
    for architecture in list() {
        let graph = open(&architecture.graph_path(folder())).graph.unwrap();
        assert_eq!(graph.input.len(), architecture.inputs.len());
        for (there, here) in graph.input.iter().zip(architecture.inputs) {
            assert_eq!(
                there.name.as_deref(),
                Some(here.name),
                "{}",
                architecture.name
            );
            let ty = there.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
            assert_eq!(dtype_of(ty.elem_type.unwrap()).unwrap(), here.dtype);
            let dims = ty.shape.as_ref().unwrap().dim.iter();
            let dims: Vec<_> = dims.map(|d| d.dim_value.unwrap() as usize).collect();
            assert_eq!(dims, here.dims, "{}", architecture.name);
        }
    }
}

#[test]
fn filling_adds_data_and_changes_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("squeezenet.onnx");
    let mut last = None;
    let graph_path = find("squeezenet1_1").unwrap().graph_path(folder());
    let report = fill(&graph_path, &path, &mut |p| last = Some(p)).unwrap();
    let last = last.unwrap();
    assert_eq!((last.done, last.total), (report.file_len, report.file_len));
    assert_eq!(report.file_len, std::fs::metadata(&path).unwrap().len());
    assert_eq!(report.n_tensors, 21);
    assert_eq!(report.n_bytes, 4 * 1_224_704);

    let (stripped, mut whole) = (open(&graph_path), open(&path));
    let graph: &mut GraphProto = whole.graph.as_mut().unwrap();
    for (t, before) in graph
        .initializer
        .iter_mut()
        .zip(&stripped.graph.as_ref().unwrap().initializer)
    {
        assert!(has_data(t));
        if !has_data(before) {
            t.raw_data = None;
        }
    }
    assert!(whole == stripped);
    // Nothing but the output is left in its folder.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn weights_have_the_statistics_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gru.onnx");
    filled("gru", &path);
    let text = std::fs::read_to_string(folder().join("gru.stats.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (source, model) = onnx::open(&path).unwrap();
    let mut files = onnx::external::ExternalFiles::new(source.folder());
    let mut n_checked = 0;
    for t in &model.graph.unwrap().initializer {
        let expected = &all[t.name.as_deref().unwrap()];
        let number = |key: &str| expected[key].as_f64().unwrap();
        let values = onnx::tensor::read(t, &mut files).unwrap().to_f64().unwrap();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
        assert!(
            values
                .iter()
                .all(|&v| v >= number("min") && v <= number("max"))
        );
        // Clipping a uniform distribution's range to a normal one narrows it.
        let (asked, tolerance) = (number("std"), 5.0 * number("std") / n.sqrt());
        assert!(
            (mean - number("mean")).abs() <= tolerance,
            "{:?}: mean {mean}",
            t.name
        );
        assert!(
            std <= asked + tolerance && std >= 0.8 * asked,
            "{:?}: {std}, not {asked}",
            t.name
        );
        n_checked += 1;
    }
    assert_eq!(n_checked, 9);
}

#[test]
fn filling_is_the_same_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("1.onnx"), dir.path().join("2.onnx"));
    filled("squeezenet1_1", &one);
    filled("squeezenet1_1", &two);
    let bytes = std::fs::read(&one).unwrap();
    assert!(bytes == std::fs::read(&two).unwrap());
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    assert_eq!(format!("{hash:016x}"), "b79c3e0df46e834f");
}

#[test]
fn what_cannot_be_filled_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, out) = (dir.path().join("m.onnx"), dir.path().join("out.onnx"));
    let stats = dir.path().join("m.stats.json");
    let refused = || fill(&graph, &out, &mut |_| ()).unwrap_err();
    assert!(matches!(refused(), FillError::Graph(_)));
    std::fs::copy(find("dcgan").unwrap().graph_path(folder()), &graph).unwrap();
    assert!(matches!(refused(), FillError::Statistics { .. }));
    std::fs::write(&stats, "{}").unwrap();
    let FillError::NoStatistics { names, .. } = refused() else {
        panic!()
    };
    assert_eq!(names.len(), 5);
    let good = std::fs::read_to_string(folder().join("dcgan.stats.json")).unwrap();
    std::fs::write(&stats, good.replacen("100", "99", 1)).unwrap();
    assert!(matches!(refused(), FillError::Mismatch { .. }));
    std::fs::write(&stats, good.replacen("float32", "int8", 1)).unwrap();
    assert!(matches!(refused(), FillError::Mismatch { .. }));
    std::fs::write(&stats, &good[..good.len() / 2]).unwrap();
    assert!(matches!(refused(), FillError::Statistics { .. }));
    assert!(!out.exists());
    std::fs::write(&stats, good).unwrap();
    let nowhere = dir.path().join("none/out.onnx");
    assert!(matches!(
        fill(&graph, &nowhere, &mut |_| ()),
        Err(FillError::Write { .. })
    ));
    fill(&graph, &out, &mut |_| ()).unwrap();
    // A graph that is whole needs no statistics.
    std::fs::remove_file(&stats).unwrap();
    let again = fill(&out, &graph, &mut |_| ()).unwrap();
    assert_eq!(again.n_tensors, 0);
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&graph).unwrap());
}
