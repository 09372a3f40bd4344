//! Plan files: round trips, damage, and writes that fail.

use crate::samples::{self, Sample};
use crate::{random_plans, touch, zoo};
use plans::file::{self, Contents, FileError, SectionKind, WriteError};
use plans::{ImageIndex, KernelSpec, Lengths, Plan, ValidPlan, WeightIndex, validate};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn bytes(sample: &Sample) -> Vec<u8> {
    let weight = |w: WeightIndex| &sample.data[w.index()];
    file::to_bytes(&sample.plan, weight, |i| &sample.images[i.index()]).expect("a sample fits")
}

fn valid(sample: &Sample) -> ValidPlan {
    validate(sample.plan.clone(), Lengths::needed(&sample.plan)).expect("a sample is valid")
}

fn write(sample: &Sample, path: &Path) -> Result<(), WriteError> {
    let weight = |w: WeightIndex| &sample.data[w.index()];
    file::write(&valid(sample), weight, |i| &sample.images[i.index()], path)
}

/// The CRC-32 of a plan's encoding. If it changes while the sample does not, so must the version of the
/// plan's section.
#[test]
fn the_encoding_stays_as_it_is() {
    let bytes = bytes(&zoo::zoo());
    let sections = file::sections(&bytes).unwrap();
    let meta = sections
        .iter()
        .find(|s| s.kind == SectionKind::Meta)
        .unwrap();
    assert_eq!((meta.version, meta.crc), (4, ENCODING), "{:#x}", meta.crc);
}

const ENCODING: u32 = 0x7cf0_d6b2;

