//! Elementwise kernels.

use super::{ArgSpec, Operand, Role, SpecError, rules};
use crate::DType;
use crate::tape::{Tape, TapeScope};
use serde::{Deserialize, Serialize};

/// Every element of a domain computed by a tape from the elements of some inputs.
///
/// Elementwise chains, copies between layouts, gathers, iotas and masks are all of this class.
/// Arguments: the inputs, then the outputs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MapSpec {
    /// The extent of each dimension.
    pub domain: Vec<u64>,
    /// What the tape's `Input`s are.
    pub inputs: Vec<MapInput>,
    /// Computes one element of each output.
    pub tape: Tape,
    /// Where the tape's results go.
    pub outputs: Vec<Operand>,
}

/// An input of a [`MapSpec`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MapInput {
    /// Type and strides over the domain.
    pub operand: Operand,
    /// Dimensions that another input picks a position of; each adds to the offset.
    pub gather: Vec<GatherAxis>,
}

impl MapInput {
    /// An input that is read at affine positions only.
    pub fn affine(operand: Operand) -> Self {
        Self {
            operand,
            gather: vec![],
        }
    }
}

/// A dimension of an input whose position is the element of another input (an affine one, of type
/// i32 or i64). Negative positions count from the end; others out of range are an error of the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatherAxis {
    /// Which input holds the positions.
    pub index: u16,
    /// The extent of the dimension.
    pub len: u64,
    /// The distance between neighbours, in elements.
    pub stride: i64,
}

impl MapSpec {
    /// The arguments, inputs first.
    pub fn args(&self) -> Vec<ArgSpec> {
        let inputs = self
            .inputs
            .iter()
            .map(|i| ArgSpec::new("in", Role::Read, &i.operand, &self.domain).gathered(&i.gather));
        let outputs = self
            .outputs
            .iter()
            .map(|o| ArgSpec::new("out", Role::Write, o, &self.domain));
        inputs.chain(outputs).collect()
    }

    /// Checks that the spec makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        rules::extents("the domain", &self.domain)?;
        for (n, input) in self.inputs.iter().enumerate() {
            let what = format!("input {n}");
            rules::operand(&what, &input.operand, &self.domain)?;
            for axis in &input.gather {
                let Some(index) = self.inputs.get(usize::from(axis.index)) else {
                    return rules::fail(format!(
                        "{what} is gathered by input {}, which does not exist",
                        axis.index
                    ));
                };
                let index_name = format!("input {}", axis.index);
                rules::positions(&index_name, &index.operand)?;
                rules::require(index.gather.is_empty(), || {
                    format!("{index_name} picks positions of {what} and is gathered itself")
                })?;
            }
            gather_axes(&what, &input.gather)?;
            if !self.domain.contains(&0) && input.gather.iter().all(|g| g.len > 0) {
                let arg = ArgSpec::new("in", Role::Read, &input.operand, &self.domain);
                rules::offsets(&what, arg.gathered(&input.gather).reach)?;
            }
        }
        let inputs: Vec<_> = self.inputs.iter().map(|i| i.operand.dtype).collect();
        let results = self.tape.check(&TapeScope {
            inputs: &inputs,
            row_scalars: &[],
            rank: self.domain.len(),
        })?;
        tape_outputs(&results, &self.outputs, &self.domain)
    }
}

/// Checks the dimensions that picked positions move along.
pub(super) fn gather_axes(what: &str, axes: &[GatherAxis]) -> Result<(), SpecError> {
    let lens: Vec<u64> = axes.iter().map(|g| g.len).collect();
    rules::extents(&format!("what is gathered from {what}"), &lens)?;
    rules::strides(what, axes.iter().map(|g| g.stride))
}

/// Checks that a tape's results go to outputs of their types.
pub(super) fn tape_outputs(
    results: &[DType],
    outputs: &[Operand],
    domain: &[u64],
) -> Result<(), SpecError> {
    rules::require(results.len() == outputs.len(), || {
        format!(
            "the tape has {} results for {} outputs",
            results.len(),
            outputs.len()
        )
    })?;
    for (n, (&dtype, output)) in results.iter().zip(outputs).enumerate() {
        let what = format!("output {n}");
        rules::output(&what, output, domain)?;
        rules::typed(&what, output, dtype)?;
    }
    Ok(())
}
