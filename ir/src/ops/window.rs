//! The geometry of sliding windows, which convolutions and pooling share.

use crate::attr_enum;
use crate::ops::OpError;
use crate::shape::{Dim, Shape};

attr_enum! {
    /// Who chooses the padding.
    AutoPad {
        /// The attribute `pads`.
        NotSet = "NOTSET",
        /// As many output positions as input positions over stride, odd padding at the end.
        SameUpper = "SAME_UPPER",
        /// The same, odd padding at the start.
        SameLower = "SAME_LOWER",
        /// None.
        Valid = "VALID",
    }
}

/// Windows over the spatial dimensions of a tensor N, C, D1, …, Dn; every list has n entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WindowGeometry {
    /// Input positions.
    pub input: Vec<usize>,
    /// Output positions.
    pub output: Vec<usize>,
    /// Window positions.
    pub kernel: Vec<usize>,
    /// Input positions between neighbouring windows.
    pub strides: Vec<usize>,
    /// Input positions between neighbouring window positions.
    pub dilations: Vec<usize>,
    /// Padding before the first input position.
    pub pads_begin: Vec<usize>,
    /// Padding after the last input position.
    pub pads_end: Vec<usize>,
}

/// Window attributes as ONNX gives them; empty lists stand for the defaults.
pub(crate) struct WindowAttrs<'a> {
    /// Window positions.
    pub(crate) kernel: &'a [usize],
    /// Strides.
    pub(crate) strides: &'a [i64],
    /// Dilations.
    pub(crate) dilations: &'a [i64],
    /// Begins, then ends.
    pub(crate) pads: &'a [i64],
    /// Who chooses the padding.
    pub(crate) auto_pad: AutoPad,
    /// Whether a last window that starts inside the padded input but ends beyond it counts.
    pub(crate) ceil: bool,
}

impl WindowAttrs<'_> {
    /// The geometry over `input`, the spatial dimensions of the operand.
    pub(crate) fn geometry(&self, input: &[usize]) -> Result<WindowGeometry, OpError> {
        let n = self.kernel.len();
        if input.len() != n {
            return Err(OpError::Shape(format!(
                "a window of {n} dimensions over an input of {} spatial dimensions",
                input.len()
            )));
        }
        let strides = numbers("strides", self.strides, 1, 1, n)?;
        let dilations = numbers("dilations", self.dilations, 1, 1, n)?;
        let pads = numbers("pads", self.pads, 0, 0, 2 * n)?;
        if self.kernel.contains(&0) {
            return Err(OpError::Shape("a window of size 0".into()));
        }
        let (mut pads_begin, mut pads_end) = (pads[..n].to_vec(), pads[n..].to_vec());
        let mut output = Vec::with_capacity(n);
        for i in 0..n {
            let extent = (self.kernel[i] - 1) * dilations[i] + 1;
            match self.auto_pad {
                AutoPad::NotSet => {}
                AutoPad::Valid => (pads_begin[i], pads_end[i]) = (0, 0),
                AutoPad::SameUpper | AutoPad::SameLower => {
                    let windows = input[i].div_ceil(strides[i]);
                    let total =
                        (windows.saturating_sub(1) * strides[i] + extent).saturating_sub(input[i]);
                    let small = total / 2;
                    (pads_begin[i], pads_end[i]) = match self.auto_pad {
                        AutoPad::SameUpper => (small, total - small),
                        _ => (total - small, small),
                    };
                }
            }
            let padded = input[i] + pads_begin[i] + pads_end[i];
            let Some(room) = padded.checked_sub(extent) else {
                return Err(OpError::Shape(format!(
                    "a window of extent {extent} over {padded} padded input positions"
                )));
            };
            let mut windows = room / strides[i] + 1;
            if self.ceil
                && room % strides[i] != 0
                && windows * strides[i] < input[i] + pads_begin[i]
            {
                windows += 1;
            }
            output.push(windows);
        }
        Ok(WindowGeometry {
            input: input.to_vec(),
            output,
            kernel: self.kernel.to_vec(),
            strides,
            dilations,
            pads_begin,
            pads_end,
        })
    }
}