#[test]
fn a_file_is_read_as_it_was_written() {
    for sample in [
        samples::pair(),
        samples::deployed(),
        zoo::zoo(),
        samples::chain(50, 10),
        samples::device(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models.plan");
        write(&sample, &path).unwrap();
        let written = fs::read(&path).unwrap();
        assert_eq!(written, bytes(&sample));
        let Contents {
            plan,
            weights,
            weights_crc,
            images,
        } = file::read(&written).unwrap();
        assert_eq!(weights_crc, file::crc32(&written[weights.clone()]));
        assert_eq!(plan, sample.plan);
        assert_eq!(weights.start % 4096, 0);
        assert_eq!(images.start % 4096, 0);
        assert_eq!(images.is_empty(), plan.images.is_empty());
        for (image, data) in plan.images.iter().zip(&sample.images) {
            let start = images.start + image.offset as usize;
            assert_eq!(written[start..][..image.bytes as usize], data[..]);
        }
        for (weight, data) in plan.weights.iter().zip(&sample.data) {
            let start = weights.start + weight.offset as usize;
            assert_eq!(written[start..][..weight.bytes as usize], data[..]);
        }
    }
}

#[test]
fn weights_that_are_not_the_plans_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.plan");
    let plan = valid(&samples::mlp());
    let data = samples::mlp().data;
    let wrong: [fn(&mut Vec<u8>); 2] = [|d| d[0] ^= 1, |d| d.truncate(4)];
    for wrong in wrong {
        let result = file::write(
            &plan,
            |w| {
                let mut data = data[w.index()].clone();
                if w.0 == 2 {
                    wrong(&mut data);
                }
                data
            },
            file::no_images,
            &path,
        );
        let Err(WriteError::Weight { index, .. }) = result else {
            panic!("weight 2 is another one: {result:?}");
        };
        assert_eq!(index, WeightIndex(2));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

/// The same file with the plan's section replaced, and all checksums right.
fn with_meta(original: &[u8], meta: &[u8]) -> Vec<u8> {
    let sections = file::sections(original).unwrap();
    let mut file = original[..sections[0].offset as usize].to_vec();
    file.extend(meta);
    file.resize(file.len().next_multiple_of(4096), 0);
    let start = file.len() as u64;
    let moved = sections[1].offset;
    file.extend(&original[moved as usize..]);
    file[64 + 16..64 + 24].copy_from_slice(&(meta.len() as u64).to_le_bytes());
    file[64 + 28..64 + 32].copy_from_slice(&crc32fast::hash(meta).to_le_bytes());
    for (entry, section) in sections.iter().enumerate().skip(1) {
        let at = 64 + 32 * entry + 8;
        let offset = start + section.offset - moved;
        file[at..at + 8].copy_from_slice(&offset.to_le_bytes());
    }
    seal(&mut file);
    file
}

/// Makes header and table checksums right.
fn seal(file: &mut [u8]) {
    let n = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    let len = file.len() as u64;
    file[16..24].copy_from_slice(&len.to_le_bytes());
    let crc = crc32fast::hash(&file[64..64 + 32 * n]);
    file[24..28].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&file[..60]);
    file[60..64].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn foreign_and_other_versions() {
    let good = bytes(&samples::mlp());
    for foreign in [
        &b""[..],
        b"\x08\x07\x12\x07pytorch",
        b"PK\x03\x04",
        &[0; 4096],
    ] {
        assert_eq!(file::read(foreign), Err(FileError::NotAPlan));
    }
    for (major, minor) in [(0, 0), (2, 0), (900, 7)] {
        let mut newer = good.clone();
        newer[8..10].copy_from_slice(&u16::to_le_bytes(major));
        newer[10..12].copy_from_slice(&u16::to_le_bytes(minor));
        seal(&mut newer);
        let error = file::read(&newer).unwrap_err();
        assert_eq!(
            error,
            FileError::Version {
                found: (major, minor)
            }
        );
        assert!(error.to_string().contains("reads format 1"), "{error}");
    }
    // A new minor version is read, with whatever its header holds.
    let mut minor = good.clone();
    minor[10] = 3;
    minor[40] = 1;
    seal(&mut minor);
    assert!(file::read(&minor).is_ok());
    // A new version of the plan is not.
    let mut schema = good.clone();
    schema[64 + 4] = 99;
    seal(&mut schema);
    let error = file::read(&schema).unwrap_err();
    assert!(matches!(
        error,
        FileError::UnknownSection { version: 99, .. }
    ));
    for len in 0..good.len() {
        let error = file::read(&good[..len]).unwrap_err();
        let expected = matches!(error, FileError::NotAPlan | FileError::Length { .. });
        assert!(expected, "{len}: {error}");
    }
    let longer = [&good[..], b"x"].concat();
    assert!(matches!(file::read(&longer), Err(FileError::Length { .. })));
}

/// The same file with a third section.
fn with_section(original: &[u8], flags: u16) -> Vec<u8> {
    let mut file = original.to_vec();
    let weights = file::sections(original).unwrap()[1];
    let contents = b"kernel images to come";
    // The table grows by an entry: there is room before the plan only if all moves by 32 bytes.
    let mut entry = vec![];
    entry.extend(77u32.to_le_bytes());
    entry.extend(5u16.to_le_bytes());
    entry.extend(flags.to_le_bytes());
    entry.extend((file.len() as u64 + 4096).to_le_bytes());
    entry.extend((contents.len() as u64).to_le_bytes());
    entry.extend(1u32.to_le_bytes());
    entry.extend(crc32fast::hash(contents).to_le_bytes());
    let meta_end = 64 + 64 + u64::from_le_bytes(file[80..88].try_into().unwrap()) as usize;
    let pad = vec![0; (meta_end + 32).next_multiple_of(4096) - meta_end - 32];
    let weights_at = meta_end + 32 + pad.len();
    let data = file.split_off(weights.offset as usize);
    file.truncate(meta_end);
    let meta = file.split_off(128);
    file[64 + 8..64 + 16].copy_from_slice(&160u64.to_le_bytes());
    file[96 + 8..96 + 16].copy_from_slice(&(weights_at as u64).to_le_bytes());
    let last = (weights_at + data.len()) as u64;
    entry[8..16].copy_from_slice(&last.to_le_bytes());
    file.extend(entry);
    file.extend(meta);
    file.extend(pad);
    file.extend(data);
    file.extend(contents);
    file[12] = 3;
    seal(&mut file);
    file
}

#[test]
fn unknown_sections_are_skipped_unless_they_are_critical() {
    let sample = samples::mlp();
    let skipped = with_section(&bytes(&sample), 0);
    assert_eq!(file::read(&skipped).unwrap().plan, sample.plan);
    assert_eq!(
        file::sections(&skipped).unwrap()[2].kind,
        SectionKind::Unknown(77)
    );
    let error = file::read(&with_section(&bytes(&sample), 1)).unwrap_err();
    assert!(error.to_string().contains("section 77"), "{error}");
    // Its checksum counts all the same.
    let mut damaged = skipped;
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(
        file::read(&damaged),
        Err(FileError::Damaged { .. })
    ));
}

#[test]
fn images_are_the_plans_and_whole() {
    let sample = samples::device();
    let file = bytes(&sample);
    let sections = file::sections(&file).unwrap();
    let kinds: Vec<_> = sections.iter().map(|s| s.kind).collect();
    assert_eq!(
        kinds,
        [SectionKind::Meta, SectionKind::Images, SectionKind::Weights]
    );
    assert!(sections.iter().all(|s| s.is_critical));
    let mut damaged = file.clone();
    damaged[sections[1].offset as usize + 299] ^= 1;
    let error = file::read(&damaged).unwrap_err();
    assert!(error.to_string().contains("the images"), "{error}");
    assert!(file::read_without_weights_check(&damaged).is_err());
    // A plan that has images, in a file without.
    let mut without = samples::device();
    without.plan.images.clear();
    let bare = bytes(&without);
    let meta = &file[sections[0].offset as usize..][..sections[0].len as usize];
    let contents = file::read(&with_meta(&bare, meta)).unwrap();
    assert_eq!(contents.images, 0..0);
    let lengths = contents.lengths();
    let errors = validate(contents.plan, lengths).unwrap_err();
    assert!(errors.iter().any(|e| e.code.name() == "plan-bounds"));
    let wrong: [fn(&mut Vec<u8>); 2] = [|d| d[0] ^= 1, |d| d.truncate(4)];
    for wrong in wrong {
        let image = |i: ImageIndex| {
            let mut image = sample.images[i.index()].clone();
            if i.0 == 1 {
                wrong(&mut image);
            }
            image
        };
        let result = file::to_bytes(&sample.plan, |w| &sample.data[w.index()], image);
        let Err(WriteError::Image { index, .. }) = result else {
            panic!("image 1 is another one: {result:?}");
        };
        assert_eq!(index, ImageIndex(1));
    }
}

#[test]
fn damaged_weights_are_found_unless_nobody_looks() {
    let sample = samples::mlp();
    let mut file = bytes(&sample);
    *file.last_mut().unwrap() ^= 1;
    let damaged = FileError::Damaged {
        what: "the weights".into(),
    };
    assert_eq!(file::read(&file), Err(damaged));
    let contents = file::read_without_weights_check(&file).unwrap();
    assert_eq!(contents.plan, sample.plan);
}

#[test]
fn ten_thousand_damaged_files() {
    let originals: Vec<(Vec<u8>, Plan)> = [
        samples::mlp(),
        samples::branches(),
        samples::pair(),
        zoo::zoo(),
        samples::chain(30, 8),
        samples::device(),
    ]
    .into_iter()
    .map(|s| (bytes(&s), s.plan))
    .collect();
    let mut random = crate::random(11);
    let mut n_refused = 0;
    for _ in 0..10_000 {
        let (original, plan) = &originals[random(originals.len())];
        let mut file = original.clone();
        match random(5) {
            0 => {
                for _ in 0..1 + random(8) {
                    let at = random(file.len());
                    file[at] ^= 1 << random(8);
                }
            }
            1 => file.truncate(random(file.len())),
            2 => {
                // A piece of the file, or of another one, somewhere else.
                let from = &originals[random(originals.len())].0;
                let start = random(from.len());
                let piece = &from[start..start + random(from.len() - start)];
                let at = random(file.len());
                let end = (at + piece.len()).min(file.len());
                file[at..end].copy_from_slice(&piece[..end - at]);
            }
            3 => {
                let at = random(file.len());
                let n = random(64).min(file.len() - at);
                file.drain(at..at + n);
            }
            _ => {
                let at = random(file.len());
                let n = random(64);
                file.splice(at..at, (0..n).map(|i| i as u8));
            }
        }
        match file::read(&file) {
            Ok(read) => assert_eq!(&read.plan, plan),
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.help().is_empty());
                n_refused += 1;
            }
        }
    }
    assert!(n_refused > 9_000, "{n_refused}");
}

