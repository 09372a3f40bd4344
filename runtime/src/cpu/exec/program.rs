//! Tapes made ready to run over blocks of elements.
//!
//! A [`Program`] does each step of a tape for a whole block before the next, on registers that
//! hold a block each and stay in the first-level cache. What is the same for all elements of a
//! block (constants, scalars of a row, broadcast operands) is kept once, as a chunk of equal lanes.

use super::error::Unsupported;
use plans::tape::{BinaryFn, Scalar, TapeOp, UnaryFn};
use plans::{DType, Tape};

/// Loops work on this many lanes at a time; registers are padded to a multiple of it.
pub(crate) const CHUNK: usize = 16;

/// The most lanes of a block.
pub(crate) const MAX_BLOCK: usize = 2048;

/// Registers of a program should fit into this many bytes: half of a first-level cache.
const REGISTER_BYTES: usize = 24 << 10;

/// Registers are aligned to this many bytes.
const REGISTER_ALIGN: usize = 64;

/// How a register holds an element.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lane {
    /// A byte, 0 or 1.
    Bool,
    /// Every integer, sign- or zero-extended; the bits of a C64.
    I64,
    /// F32, F16 and BF16.
    F32,
    /// F64.
    F64,
    /// The bits of a C128.
    Wide,
}

impl Lane {
    /// The lane that holds elements of `dtype`.
    pub(crate) fn of(dtype: DType) -> Self {
        match dtype {
            DType::Bool => Lane::Bool,
            DType::F16 | DType::BF16 | DType::F32 => Lane::F32,
            DType::F64 => Lane::F64,
            DType::C128 => Lane::Wide,
            DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::U8
            | DType::U16
            | DType::U32
            | DType::U64
            | DType::C64 => Lane::I64,
        }
    }

    /// Bytes a lane.
    pub(crate) const fn size(self) -> usize {
        match self {
            Lane::Bool => 1,
            Lane::F32 => 4,
            Lane::I64 | Lane::F64 => 8,
            Lane::Wide => 16,
        }
    }
}

/// Whether memory of `dtype` is the same as lanes of it.
pub(crate) fn is_native(dtype: DType) -> bool {
    matches!(
        dtype,
        DType::F32 | DType::F64 | DType::I64 | DType::U64 | DType::C64 | DType::C128
    )
}

/// Where a register that no step computes comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// An input of the kernel.
    Input(u16),
    /// A scalar of the row.
    RowScalar(u16),
    /// The position along a dimension of the domain.
    Index(u16),
}

/// A register that is filled before the steps run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) source: Source,
    pub(crate) dtype: DType,
    pub(crate) reg: u16,
    /// One chunk of equal lanes instead of a block.
    pub(crate) uniform: bool,
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) code: Code,
    /// The lane of the operands (of the choices, in a selection).
    pub(crate) lane: Lane,
    /// The type of the operands.
    pub(crate) from: DType,
    /// The type of the result.
    pub(crate) to: DType,
    /// The register of the result.
    pub(crate) dst: u16,
    /// Whether the result is one chunk of equal lanes.
    pub(crate) uniform: bool,
}

/// What a step computes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Code {
    Unary(UnaryFn, u16),
    Binary(BinaryFn, u16, u16),
    Select(u16, u16, u16),
    Convert(u16),
}

impl Code {
    fn operands(self) -> impl Iterator<Item = u16> {
        let list = match self {
            Code::Unary(_, a) | Code::Convert(a) => [Some(a), None, None],
            Code::Binary(_, a, b) => [Some(a), Some(b), None],
            Code::Select(c, a, b) => [Some(c), Some(a), Some(b)],
        };
        list.into_iter().flatten()
    }
}

/// A register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register {
    /// Where it lies in the frame, in bytes.
    pub(crate) offset: usize,
    pub(crate) uniform: bool,
    pub(crate) lane: Lane,
    pub(crate) dtype: DType,
}

/// A result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResultReg {
    pub(crate) reg: u16,
    /// Whether the register may lie in the memory of the output: a step computes it, for this
    /// output first, and memory holds what registers do. (Outputs share no memory with inputs.)
    pub(crate) direct: bool,
}

