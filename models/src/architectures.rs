//! The list of architectures.

use ir::DType;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A graph in this crate's folder.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Architecture {
    /// The name, and the stem of its files.
    pub name: &'static str,
    /// What it brings as an example.
    pub about: &'static str,
    /// Its inputs, in order.
    pub inputs: &'static [Input],
}

/// An input of an [`Architecture`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Input {
    /// The name in the graph.
    pub name: &'static str,
    /// The element type.
    pub dtype: DType,
    /// The dimensions.
    pub dims: &'static [usize],
    /// The values that make sense.
    pub values: Values,
}

/// Values that make sense for an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Values {
    /// Normal, mean 0, variance 1.
    Normal,
    /// Whole numbers from 0 up to, and without, this one: tokens, indices.
    Below(u64),
    /// Ones: masks.
    Ones,
}

impl Architecture {
    /// The graph's file in `folder`.
    pub fn graph_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.onnx", self.name))
    }
}

/// The folder of this crate in the source tree that it was built from, unless the variable
/// `DLIRC_MODELS` names another.
pub fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::var_os("DLIRC_MODELS")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
    });
    &FOLDER
}

/// All architectures.
pub fn list() -> &'static [Architecture] {
    &ARCHITECTURES
}

/// The architecture called `name`.
pub fn find(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|a| a.name == name)
}

const fn floats(name: &'static str, dims: &'static [usize]) -> Input {
    Input {
        name,
        dtype: DType::F32,
        dims,
        values: Values::Normal,
    }
}

const fn below(name: &'static str, dims: &'static [usize], bound: u64) -> Input {
    Input {
        name,
        dtype: DType::I64,
        dims,
        values: Values::Below(bound),
    }
}

const IMAGE: &[Input] = &[floats("input", &[1, 3, 224, 224])];
const LARGE_IMAGE: &[Input] = &[floats("input", &[1, 3, 416, 416])];

/// Words that the lstm and the gru know.
const SMALL_VOCABULARY: u64 = 10_000;
/// Nodes of gcn's graph, the papers of Cora.
const GCN_NODES: u64 = 2_708;
/// Edges of gcn's graph, both directions and self-loops.
const GCN_EDGES: &[usize] = &[13_264];

static ARCHITECTURES: [Architecture; 19] = [
    Architecture {
        name: "resnet18",
        about: "residual CNN, 21 contractions",
        inputs: IMAGE,
    },
    Architecture {
        name: "resnet50",
        about: "residual CNN, 54 contractions",
        inputs: IMAGE,
    },
    Architecture {
        name: "resnet152",
        about: "residual CNN, 156 contractions",
        inputs: IMAGE,
    },
    Architecture {
        name: "r3d_18",
        about: "residual CNN over video: 3-D convolution",
        inputs: &[floats("input", &[1, 3, 16, 112, 112])],
    },
    Architecture {
        name: "mobilenet_v2",
        about: "CNN with depthwise convolution and Clip",
        inputs: IMAGE,
    },
    Architecture {
        name: "squeezenet1_1",
        about: "CNN with small branches",
        inputs: IMAGE,
    },
    Architecture {
        name: "googlenet",
        about: "CNN with four branches a block",
        inputs: IMAGE,
    },
    Architecture {
        name: "inception_v3",
        about: "CNN with many branches and AveragePool",
        inputs: &[floats("input", &[1, 3, 299, 299])],
    },
    Architecture {
        name: "densenet121",
        about: "CNN of concatenations, with BatchNormalization before Conv",
        inputs: IMAGE,
    },
    Architecture {
        name: "vgg19",
        about: "CNN of 575 MB of weights, most of them in one Gemm",
        inputs: IMAGE,
    },
    Architecture {
        name: "yolov2",
        about: "detector with LeakyRelu and space-to-depth",
        inputs: LARGE_IMAGE,
    },
    Architecture {
        name: "yolov3",
        about: "detector with Resize and three outputs",
        inputs: LARGE_IMAGE,
    },
    Architecture {
        name: "lstm",
        about: "language model of two LSTM layers",
        inputs: &[below("tokens", &[64, 1], SMALL_VOCABULARY)],
    },
    Architecture {
        name: "gru",
        about: "language model of two GRU layers",
        inputs: &[below("tokens", &[64, 1], SMALL_VOCABULARY)],
    },
    Architecture {
        name: "bert_base",
        about: "transformer encoder with a mask",
        inputs: &[
            below("input_ids", &[1, 128], 30_522),
            Input {
                name: "attention_mask",
                dtype: DType::I64,
                dims: &[1, 128],
                values: Values::Ones,
            },
        ],
    },
    Architecture {
        name: "gpt2",
        about: "transformer decoder with a causal mask",
        inputs: &[below("input_ids", &[1, 128], 50_257)],
    },
    Architecture {
        name: "vit_b_16",
        about: "transformer over image patches",
        inputs: IMAGE,
    },
    Architecture {
        name: "dcgan",
        about: "image generator: ConvTranspose",
        inputs: &[floats("z", &[1, 100, 1, 1])],
    },
    Architecture {
        name: "gcn",
        about: "graph convolution: Gather and ScatterElements",
        inputs: &[
            floats("x", &[GCN_NODES as usize, 1433]),
            below("src", GCN_EDGES, GCN_NODES),
            below("dst", GCN_EDGES, GCN_NODES),
            floats("norm", GCN_EDGES),
        ],
    },
];
