//! Which device each step runs on: a GPU where there is device code for its kernel, else the host,
//! with copies of what it reads and writes.

use super::plan::LowerOptions;
use super::steps::{ModelDraft, StepDraft, Storage, StorageKind};
use super::weights::Ordered;
use ir::Origin;
use kernels::cuda::{self, Generated, Refused};
use plans::spec::{ArgSpec, MapSpec, Operand, Role, TransferSpec};
use plans::tape::{Reg, Scalar, TapeOp, TapeStep};
use plans::{DType, Device, KernelSpec, Tape};
use std::collections::BTreeMap;

/// The GPU that plans are made for; who runs them says which one of those that are there it is.
pub(super) const GPU: Device = Device::Cuda(0);

/// Device code of the kernels of all models.
#[derive(Default)]
pub(super) struct Codes {
    /// What was generated for each kernel, by the kernel's encoding.
    found: BTreeMap<Vec<u8>, Result<usize, Refused>>,
    /// In the order of their first use.
    pub generated: Vec<Generated>,
}

impl Codes {
    fn get(&mut self, spec: &KernelSpec, target: &cuda::Target) -> Result<usize, Refused> {
        let generated = &mut self.generated;
        self.found
            .entry(super::plan::key(spec))
            .or_insert_with(|| {
                generated.push(cuda::generate(spec, target)?);
                Ok(generated.len() - 1)
            })
            .clone()
    }
}

/// Puts the steps of `draft` on the GPU as far as there is device code, and the others, with copies
/// of what they read and write, on the host. What runs on the host, and why, goes to `warnings`.
pub(super) fn place(
    draft: &mut ModelDraft,
    model: &str,
    target: &cuda::Target,
    options: &LowerOptions<'_>,
    codes: &mut Codes,
    weights: &mut Ordered,
    warnings: &mut Vec<String>,
) {
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    weights.next_model();
    let steps = std::mem::take(&mut draft.steps);
    let mut placed = vec![];
    for mut step in steps {
        let writes = |a: &ArgSpec| a.role != Role::Read && a.reach.is_some();
        if !step.spec.args().iter().any(writes) {
            // Nothing to compute, and nothing to launch.
            continue;
        }
        let class = step.spec.class();
        // Sizes that a run decides are read on the host, whatever the plan is for.
        let counts = step
            .args
            .iter()
            .any(|&(s, _)| draft.storages[s].kind == StorageKind::Size);
        let code = if counts {
            Err(Refused(
                "it decides a size, which is done on the host".into(),
            ))
        } else if options.host_classes.iter().any(|c| c == class) {
            Err(Refused(format!("{class} kernels were asked to")))
        } else {
            let better = weights.better(&step, draft).and_then(|better| {
                let code = codes.get(&better.spec, target).ok()?;
                weights.apply(better, &mut step, draft).then_some(code)
            });
            match better {
                Some(code) => Ok(code),
                None => codes.get(&step.spec, target),
            }
        };
        match code {
            Ok(code) => {
                step.device = GPU;
                step.code = Some(code);
                let (workspace, counters) = {
                    let generated = &codes.generated[code];
                    (generated.workspace, generated.counters)
                };
                let label = &step.label;
                let mut own = |kind, bytes: u64, what: &str| {
                    (bytes > 0).then(|| {
                        draft.storages.push(Storage {
                            kind,
                            bytes,
                            name: format!("{what} of {label}"),
                            device: GPU,
                        });
                        draft.storages.len() - 1
                    })
                };
                step.workspace = own(StorageKind::Scratch, workspace, "workspace");
                step.counters = own(StorageKind::Counters, counters, "counters");
            }
            Err(Refused(why)) => {
                let names: Vec<&str> = step.origin.names().collect();
                let node = match names[..] {
                    [] => step.label.clone(),
                    [only] => format!("`{only}` ({})", step.label),
                    [first, ..] => {
                        format!("`{first}` and {} more ({})", names.len() - 1, step.label)
                    }
                };
                refused.entry(why).or_default().push(node);
                step.device = Device::Cpu;
            }
        }
        placed.push(step);
    }
    for (why, nodes) in refused {
        warnings.push(warning(model, &why, &nodes));
    }
    draft.steps = placed;
    Sides::new(draft).walk();
}