/// A tape made ready to run over blocks.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) registers: Vec<Register>,
    pub(crate) loads: Vec<Load>,
    pub(crate) ops: Vec<Op>,
    pub(crate) results: Vec<ResultReg>,
    constants: Vec<(u16, Scalar)>,
    /// The most lanes of a block.
    pub(crate) block: usize,
    /// Bytes of a frame: pointers, then registers.
    frame_bytes: usize,
}

impl Program {
    /// Compiles `tape`; `is_uniform` says which sources are the same for all elements of a block.
    pub(crate) fn compile(
        tape: &Tape,
        is_uniform: &dyn Fn(Source) -> bool,
        max_block: usize,
    ) -> Result<Self, Unsupported> {
        let mut builder = Builder::new(tape)?;
        builder.translate(tape, is_uniform)?;
        Ok(builder.finish(tape, max_block))
    }

    /// Bytes that [`Frame::new`] needs.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }
}

struct Builder {
    registers: Vec<Register>,
    loads: Vec<Load>,
    ops: Vec<Op>,
    constants: Vec<(u16, Scalar)>,
    used: Vec<bool>,
}

impl Builder {
    fn new(tape: &Tape) -> Result<Self, Unsupported> {
        if tape.steps.len() > usize::from(u16::MAX) + 1 {
            return Err(Unsupported(format!("a tape of {} steps", tape.steps.len())));
        }
        let mut used = vec![false; tape.steps.len()];
        for r in &tape.results {
            used[usize::from(r.0)] = true;
        }
        for (i, step) in tape.steps.iter().enumerate().rev() {
            if used[i] {
                for r in operands(&step.op) {
                    used[usize::from(r)] = true;
                }
            }
        }
        Ok(Self {
            registers: Vec::with_capacity(tape.steps.len()),
            loads: vec![],
            ops: vec![],
            constants: vec![],
            used,
        })
    }

    fn translate(
        &mut self,
        tape: &Tape,
        is_uniform: &dyn Fn(Source) -> bool,
    ) -> Result<(), Unsupported> {
        for (i, step) in tape.steps.iter().enumerate() {
            let reg = i as u16;
            let dtype = step.dtype;
            let mut register = Register {
                offset: 0,
                uniform: true,
                lane: Lane::of(dtype),
                dtype,
            };
            let source = match step.op {
                TapeOp::Input(n) => Some(Source::Input(n)),
                TapeOp::RowScalar(n) => Some(Source::RowScalar(n)),
                TapeOp::Index(d) => Some(Source::Index(d)),
                _ => None,
            };
            if let Some(source) = source {
                register.uniform = is_uniform(source);
                if self.used[i] {
                    self.loads.push(Load {
                        source,
                        dtype,
                        reg,
                        uniform: register.uniform,
                    });
                }
            } else if let TapeOp::Const(value) = step.op {
                self.constants.push((reg, value));
            } else {
                let op = self.op(tape, step.op, dtype, reg)?;
                register.uniform = op.uniform;
                if self.used[i] {
                    self.ops.push(op);
                }
            }
            self.registers.push(register);
        }
        Ok(())
    }

    fn op(&self, tape: &Tape, op: TapeOp, to: DType, dst: u16) -> Result<Op, Unsupported> {
        let (code, typed) = match op {
            TapeOp::Unary(f, a) => (Code::Unary(f, a.0), a),
            TapeOp::Binary(f, a, b) => (self.binary(tape, f, a.0, b.0), a),
            TapeOp::Select(c, a, b) => (Code::Select(c.0, a.0, b.0), a),
            TapeOp::Convert(a) => (Code::Convert(a.0), a),
            TapeOp::Input(_) | TapeOp::RowScalar(_) | TapeOp::Index(_) | TapeOp::Const(_) => {
                return Err(Unsupported("a source among the steps".into()));
            }
        };
        let from = tape.steps[usize::from(typed.0)].dtype;
        let is_complex = |d| matches!(d, DType::C64 | DType::C128);
        let moves = matches!(code, Code::Select(..)) || from == to;
        if (is_complex(from) || is_complex(to))
            && (!moves || matches!(code, Code::Unary(..) | Code::Binary(..)))
        {
            return Err(Unsupported("arithmetic on complex numbers".into()));
        }
        let uniform = code
            .operands()
            .all(|r| self.registers[usize::from(r)].uniform);
        Ok(Op {
            code,
            lane: Lane::of(from),
            from,
            to,
            dst,
            uniform,
        })
    }

