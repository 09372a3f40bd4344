//! Numbers that look random and are always the same.

use crate::reference::Value;
use plans::DType;
use plans::spec::Operand;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Of a bell shape about 0.
    pub(crate) fn float(&mut self) -> f64 {
        let unit = |x: u64| (x >> 11) as f64 / (1u64 << 53) as f64;
        (0..4).map(|_| unit(self.next()) - 0.5).sum::<f64>() * 2.0
    }

    pub(crate) fn value(&mut self, dtype: DType) -> Value {
        match dtype {
            DType::Bool => Value::Int(i128::from(self.chance(50))),
            d if d.is_float() => Value::Float(self.float()),
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => Value::Int(self.below(11).into()),
            _ => Value::Int(i128::from(self.below(21)) - 10),
        }
    }

    /// An order of `n` dimensions.
    pub(crate) fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }

    /// An operand that fills its memory: its dimensions lie in any order.
    pub(crate) fn dense(&mut self, dtype: DType, domain: &[u64]) -> Operand {
        let mut strides = vec![0; domain.len()];
        let mut distance = 1;
        let order = if self.chance(50) {
            (0..domain.len()).collect()
        } else {
            self.order(domain.len())
        };
        for &d in order.iter().rev() {
            strides[d] = distance;
            distance *= domain[d] as i64;
        }
        Operand { dtype, strides }
    }

    /// An operand that may repeat, skip, reverse and reorder.
    pub(crate) fn strided(&mut self, dtype: DType, domain: &[u64]) -> Operand {
        let mut operand = self.dense(dtype, domain);
        let stretch = if self.chance(20) { 2 } else { 1 };
        for stride in &mut operand.strides {
            *stride *= stretch;
            if self.chance(20) {
                *stride = 0;
            } else if self.chance(10) {
                *stride = -*stride;
            }
        }
        operand
    }
}
