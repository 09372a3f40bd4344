//! How a contraction is divided among blocks and threads.

use super::super::Precision;
use super::tensor::MMA;
use serde::{Deserialize, Serialize};

/// A point of the config space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Schedule {
    /// Tiles in shared memory.
    Tiled(Tiled),
    /// A few rows by many columns, whose factor is read once.
    Stream(Stream),
    /// A thread a result.
    Direct,
}

/// What multiplies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Cores {
    /// The ordinary ones, in the sum's type.
    Ordinary,
    /// Tensor cores, on f32 rounded to tf32, with so many products a term: 1, or 3 for nearly all of f32's
    /// digits.
    Tensor {
        /// 1 or 3.
        products: u64,
    },
}

impl Cores {
    /// How they multiply f32.
    pub(super) fn precision(self) -> Precision {
        match self {
            Cores::Ordinary => Precision::Fp32,
            Cores::Tensor { products: 3 } => Precision::Tf32x3,
            Cores::Tensor { .. } => Precision::Tf32,
        }
    }
}

/// Tiles of results, each summed by one block, or by several that share its sum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Tiled {
    /// Rows of a block's tile.
    pub rows: u64,
    /// Columns of a block's tile.
    pub cols: u64,
    /// Steps of the sum that are in shared memory at once, in each stage.
    pub depth: u64,
    /// Rows of a thread's tile: 4 or 8; on tensor cores with one product also 16, with 8 columns
    /// and one slice.
    pub thread_rows: u64,
    /// Columns of a thread's tile: 4 or 8.
    pub thread_cols: u64,
    /// Groups of warps in a block that each sum a part of every stage.
    pub slices: u64,
    /// Stages in shared memory, all but one of them on their way.
    pub stages: u64,
    /// Blocks that share the sum of a tile.
    pub split: u64,
    /// Tiles that follow each other along the rows before the next column of tiles.
    pub group: u64,
    /// Whether the sum goes tap by tap, each padded to a multiple of `depth` channels; otherwise it
    /// is one range.
    pub by_taps: bool,
    /// Registers that a thread may have.
    pub registers: u64,
    /// What multiplies.
    pub cores: Cores,
}

/// Lanes of a warp along the rows and columns of its tile.
pub(super) const LANES: (u64, u64) = (4, 8);

/// Registers of a multiprocessor.
pub(super) const REGISTERS: u64 = 65536;

impl Tiled {
    /// Warps along the rows and the columns of a tile.
    pub(super) fn warps(&self) -> (u64, u64) {
        (
            self.rows / (LANES.0 * self.thread_rows),
            self.cols / (LANES.1 * self.thread_cols),
        )
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> u64 {
        let (rows, cols) = self.warps();
        32 * rows * cols * self.slices
    }

    /// Steps of the sum that a slice takes of a stage.
    pub(super) fn slice_depth(&self) -> u64 {
        self.depth / self.slices
    }

    /// Blocks that the registers of a multiprocessor hold: each of its four parts has a quarter of
    /// them, for whole warps.
    pub(super) fn resident(&self) -> u64 {
        let warps = 4 * (REGISTERS / 4 / (32 * self.registers));
        (32 * warps / self.threads()).min(2048 / self.threads())
    }

    /// Whether the parts fit together.
    pub(super) fn is_sound(&self) -> bool {
        let sides = [self.thread_rows, self.thread_cols];
        let powers = [self.rows, self.cols, self.depth, self.slices];
        let (rows, cols) = self.warps();
        let one_product = self.cores == Cores::Tensor { products: 1 };
        let is_large = sides == [16, 8] && self.slices == 1 && one_product;
        (is_large || sides.iter().all(|n| matches!(n, 4 | 8)))
            && powers.iter().all(|n| n.is_power_of_two())
            && rows > 0
            && cols > 0
            && match self.cores {
                Cores::Ordinary => self.slice_depth() >= 4,
                Cores::Tensor { products } => {
                    self.slice_depth() >= MMA[2] && matches!(products, 1 | 3)
                }
            }
            && (32..=1024).contains(&self.threads())
            && self.threads() >= self.depth
            && (2..=8).contains(&self.stages)
            && self.split > 0
            && self.group > 0
            && (64..=255).contains(&self.registers)
            && self.resident() > 0
    }
}

/// How a factor with few rows meets one with many columns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// Warps of a block.
    pub warps: u64,
    /// Columns of a warp, where the many lie apart and the sum lies together; otherwise all the
    /// warps of a block have the same 128 columns, and parts of the sum.
    pub cols: u64,
    /// Blocks that share the sum.
    pub split: u64,
}
