//! The metadata section: a plan in the postcard encoding, decoded with bounds.

use crate::plan::Plan;
use serde::de::DeserializeOwned;

/// The longest metadata that is written or read, in bytes: some hundred thousand steps.
pub(super) const MAX_LEN: usize = 64 << 20;

/// Decoded elements may take this many bytes for each byte of metadata, and [`FLOOR`] more.
const EXPANSION: usize = 24;
const FLOOR: usize = 16 << 20;

/// Encodes a plan.
#[cfg(feature = "write")]
pub(super) fn encode(plan: &Plan) -> Result<Vec<u8>, String> {
    let bytes = postcard::to_stdvec(plan).map_err(|e| e.to_string())?;
    if bytes.len() > MAX_LEN {
        return Err(format!(
            "{} bytes of metadata; the most is {MAX_LEN}",
            bytes.len()
        ));
    }
    Ok(bytes)
}

/// Decodes a plan. Memory stays in proportion to `bytes`, whatever they say: lists grow only as
/// their elements are found, and those that take much more memory than their encoding are counted.
pub(super) fn decode(bytes: &[u8]) -> Result<Plan, String> {
    if bytes.len() > MAX_LEN {
        return Err(format!(
            "{} bytes of metadata; the most is {MAX_LEN}",
            bytes.len()
        ));
    }
    let mut reader = Reader {
        rest: bytes,
        memory: bytes.len() * EXPANSION + FLOOR,
    };
    // The encoding of a struct is that of its fields, in order.
    let plan = Plan {
        fingerprint: reader.value("the fingerprint")?,
        models: reader.list("models")?,
        arenas: reader.list("arenas")?,
        buffers: reader.list("buffers")?,
        weights: reader.list("weights")?,
        kernels: reader.list("kernels")?,
        images: reader.list("images")?,
        codes: reader.list("codes")?,
        steps: reader.list("steps")?,
        blocks: reader.list("blocks")?,
        co_run: reader.list("pairs of blocks")?,
        deploy: reader.value("the deployment")?,
        warnings: reader.list("warnings")?,
    };
    if !reader.rest.is_empty() {
        return Err(format!(
            "{} bytes are left after the plan",
            reader.rest.len()
        ));
    }
    Ok(plan)
}

struct Reader<'a> {
    rest: &'a [u8],
    memory: usize,
}

impl Reader<'_> {
    fn value<T: DeserializeOwned>(&mut self, what: &str) -> Result<T, String> {
        let (value, rest) =
            postcard::take_from_bytes(self.rest).map_err(|e| format!("{what}: {e}"))?;
        self.rest = rest;
        Ok(value)
    }

    fn list<T: DeserializeOwned>(&mut self, what: &str) -> Result<Vec<T>, String> {
        let n: u64 = self.value(what)?;
        // No element is encoded in less than a byte.
        let n = usize::try_from(n)
            .ok()
            .filter(|&n| n <= self.rest.len())
            .ok_or_else(|| format!("{n} {what} in {} bytes", self.rest.len()))?;
        self.memory = n
            .checked_mul(size_of::<T>())
            .and_then(|taken| self.memory.checked_sub(taken))
            .ok_or_else(|| format!("{n} {what} in {} bytes", self.rest.len()))?;
        let mut list = Vec::with_capacity(n);
        for i in 0..n {
            let element = self
                .value("")
                .map_err(|e| format!("{what}, number {i}{e}"))?;
            list.push(element);
        }
        Ok(list)
    }
}
