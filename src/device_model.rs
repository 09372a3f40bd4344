//! What is known of the device that a plan is for: its description, and what was measured on it.

use crate::driver::Target;
use crate::report::Diagnostic;
use costs::database::{KnownDevice, Measured};
use costs::{Database, DatabaseError, Device, DeviceError, Kind, Roofline};
use passes::predict::Costs;
use std::path::PathBuf;

/// Where to look.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// The device, by name or file; that of the target if not given.
    pub device: Option<String>,
    /// The database of what was measured; none if not given.
    pub database: Option<PathBuf>,
}

/// What is known of the device that a plan is for.
#[derive(Clone, Debug)]
pub struct DeviceModel {
    host: Roofline,
    gpu: Roofline,
    measured: Option<Measured>,
    arch: u32,
    /// What of it shaped the plan, as text for its fingerprint.
    pub options: String,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl DeviceModel {
    /// What `sources` know of the device of `target`.
    ///
    /// # Errors
    ///
    /// If a source can't be read, or describes a device of another kind.
    pub fn find(sources: &Sources, target: &Target) -> Result<Self, Diagnostic> {
        let (kind, arch) = match target {
            Target::Cpu => (Kind::Cpu, 0),
            Target::Cuda(gpus) => (Kind::Cuda, gpus.archs.first().copied().unwrap_or(0)),
        };
        let given = sources.device.as_deref().map(Device::find).transpose()?;
        if let (Some(device), Some(name)) = (&given, &sources.device)
            && device.kind != kind
        {
            return Err(Diagnostic::error(
                "device-model",
                format!("{name} describes no device of the target {}", target.name()),
            )
            .help("give the description of a device that the plan is for, or another --target"));
        }
        let mut options = String::new();
        let mut notes = vec![];
        if let Some(device) = &given {
            options += &format!(" device-model={}", short(&device.hash()));
        }
        let is_host = |device: &Device| device.kind == Kind::Cpu;
        let host = match given.clone().filter(is_host) {
            Some(device) => device,
            None => Device::find("cpu")?,
        };
        let gpu = match given.filter(|d| !is_host(d)) {
            Some(device) => device,
            None => Device::of_arch(arch)?,
        };
        let model = if kind == Kind::Cpu { &host } else { &gpu };
        let mut measured = None;
        if let Some(path) = &sources.database {
            let database = Database::open_existing(path)?;
            let devices = database.devices()?;
            match chosen(&devices, model) {
                Some(device) => {
                    let found = database.measured(device.id)?;
                    options += &format!(" costs={}", short(&found.hash));
                    measured = Some(found);
                }
                None => notes.push(nothing_measured(path, &devices, model)),
            }
        }
        Ok(Self {
            host: Roofline::new(host),
            arch: match kind {
                Kind::Cpu => 0,
                Kind::Cuda => arch,
            },
            gpu: Roofline::new(gpu),
            measured,
            options,
            notes,
        })
    }

    /// The description of what runs steps on `device`.
    pub fn description(&self, device: plans::Device) -> &Device {
        match device {
            plans::Device::Cpu => self.host.device(),
            plans::Device::Cuda(_) => self.gpu.device(),
        }
    }

    /// The description of the device that the plan is for.
    pub fn device(&self) -> &Device {
        let model = if self.arch == 0 {
            &self.host
        } else {
            &self.gpu
        };
        model.device()
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.device().name
    }

    /// What predictions need of it.
    pub fn costs(&self) -> Costs<'_> {
        Costs {
            host: &self.host,
            gpu: &self.gpu,
            measured: self.measured.as_ref(),
            arch: self.arch,
        }
    }
}

/// The device of a database that a description is of: by its name, with the driver that was listed
/// last, else the only one of its kind.
fn chosen<'a>(devices: &'a [KnownDevice], model: &Device) -> Option<&'a KnownDevice> {
    let of_kind = || devices.iter().filter(|d| d.kind == model.kind);
    let by_name = of_kind().rfind(|d| d.name == model.name);
    by_name.or_else(|| {
        let first = of_kind().next()?;
        // Another driver of the same device is no other device.
        let is_alone = of_kind().all(|d| d.name == first.name);
        of_kind().next_back().filter(|_| is_alone)
    })
}

fn nothing_measured(path: &std::path::Path, devices: &[KnownDevice], model: &Device) -> String {
    let names: Vec<&str> = devices.iter().map(|d| d.name.as_str()).collect();
    let there = match names.is_empty() {
        true => "it is empty".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    format!(
        "{} has no measurement of {}: {there}; all times are predicted",
        path.display(),
        model.name
    )
}

/// The start of a hash, enough to tell what a plan was made from.
fn short(hash: &[u8; 32]) -> String {
    hash[..8].iter().map(|b| format!("{b:02x}")).collect()
}

impl From<DeviceError> for Diagnostic {
    fn from(error: DeviceError) -> Self {
        Diagnostic::error("device-model", error.to_string()).help(error.help())
    }
}

impl From<DatabaseError> for Diagnostic {
    fn from(error: DatabaseError) -> Self {
        Diagnostic::error("profile-database", error.to_string()).help(error.help())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_code::Gpus;

    fn cuda() -> Target {
        Target::Cuda(Gpus::new(vec![90]))
    }

    #[test]
    fn measurements_of_a_device_are_found_by_its_name_or_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.db");
        let database = Database::open(&path).unwrap();
        let sources = Sources {
            device: None,
            database: Some(path),
        };
        let find = |target: &Target| DeviceModel::find(&sources, target).unwrap();
        let nothing = find(&cuda());
        assert!(nothing.measured.is_none() && nothing.options.is_empty());
        assert!(
            nothing.notes[0].contains("NVIDIA H200"),
            "{:?}",
            nothing.notes
        );

        database.device("another GPU", Kind::Cuda, "1").unwrap();
        let only = find(&cuda());
        assert!(only.measured.is_some() && only.notes.is_empty());
        assert!(only.options.starts_with(" costs="), "{}", only.options);
        database.device("a third GPU", Kind::Cuda, "1").unwrap();
        assert!(find(&cuda()).measured.is_none());
        database.device("NVIDIA H200", Kind::Cuda, "1").unwrap();
        assert!(find(&cuda()).measured.is_some());
        assert!(find(&Target::Cpu).measured.is_none());
    }

    #[test]
    fn descriptions_are_of_the_target() {
        let sources = Sources {
            device: Some("h200".into()),
            database: None,
        };
        let error = DeviceModel::find(&sources, &Target::Cpu).unwrap_err();
        assert_eq!(error.code, "device-model");
        let found = DeviceModel::find(&sources, &cuda()).unwrap();
        assert!(
            found.options.starts_with(" device-model="),
            "{}",
            found.options
        );
    }
}
