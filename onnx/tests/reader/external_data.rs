//! Data in other files, and the ways out of the model's folder.

use dlirc_onnx::external::{ExternalError, ExternalFiles};
use dlirc_onnx::proto::{DATA_LOCATION_EXTERNAL, StringStringEntryProto, TensorProto, data_type};
use dlirc_onnx::tensor::{TensorError, read};
use std::fs;
use std::path::Path;

fn tensor(entries: &[(&str, &str)]) -> TensorProto {
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    TensorProto {
        dims: vec![4],
        data_type: Some(data_type::UINT8),
        data_location: Some(DATA_LOCATION_EXTERNAL),
        external_data: entries.iter().map(entry).collect(),
        ..Default::default()
    }
}

fn refused(files: &mut ExternalFiles, entries: &[(&str, &str)]) -> ExternalError {
    match read(&tensor(entries), files) {
        Err(TensorError::External(e)) => e,
        other => panic!("{other:?}"),
    }
}

/// A folder `model` with `w.data` of 0..16 in it, beside a file `secret`.
fn fixture() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("w.data"), (0..16).collect::<Vec<u8>>()).unwrap();
    fs::write(folder.join("sub/v.data"), [9; 4]).unwrap();
    fs::write(dir.path().join("secret"), [7; 64]).unwrap();
    (dir, folder)
}

#[test]
fn ranges_of_one_file_share_one_mapping() {
    let (_dir, folder) = fixture();
    let mut files = ExternalFiles::new(Some(&folder));
    let at = |offset: &str| tensor(&[("location", "w.data"), ("offset", offset), ("length", "4")]);
    let first = read(&at("0"), &mut files).unwrap();
    let last = read(&at("12"), &mut files).unwrap();
    assert_eq!(first.to_i64(), Some(vec![0, 1, 2, 3]));
    assert_eq!(last.to_i64(), Some(vec![12, 13, 14, 15]));
    assert_eq!(
        last.bytes().as_ptr() as usize - first.bytes().as_ptr() as usize,
        12
    );
    let other_name = tensor(&[("location", "./w.data"), ("offset", "4")]);
    assert_eq!(
        read(&other_name, &mut files).unwrap().to_i64(),
        Some(vec![4, 5, 6, 7])
    );
    assert_eq!(files.n_mapped(), 1);
    let sub = tensor(&[("location", "sub/v.data")]);
    assert_eq!(read(&sub, &mut files).unwrap().to_i64(), Some(vec![9; 4]));
    assert_eq!(files.n_mapped(), 2);
}

#[test]
fn paths_out_of_the_folder_are_refused() {
    let (dir, folder) = fixture();
    let mut files = ExternalFiles::new(Some(&folder));
    let absolute = dir.path().join("secret").display().to_string();
    for location in [
        "../secret",
        "sub/../../secret",
        "sub/../w.data",
        "..",
        &absolute,
        "a\\b",
        "a\0b",
    ] {
        let error = refused(&mut files, &[("location", location)]);
        assert!(
            matches!(error, ExternalError::OutsideFolder { .. }),
            "{location}: {error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused() {
    use std::os::unix::fs::symlink;
    let (dir, folder) = fixture();
    symlink(dir.path().join("secret"), folder.join("link")).unwrap();
    symlink(dir.path(), folder.join("up")).unwrap();
    symlink("w.data", folder.join("inside")).unwrap();
    let mut files = ExternalFiles::new(Some(&folder));
    for location in ["link", "up/secret"] {
        let error = refused(&mut files, &[("location", location)]);
        assert!(
            matches!(error, ExternalError::LinkOutside { .. }),
            "{location}: {error}"
        );
    }
    // A link to the folder itself, and one that stays inside, are fine.
    assert!(read(&tensor(&[("location", "inside")]), &mut files).is_ok());
    symlink(&folder, dir.path().join("alias")).unwrap();
    let mut files = ExternalFiles::new(Some(&dir.path().join("alias")));
    assert!(read(&tensor(&[("location", "w.data")]), &mut files).is_ok());
}

#[test]
fn what_is_no_file_is_refused() {
    let (_dir, folder) = fixture();
    let mut files = ExternalFiles::new(Some(&folder));
    for location in ["sub", ".", "none.data"] {
        let error = refused(&mut files, &[("location", location)]);
        assert!(
            matches!(error, ExternalError::Open { .. }),
            "{location}: {error}"
        );
    }
    assert!(matches!(
        refused(&mut files, &[]),
        ExternalError::NoLocation
    ));
    assert!(matches!(
        refused(&mut files, &[("location", "")]),
        ExternalError::NoLocation
    ));
    let mut none = ExternalFiles::new(None::<&Path>);
    assert!(matches!(
        refused(&mut none, &[("location", "w.data")]),
        ExternalError::NoFolder { .. }
    ));
}

#[test]
fn bad_ranges_are_refused() {
    let (_dir, folder) = fixture();
    let mut files = ExternalFiles::new(Some(&folder));
    let mut range = |offset: &str, length: &str| {
        let entries = [
            ("location", "w.data"),
            ("offset", offset),
            ("length", length),
        ];
        refused(&mut files, &entries).to_string()
    };
    assert_eq!(
        range("13", "4"),
        "its data is bytes 13 to 17 of file \"w.data\", which has 16 bytes"
    );
    let max = u64::MAX.to_string();
    assert!(range(&max, "4").contains("which has 16 bytes"));
    assert!(range("4", &max).contains("which has 16 bytes"));
    assert!(range(&max, &max).contains("which has 16 bytes"));
    for bad in ["-1", "x", "", "1.5", "0x10", "99999999999999999999999"] {
        assert!(
            range(bad, "4").contains("is not a number of bytes"),
            "{bad}"
        );
        assert!(
            range("0", bad).contains("is not a number of bytes"),
            "{bad}"
        );
    }
    let short = tensor(&[("location", "w.data"), ("length", "3")]);
    assert!(matches!(
        read(&short, &mut files),
        Err(TensorError::WrongLength { .. })
    ));
}
