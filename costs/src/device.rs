//! What a device can do, read from a text file.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// A device: what it can do, and how much of that kernels reach.
///
/// Device files are TOML with these fields; a field that is not known here is an error. Rates are per
/// second, times in nanoseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The name, as its driver gives it: measurements are of the device with this name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Ten times the major number of the compute capability plus the minor one; 0 for a CPU.
    #[serde(default)]
    pub arch: u32,
    /// Multiprocessors of a GPU, threads of a CPU.
    pub units: u32,
    /// Threads that a multiprocessor holds at once; 0 for a CPU.
    #[serde(default)]
    pub threads_per_unit: u32,
    /// The last cache before memory, in bytes.
    pub cache_bytes: u64,
    /// Bytes of memory, read and written.
    pub bytes_per_s: f64,
    /// Bytes that come from the last cache instead.
    pub cache_bytes_per_s: f64,
    /// Operations on each element type without matrix units, a multiply-add counted as 2; and of f32 on
    /// matrix units as `tf32x3` and `tf32`.
    pub flop_per_s: BTreeMap<String, f64>,
    /// Operations of matrix units on each element type.
    #[serde(default)]
    pub matrix_flop_per_s: BTreeMap<String, f64>,
    /// What starting kernels costs.
    pub launch: Launches,
    /// Copies from and to the host; none for a CPU.
    #[serde(default)]
    pub transfer: Option<Transfers>,
    /// How much of all that each class of kernels reaches. `contract.conv` is looked up before
    /// `contract`, and `any` serves classes that are not listed.
    pub efficiency: BTreeMap<String, Efficiency>,
}

/// What a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Kind {
    Cpu,
    Cuda,
}

/// What starting kernels costs, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launches {
    /// From the call that starts one kernel to the end of the wait for it.
    pub alone_ns: f64,
    /// From one kernel to the next in a graph.
    pub graph_ns: f64,
}

/// Copies between the host and the device, in bytes a second.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfers {
    /// To the device.
    pub to_bytes_per_s: f64,
    /// From the device.
    pub from_bytes_per_s: f64,
}

/// How much of a device kernels of a class reach.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Efficiency {
    /// Share of the operations per second, where a multiprocessor is full.
    pub compute: f64,
    /// Share of the bytes per second, where the device is full.
    pub memory: f64,
    /// Warps of a multiprocessor with which half of `compute` is reached; 0: any number reaches all.
    #[serde(default)]
    pub compute_warps: f64,
    /// Warps of a multiprocessor with which half of `memory` is reached; 0: any number reaches all.
    #[serde(default)]
    pub memory_warps: f64,
    /// What a kernel takes that has nothing to do, beyond its launch.
    pub start_ns: f64,
    /// What each further round of a launch takes.
    #[serde(default)]
    pub round_ns: f64,
    /// The time in a chain of kernels is that of a kernel timed by itself, times this,
    pub in_chain: f64,
    /// less what hides behind its neighbours there: its start and end, and the clocks around it.
    pub overlap_ns: f64,
    /// The standard deviation of the error of predictions, relative to the time.
    pub error: f64,
}

/// The device files that come with the compiler.
const BUILT_IN: [(&str, &str); 2] = [
    ("cpu", include_str!("../devices/cpu.toml")),
    ("h200", include_str!("../devices/h200.toml")),
];

