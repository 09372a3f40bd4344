//! A description of the device that is present, measured by small models.

use super::{Identity, Repeat};
use crate::device_code::{Gpus, Workshop, add_images};
use crate::driver::{Target, optimise};
use crate::report::Diagnostic;
use costs::{Device, Kind, Times, Transfers};
use passes::PassCx;
use passes::lower::{LowerOptions, Lowered, lower};
use plans::ModelIndex;
use runtime::{Engine, Loaded, Options, RunOn, Session};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What describes the device, and how large the models are that measure it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Elements of a tensor that no cache holds.
    pub large: u64,
    /// Elements of a tensor that a cache holds.
    pub small: u64,
    /// Rows and columns of the matrices of a product.
    pub matrix: u64,
}

impl Sizes {
    /// Those that measure a device of this kind.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Cpu => Sizes {
                large: 1 << 25,
                small: 1 << 17,
                matrix: 1024,
            },
            Kind::Cuda => Sizes {
                large: 1 << 27,
                small: 1 << 20,
                matrix: 4096,
            },
        }
    }
}

/// How often each model runs.
const REPEAT: Repeat = Repeat::Within(Duration::from_millis(300));

/// Kernels of a short and of a long chain.
const CHAINS: [usize; 2] = [8, 40];

/// Measures the device that `target` names, with `threads` threads of the host.
///
/// How much of its rates each class of kernels reaches is taken from the nearest device that is known,
/// and rates of arithmetic so that products of large matrices take what they were measured to take.
///
/// # Errors
///
/// If there is no such device, or it can't run the models.
pub fn describe(
    target: &Target,
    run_on: RunOn,
    threads: usize,
    sizes: &Sizes,
) -> Result<Device, Diagnostic> {
    let bench = Bench {
        target,
        run_on,
        threads,
    };
    let n = sizes.matrix;
    let product = format!(
        "weight w: f32[{n}, {n}] = random 1\n{}",
        model(&format!("{n}, {n}"), "%y = MatMul(%x, w)")
    );
    let copy = |n: u64| model(&n.to_string(), "%y = Relu(%x)");
    let chain = |n: usize| {
        let mut text = String::from("%s0 = Softmax(%x)");
        for i in 1..n {
            text += &format!("\n  %s{i} = Softmax(%s{})", i - 1);
        }
        text += &format!("\n  %y = Softmax(%s{})", n - 1);
        model("132, 1024", &text)
    };
    let mut session = bench.session(&copy(1))?;
    let identity = Identity::of(session.engine(), run_on)?;
    let start_ns = device_ns(&mut session)?;
    let alone_ns = typical(|| {
        let started = Instant::now();
        session.run_on_device(ModelIndex(0))?;
        Ok(started.elapsed())
    })?;
    let mut device = match identity.kind {
        Kind::Cpu => Device::find("cpu")?,
        Kind::Cuda => Device::of_arch(identity.arch)?,
    };
    let ns = device_ns(&mut bench.session(&product)?)?;
    let reached = 2.0 * (n as f64).powi(3) / ns * 1e9;
    let rate = reached / device.efficiency_of("contract.matmul").compute;
    let scale = rate / device.flop_per_s("f32");
    let rates = device.flop_per_s.values_mut();
    rates.for_each(|rate| *rate *= scale);
    let mut session = bench.session(&copy(sizes.large))?;
    device.bytes_per_s = 8.0 * sizes.large as f64 / device_ns(&mut session)? * 1e9;
    let small = device_ns(&mut bench.session(&copy(sizes.small))?)?;
    // Of a GPU, a tensor that the cache holds takes hardly longer than nothing.
    let small = (small - start_ns).max(0.1 * small);
    let of_cache = 8.0 * sizes.small as f64 / small * 1e9;
    device.cache_bytes_per_s = of_cache.max(device.bytes_per_s);
    device.launch.alone_ns = alone_ns;
    device.name = identity.name;
    match identity.kind {
        Kind::Cpu => {
            device.units = u32::try_from(session.engine().n_threads()).unwrap_or(u32::MAX);
            if let Some(bytes) = cache_bytes() {
                device.cache_bytes = bytes;
            }
            for class in device.efficiency.values_mut() {
                class.start_ns = start_ns;
            }
        }
        Kind::Cuda => {
            let ordinal = if let RunOn::Cuda(n) = run_on { n } else { 0 };
            let info = runtime::cuda::device(ordinal).map_err(runtime::BindError::Unavailable)?;
            device.arch = identity.arch;
            device.units = info.n_sms;
            let mut ns = [0.0; 2];
            for (ns, n) in ns.iter_mut().zip(CHAINS) {
                *ns = device_ns(&mut bench.session(&chain(n))?)?;
            }
            device.launch.graph_ns = ((ns[1] - ns[0]) / (CHAINS[1] - CHAINS[0]) as f64).max(0.0);
            device.transfer = Some(transfers(&mut session, 4 * sizes.large)?);
        }
    }
    Ok(device)
}

