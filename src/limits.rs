//! What a device can do at most, to compare times with.

/// The fastest that a device reads and writes memory and calculates.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// Bytes of its memory, read and written, in a second.
    pub bytes_per_s: f64,
    /// Operations on f32 in a second, a multiply-add counted as 2.
    pub flop_per_s: f64,
}

impl Limits {
    /// Those of the GPU that the driver calls `name`, where they are known.
    pub fn of_gpu(name: &str) -> Option<Self> {
        // Memory as a device-to-device copy measures it; arithmetic is multiprocessors x lanes x 2 x
        // the highest clock, 132 x 128 x 2 x 1.98 GHz.
        name.contains("H200").then_some(Self {
            bytes_per_s: 4.28e12,
            flop_per_s: 66.9e12,
        })
    }

    /// The least time, in milliseconds, in which `flop` operations can be done and `bytes` moved.
    pub fn least_ms(&self, flop: u64, bytes: u64) -> f64 {
        let seconds = (flop as f64 / self.flop_per_s).max(bytes as f64 / self.bytes_per_s);
        seconds * 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_both_counts() {
        let limits = Limits {
            bytes_per_s: 1e12,
            flop_per_s: 1e13,
        };
        assert_eq!(limits.least_ms(1_000_000_000, 5), 0.1);
        assert_eq!(limits.least_ms(1_000_000_000, 1_000_000_000), 1.0);
        assert!(Limits::of_gpu("NVIDIA H200").is_some());
        assert!(Limits::of_gpu("another").is_none());
    }
}