impl Device {
    /// The names of the devices that are known without a file.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The device called `name` if it is known, else the one that the file of this name describes.
    ///
    /// # Errors
    ///
    /// If there is neither, or the file is not as it should be.
    pub fn find(name: &str) -> Result<Self, DeviceError> {
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(text).map_err(|why| DeviceError::new(name, why)),
            None => Self::load(Path::new(name)),
        }
    }

    /// The built-in device of an architecture: ten times the major number of the compute capability
    /// plus the minor one. Where none is known, the first one that is a GPU serves; its architecture
    /// tells.
    ///
    /// # Errors
    ///
    /// If a built-in file is not as it should be.
    pub fn of_arch(arch: u32) -> Result<Self, DeviceError> {
        let mut gpu = None;
        for name in Self::built_in() {
            let device = Self::find(name)?;
            if device.kind == Kind::Cuda && (device.arch == arch || gpu.is_none()) {
                let is_it = device.arch == arch;
                gpu = Some(device);
                if is_it {
                    break;
                }
            }
        }
        gpu.ok_or_else(|| DeviceError::new("cuda", "no GPU is known".into()))
    }

    /// The device that a file describes.
    ///
    /// # Errors
    ///
    /// If it can't be read or is not as it should be.
    pub fn load(path: &Path) -> Result<Self, DeviceError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| DeviceError::new(path, format!("can't be read: {e}")))?;
        Self::parse(&text).map_err(|why| DeviceError::new(path, why))
    }

    /// The device that a text describes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let device: Device = toml::from_str(text).map_err(|e| e.to_string())?;
        device.check()?;
        Ok(device)
    }

    /// The text that describes it.
    ///
    /// # Errors
    ///
    /// If a number has no text.
    pub fn to_text(&self) -> Result<String, DeviceError> {
        toml::to_string(self).map_err(|e| DeviceError::new(&self.name, e.to_string()))
    }

    /// What makes no sense.
    fn check(&self) -> Result<(), String> {
        let positive = |what: &str, number: f64| match number.is_finite() && number > 0.0 {
            true => Ok(()),
            false => Err(format!("{what} is {number}; it must be greater than 0")),
        };
        let no_less = |what: &str, number: f64| match number.is_finite() && number >= 0.0 {
            true => Ok(()),
            false => Err(format!("{what} is {number}; it must not be less than 0")),
        };
        positive("units", f64::from(self.units))?;
        positive("bytes_per_s", self.bytes_per_s)?;
        positive("cache_bytes_per_s", self.cache_bytes_per_s)?;
        if !self.flop_per_s.contains_key("f32") {
            return Err("flop_per_s has no f32".into());
        }
        if self.kind == Kind::Cuda && self.threads_per_unit == 0 {
            return Err("threads_per_unit is missing, and a GPU has some".into());
        }
        for (list, rates) in [
            ("flop_per_s", &self.flop_per_s),
            ("matrix_flop_per_s", &self.matrix_flop_per_s),
        ] {
            for (dtype, &rate) in rates {
                positive(&format!("{list}.{dtype}"), rate)?;
            }
        }
        no_less("launch.alone_ns", self.launch.alone_ns)?;
        no_less("launch.graph_ns", self.launch.graph_ns)?;
        if let Some(t) = self.transfer {
            positive("transfer.to_bytes_per_s", t.to_bytes_per_s)?;
            positive("transfer.from_bytes_per_s", t.from_bytes_per_s)?;
        }
        if !self.efficiency.contains_key("any") {
            return Err(
                "efficiency has no class `any`, which serves those that are not listed".into(),
            );
        }
        for (class, e) in &self.efficiency {
            let name = |field: &str| format!("efficiency.{class}.{field}");
            positive(&name("compute"), e.compute)?;
            positive(&name("memory"), e.memory)?;
            positive(&name("in_chain"), e.in_chain)?;
            no_less(&name("compute_warps"), e.compute_warps)?;
            no_less(&name("memory_warps"), e.memory_warps)?;
            no_less(&name("start_ns"), e.start_ns)?;
            no_less(&name("round_ns"), e.round_ns)?;
            no_less(&name("overlap_ns"), e.overlap_ns)?;
            no_less(&name("error"), e.error)?;
        }
        Ok(())
    }

    /// How much kernels of `class` reach: by its whole name, by the part before the last dot and so
    /// on, else as `any` does.
    pub fn efficiency_of(&self, class: &str) -> &Efficiency {
        let mut name = class;
        loop {
            if let Some(found) = self.efficiency.get(name) {
                return found;
            }
            match name.rsplit_once('.') {
                Some((shorter, _)) => name = shorter,
                None => break,
            }
        }
        self.efficiency
            .get("any")
            .expect("a device that was checked has an efficiency for any class")
    }

    /// Operations a second on an element type, or of f32 as matrix units multiply it; of types that are not listed,
    /// as f32, in which f16 and bf16 are calculated.
    pub fn flop_per_s(&self, dtype: &str) -> f64 {
        let of = |dtype: &str| self.flop_per_s.get(dtype).copied();
        of(dtype)
            .or_else(|| of("f32"))
            .expect("a device that was checked has a rate for f32")
    }

    /// A hash of everything in it.
    pub fn hash(&self) -> [u8; 32] {
        // The debug form tells floats apart exactly.
        blake3::hash(format!("{self:?}").as_bytes()).into()
    }
}

/// Why there is no device description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceError {
    /// What was asked for.
    pub device: PathBuf,
    /// Why it can't be had.
    pub why: String,
}

impl DeviceError {
    fn new(device: impl AsRef<Path>, why: String) -> Self {
        Self {
            device: device.as_ref().into(),
            why,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        let names: Vec<&str> = Device::built_in().collect();
        format!(
            "known by name are {}; `dlirc profile device -o FILE.toml` describes the device that is present",
            names.join(" and ")
        )
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the device description {}: {}",
            self.device.display(),
            self.why.trim_end()
        )
    }
}

impl std::error::Error for DeviceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_devices_are_read_and_written() {
        for name in Device::built_in() {
            let device = Device::find(name).unwrap();
            let again = Device::parse(&device.to_text().unwrap()).unwrap();
            assert_eq!(device, again);
            assert_eq!(device.hash(), again.hash());
        }
        assert_eq!(Device::of_arch(90).unwrap().name, "NVIDIA H200");
        assert_eq!(Device::of_arch(120).unwrap().arch, 90);
    }

    #[test]
    fn classes_are_looked_up_from_the_most_precise() {
        let mut device = Device::find("h200").unwrap();
        let with = |start_ns| Efficiency {
            start_ns,
            ..device.efficiency["any"]
        };
        device.efficiency = [("any", 1.0), ("a", 2.0), ("a.b", 3.0)]
            .map(|(class, ns)| (class.to_owned(), with(ns)))
            .into();
        let start = |class: &str| device.efficiency_of(class).start_ns;
        assert_eq!(
            ["a.b.c", "a.b", "a.x", "a", "ab", ""].map(start),
            [3.0, 3.0, 2.0, 2.0, 1.0, 1.0]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = include_str!("../devices/h200.toml");
        let wrong = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Device::parse(&text.replace(from, to)).unwrap_err()
        };
        assert!(wrong("units = 132", "units = 0").contains("units is 0"));
        assert!(wrong("units = 132", "unit = 132").contains("unknown field `unit`"));
        assert!(wrong("threads_per_unit = 2048", "").contains("threads_per_unit"));
        assert!(wrong("[efficiency.any]", "[efficiency.other]").contains("`any`"));
        let error = Device::find("no-such-device").unwrap_err();
        assert!(error.to_string().contains("no-such-device"), "{error}");
        assert!(error.help().contains("h200"));
    }
}