#[test]
fn ten_thousand_forged_plans() {
    let originals: Vec<Vec<u8>> = [
        samples::mlp(),
        samples::branches(),
        samples::pair(),
        zoo::zoo(),
        samples::device(),
    ]
    .iter()
    .map(bytes)
    .collect();
    let mut random = crate::random(12);
    let (mut n_decoded, mut n_valid) = (0, 0);
    // Elsewhere it is shown that these stay inside.
    let known: Vec<KernelSpec> = [samples::pair(), zoo::zoo(), samples::device()]
        .into_iter()
        .flat_map(|s| s.plan.kernels)
        .collect();
    for _ in 0..10_000 {
        let original = &originals[random(originals.len())];
        let section = file::sections(original).unwrap()[0];
        let mut meta = original[section.offset as usize..][..section.len as usize].to_vec();
        for _ in 0..1 + random(2) {
            let at = random(meta.len());
            match random(5) {
                0 => meta[at] = 0xff,
                1 => meta[at] = random(256) as u8,
                2 => meta[at] = meta[at].wrapping_add(random(5) as u8).wrapping_sub(2),
                3 => meta[at] ^= 1 << random(8),
                _ => meta.insert(at, random(256) as u8),
            }
        }
        let Ok(contents) = file::read(&with_meta(original, &meta)) else {
            continue;
        };
        n_decoded += 1;
        let lengths = contents.lengths();
        match validate(contents.plan, lengths) {
            Ok(plan) => {
                n_valid += 1;
                let changed = plan.kernels.iter().filter(|k| !known.contains(k));
                changed.for_each(touch::walk);
            }
            Err(errors) => assert!(!errors.is_empty()),
        }
    }
    println!("{n_decoded} decoded, {n_valid} valid");
    assert!(n_decoded > 3_000 && n_valid > 300, "{n_decoded} {n_valid}");
}

