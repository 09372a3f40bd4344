//! Scaled dot-product attention in one kernel.

use super::{ArgSpec, Operand, Role};
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
        let arg = |name, role, o: &Operand, rows: u64, columns: u64| {
            let domain: Vec<u64> = self.batch.iter().copied().chain([rows, columns]).collect();
            ArgSpec {
                name,
                role,
                dtype: o.dtype,
                reach: o.reach(&domain),
            }
        };
        let mut args = vec![
            arg("q", Role::Read, &self.q, self.q_len, self.qk_size),
            arg("k", Role::Read, &self.k, self.kv_len, self.qk_size),
            arg("v", Role::Read, &self.v, self.kv_len, self.v_size),
        ];
        args.extend(
            self.mask
                .iter()
                .map(|m| arg("mask", Role::Read, m, self.q_len, self.kv_len)),
        );
        args.push(arg("out", Role::Write, &self.out, self.q_len, self.v_size));
        args
    }
}