fn warning(model: &str, why: &str, nodes: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut list = nodes[..nodes.len().min(SHOWN)].join(", ");
    if nodes.len() > SHOWN {
        list += &format!(" and {} more steps", nodes.len() - SHOWN);
    }
    format!("model {model}: {list} on the host, with copies there and back: {why}")
}

/// A storage that steps of both sides touch: a part of the GPU's memory, and a copy on the host.
struct Twin {
    /// The storage on the host.
    host: usize,
    dtype: DType,
    is_current_on_gpu: bool,
    is_current_on_host: bool,
}

/// A draft's storages as its steps are walked through.
struct Sides<'a> {
    draft: &'a mut ModelDraft,
    /// For storages of both sides.
    twins: BTreeMap<usize, Twin>,
    steps: Vec<StepDraft>,
}

/// How a step touches a storage.
#[derive(Default)]
struct Touch {
    reads: bool,
    writes: bool,
    /// Whether it writes a part, so that the rest must be there.
    writes_part: bool,
}

impl<'a> Sides<'a> {
    /// Gives storages that only the host touches to the host, and those of both sides a twin.
    fn new(draft: &'a mut ModelDraft) -> Self {
        let mut used: BTreeMap<usize, (bool, bool, DType)> = BTreeMap::new();
        for step in &draft.steps {
            for (&(s, _), spec) in step.args.iter().zip(step.spec.args()) {
                let sides = used.entry(s).or_insert((false, false, spec.dtype));
                match step.device {
                    Device::Cpu => sides.1 = true,
                    Device::Cuda(_) => sides.0 = true,
                }
            }
        }
        let mut twins = BTreeMap::new();
        for s in 0..draft.storages.len() {
            let (on_gpu, on_host, dtype) =
                used.get(&s).copied().unwrap_or((true, false, DType::F32));
            let kind = draft.storages[s].kind;
            let is_port = matches!(kind, StorageKind::Input | StorageKind::Output);
            match kind {
                StorageKind::Weight(_) | StorageKind::Counters => {}
                _ if on_host && (on_gpu || is_port) => {
                    draft.storages[s].device = GPU;
                    let twin = Storage {
                        kind: StorageKind::Scratch,
                        device: Device::Cpu,
                        ..draft.storages[s].clone()
                    };
                    draft.storages.push(twin);
                    twins.insert(
                        s,
                        Twin {
                            host: draft.storages.len() - 1,
                            dtype,
                            is_current_on_gpu: kind == StorageKind::Input,
                            is_current_on_host: false,
                        },
                    );
                }
                _ if on_host => draft.storages[s].device = Device::Cpu,
                _ => draft.storages[s].device = GPU,
            }
        }
        Self {
            draft,
            twins,
            steps: vec![],
        }
    }

    fn walk(mut self) {
        for mut step in std::mem::take(&mut self.draft.steps) {
            for (s, touch) in self.touches(&step) {
                self.before(s, &touch, &step);
            }
            if step.device == Device::Cpu {
                for (s, _) in &mut step.args {
                    *s = self.twins.get(s).map_or(*s, |t| t.host);
                }
            }
            self.steps.push(step);
        }
        for s in self.draft.outputs.clone() {
            let stale = |t: &Twin| t.is_current_on_host && !t.is_current_on_gpu;
            if self.twins.get(&s).is_some_and(stale) {
                let origin = self.steps.last().map(|l| l.origin.clone());
                self.transfer(s, GPU, &origin.unwrap_or_default());
            }
        }
        self.draft.steps = self.steps;
    }

    /// How `step` touches storages of both sides.
    fn touches(&self, step: &StepDraft) -> BTreeMap<usize, Touch> {
        let mut touches: BTreeMap<usize, Touch> = BTreeMap::new();
        for (&(s, offset), spec) in step.args.iter().zip(step.spec.args()) {
            if !self.twins.contains_key(&s) || spec.reach.is_none() {
                continue;
            }
            let touch = touches.entry(s).or_default();
            touch.reads |= spec.role != Role::Write;
            touch.writes |= spec.role != Role::Read;
            let bytes = self.draft.storages[s].bytes;
            touch.writes_part |= spec.role == Role::Write && !writes_all(&spec, offset, bytes);
        }
        touches
    }

