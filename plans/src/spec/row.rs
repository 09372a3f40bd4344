//! Reductions and normalisations along rows.

use super::{ArgSpec, Operand, Role};
use crate::tape::Tape;
use serde::{Deserialize, Serialize};

/// Folds along the columns of each row, arithmetic on their results, and elements computed with them.
///
/// Sums, softmax, layer normalisation and argmax are of this class. The domain is `rows` followed
/// by `columns`. Arguments: the inputs, then the element outputs, then the row outputs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RowSpec {
    /// The extent of each dimension that stays.
    pub rows: Vec<u64>,
    /// The extent of each dimension that is folded.
    pub columns: Vec<u64>,
    /// What the tapes' `Input`s are; strides over rows and columns.
    pub inputs: Vec<Operand>,
    /// What happens along a row, in order; each phase adds row scalars.
    pub phases: Vec<Phase>,
    /// Computes one element of each element output from inputs and row scalars.
    pub element_tape: Tape,
    /// Where the element tape's results go; strides over rows and columns.
    pub element_outputs: Vec<Operand>,
    /// Row scalars that are stored, and where; strides over rows.
    pub row_outputs: Vec<(u16, Operand)>,
}

/// One step along a row.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Folds the tape's one result over the columns, in a fixed order: one more row scalar.
    Fold {
        /// The element to fold, from inputs and earlier row scalars.
        tape: Tape,
        /// How to fold it.
        fold: RowFold,
    },
    /// Arithmetic on row scalars: as many more row scalars as the tape has results.
    Row {
        /// From earlier row scalars only.
        tape: Tape,
    },
}

/// A fold over the columns of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RowFold {
    /// The sum, of the tape's type; f16, bf16 and f32 are summed in f32.
    Sum,
    /// The product.
    Prod,
    /// The minimum; NaN if any is NaN.
    Min,
    /// The maximum; NaN if any is NaN.
    Max,
    /// The column of the first maximum, row-major over the columns, as i64.
    ArgMax,
    /// The column of the last maximum, as i64.
    ArgMaxLast,
    /// The column of the first minimum, as i64.
    ArgMin,
    /// The column of the last minimum, as i64.
    ArgMinLast,
}

impl RowSpec {
    /// Rows and columns in one.
    pub fn domain(&self) -> Vec<u64> {
        self.rows.iter().chain(&self.columns).copied().collect()
    }

    /// The arguments: inputs, element outputs, row outputs.
    pub fn args(&self) -> Vec<ArgSpec> {
        let domain = self.domain();
        let arg = |name, role, o: &Operand, domain: &[u64]| ArgSpec {
            name,
            role,
            dtype: o.dtype,
            reach: o.reach(domain),
        };
        let mut args: Vec<_> = self
            .inputs
            .iter()
            .map(|o| arg("in", Role::Read, o, &domain))
            .collect();
        args.extend(
            self.element_outputs
                .iter()
                .map(|o| arg("out", Role::Write, o, &domain)),
        );
        args.extend(
            self.row_outputs
                .iter()
                .map(|(_, o)| arg("row", Role::Write, o, &self.rows)),
        );
        args
    }
}