impl WindowGeometry {
    /// Calls `f(output position, window position, input position)` for every pair that hits the
    /// input, as row-major indices, windows in order.
    pub fn visit(&self, mut f: impl FnMut(usize, usize, usize)) {
        use crate::eval::{row_major_strides, unravel};
        let n_out: usize = self.output.iter().product();
        let n_kernel: usize = self.kernel.iter().product();
        let strides = row_major_strides(&self.input);
        for o in 0..n_out {
            let out = unravel(o, &self.output);
            for k in 0..n_kernel {
                let tap = unravel(k, &self.kernel);
                let position = (0..out.len()).try_fold(0, |at, d| {
                    let p = (out[d] * self.strides[d] + tap[d] * self.dilations[d])
                        .checked_sub(self.pads_begin[d])?;
                    (p < self.input[d]).then_some(at + p * strides[d])
                });
                if let Some(i) = position {
                    f(o, k, i);
                }
            }
        }
    }

    /// For each window position in row-major order, the pairs of output and input positions that it joins.
    pub(crate) fn pairs_by_tap(&self) -> Vec<Vec<(usize, usize)>> {
        let mut pairs = vec![vec![]; self.kernel.iter().product()];
        self.visit(|o, k, i| pairs[k].push((o, i)));
        pairs
    }

    /// For each output position in row-major order, how many window positions hit the padded input.
    pub fn taps_in_padding(&self) -> Vec<usize> {
        let taps = |d: usize, o: usize| {
            let padded = self.input[d] + self.pads_begin[d] + self.pads_end[d];
            let reach = padded.saturating_sub(o * self.strides[d]);
            reach.div_ceil(self.dilations[d]).min(self.kernel[d])
        };
        let n_out: usize = self.output.iter().product();
        let windows = (0..n_out).map(|o| crate::eval::unravel(o, &self.output));
        windows
            .map(|out| out.iter().enumerate().map(|(d, &o)| taps(d, o)).product())
            .collect()
    }
}

/// No window parameter or spatial dimension is greater, so that their products fit.
const LIMIT: usize = i32::MAX as usize;

/// The list attribute `name` of `len` numbers of at least `least`; all `default` where it is empty.
pub(crate) fn numbers(
    name: &str,
    given: &[i64],
    least: usize,
    default: usize,
    len: usize,
) -> Result<Vec<usize>, OpError> {
    if given.is_empty() {
        return Ok(vec![default; len]);
    }
    let number = |&v: &i64| {
        usize::try_from(v)
            .ok()
            .filter(|v| (least..=LIMIT).contains(v))
    };
    let numbers: Option<Vec<usize>> = given.iter().map(number).collect();
    numbers.filter(|list| list.len() == len).ok_or_else(|| {
        OpError::Shape(format!(
            "`{name}` is {given:?}; expected {len} numbers of at least {least}"
        ))
    })
}

/// The attribute `kernel_shape` as window positions.
pub(crate) fn kernel(shape: &[i64]) -> Result<Vec<usize>, OpError> {
    numbers("kernel_shape", shape, 1, 1, shape.len())
}

/// Batch, channels and spatial dimensions of `shape`; spatial dimensions must be known.
pub(crate) fn split_spatial(shape: &Shape) -> Result<(Dim, Dim, Vec<usize>), OpError> {
    if shape.rank() < 3 {
        return Err(OpError::Shape(format!("{shape} has no spatial dimensions")));
    }
    let spatial = shape.0[2..]
        .iter()
        .map(Dim::known)
        .collect::<Option<Vec<_>>>();
    let spatial = spatial.ok_or_else(|| {
        OpError::Unsupported(format!(
            "spatial dimensions of {shape} are not known; bind them"
        ))
    })?;
    if spatial.iter().any(|&d| d > LIMIT) {
        return Err(OpError::Unsupported(format!(
            "spatial dimensions of {shape} beyond {LIMIT}"
        )));
    }
    Ok((shape.dim(0).clone(), shape.dim(1).clone(), spatial))
}
