//! Gives a stripped graph random weights.

use crate::random::Stream;
use half::{bf16, f16};
use ir::DType;
use onnx::proto::TensorProto;
use onnx::wire::{self, WireError};
use onnx::{OnnxError, Source, tensor};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Field numbers of the messages on the way to a tensor's data.
mod field {
    pub(super) const MODEL_GRAPH: u32 = 7;
    pub(super) const GRAPH_INITIALIZER: u32 = 5;
    pub(super) const TENSOR_RAW_DATA: u32 = 9;
}

/// Elements made at a time by one thread; even.
const CHUNK: usize = 1 << 20;

/// Why a graph can't be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The graph can't be read.
    #[error(transparent)]
    Graph(#[from] OnnxError),
    /// The graph's bytes are not in the wire format, though they parsed.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The graph.
        path: PathBuf,
        /// Where and how.
        source: WireError,
    },
    /// The statistics can't be read.
    #[error("can't read the weights' statistics, {}", path.display())]
    Statistics {
        /// The file.
        path: PathBuf,
        /// What the system, or the parser, said.
        source: io::Error,
    },
    /// Initializers that have neither data nor statistics.
    #[error("{} has no statistics for {}", path.display(), names.join(", "))]
    NoStatistics {
        /// The file of statistics.
        path: PathBuf,
        /// The initializers.
        names: Vec<String>,
    },
    /// Statistics that belong to another tensor.
    #[error("the statistics of {name:?} don't fit it: {reason}")]
    Mismatch {
        /// The initializer.
        name: String,
        /// What differs.
        reason: String,
    },
    /// The output can't be written.
    #[error("can't write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FillError {
    /// What the user can do next, where there is something.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            FillError::Graph(error) => error.help(),
            FillError::Statistics { .. } | FillError::NoStatistics { .. } => Some(
                "a graph NAME.onnx is filled from NAME.stats.json beside it; `models/README.md` \
                 says what that holds",
            ),
            FillError::Mismatch { .. } => Some("take graph and statistics from one source"),
            FillError::Write { .. } => Some("check the folder, its permissions and its free space"),
            FillError::Damaged { .. } => None,
        }
    }
}

/// How far filling has come, in bytes of the output file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes written.
    pub done: u64,
    /// Bytes to be written in all.
    pub total: u64,
}

/// What was filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filled {
    /// Initializers that got data.
    pub n_tensors: usize,
    /// Bytes of data that they got.
    pub n_bytes: u64,
    /// Bytes of the output file.
    pub file_len: u64,
}

/// Distribution of a tensor's elements, as `NAME.stats.json` gives it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
struct Statistics {
    dtype: String,
    shape: Vec<usize>,
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
}

/// Writes the graph at `graph_path` to `out_path` with random weights.
///
/// Every float initializer without data gets normal numbers of the mean and the standard
/// deviation that `NAME.stats.json`, beside the graph, has for it, clipped to [min, max]. They
/// depend on the initializer's name only, so the file is the same on every machine. All other
/// bytes stay as they are. The output appears under its name when it is whole and on disk.
///
/// # Errors
/// When a file can't be read or written, or the statistics don't fit the graph.
pub fn fill(
    graph_path: &Path,
    out_path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Filled, FillError> {
    let (source, model) = onnx::open(graph_path)?;
    let initializers = model.graph.map(|g| g.initializer).unwrap_or_default();
    let plan = Plan::new(graph_path, &source, &initializers)?;
    let write_error = |source| FillError::Write {
        path: out_path.to_owned(),
        source,
    };
    write_whole(out_path, |file| plan.write(file, progress)).map_err(write_error)?;
    Ok(Filled {
        n_tensors: plan.weights.len(),
        n_bytes: plan.weights.iter().map(|w| w.n_bytes).sum(),
        file_len: plan.file_len,
    })
}

/// A tensor to be made.
struct Weight<'a> {
    name: &'a str,
    dtype: DType,
    n_elements: u64,
    n_bytes: u64,
    statistics: Statistics,
}

/// A piece of the output file.
enum Piece {
    /// These bytes of the graph's file.
    Copy(Range<usize>),
    /// Tags and lengths that are new.
    New(Vec<u8>),
    /// The data of a weight, by its position in the list.
    Weight(usize),
}

/// The output file, as pieces in order.
struct Plan<'a> {
    bytes: &'a [u8],
    pieces: Vec<Piece>,
    weights: Vec<Weight<'a>>,
    file_len: u64,
}