    /// Brings what `step` needs of a storage to its side, and notes which side is current after it.
    fn before(&mut self, s: usize, touch: &Touch, step: &StepDraft) {
        let Some(twin) = self.twins.get(&s) else {
            return;
        };
        let (here, there) = match step.device {
            Device::Cpu => (twin.is_current_on_host, twin.is_current_on_gpu),
            Device::Cuda(_) => (twin.is_current_on_gpu, twin.is_current_on_host),
        };
        if !here && (touch.reads || touch.writes_part) {
            if !there {
                // The first part of several: copies of the whole need all of it written.
                self.clear(s, &step.origin);
            }
            let current = self.twins.get(&s);
            let there_now = current.is_some_and(|t| t.is_current_on_host);
            if !(step.device == Device::Cpu && there_now) {
                self.transfer(s, step.device, &step.origin);
            }
        }
        if let (Some(twin), true) = (self.twins.get_mut(&s), touch.writes) {
            twin.is_current_on_host = step.device == Device::Cpu;
            twin.is_current_on_gpu = step.device != Device::Cpu;
        }
    }

    /// A step that fills the twin on the host with zeros.
    fn clear(&mut self, s: usize, origin: &Origin) {
        let Some(twin) = self.twins.get_mut(&s) else {
            return;
        };
        twin.is_current_on_host = true;
        let (host, dtype) = (twin.host, twin.dtype);
        let bytes = self.draft.storages[host].bytes;
        let zero = if dtype.is_float() {
            Scalar::Float(0.0)
        } else {
            Scalar::Int(0)
        };
        let spec = KernelSpec::Map(MapSpec {
            domain: vec![bytes / dtype.size() as u64],
            inputs: vec![],
            tape: Tape {
                steps: vec![TapeStep {
                    op: TapeOp::Const(zero),
                    dtype,
                }],
                results: vec![Reg(0)],
            },
            outputs: vec![Operand {
                dtype,
                strides: vec![1],
            }],
        });
        let step = self.step(spec, vec![(host, 0)], "Clear", origin);
        self.steps.push(StepDraft {
            device: Device::Cpu,
            bytes_read: 0,
            bytes_written: bytes,
            ..step
        });
    }

    /// A step that copies the whole of a storage to the side of `to`, which is current then.
    fn transfer(&mut self, s: usize, to: Device, origin: &Origin) {
        let Some(twin) = self.twins.get_mut(&s) else {
            return;
        };
        let (host, dtype) = (twin.host, twin.dtype);
        let args = match to {
            Device::Cpu => {
                twin.is_current_on_host = true;
                vec![(s, 0), (host, 0)]
            }
            Device::Cuda(_) => {
                twin.is_current_on_gpu = true;
                vec![(host, 0), (s, 0)]
            }
        };
        let bytes = self.draft.storages[s].bytes;
        let spec = KernelSpec::Transfer(TransferSpec {
            dtype,
            len: bytes / dtype.size() as u64,
        });
        let step = self.step(spec, args, "Transfer", origin);
        self.steps.push(StepDraft {
            device: GPU,
            bytes_read: bytes,
            bytes_written: bytes,
            ..step
        });
    }

    fn step(
        &self,
        spec: KernelSpec,
        args: Vec<(usize, u64)>,
        label: &str,
        origin: &Origin,
    ) -> StepDraft {
        StepDraft {
            spec,
            args,
            label: label.into(),
            origin: origin.clone(),
            flop: 0,
            bytes_read: 0,
            bytes_written: 0,
            device: Device::Cpu,
            code: None,
            workspace: None,
            counters: None,
            lane: 0,
            waits: vec![],
        }
    }
}

/// Whether an argument that starts at byte `offset` writes every byte of a storage of `bytes`: no two
/// elements of a result share a place, so their number tells.
fn writes_all(spec: &ArgSpec, offset: u64, bytes: u64) -> bool {
    let n: u64 = spec.walk.iter().map(|w| w.0).product();
    spec.touched(offset) == Some(0..bytes) && n * spec.dtype.size() as u64 == bytes
}