    /// Powers by the exponents that models hold need no logarithm.
    fn binary(&self, tape: &Tape, f: BinaryFn, a: u16, b: u16) -> Code {
        let step = &tape.steps[usize::from(b)];
        if f == BinaryFn::Pow && matches!(step.dtype, DType::F32 | DType::F16 | DType::BF16) {
            let exponent = match step.op {
                TapeOp::Const(Scalar::Float(v)) => Some(v),
                TapeOp::Const(Scalar::Int(v)) => Some(v as f64),
                _ => None,
            };
            if exponent == Some(2.0) {
                return Code::Binary(BinaryFn::Mul, a, a);
            }
            if exponent == Some(1.0) {
                return Code::Convert(a);
            }
            if exponent == Some(-1.0) {
                return Code::Unary(UnaryFn::Reciprocal, a);
            }
        }
        Code::Binary(f, a, b)
    }

    /// Assigns places in the frame.
    fn finish(mut self, tape: &Tape, max_block: usize) -> Program {
        let n = self.registers.len();
        let never = usize::MAX;
        // The step after which a register is dead; loads happen before step 0.
        let mut last_use = vec![0usize; n];
        for (i, op) in self.ops.iter().enumerate() {
            for r in op.code.operands() {
                last_use[usize::from(r)] = i;
            }
        }
        for r in &tape.results {
            last_use[usize::from(r.0)] = never;
        }

        let results = tape
            .results
            .iter()
            .enumerate()
            .map(|(position, r)| {
                let register = &self.registers[usize::from(r.0)];
                let direct = self.ops.iter().any(|op| op.dst == r.0)
                    && !tape.results[..position].contains(r)
                    && !register.uniform
                    && is_native(register.dtype);
                ResultReg { reg: r.0, direct }
            })
            .collect();

        // Slots, each for registers of one lane.
        let mut slots: Vec<(Lane, bool)> = vec![];
        let mut slot_of: Vec<Option<usize>> = vec![None; n];
        let take = |slots: &mut Vec<(Lane, bool)>, lane: Lane| {
            let free = slots.iter().position(|s| *s == (lane, true));
            let slot = free.unwrap_or_else(|| {
                slots.push((lane, true));
                slots.len() - 1
            });
            slots[slot].1 = false;
            slot
        };
        for l in &self.loads {
            if !l.uniform {
                slot_of[usize::from(l.reg)] =
                    Some(take(&mut slots, self.registers[usize::from(l.reg)].lane));
            }
        }
        for (i, op) in self.ops.iter().enumerate() {
            for r in op.code.operands() {
                let r = usize::from(r);
                if last_use[r] == i
                    && let Some(slot) = slot_of[r]
                {
                    slots[slot].1 = true;
                }
            }
            if !op.uniform {
                let lane = self.registers[usize::from(op.dst)].lane;
                slot_of[usize::from(op.dst)] = Some(take(&mut slots, lane));
            }
        }

        let lane_bytes: usize = slots.iter().map(|(lane, _)| lane.size()).sum();
        let fitting = (REGISTER_BYTES / lane_bytes.max(1)).max(64);
        let block = fitting
            .min(MAX_BLOCK)
            .min(max_block.next_multiple_of(CHUNK))
            .max(CHUNK)
            / CHUNK
            * CHUNK;

        let mut at = (n * size_of::<*mut u8>()).next_multiple_of(REGISTER_ALIGN);
        let slot_offsets: Vec<usize> = slots
            .iter()
            .map(|(lane, _)| {
                let offset = at;
                at = (at + block * lane.size()).next_multiple_of(REGISTER_ALIGN);
                offset
            })
            .collect();
        for (i, register) in self.registers.iter_mut().enumerate() {
            if let Some(slot) = slot_of[i] {
                register.offset = slot_offsets[slot];
            } else {
                register.offset = at;
                at = (at + CHUNK * register.lane.size()).next_multiple_of(REGISTER_ALIGN);
            }
        }
        Program {
            registers: self.registers,
            loads: self.loads,
            ops: self.ops,
            results,
            constants: self.constants,
            block,
            frame_bytes: at,
        }
    }
}