/// A model that makes %y of %x, an f32 tensor of these dimensions.
fn model(dims: &str, text: &str) -> String {
    format!("model probe {{\n  input %x: f32[{dims}]\n  {text}\n  output \"y\" = %y\n}}\n")
}

/// The median time in nanoseconds.
fn typical(once: impl FnMut() -> Result<Duration, Diagnostic>) -> Result<f64, Diagnostic> {
    let runs = REPEAT.times(once)?;
    Ok(Times::of(&runs).map_or(0.0, |t| t.p50_ns))
}

/// What a run takes on the device.
fn device_ns(session: &mut Session) -> Result<f64, Diagnostic> {
    typical(|| Ok(session.run_on_device_timed(ModelIndex(0))?))
}

/// How fast an input goes to the device, and an output comes from there.
fn transfers(session: &mut Session, bytes: u64) -> Result<Transfers, Diagnostic> {
    let model = ModelIndex(0);
    let to = typical(|| {
        let started = Instant::now();
        session.upload_inputs(model)?;
        Ok(started.elapsed())
    })?;
    let from = typical(|| {
        let started = Instant::now();
        session.download_outputs(model)?;
        Ok(started.elapsed())
    })?;
    Ok(Transfers {
        to_bytes_per_s: bytes as f64 / to * 1e9,
        from_bytes_per_s: bytes as f64 / from * 1e9,
    })
}

struct Bench<'a> {
    target: &'a Target,
    run_on: RunOn,
    threads: usize,
}

impl Bench<'_> {
    /// A session of the program that `text` is, with its input set.
    fn session(&self, text: &str) -> Result<Session, Diagnostic> {
        let defect = |what: String| Diagnostic::error("probe", what);
        let mut program = ir::text::parse(text).map_err(|e| defect(e.to_string()))?;
        optimise(
            &mut program,
            &mut PassCx::new(passes::Options::default()),
            &[],
        )?;
        let gpus: Option<&Gpus> = match self.target {
            Target::Cpu => None,
            Target::Cuda(gpus) => Some(gpus),
        };
        let gpu = gpus.map(Gpus::target).transpose();
        let options = LowerOptions {
            target: self.target.name(),
            gpu: gpu.map_err(|e| Diagnostic::error("target", e.to_string()))?,
            hashes: vec![[0; 32]],
            ..LowerOptions::default()
        };
        let Lowered {
            mut plan,
            weights,
            sources,
            ..
        } = lower(&program, &options)?;
        let mut images = vec![];
        if let Some(gpus) = gpus {
            (images, _) = add_images(&mut plan, &sources, gpus, &Workshop::default(), &|_, _| ())?;
        }
        let weights = section(plan.weights.iter().map(|w| w.offset).zip(&weights));
        let images = section(plan.images.iter().map(|i| i.offset).zip(&images));
        let loaded = Loaded::from_parts_with_images(plan, &weights, &images)?;
        let options = Options {
            threads: self.threads,
            device: self.run_on,
            ..Options::default()
        };
        let engine = Arc::new(Engine::bind(Arc::new(loaded), &options)?);
        let mut session = engine.session()?;
        // Not zeros, with which arithmetic takes less power.
        let number = 1.5f32.to_ne_bytes();
        for element in session.input_mut(ModelIndex(0), 0)?.chunks_exact_mut(4) {
            element.copy_from_slice(&number);
        }
        session.upload_inputs(ModelIndex(0))?;
        Ok(session)
    }
}

/// Pieces of a file, each at its offset.
fn section<T: AsRef<[u8]>>(pieces: impl Iterator<Item = (u64, T)>) -> Vec<u8> {
    let mut section = vec![];
    for (offset, piece) in pieces {
        section.resize(offset as usize, 0);
        section.extend(piece.as_ref());
    }
    section
}

/// The size of the processor's last cache, where the system tells.
fn cache_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index3/size").ok()?;
    let kib: u64 = text.trim().strip_suffix('K')?.parse().ok()?;
    kib.checked_mul(1024).filter(|&bytes| bytes > 0)
}