impl<'a> Plan<'a> {
    fn new(
        graph_path: &Path,
        source: &'a Source,
        initializers: &'a [TensorProto],
    ) -> Result<Self, FillError> {
        let weights = weights(graph_path, initializers)?;
        let damaged = |source| FillError::Damaged {
            path: graph_path.to_owned(),
            source,
        };
        let bytes = &source.bytes()[..];
        let mut plan = Self {
            bytes,
            pieces: Vec::new(),
            weights: Vec::new(),
            file_len: 0,
        };
        let mut weights = weights.into_iter();
        for field in wire::fields(bytes, 0..bytes.len()) {
            let field = field.map_err(damaged)?;
            if field.number != field::MODEL_GRAPH {
                plan.push(Piece::Copy(field.start..field.content.end));
                continue;
            }
            let header = plan.pieces.len();
            plan.pieces.push(Piece::New(Vec::new()));
            let start = plan.file_len;
            plan.graph(field.content, &mut weights).map_err(damaged)?;
            let mut graph_header = Vec::new();
            let graph_len = plan.file_len - start;
            wire::put_bytes_header(&mut graph_header, field::MODEL_GRAPH, graph_len);
            plan.file_len += graph_header.len() as u64;
            plan.pieces[header] = Piece::New(graph_header);
        }
        Ok(plan)
    }

    /// Adds the fields of the graph message at `content`.
    fn graph(
        &mut self,
        content: Range<usize>,
        weights: &mut impl Iterator<Item = Option<Weight<'a>>>,
    ) -> Result<(), WireError> {
        for field in wire::fields(self.bytes, content) {
            let field = field?;
            let weight = match field.number {
                field::GRAPH_INITIALIZER => weights.next().flatten(),
                _ => None,
            };
            let Some(weight) = weight else {
                self.push(Piece::Copy(field.start..field.content.end));
                continue;
            };
            let mut data_header = Vec::new();
            wire::put_bytes_header(&mut data_header, field::TENSOR_RAW_DATA, weight.n_bytes);
            let tensor_len = field.content.len() as u64 + data_header.len() as u64 + weight.n_bytes;
            let mut tensor_header = Vec::new();
            wire::put_bytes_header(&mut tensor_header, field::GRAPH_INITIALIZER, tensor_len);
            self.push(Piece::New(tensor_header));
            self.push(Piece::Copy(field.content));
            self.push(Piece::New(data_header));
            self.weights.push(weight);
            self.push(Piece::Weight(self.weights.len() - 1));
        }
        Ok(())
    }

    fn push(&mut self, piece: Piece) {
        self.file_len += match &piece {
            Piece::Copy(range) => range.len() as u64,
            Piece::New(bytes) => bytes.len() as u64,
            Piece::Weight(i) => self.weights[*i].n_bytes,
        };
        self.pieces.push(piece);
    }

    fn write(&self, file: &mut File, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let mut out = Counted {
            file: BufWriter::new(file),
            total: self.file_len,
            done: 0,
            progress,
        };
        for piece in &self.pieces {
            match piece {
                Piece::Copy(range) => out.write(&self.bytes[range.clone()])?,
                Piece::New(bytes) => out.write(bytes)?,
                Piece::Weight(i) => self.weights[*i].write(&mut out)?,
            }
        }
        out.file.flush()
    }
}

/// A file that reports what has been written to it.
struct Counted<'a> {
    file: BufWriter<&'a mut File>,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.done += bytes.len() as u64;
        (self.progress)(Progress {
            done: self.done,
            total: self.total,
        });
        Ok(())
    }
}

