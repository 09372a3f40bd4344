//! Mutations of plan files that keep their checksums right.
//!
//! Half of them change the plan as a tree of values: numbers to others, elements of lists
//! twice, gone or swapped, a part of the plan in the place of another of its kind. The other
//! half change bytes as libFuzzer does, of the metadata or of the whole file.

use crate::file;
use libfuzzer_sys::fuzzer_mutate;
use plans::Plan;
use serde_json::Value;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u32) -> Self {
        Self(seed.into())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if there is none.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Mutates the first `size` bytes of `data` and returns how many there are then.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random::new(seed);
    let kind = random.below(16);
    let changed = match kind {
        0 => None,
        1..=5 => change_metadata(&data[..size], max_size),
        _ => change_plan(&data[..size], &mut random),
    };
    match changed.filter(|file| file.len() <= max_size.min(data.len())) {
        Some(file) => {
            data[..file.len()].copy_from_slice(&file);
            file.len()
        }
        None => {
            let size = fuzzer_mutate(data, size, max_size);
            file::fix_checksums(&mut data[..size]);
            size
        }
    }
}

/// The file with other bytes as metadata.
fn change_metadata(bytes: &[u8], max_size: usize) -> Option<Vec<u8>> {
    let meta = file::metadata(bytes)?;
    let mut changed = meta.to_vec();
    let room = (meta.len() + 64).min(max_size);
    changed.resize(room, 0);
    let len = fuzzer_mutate(&mut changed, meta.len().min(room), room);
    file::with_metadata(bytes, &changed[..len])
}

/// The file with a changed plan.
fn change_plan(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let meta = file::metadata(bytes)?;
    let plan: Plan = postcard::from_bytes(meta).ok()?;
    let tree = serde_json::to_value(&plan).ok()?;
    for _ in 0..8 {
        let mut changed = tree.clone();
        for _ in 0..1 + random.below(3) {
            change(&mut changed, &tree, random);
        }
        if let Ok(plan) = serde_json::from_value::<Plan>(changed) {
            let meta = postcard::to_stdvec(&plan).ok()?;
            return file::with_metadata(bytes, &meta);
        }
    }
    None
}

/// What of a plan is changed, and how often.
const PARTS: [(&str, usize); 9] = [
    ("models", 2),
    ("arenas", 1),
    ("buffers", 2),
    ("weights", 1),
    ("kernels", 8),
    ("images", 1),
    ("codes", 2),
    ("steps", 4),
    ("blocks", 1),
];

fn part(random: &mut Random) -> &'static str {
    let total: usize = PARTS.iter().map(|(_, often)| often).sum();
    let mut at = random.below(total);
    for (name, often) in PARTS {
        if at < often {
            return name;
        }
        at -= often;
    }
    "steps"
}

/// Changes one place of `tree`; `donor` is where other values come from.
fn change(tree: &mut Value, donor: &Value, random: &mut Random) {
    let name = part(random);
    let mut key = name.to_owned();
    let Some(mut place) = tree.get_mut(name) else {
        return;
    };
    loop {
        let is_leaf = match &*place {
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => true,
        };
        if is_leaf || random.below(8) == 0 {
            break;
        }
        place = match place {
            Value::Array(list) => {
                let n = list.len();
                &mut list[random.below(n)]
            }
            Value::Object(fields) => {
                let n = fields.len();
                let Some((name, value)) = fields.iter_mut().nth(random.below(n)) else {
                    return;
                };
                key.clone_from(name);
                value
            }
            _ => return,
        };
    }
    if random.below(4) == 0
        && let Some(other) = relative(donor, name, &key, random)
    {
        *place = other;
        return;
    }
    match place {
        Value::Array(list) => change_list(list, random),
        Value::Number(number) => {
            let old = number.as_i64().unwrap_or(0);
            *place = Value::from(other_number(old, random));
        }
        Value::Bool(is) => *is = !*is,
        Value::Null => *place = Value::from(random.below(4)),
        Value::String(_) | Value::Object(_) => {
            if let Some(other) = relative(donor, name, &key, random) {
                *place = other;
            }
        }
    }
}

fn change_list(list: &mut Vec<Value>, random: &mut Random) {
    let n = list.len();
    match random.below(4) {
        0 if n > 0 => {
            let value = list[random.below(n)].clone();
            list.insert(random.below(n + 1), value);
        }
        1 if n > 0 => drop(list.remove(random.below(n))),
        2 if n > 1 => list.swap(random.below(n), random.below(n)),
        _ => list.push(Value::from(random.below(3))),
    }
}

fn other_number(old: i64, random: &mut Random) -> i64 {
    const EDGES: [i64; 12] = [
        i64::MIN,
        i64::MAX,
        i32::MAX as i64,
        u32::MAX as i64,
        (1 << 40) - 1,
        1 << 40,
        1 << 48,
        1 << 52,
        u16::MAX as i64,
        -1,
        0,
        1,
    ];
    match random.below(8) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => old.wrapping_mul(2),
        3 => old / 2,
        4 => old.wrapping_neg(),
        5 => EDGES[random.below(EDGES.len())],
        6 => random.below(64) as i64,
        _ => old.wrapping_add(256),
    }
}

/// Another value under `key`, from the same part of the plan.
fn relative(donor: &Value, part: &str, key: &str, random: &mut Random) -> Option<Value> {
    for _ in 0..8 {
        let mut place = donor.get(part)?;
        let mut found = None;
        loop {
            place = match place {
                Value::Array(list) if !list.is_empty() => &list[random.below(list.len())],
                Value::Object(fields) if !fields.is_empty() => {
                    let (name, value) = fields.iter().nth(random.below(fields.len()))?;
                    if name == key {
                        found = Some(value);
                    }
                    value
                }
                _ => break,
            };
        }
        if let Some(value) = found {
            return Some(value.clone());
        }
    }
    None
}
