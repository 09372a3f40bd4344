//! One at the maximum along an axis.

use super::normalize::axis_operator;

axis_operator! {
    /// 1 at the first greatest element along `axis`, 0 elsewhere.
    Hardmax, "Hardmax", [1, 11, 13], 1,
    |lane| {
        let greatest = (1..lane.len()).fold(0, |best, i| if lane[i] > lane[best] { i } else { best });
        lane.iter_mut().enumerate().for_each(|(i, v)| *v = f64::from(u8::from(i == greatest)));
    }
}