/// For each initializer, what to make of it, or `None` if it has data.
fn weights<'a>(
    graph_path: &Path,
    initializers: &'a [TensorProto],
) -> Result<Vec<Option<Weight<'a>>>, FillError> {
    let path = graph_path.with_extension("stats.json");
    let mut statistics: Option<BTreeMap<String, Statistics>> = None;
    let mut missing = Vec::new();
    let mut weights = Vec::with_capacity(initializers.len());
    for t in initializers {
        let name = t.name.as_deref().unwrap_or_default();
        let refuse = |source| OnnxError::Tensor {
            file: graph_path.display().to_string(),
            tensor: name.to_owned(),
            source,
        };
        if tensor::has_data(t) {
            weights.push(None);
            continue;
        }
        let (dtype, dims, n_bytes) = tensor::layout(t).map_err(refuse)?;
        if n_bytes == 0 {
            weights.push(None);
            continue;
        }
        let statistics = match &mut statistics {
            Some(s) => s,
            none => none.insert(read_statistics(&path)?),
        };
        let Some(statistics) = statistics.remove(name) else {
            missing.push(name.to_owned());
            continue;
        };
        check(name, dtype, &dims, &statistics)?;
        weights.push(Some(Weight {
            name,
            dtype,
            n_elements: (n_bytes / dtype.size()) as u64,
            n_bytes: n_bytes as u64,
            statistics,
        }));
    }
    if missing.is_empty() {
        Ok(weights)
    } else {
        Err(FillError::NoStatistics {
            path,
            names: missing,
        })
    }
}

fn read_statistics(path: &Path) -> Result<BTreeMap<String, Statistics>, FillError> {
    let error = |source| FillError::Statistics {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read(path).map_err(error)?;
    serde_json::from_slice(&text).map_err(|e| error(e.into()))
}

fn check(name: &str, dtype: DType, dims: &[usize], s: &Statistics) -> Result<(), FillError> {
    let numpy_name = match dtype {
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::F32 => "float32",
        DType::F64 => "float64",
        _ => "",
    };
    let reason = if numpy_name != s.dtype {
        format!("they are of {}, and it is of {dtype}", s.dtype)
    } else if s.shape != dims {
        format!("they are of shape {:?}, and it is of {dims:?}", s.shape)
    } else if !(s.mean.is_finite() && s.std >= 0.0 && s.std.is_finite() && s.min <= s.max) {
        format!(
            "mean {}, deviation {}, range {} to {}",
            s.mean, s.std, s.min, s.max
        )
    } else {
        return Ok(());
    };
    Err(FillError::Mismatch {
        name: name.to_owned(),
        reason,
    })
}

impl Weight<'_> {
    /// Makes the data chunk by chunk: the next ones on all threads while the last are written.
    fn write(&self, out: &mut Counted<'_>) -> io::Result<()> {
        let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
        let mut starts = (0..self.n_elements).step_by(CHUNK).peekable();
        let mut made: Vec<Vec<u8>> = Vec::new();
        while starts.peek().is_some() || !made.is_empty() {
            let batch: Vec<u64> = starts.by_ref().take(n_threads).collect();
            made = std::thread::scope(|scope| {
                let making = batch.iter().map(|&s| scope.spawn(move || self.chunk(s)));
                let making: Vec<_> = making.collect();
                for chunk in &made {
                    out.write(chunk)?;
                }
                let join = |t: std::thread::ScopedJoinHandle<'_, Vec<u8>>| {
                    t.join()
                        .map_err(|_| io::Error::other("a thread that makes weights panicked"))
                };
                making.into_iter().map(join).collect::<io::Result<Vec<_>>>()
            })?;
        }
        Ok(())
    }

    /// The data of up to [`CHUNK`] elements from `start`.
    fn chunk(&self, start: u64) -> Vec<u8> {
        let n = (self.n_elements - start).min(CHUNK as u64) as usize;
        let stream = Stream::new(self.name, 0);
        let Statistics {
            mean,
            std,
            min,
            max,
            ..
        } = self.statistics;
        let value = move |z: f64| (z * std + mean).clamp(min, max);
        match self.dtype {
            DType::F16 => elements(stream, start, n, move |z| {
                f16::from_f64(value(z)).to_le_bytes()
            }),
            DType::BF16 => elements(stream, start, n, move |z| {
                bf16::from_f64(value(z)).to_le_bytes()
            }),
            DType::F64 => elements(stream, start, n, move |z| value(z).to_le_bytes()),
            // Statistics of any other type were refused.
            _ => elements(stream, start, n, move |z| (value(z) as f32).to_le_bytes()),
        }
    }
}

fn elements<const N: usize>(
    stream: Stream,
    start: u64,
    n: usize,
    encode: impl Fn(f64) -> [u8; N],
) -> Vec<u8> {
    let mut out = vec![[0; N]; n];
    stream.fill_normal(start, &mut out, encode);
    out.into_flattened()
}

/// Writes a file under a temporary name beside `path`, and gives it its name when it is on disk.
fn write_whole(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".dlirc-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What the process's mask leaves of it, as for any new file.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
