//! Random numbers that are the same on every machine.
//!
//! Bits come from SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", 2014) used as a counter-based generator: element `i` depends on the key and
//! `i` alone, so any part of a tensor can be made by any thread. Normal numbers come from the
//! inverse of the normal distribution (Wichura's algorithm AS 241, the seven-digit form, 1988)
//! in plain IEEE arithmetic: no mathematical library, whose last digits differ between systems.

/// A stream of random numbers, addressed by position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    key: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Stream {
    /// The stream that belongs to `name` and `seed`.
    pub fn new(name: &str, seed: u64) -> Self {
        // FNV-1a, then the generator's own mixing.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self {
            key: mix(hash ^ mix(seed.wrapping_add(GOLDEN))),
        }
    }

    /// 64 random bits at `position`.
    pub fn bits(self, position: u64) -> u64 {
        mix(self
            .key
            .wrapping_add(position.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// A whole number from 0 up to, and without, `bound`, which is not 0.
    pub fn below(self, position: u64, bound: u64) -> u64 {
        ((u128::from(self.bits(position)) * u128::from(bound)) >> 64) as u64
    }

    /// A normal number with mean 0 and variance 1, within ±6.3.
    pub fn normal(self, position: u64) -> f64 {
        let pair = self.bits(position / 2);
        normal_quantile(if position.is_multiple_of(2) {
            pair as u32
        } else {
            (pair >> 32) as u32
        })
    }

    /// An exponential number with mean 1, above 0 and below 38.
    pub fn exponential(self, position: u64) -> f64 {
        -ln(((self.bits(position) >> 11) as f64 + 0.5) / (1u64 << 53) as f64)
    }

    /// Writes the normal numbers from `position`, which is even, into `out`, each as `f` makes it.
    pub fn fill_normal<T>(self, position: u64, out: &mut [T], f: impl Fn(f64) -> T) {
        debug_assert!(position.is_multiple_of(2), "pairs share their bits");
        for (pair, slots) in (position / 2..).zip(out.chunks_mut(2)) {
            let bits = self.bits(pair);
            for (slot, half) in slots.iter_mut().zip([bits as u32, (bits >> 32) as u32]) {
                *slot = f(normal_quantile(half));
            }
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The number below which a normal variable lies with probability (x + ½) / 2³².
fn normal_quantile(x: u32) -> f64 {
    const TO_UNIT: f64 = 1.0 / 4_294_967_296.0;
    let p = (f64::from(x) + 0.5) * TO_UNIT;
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q
            * (((59.109_374_720 * r + 159.291_132_02) * r + 50.434_271_938) * r + 3.387_132_717_9)
            / (((67.187_563_600 * r + 78.757_757_664) * r + 17.895_169_469) * r + 1.0);
    }
    let r = (-ln(if q < 0.0 { p } else { 1.0 - p })).sqrt();
    let z = if r <= 5.0 {
        let r = r - 1.6;
        (((0.170_238_211_03 * r + 1.306_728_481_6) * r + 2.756_815_390_0) * r + 1.423_437_277_7)
            / ((0.120_211_329_75 * r + 0.737_001_642_50) * r + 1.0)
    } else {
        let r = r - 5.0;
        (((0.017_337_203_997 * r + 0.428_682_943_37) * r + 3.081_226_386_0) * r + 6.657_905_115_0)
            / ((0.012_258_202_635 * r + 0.241_978_942_25) * r + 1.0)
    };
    if q < 0.0 { -z } else { z }
}

/// The natural logarithm of a normal number above 0, to about 13 digits.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    let (m, e) = if mantissa > std::f64::consts::SQRT_2 {
        (mantissa * 0.5, exponent + 1)
    } else {
        (mantissa, exponent)
    };
    // ln m = 2 artanh((m - 1) / (m + 1)), by its power series.
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = (0..9)
        .rev()
        .fold(0.0, |sum, k| sum * s2 + 1.0 / f64::from(2 * k + 1));
    2.0 * s * series + e as f64 * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_numbers_have_their_moments() {
        let stream = Stream::new("gaps", 7);
        let n = 200_000;
        let all: Vec<f64> = (0..n).map(|i| stream.exponential(i)).collect();
        let moment = |p: i32| all.iter().map(|x| x.powi(p)).sum::<f64>() / n as f64;
        // The p-th moment is p!.
        for (p, expected) in [(1, 1.0), (2, 2.0), (3, 6.0)] {
            assert!((moment(p) / expected - 1.0).abs() < 0.03, "moment {p}");
        }
        assert!(all.iter().all(|&x| x > 0.0 && x < 38.0));
    }

    #[test]
    fn logarithms_are_right() {
        for x in [1e-10, 0.001, 0.0749, 0.5, 0.70, 0.71, 1.0, 1.5, 3.0] {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-12, "{x}");
        }
    }

    #[test]
    fn quantiles_are_right() {
        // From a table of the normal distribution.
        for (p, z) in [
            (0.5, 0.0),
            (0.841_344_746_068_5, 1.0),
            (0.977_249_868_051_8, 2.0),
            (0.998_650_101_968_4, 3.0),
            (0.999_968_328_758_2, 4.0),
            (0.999_999_713_348_4, 5.0),
            (0.074_9, -1.440_265),
            (0.075_1, -1.438_844),
        ] {
            let x = (p * 4_294_967_296.0f64 - 0.5).round() as u32;
            assert!(
                (normal_quantile(x) - z).abs() < 1e-4,
                "{p}: {}",
                normal_quantile(x)
            );
        }
        assert!((normal_quantile(u32::MAX) + normal_quantile(0)).abs() < 1e-12);
        assert!(normal_quantile(u32::MAX) < 6.4);
        let mut last = f64::NEG_INFINITY;
        for x in (0..=u32::MAX).step_by(65_537) {
            let z = normal_quantile(x);
            assert!(z > last);
            last = z;
        }
    }

    #[test]
    fn moments_are_those_of_the_normal_distribution() {
        let stream = Stream::new("weights", 0);
        let n = 400_000;
        let mut moments = [0.0; 4];
        for i in 0..n {
            let z = stream.normal(i);
            for (k, m) in moments.iter_mut().enumerate() {
                *m += z.powi(k as i32 + 1) / n as f64;
            }
        }
        for (moment, expected) in moments.into_iter().zip([0.0, 1.0, 0.0, 3.0]) {
            assert!((moment - expected).abs() < 0.03, "{moments:?}");
        }
    }

    #[test]
    fn streams_are_addressed_by_position() {
        let stream = Stream::new("a", 7);
        let mut out = [0.0; 9];
        stream.fill_normal(100, &mut out, |z| z);
        for (i, z) in out.into_iter().enumerate() {
            assert_eq!(z, stream.normal(100 + i as u64));
        }
        assert_ne!(stream, Stream::new("a", 8));
        assert_ne!(stream, Stream::new("b", 7));
        assert!((0..1000).all(|i| stream.below(i, 3) < 3));
    }

    #[test]
    fn numbers_never_change() {
        let stream = Stream::new("conv1.weight", 0);
        let first: Vec<u32> = (0..4)
            .map(|i| (stream.normal(i) as f32).to_bits())
            .collect();
        assert_eq!(first, [1074090886, 3198487856, 3207636742, 1049597881]);
    }
}
