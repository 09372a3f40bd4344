//! Scaled dot-product attention in one kernel.

use super::{ArgSpec, Operand, Role, SpecError, rules};
use crate::DType;
use serde::{Deserialize, Serialize};

/// `softmax(scale * q k^T + mask) v`, without the scores ever being stored.
///
/// Arguments: q, k, v, the mask if there is one, out. A row in which every position is masked
/// gives zeros.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttentionSpec {
    /// Independent problems: batch and heads; a stride of 0 shares keys among heads.
    pub batch: Vec<u64>,
    /// Queries.
    pub q_len: u64,
    /// Keys and values.
    pub kv_len: u64,
    /// The size of a query and of a key.
    pub qk_size: u64,
    /// The size of a value.
    pub v_size: u64,
    /// Factor of the scores.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)` before the mask.
    pub softcap: Option<f32>,
    /// With `Some(n)`, query `i` sees keys `0 ..= i + n`.
    pub causal: Option<i64>,
    /// Strides over batch, query, size.
    pub q: Operand,
    /// Strides over batch, key, size.
    pub k: Operand,
    /// Strides over batch, key, size.
    pub v: Operand,
    /// Strides over batch, query, key: added to the scores if floating-point; if bool, false hides.
    pub mask: Option<Operand>,
    /// Strides over batch, query, size of a value.
    pub out: Operand,
}

impl AttentionSpec {
    /// The arguments: q, k, v, mask, out.
    pub fn args(&self) -> Vec<ArgSpec> {
        let read =
            |name, o, (rows, columns)| ArgSpec::new(name, Role::Read, o, &self.over(rows, columns));
        let mut args = vec![
            read("q", &self.q, (self.q_len, self.qk_size)),
            read("k", &self.k, (self.kv_len, self.qk_size)),
            read("v", &self.v, (self.kv_len, self.v_size)),
        ];
        let scores = (self.q_len, self.kv_len);
        args.extend(self.mask.iter().map(|m| read("mask", m, scores)));
        let out = self.over(self.q_len, self.v_size);
        args.push(ArgSpec::new("out", Role::Write, &self.out, &out));
        args
    }

    fn over(&self, rows: u64, columns: u64) -> Vec<u64> {
        self.batch.iter().copied().chain([rows, columns]).collect()
    }

    /// Checks that the spec makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        let batch = self.batch.iter().copied();
        let sizes = [self.q_len, self.kv_len, self.qk_size.max(self.v_size)];
        rules::operations(batch.chain(sizes))?;
        rules::extents("the scores", &self.over(self.q_len, self.kv_len))?;
        let dtype = self.q.dtype;
        rules::float("q", dtype)?;
        let operands = [
            ("q", &self.q, self.over(self.q_len, self.qk_size)),
            ("k", &self.k, self.over(self.kv_len, self.qk_size)),
            ("v", &self.v, self.over(self.kv_len, self.v_size)),
        ];
        for (what, o, domain) in operands {
            rules::operand(what, o, &domain)?;
            rules::typed(what, o, dtype)?;
        }
        if let Some(mask) = &self.mask {
            rules::operand("the mask", mask, &self.over(self.q_len, self.kv_len))?;
            rules::require(mask.dtype == DType::Bool || mask.dtype.is_float(), || {
                format!(
                    "the mask is of type {}, not bool or floating-point",
                    mask.dtype
                )
            })?;
        }
        if let Some(n) = self.causal {
            rules::count("the causal offset", n.unsigned_abs())?;
        }
        rules::output("out", &self.out, &self.over(self.q_len, self.v_size))?;
        rules::typed("out", &self.out, dtype)
    }
}
