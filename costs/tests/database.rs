//! The profile database: what goes in comes out, for many at once, and wrong files are refused.

use dlirc_costs::database::{Cause, Database, Key};
use dlirc_costs::{Grid, Kind, Times, Work};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn times(n: u64) -> Times {
    let runs: Vec<Duration> = (1..=n).map(|i| Duration::from_nanos(100 + i)).collect();
    Times::of(&runs).expect("some runs")
}

fn work() -> Work {
    Work {
        class: "contract.conv".into(),
        dtype: "f32".into(),
        flop: u64::MAX,
        bytes_read: 10,
        bytes_written: 20,
        launches: vec![Grid {
            blocks: 3,
            threads: 128,
            resident: 4,
        }],
        rounds: 1,
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("below").join("profile.db")
}

#[test]
fn what_goes_in_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let [a, b] = [Key::of(b"a"), Key::of(b"b")];
    let db = Database::open(&path).unwrap();
    let gpu = db.device("GPU", Kind::Cuda, "13.0").unwrap();
    assert_eq!(db.device("GPU", Kind::Cuda, "13.0").unwrap(), gpu);
    let newer = db.device("GPU", Kind::Cuda, "13.1").unwrap();
    assert_ne!(newer, gpu);
    assert_eq!(db.kernel(gpu, &a).unwrap(), None);
    db.put_kernel(gpu, &a, "Conv+Relu", &work(), &times(3))
        .unwrap();
    db.put_kernel(gpu, &a, "Conv+Relu", &work(), &times(5))
        .unwrap();
    db.put_block(gpu, &b, "resnet50", &times(7)).unwrap();
    db.put_pair(gpu, [&b, &a], [1.5, 1.25], 9).unwrap();
    drop(db);

    let db = Database::open_existing(&path).unwrap();
    assert_eq!(db.kernel(gpu, &a).unwrap(), Some(times(5)));
    assert_eq!(db.kernel(newer, &a).unwrap(), None);
    assert_eq!(db.block(gpu, &b).unwrap(), Some(times(7)));
    assert_eq!(db.pair(gpu, [&a, &b]).unwrap(), Some([1.25, 1.5]));
    assert_eq!(db.pair(gpu, [&b, &a]).unwrap(), Some([1.5, 1.25]));
    let known: Vec<(String, u64)> = db
        .devices()
        .unwrap()
        .into_iter()
        .map(|d| (d.driver, d.n_kernels))
        .collect();
    assert_eq!(known, [("13.0".into(), 1), ("13.1".into(), 0)]);
    let measured = db.measured(gpu).unwrap();
    assert_eq!(measured.kernels[&a], times(5));
    assert_eq!(measured.together(&b, &a), Some([1.5, 1.25]));
    assert!(db.measured(newer).unwrap().is_empty());

    // The hash tells what was measured, and nothing else.
    assert_eq!(measured.hash, db.measured(gpu).unwrap().hash);
    db.put_kernel(newer, &a, "Conv+Relu", &work(), &times(3))
        .unwrap();
    assert_eq!(measured.hash, db.measured(gpu).unwrap().hash);
    db.put_kernel(gpu, &b, "Conv+Relu", &work(), &times(3))
        .unwrap();
    assert_ne!(measured.hash, db.measured(gpu).unwrap().hash);
}

#[test]
fn one_of_many_makes_the_file() {
    for _ in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Database::open(&path).unwrap());
            }
        });
        assert_eq!(
            Database::open_existing(&path).unwrap().devices().unwrap(),
            []
        );
    }
}

#[test]
fn many_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    std::thread::scope(|scope| {
        for writer in 0..8u8 {
            let path = &path;
            scope.spawn(move || {
                let db = Database::open(path).unwrap();
                let device = db.device("CPU", Kind::Cpu, "1").unwrap();
                for i in 0..25u8 {
                    let key = Key::of(&[writer, i]);
                    db.put_kernel(device, &key, "", &work(), &times(2)).unwrap();
                }
            });
        }
    });
    let db = Database::open_existing(&path).unwrap();
    let devices = db.devices().unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].n_kernels, 200);
}

#[test]
fn wrong_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |path: &Path| Database::open(path).unwrap_err();

    let missing = Database::open_existing(&at("missing.db")).unwrap_err();
    assert!(matches!(missing.cause, Cause::Open(_)), "{missing}");
    assert!(!at("missing.db").exists());

    std::fs::write(at("text.db"), "this is no database at all\n".repeat(100)).unwrap();
    let damaged = refused(&at("text.db"));
    assert!(matches!(damaged.cause, Cause::Damaged(_)), "{damaged}");
    assert!(damaged.to_string().contains("text.db"), "{damaged}");

    let other = rusqlite::Connection::open(at("other.db")).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(other);
    assert_eq!(refused(&at("other.db")).cause, Cause::NotOurs);

    drop(Database::open(&at("newer.db")).unwrap());
    let newer = rusqlite::Connection::open(at("newer.db")).unwrap();
    newer.pragma_update(None, "user_version", 2).unwrap();
    drop(newer);
    assert_eq!(refused(&at("newer.db")).cause, Cause::Newer { version: 2 });

    // A page in the middle, overwritten.
    let db = Database::open(&at("page.db")).unwrap();
    let device = db.device("CPU", Kind::Cpu, "1").unwrap();
    for i in 0..100u8 {
        let key = Key::of(&[i]);
        db.put_kernel(device, &key, "", &work(), &times(2)).unwrap();
    }
    drop(db);
    let mut bytes = std::fs::read(at("page.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xa5);
    std::fs::write(at("page.db"), bytes).unwrap();
    let damaged = refused(&at("page.db"));
    assert!(matches!(damaged.cause, Cause::Damaged(_)), "{damaged}");
}
