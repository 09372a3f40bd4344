//! Domains as rows and columns.

/// Dimensions that are walked as one.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) extents: Vec<usize>,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.extents.iter().product()
    }

    /// The one stride that these strides are, if they are one.
    pub(super) fn stride(&self, strides: &[isize]) -> Option<isize> {
        let mut joined: Option<(isize, usize)> = None;
        for (&extent, &stride) in self.extents.iter().zip(strides).rev() {
            if extent == 1 {
                continue;
            }
            joined = Some(match joined {
                None => (stride, extent),
                Some((inner, reached)) if stride == inner * reached as isize => {
                    (inner, reached * extent)
                }
                Some(_) => return None,
            });
        }
        // A line of one element may have any stride.
        Some(joined.map_or(1, |(stride, _)| stride))
    }
}

/// The strides of a dimension of one element say nothing: `wanted` is as good.
pub(super) fn or_any(stride: isize, extent: usize, wanted: isize) -> isize {
    if extent <= 1 { wanted } else { stride }
}
