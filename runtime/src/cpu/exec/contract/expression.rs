//! Tapes as expressions in a normal form, to be compared with known functions.
//!
//! Sums and products are flattened and ordered and their constants folded, so that the many ways
//! to write, say, a GELU become one. Constants are equal if they agree to six digits.

use plans::Tape;
use plans::tape::{BinaryFn, Scalar, TapeOp, UnaryFn};
use std::collections::BTreeMap;

/// An interned expression.
pub(super) type Id = u32;

/// A constant; see [`Expressions::number`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Number(u64);

impl Number {
    pub(super) fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Node {
    Input(u16),
    Const(Number),
    /// The constant and the terms, in order.
    Sum(Number, Vec<Id>),
    /// The constant and the factors, in order.
    Product(Number, Vec<Id>),
    Min(Id, Id),
    Max(Id, Id),
    Less(Id, Id),
    Select(Id, Id, Id),
    /// The function's number and its argument.
    Unary(u8, Id),
    /// A step that has no normal form.
    Other(u16),
}

/// Expressions by number.
#[derive(Default)]
pub(super) struct Expressions {
    nodes: Vec<Node>,
    ids: BTreeMap<Node, Id>,
    numbers: Vec<f64>,
}

/// Constants that differ by less, relatively, are taken for one: tapes hold them in f32.
const TOLERANCE: f64 = 1e-6;

impl Expressions {
    /// `x`, or what came earlier and is as good as equal to it.
    fn number(&mut self, x: f64) -> Number {
        let x = x + 0.0;
        let is_near = |y: &f64| *y == x || (x - y).abs() < TOLERANCE * x.abs().min(y.abs());
        let known = self.numbers.iter().copied().find(is_near);
        if known.is_none() {
            self.numbers.push(x);
        }
        Number(known.unwrap_or(x).to_bits())
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// All expressions that there are.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        0..self.nodes.len() as Id
    }

    fn intern(&mut self, node: Node) -> Id {
        if let Some(&id) = self.ids.get(&node) {
            return id;
        }
        let id = self.nodes.len() as Id;
        self.nodes.push(node.clone());
        self.ids.insert(node, id);
        id
    }

    pub(super) fn constant(&mut self, x: f64) -> Id {
        let number = self.number(x);
        self.intern(Node::Const(number))
    }

    pub(super) fn add(&mut self, a: Id, b: Id) -> Id {
        let mut constant = 0.0;
        let mut terms = vec![];
        for id in [a, b] {
            match self.node(id) {
                Node::Const(c) => constant += c.get(),
                Node::Sum(c, more) => {
                    constant += c.get();
                    terms.extend(more);
                }
                _ => terms.push(id),
            }
        }
        terms.sort_unstable();
        match (terms.as_slice(), constant == 0.0) {
            ([], _) => self.constant(constant),
            (&[one], true) => one,
            _ => {
                let constant = self.number(constant);
                self.intern(Node::Sum(constant, terms))
            }
        }
    }

    pub(super) fn mul(&mut self, a: Id, b: Id) -> Id {
        let mut constant = 1.0;
        let mut factors = vec![];
        for id in [a, b] {
            match self.node(id) {
                Node::Const(c) => constant *= c.get(),
                Node::Product(c, more) => {
                    constant *= c.get();
                    factors.extend(more);
                }
                _ => factors.push(id),
            }
        }
        factors.sort_unstable();
        match (factors.as_slice(), constant == 1.0) {
            ([], _) => self.constant(constant),
            (&[one], true) => one,
            _ => {
                let constant = self.number(constant);
                self.intern(Node::Product(constant, factors))
            }
        }
    }

    pub(super) fn scaled(&mut self, factor: f64, a: Id) -> Id {
        let factor = self.constant(factor);
        self.mul(factor, a)
    }

    pub(super) fn shifted(&mut self, constant: f64, a: Id) -> Id {
        let constant = self.constant(constant);
        self.add(constant, a)
    }

    pub(super) fn min(&mut self, a: Id, b: Id) -> Id {
        self.intern(Node::Min(a.min(b), a.max(b)))
    }

    pub(super) fn max(&mut self, a: Id, b: Id) -> Id {
        self.intern(Node::Max(a.min(b), a.max(b)))
    }

    pub(super) fn unary(&mut self, f: UnaryFn, a: Id) -> Id {
        match (f, self.node(a)) {
            (UnaryFn::Neg, _) => self.scaled(-1.0, a),
            (UnaryFn::Reciprocal, Node::Const(c)) => {
                let c = c.get();
                self.constant(1.0 / c)
            }
            _ => self.intern(Node::Unary(f as u8, a)),
        }
    }

    fn less(&mut self, a: Id, b: Id) -> Id {
        self.intern(Node::Less(a, b))
    }

    pub(super) fn select(&mut self, c: Id, a: Id, b: Id) -> Id {
        self.intern(Node::Select(c, a, b))
    }

    /// `a < 0 ? b : a`, as a tape may write it.
    pub(super) fn is_below_zero(&mut self, a: Id) -> [Id; 2] {
        let zero = self.constant(0.0);
        [self.less(a, zero), self.less(zero, a)]
    }

    fn binary(&mut self, f: BinaryFn, a: Id, b: Id) -> Option<Id> {
        Some(match f {
            BinaryFn::Add => self.add(a, b),
            BinaryFn::Sub => {
                let minus = self.scaled(-1.0, b);
                self.add(a, minus)
            }
            BinaryFn::Mul => self.mul(a, b),
            BinaryFn::Div => {
                let Node::Const(c) = self.node(b) else {
                    let inverse = self.unary(UnaryFn::Reciprocal, b);
                    return Some(self.mul(a, inverse));
                };
                let inverse = 1.0 / c.get();
                self.scaled(inverse, a)
            }
            BinaryFn::Pow => match self.node(b) {
                Node::Const(c) if c.get() == 2.0 => self.mul(a, a),
                Node::Const(c) if c.get() == 3.0 => {
                    let square = self.mul(a, a);
                    self.mul(square, a)
                }
                _ => return None,
            },
            BinaryFn::Min => self.min(a, b),
            BinaryFn::Max => self.max(a, b),
            BinaryFn::Lt => self.less(a, b),
            _ => return None,
        })
    }

    /// The expression of every step of a tape.
    pub(super) fn of_tape(&mut self, tape: &Tape) -> Vec<Id> {
        let mut ids: Vec<Id> = Vec::with_capacity(tape.steps.len());
        for (i, step) in tape.steps.iter().enumerate() {
            let id = |r: plans::tape::Reg| ids[usize::from(r.0)];
            let other = Node::Other(i as u16);
            let next = match step.op {
                TapeOp::Input(n) => self.intern(Node::Input(n)),
                TapeOp::Const(Scalar::Float(x)) => self.constant(x),
                TapeOp::Unary(f, a) => self.unary(f, id(a)),
                TapeOp::Binary(f, a, b) => {
                    let (a, b) = (id(a), id(b));
                    match self.binary(f, a, b) {
                        Some(id) => id,
                        None => self.intern(other),
                    }
                }
                TapeOp::Select(c, a, b) => self.select(id(c), id(a), id(b)),
                _ => self.intern(other),
            };
            ids.push(next);
        }
        ids
    }
}
