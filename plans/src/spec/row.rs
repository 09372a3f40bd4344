//! Reductions and normalisations along rows.

use super::{ArgSpec, Operand, Role, SpecError, rules};
use crate::DType;
use crate::tape::{Tape, TapeScope};
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
        let inputs = self
            .inputs
            .iter()
            .map(|o| ArgSpec::new("in", Role::Read, o, &domain));
        let elements = self
            .element_outputs
            .iter()
            .map(|o| ArgSpec::new("out", Role::Write, o, &domain));
        let rows = self
            .row_outputs
            .iter()
            .map(|(_, o)| ArgSpec::new("row", Role::Write, o, &self.rows));
        inputs.chain(elements).chain(rows).collect()
    }

    /// Checks that the spec makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        let domain = self.domain();
        rules::extents("the domain", &domain)?;
        for (n, o) in self.inputs.iter().enumerate() {
            rules::operand(&format!("input {n}"), o, &domain)?;
        }
        let scalars = self.row_scalars()?;
        let inputs: Vec<DType> = self.inputs.iter().map(|o| o.dtype).collect();
        let results = self.element_tape.check(&TapeScope {
            inputs: &inputs,
            row_scalars: &scalars,
            rank: domain.len(),
        })?;
        super::map::tape_outputs(&results, &self.element_outputs, &domain)?;
        for (n, o) in &self.row_outputs {
            let what = format!("the output of row scalar {n}");
            let Some(&dtype) = scalars.get(usize::from(*n)) else {
                return rules::fail(format!("{what} has none: there are {}", scalars.len()));
            };
            rules::output(&what, o, &self.rows)?;
            rules::typed(&what, o, dtype)?;
        }
        Ok(())
    }

    /// The types of the row scalars that the phases give, in order.
    ///
    /// # Errors
    ///
    /// The first phase that makes no sense.
    pub fn row_scalars(&self) -> Result<Vec<DType>, SpecError> {
        let inputs: Vec<DType> = self.inputs.iter().map(|o| o.dtype).collect();
        let rank = self.rows.len() + self.columns.len();
        let mut scalars: Vec<DType> = vec![];
        for (n, phase) in self.phases.iter().enumerate() {
            match phase {
                Phase::Fold { tape, fold } => {
                    let results = tape.check(&TapeScope {
                        inputs: &inputs,
                        row_scalars: &scalars,
                        rank,
                    })?;
                    let &[dtype] = results.as_slice() else {
                        return rules::fail(format!(
                            "the tape of phase {n} folds {} results instead of one",
                            results.len()
                        ));
                    };
                    rules::real(&format!("what phase {n} folds"), dtype)?;
                    if fold.is_position() {
                        rules::require(!self.columns.contains(&0), || {
                            format!("phase {n} looks for a position among no columns")
                        })?;
                        scalars.push(DType::I64);
                    } else {
                        scalars.push(dtype);
                    }
                }
                Phase::Row { tape } => {
                    let results = tape.check(&TapeScope {
                        inputs: &[],
                        row_scalars: &scalars,
                        rank: 0,
                    })?;
                    scalars.extend(results);
                }
            }
        }
        Ok(scalars)
    }
}

impl RowFold {
    /// Whether the result is a column rather than a value.
    pub fn is_position(self) -> bool {
        match self {
            RowFold::Sum | RowFold::Prod | RowFold::Min | RowFold::Max => false,
            RowFold::ArgMax | RowFold::ArgMaxLast | RowFold::ArgMin | RowFold::ArgMinLast => true,
        }
    }
}