#[test]
fn a_hostile_count_takes_no_memory() {
    let original = bytes(&samples::mlp());
    // An empty compiler, target, list of models, options, no driver; then a list of 2^63 models.
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for prefix in 0..9 {
        let meta = [&vec![0; 5 + prefix][..], &huge, &[0; 100]].concat();
        let error = file::read(&with_meta(&original, &meta)).unwrap_err();
        assert!(matches!(error, FileError::Malformed { .. }), "{error}");
    }
    // As many kernels as there are bytes, each of a hundred times the size of its encoding.
    let n = 8 << 20;
    let mut meta = vec![0; 5 + 4];
    let mut count = n as u64;
    while count > 0x7f {
        meta.push(count as u8 | 0x80);
        count >>= 7;
    }
    meta.push(count as u8);
    meta.resize(meta.len() + n, 0);
    let error = file::read(&with_meta(&original, &meta)).unwrap_err();
    assert!(error.to_string().contains("kernels in"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn random_plans_are_valid_and_round_trip(seed in any::<u64>()) {
        let sample = random_plans::plan(seed);
        let file = bytes(&sample);
        let contents = file::read(&file).unwrap();
        let (plan, lengths) = (contents.plan.clone(), contents.lengths());
        prop_assert_eq!(&plan, &sample.plan);
        let again = Sample { plan: plan.clone(), ..sample };
        prop_assert_eq!(bytes(&again), file);
        prop_assert_eq!(validate(plan, lengths).map(|_| ()), Ok(()));
    }
}

/// The name of the variable that makes this test binary write a file and be killed meanwhile.
const VICTIM: &str = "DLIRC_TEST_SLOW_WRITE";

/// Writes a plan to the path in [`VICTIM`], slowly if asked to.
#[test]
#[ignore = "a part of the tests below, which run it in a process of its own"]
fn slow_write() {
    let Ok(path) = std::env::var(VICTIM) else {
        return;
    };
    let sample = samples::mlp();
    let is_slow = std::env::var(format!("{VICTIM}_SLOW")).is_ok();
    let result = file::write(
        &valid(&sample),
        |w| {
            if is_slow && w.0 == 3 {
                println!("half");
                std::thread::sleep(Duration::from_secs(60));
            }
            &sample.data[w.index()]
        },
        file::no_images,
        Path::new(&path),
    );
    if let Err(error) = result {
        println!("error: {error}");
        std::process::exit(2);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_write_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for exists in [false, true] {
        let path = folder.path().join("models.plan");
        if exists {
            fs::write(&path, "older").unwrap();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["file::slow_write", "--exact", "--ignored", "--nocapture"])
            .env(VICTIM, &path)
            .env(format!("{VICTIM}_SLOW"), "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(&mut child, "half");
        child.kill().unwrap();
        child.wait().unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), usize::from(exists), "{left:?}");
        if exists {
            assert_eq!(fs::read_to_string(&path).unwrap(), "older");
        }
    }
}

#[cfg(target_os = "linux")]
fn wait_for(child: &mut Child, text: &str) {
    use std::io::{BufRead, BufReader};
    let stdout = child.stdout.as_mut().unwrap();
    let found = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains(text));
    assert!(found, "the child says `{text}`");
}

/// A file system without room is hard to come by in a test; a limit on the size of files is met
/// the same way, half way through a write.
#[cfg(target_os = "linux")]
#[test]
fn a_write_without_room_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.plan");
    fs::write(&path, "older").unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["file::slow_write", "--exact", "--ignored", "--nocapture"])
        .env(VICTIM, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("error: cannot write") && said.contains("too large"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "older");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