fn operands(op: &TapeOp) -> impl Iterator<Item = u16> {
    let list = match *op {
        TapeOp::Input(_) | TapeOp::RowScalar(_) | TapeOp::Index(_) | TapeOp::Const(_) => {
            [None, None, None]
        }
        TapeOp::Unary(_, a) | TapeOp::Convert(a) => [Some(a.0), None, None],
        TapeOp::Binary(_, a, b) => [Some(a.0), Some(b.0), None],
        TapeOp::Select(c, a, b) => [Some(c.0), Some(a.0), Some(b.0)],
    };
    list.into_iter().flatten()
}

/// The registers of a program that one thread runs.
///
/// A register is at its place in the frame unless it was pointed elsewhere for the block at hand.
pub(crate) struct Frame<'a> {
    pub(crate) program: &'a Program,
    base: *mut u8,
    /// One pointer a register, at the start of the frame.
    pointers: *mut *mut u8,
}

impl<'a> Frame<'a> {
    /// A frame in `memory`, with its constants set.
    ///
    /// # Safety
    /// `memory` is aligned to 64 bytes, has `program.frame_bytes()` bytes, and nothing else uses
    /// them while the frame lives.
    pub(crate) unsafe fn new(program: &'a Program, memory: *mut u8) -> Self {
        let frame = Self {
            program,
            base: memory,
            pointers: memory.cast(),
        };
        for i in 0..program.registers.len() {
            frame.reset(i as u16);
        }
        for &(reg, value) in &program.constants {
            frame.set_constant(reg, value);
        }
        frame
    }

    /// Where the register is.
    #[inline(always)]
    pub(crate) fn pointer(&self, reg: u16) -> *mut u8 {
        assert!(usize::from(reg) < self.program.registers.len());
        // SAFETY: the frame starts with a pointer for each register, all set in `new`.
        unsafe { *self.pointers.add(usize::from(reg)) }
    }

    /// All pointers, for the loops that trust the program's register numbers.
    #[inline(always)]
    pub(crate) fn pointers(&self) -> *const *mut u8 {
        self.pointers
    }

    /// Points the register at memory outside of the frame.
    #[inline(always)]
    pub(crate) fn point(&self, reg: u16, at: *mut u8) {
        assert!(usize::from(reg) < self.program.registers.len());
        // SAFETY: as in `pointer`.
        unsafe { *self.pointers.add(usize::from(reg)) = at }
    }

    /// Points the register at its own place.
    #[inline(always)]
    pub(crate) fn reset(&self, reg: u16) {
        let offset = self.program.registers[usize::from(reg)].offset;
        // SAFETY: offsets of registers lie in the frame.
        self.point(reg, unsafe { self.base.add(offset) });
    }

    fn set_constant(&self, reg: u16, value: Scalar) {
        let dtype = self.program.registers[usize::from(reg)].dtype;
        let (float, int) = match value {
            Scalar::Float(v) => (v, v as i64),
            Scalar::Int(v) => (v as f64, v),
        };
        let p = self.pointer(reg);
        // SAFETY: constants are uniform: their places hold CHUNK lanes of their type.
        unsafe {
            match dtype {
                DType::Bool => fill(p, u8::from(int != 0 || float != 0.0)),
                DType::F32 => fill(p, float as f32),
                DType::F16 => fill(p, half::f16::from_f64(float).to_f32()),
                DType::BF16 => fill(p, half::bf16::from_f64(float).to_f32()),
                DType::F64 => fill(p, float),
                DType::C128 => fill(p, [0u64; 2]),
                DType::C64 => fill(p, 0i64),
                _ => fill(p, wrap(int, dtype)),
            }
        }
    }
}

/// `int` wrapped to the integer type `dtype` and extended again.
pub(crate) fn wrap(int: i64, dtype: DType) -> i64 {
    match dtype {
        DType::I8 => i64::from(int as i8),
        DType::I16 => i64::from(int as i16),
        DType::I32 => i64::from(int as i32),
        DType::U8 => i64::from(int as u8),
        DType::U16 => i64::from(int as u16),
        DType::U32 => i64::from(int as u32),
        _ => int,
    }
}

/// # Safety
/// `p` has room for CHUNK values.
unsafe fn fill<T: Copy>(p: *mut u8, value: T) {
    let p = p.cast::<T>();
    for i in 0..CHUNK {
        // SAFETY: the caller's promise.
        unsafe { p.add(i).write_unaligned(value) };
    }
}
