//! Programs to plan files.

use costs::{Device, Roofline};
use ir::Program;
use kernels::cuda::Target;
use passes::lower::{DEFAULT_LANES, Lanes, LowerOptions, Source, lower};
use passes::{PassCx, Phase};
use plans::file::{place_images, to_bytes, weights_len};
use plans::{Image, ImageIndex, ImageKind, Lengths, Plan};

/// The architecture of plans for a GPU.
const ARCH: u32 = 90;

/// What stands for compiled device code.
const IMAGE: [u8; 4] = *b"code";

/// The plans of `program` as files, for the host and for a GPU, as far as it has them with little
/// enough memory.
pub fn compile(mut program: Program, max_weights: u64, max_arenas: u64) -> Vec<Vec<u8>> {
    let mut cx = PassCx::new(passes::Options::default());
    for phase in [Phase::Normalise, Phase::Algebra, Phase::Layout, Phase::Fuse] {
        if passes::manager::run(phase, &mut program, &mut cx).is_err() {
            return vec![];
        }
    }
    let Ok(predict) = Device::of_arch(ARCH).map(Roofline::new) else {
        return vec![];
    };
    let mut files = vec![];
    for gpu in [None, Target::of_arch(ARCH).ok()] {
        let options = LowerOptions {
            target: gpu.map_or_else(|| "cpu".into(), |_| format!("cuda:sm_{ARCH}")),
            gpu,
            lanes: Some(Lanes {
                most: DEFAULT_LANES,
                predict: &predict,
            }),
            n_nodes: program.graphs.iter().map(|_| 1).collect(),
            hashes: program.graphs.iter().map(|_| [0; 32]).collect(),
            options: String::new(),
            compiler: "seeds".into(),
            ..LowerOptions::default()
        };
        let Ok(mut lowered) = lower(&program, &options) else {
            continue;
        };
        let arenas: u64 = lowered.plan.arenas.iter().map(|a| a.bytes).sum();
        if weights_len(&lowered.plan) > max_weights || arenas > max_arenas {
            continue;
        }
        add_images(&mut lowered.plan, &lowered.sources);
        let lengths = Lengths::needed(&lowered.plan);
        let Ok(plan) = plans::validate(lowered.plan, lengths) else {
            continue;
        };
        let weight = |w: plans::WeightIndex| lowered.weights[w.index()].clone();
        files.extend(to_bytes(&plan, weight, |_| IMAGE));
    }
    files
}

/// Gives every code an image. What is in it matters to a driver only.
fn add_images(plan: &mut Plan, sources: &[Source]) {
    for source in sources {
        let index = ImageIndex(plan.images.len() as u32);
        for code in &source.codes {
            plan.codes[code.index()].images.push(index);
        }
        plan.images.push(Image {
            kind: ImageKind::Cubin(ARCH),
            offset: 0,
            bytes: IMAGE.len() as u64,
            crc: crc32fast::hash(&IMAGE),
            resources: vec![],
        });
    }
    place_images(&mut plan.images);
}
