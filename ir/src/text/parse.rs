//! The parser: recursive descent without recursion deeper than a region in a model.

use super::content::{self, Literal};
use super::lex::{Lexer, Token};
use super::{GENERATED_LIMIT, ParseError};
use crate::attrs::{Attr, Attrs};
use crate::graph::{
    Def, Graph, Node, NodeId, Origin, Region, RegionId, RegionKind, StorageOrder, Value, ValueId,
};
use crate::ops::Op;
use crate::program::{ContentHash, Program, WeightId, Weights};
use crate::shape::{Dim, Shape, Symbol, TensorType};
use crate::tensor::Tensor;
use crate::{DType, patch};
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, ParseError>;

/// Most dimensions that a type may have.
const MAX_RANK: usize = 64;

/// Reads the program in `text`; weights by hash come from `known`.
pub(super) fn program(text: &str, known: &Weights) -> Result<Program> {
    let mut parser = Parser {
        lexer: Lexer::new(text)?,
        known,
        weights: BTreeMap::new(),
        generated: 0,
    };
    let mut program = Program::default();
    loop {
        match parser.lexer.peek() {
            Token::End => return Ok(program),
            Token::Word("weight") => parser.weight(&mut program)?,
            Token::Word("model") => {
                let graph = parser.model(&mut program.weights)?;
                program.graphs.push(graph);
            }
            _ => return Err(parser.expected("`weight`, `model` or the end of the text")),
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    known: &'a Weights,
    /// Weights by their name in the text.
    weights: BTreeMap<&'a str, WeightId>,
    /// Bytes made by generators so far.
    generated: usize,
}

/// A model on its way.
struct Model<'a> {
    graph: Graph,
    /// Values by their name in the text.
    values: BTreeMap<&'a str, ValueId>,
    /// Constants by how they are spelt.
    constants: BTreeMap<(WeightId, StorageOrder, Option<String>), ValueId>,
}

/// A result or an input as it is written.
struct Declared<'a> {
    position: usize,
    label: &'a str,
    name: Option<String>,
    ty: Option<(TensorType, StorageOrder)>,
}

impl<'a> Parser<'a> {
    fn expected(&self, what: &str) -> ParseError {
        let found = self.lexer.peek().describe();
        self.here(format!("expected {what}, found {found}"))
    }

    fn here(&self, message: impl Into<String>) -> ParseError {
        self.lexer.error(self.lexer.position(), message)
    }

    fn word(&mut self, what: &str) -> Result<&'a str> {
        match *self.lexer.peek() {
            Token::Word(w) => {
                self.lexer.take()?;
                Ok(w)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// The word `keyword`.
    fn keyword(&mut self, keyword: &str) -> Result<()> {
        if *self.lexer.peek() == Token::Word(keyword) {
            self.lexer.take().map(drop)
        } else {
            Err(self.expected(&format!("`{keyword}`")))
        }
    }

    fn punct(&mut self, c: char) -> Result<()> {
        if self.try_punct(c)? {
            Ok(())
        } else {
            Err(self.expected(&format!("`{c}`")))
        }
    }

    fn try_punct(&mut self, c: char) -> Result<bool> {
        let there = *self.lexer.peek() == Token::Punct(c);
        if there {
            self.lexer.take()?;
        }
        Ok(there)
    }

    fn string(&mut self, what: &str) -> Result<String> {
        match self.lexer.peek() {
            Token::Str(_) => match self.lexer.take()? {
                Token::Str(s) => Ok(s),
                _ => Err(self.expected(what)),
            },
            _ => Err(self.expected(what)),
        }
    }

    fn try_string(&mut self) -> Result<Option<String>> {
        match self.lexer.peek() {
            Token::Str(_) => self.string("a string").map(Some),
            _ => Ok(None),
        }
    }

    /// A bare or quoted name.
    fn name(&mut self, what: &str) -> Result<String> {
        match *self.lexer.peek() {
            Token::Word(w) => {
                self.lexer.take()?;
                Ok(w.into())
            }
            _ => self.string(what),
        }
    }

    /// Items between brackets, separated by commas.
    fn list(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.punct(open)?;
        if self.try_punct(close)? {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.try_punct(close)? {
                return Ok(());
            }
            if !self.try_punct(',')? {
                return Err(self.expected(&format!("`,` or `{close}`")));
            }
        }
    }

    // Types.

    fn dtype(&mut self) -> Result<DType> {
        let found = match *self.lexer.peek() {
            Token::Word(w) => w.parse().ok(),
            _ => None,
        };
        let dtype = found.ok_or_else(|| self.expected("an element type such as `f32`"))?;
        self.lexer.take()?;
        Ok(dtype)
    }

    fn ty(&mut self) -> Result<TensorType> {
        let dtype = self.dtype()?;
        let mut dims = vec![];
        self.list('[', ']', |p| {
            if dims.len() == MAX_RANK {
                return Err(p.here(format!("more than {MAX_RANK} dimensions")));
            }
            let what = "a dimension: a number or a name";
            dims.push(match *p.lexer.peek() {
                Token::Word(w) if w.starts_with(|c: char| c.is_ascii_digit()) => {
                    Dim::Known(w.parse().map_err(|_| p.expected(what))?)
                }
                Token::Word(w) if super::is_identifier(w) => Dim::Symbol(Symbol::new(w)),
                Token::Str(ref s) => Dim::Symbol(Symbol::new(s)),
                _ => return Err(p.expected(what)),
            });
            p.lexer.take().map(drop)
        })?;
        Ok(TensorType::new(dtype, Shape(dims)))
    }

    fn storage(&mut self) -> Result<StorageOrder> {
        if let Token::Word(w) = *self.lexer.peek()
            && let Some(order) = StorageOrder::from_word(w)
        {
            self.lexer.take()?;
            return Ok(order);
        }
        Ok(StorageOrder::RowMajor)
    }

    // Weights.

    fn weight(&mut self, program: &mut Program) -> Result<()> {
        self.keyword("weight")?;
        let position = self.lexer.position();
        let name = self.word("a name for the weight, such as `w0`")?;
        self.punct(':')?;
        let at = self.lexer.position();
        let ty = self.ty()?;
        let dims = ty.shape.dims().ok_or_else(|| {
            self.lexer
                .error(at, "a weight's dimensions must be numbers")
        })?;
        if ty.n_bytes().is_none() {
            return Err(self.lexer.error(at, "the weight has too many elements"));
        }
        self.punct('=')?;
        let tensor = self.content(ty.dtype, &dims)?;
        let id = program.weights.add(tensor);
        if self.weights.insert(name, id).is_some() {
            return Err(self
                .lexer
                .error(position, format!("weight `{name}` is there twice")));
        }
        Ok(())
    }

    fn content(&mut self, dtype: DType, dims: &[usize]) -> Result<Tensor> {
        let position = self.lexer.position();
        let n: usize = dims.iter().product();
        match *self.lexer.peek() {
            Token::Punct('[') => {
                let mut data = vec![];
                self.list('[', ']', |p| p.element(dtype, &mut data))?;
                self.tensor(position, dtype, dims, data)
            }
            Token::Word("splat") => {
                self.lexer.take()?;
                self.generate(position, dtype, n)?;
                let mut one = vec![];
                self.element(dtype, &mut one)?;
                self.tensor(position, dtype, dims, one.repeat(n))
            }
            Token::Word(w @ ("random" | "uniform")) => {
                self.lexer.take()?;
                self.generate(position, dtype, n)?;
                let seed = self.number("a seed")?;
                let tensor = if w == "random" {
                    content::random(dtype, dims, seed)
                } else {
                    let (low, high) = (self.number("a number")?, self.number("a number")?);
                    content::uniform(dtype, dims, seed, low, high)
                };
                tensor.ok_or_else(|| {
                    let message = format!("no random numbers of type {dtype}");
                    self.lexer.error(position, message)
                })
            }
            Token::Word("hash") => {
                self.lexer.take()?;
                let position = self.lexer.position();
                let digits = self.word("a content hash")?;
                let hash = content_hash(digits).ok_or_else(|| {
                    self.lexer
                        .error(position, "expected a content hash: 64 hexadecimal digits")
                })?;
                let known = self.known.find(&hash).map(|id| &self.known[id]);
                let tensor = known.ok_or_else(|| {
                    let message = "the weight of this content hash is not at hand; \
                                   read the text together with the weights it was printed from";
                    self.lexer.error(position, message)
                })?;
                if tensor.dtype() != dtype || tensor.dims() != dims {
                    let message = format!("the weight of this hash is {}", tensor.ty());
                    return Err(self.lexer.error(position, message));
                }
                Ok(tensor.clone())
            }
            _ => {
                let mut data = vec![];
                self.element(dtype, &mut data)?;
                self.tensor(position, dtype, dims, data)
            }
        }
    }

    fn tensor(
        &self,
        position: usize,
        dtype: DType,
        dims: &[usize],
        data: Vec<u8>,
    ) -> Result<Tensor> {
        let given = data.len() / dtype.size();
        Tensor::new(dtype, dims, data.into()).map_err(|_| {
            let n: usize = dims.iter().product();
            let message = format!("expected {n} elements, found {given}");
            self.lexer.error(position, message)
        })
    }

    /// Counts `n` elements to be made from nothing.
    fn generate(&mut self, position: usize, dtype: DType, n: usize) -> Result<()> {
        self.generated = self
            .generated
            .saturating_add(n.saturating_mul(dtype.size()));
        if self.generated > GENERATED_LIMIT {
            let message = format!(
                "more than {} MiB of generated weights",
                GENERATED_LIMIT >> 20
            );
            return Err(self.lexer.error(position, message));
        }
        Ok(())
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let number = match *self.lexer.peek() {
            Token::Word(w) => w.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.expected(what))?;
        self.lexer.take()?;
        Ok(number)
    }

    /// One element of a weight, its bytes appended to `out`.
    fn element(&mut self, dtype: DType, out: &mut Vec<u8>) -> Result<()> {
        let position = self.lexer.position();
        let literal = if self.try_punct('(')? {
            let first = self.simple_literal()?;
            self.punct(',')?;
            let second = self.simple_literal()?;
            self.punct(')')?;
            Literal::Pair(Box::new([first, second]))
        } else {
            self.simple_literal()?
        };
        content::read(dtype, &literal, out)
            .map_err(|what| self.lexer.error(position, format!("expected {what}")))
    }

    fn simple_literal(&mut self) -> Result<Literal<'a>> {
        let word = self.word("a number")?;
        if matches!(word, "nan" | "bool") && self.try_punct('(')? {
            let bits = self.word("the bits of the number")?;
            self.punct(')')?;
            return Ok(Literal::Bits(word, bits));
        }
        Ok(Literal::Word(word))
    }

    // Models.

    fn model(&mut self, weights: &mut Weights) -> Result<Graph> {
        self.keyword("model")?;
        let mut model = Model {
            graph: Graph::new(self.name("the model's name")?),
            values: BTreeMap::new(),
            constants: BTreeMap::new(),
        };
        self.punct('{')?;
        loop {
            match self.lexer.peek() {
                Token::Punct('}') => {
                    self.lexer.take()?;
                    return Ok(model.graph);
                }
                Token::Word("input") => self.input(&mut model)?,
                Token::Word("output") => self.output(&mut model, weights)?,
                Token::Word("region") => self.region(&mut model, weights)?,
                Token::Value(_) => self.node(&mut model, weights, None)?,
                _ => {
                    return Err(
                        self.expected("`input`, `output`, `region`, a value such as `%0`, or `}`")
                    );
                }
            }
        }
    }

    fn input(&mut self, model: &mut Model<'a>) -> Result<()> {
        self.keyword("input")?;
        let declared = self.declared()?;
        let Some((ty, storage)) = declared.ty else {
            return Err(self.expected("`:` and the input's type"));
        };
        let def = Def::Input(model.graph.inputs.len() as u32);
        let id = model.graph.values.push(Value {
            name: Some(
                declared
                    .name
                    .unwrap_or_else(|| declared.label.into())
                    .into(),
            ),
            ty,
            def,
            storage,
        });
        model.graph.inputs.push(id);
        self.bind(model, declared.position, declared.label, id)
    }

    fn output(&mut self, model: &mut Model<'a>, weights: &Weights) -> Result<()> {
        self.keyword("output")?;
        let name = self.string("the output's name in quotes")?;
        self.punct('=')?;
        let value = self.operand(model, weights)?;
        let value = value.ok_or_else(|| self.here("an output must have a value"))?;
        model.graph.outputs.push((name.into(), value));
        Ok(())
    }

    fn region(&mut self, model: &mut Model<'a>, weights: &mut Weights) -> Result<()> {
        self.keyword("region")?;
        let kind = match *self.lexer.peek() {
            Token::Word(w) => RegionKind::ALL.into_iter().find(|k| k.name() == w),
            _ => None,
        };
        let kind = kind.ok_or_else(|| {
            let names = RegionKind::ALL.map(RegionKind::name).join(", ");
            self.expected(&format!("a kind of region ({names})"))
        })?;
        self.lexer.take()?;
        let region = model.graph.regions.push(Region { kind });
        self.punct('{')?;
        while !self.try_punct('}')? {
            self.node(model, weights, Some(region))?;
        }
        Ok(())
    }

    /// `%3 "name": f32[2] channels_last`.
    fn declared(&mut self) -> Result<Declared<'a>> {
        let position = self.lexer.position();
        let Token::Value(label) = *self.lexer.peek() else {
            return Err(self.expected("a value such as `%0`"));
        };
        self.lexer.take()?;
        let name = self.try_string()?;
        let ty = if self.try_punct(':')? {
            Some((self.ty()?, self.storage()?))
        } else {
            None
        };
        Ok(Declared {
            position,
            label,
            name,
            ty,
        })
    }

    fn bind(
        &self,
        model: &mut Model<'a>,
        position: usize,
        label: &'a str,
        id: ValueId,
    ) -> Result<()> {
        match model.values.insert(label, id) {
            None => Ok(()),
            Some(_) => Err(self
                .lexer
                .error(position, format!("value `%{label}` is defined twice"))),
        }
    }

    fn node(
        &mut self,
        model: &mut Model<'a>,
        weights: &mut Weights,
        region: Option<RegionId>,
    ) -> Result<()> {
        let mut results = vec![self.declared()?];
        while self.try_punct(',')? {
            results.push(self.declared()?);
        }
        self.punct('=')?;
        let position = self.lexer.position();
        let mnemonic = self.word("an operator")?;
        let mut inputs = vec![];
        self.list('(', ')', |p| {
            inputs.push(p.operand(model, weights)?);
            Ok(())
        })?;
        let attrs = self.attrs()?;
        let origin = self.origin()?;
        let op = Op::read(mnemonic, &attrs)
            .ok_or_else(|| {
                self.lexer
                    .error(position, format!("there is no operator `{mnemonic}`"))
            })?
            .map_err(|why| self.lexer.error(position, format!("{mnemonic}: {why}")))?;
        let mut inferred = vec![];
        if results.iter().any(|r| r.ty.is_none()) {
            inferred = patch::infer_node(&model.graph, weights, &op, &inputs, results.len())
                .map_err(|why| {
                    let message = format!("the type of {mnemonic} cannot be inferred: {why}");
                    self.lexer.error(position, message)
                })?;
        }
        let node: NodeId = model.graph.nodes.next_id();
        let mut outputs = Vec::with_capacity(results.len());
        for (output, declared) in results.into_iter().enumerate() {
            let (ty, storage) = match (declared.ty, inferred.get(output)) {
                (Some(given), _) => given,
                (None, Some(ty)) => (ty.clone(), StorageOrder::RowMajor),
                (None, None) => {
                    let message = format!("{mnemonic} has no result {output}");
                    return Err(self.lexer.error(declared.position, message));
                }
            };
            let id = model.graph.values.push(Value {
                name: declared.name.map(Into::into),
                ty,
                def: Def::Node {
                    node,
                    output: output as u32,
                },
                storage,
            });
            self.bind(model, declared.position, declared.label, id)?;
            outputs.push(id);
        }
        model.graph.nodes.push(Node {
            op,
            inputs,
            outputs,
            origin,
            region,
        });
        model.graph.order.push(node);
        Ok(())
    }

    /// `%3`, `w0 "name" channels_last`, or `_`.
    fn operand(&mut self, model: &mut Model<'a>, weights: &Weights) -> Result<Option<ValueId>> {
        match *self.lexer.peek() {
            Token::Word("_") => {
                self.lexer.take()?;
                Ok(None)
            }
            Token::Value(label) => {
                let known = model.values.get(label).copied();
                let id = known.ok_or_else(|| {
                    self.here(format!("no value `%{label}` is defined before this line"))
                })?;
                self.lexer.take()?;
                Ok(Some(id))
            }
            Token::Word(w) => {
                let weight = *self
                    .weights
                    .get(w)
                    .ok_or_else(|| self.here(format!("there is no weight `{w}`")))?;
                self.lexer.take()?;
                let name = self.try_string()?;
                let storage = self.storage()?;
                let key = (weight, storage, name);
                if let Some(&id) = model.constants.get(&key) {
                    return Ok(Some(id));
                }
                let id = model.graph.values.next_id();
                model.graph.values.push(Value {
                    name: key.2.as_deref().map(Into::into),
                    ty: weights[weight].ty(),
                    def: Def::Weight(weight),
                    storage,
                });
                model.constants.insert(key, id);
                Ok(Some(id))
            }
            _ => Err(self.expected("an operand: a value, a weight, or `_`")),
        }
    }

    // Attributes and origins.

    fn attrs(&mut self) -> Result<Attrs> {
        let mut attrs = Attrs::new();
        if *self.lexer.peek() == Token::Punct('{') {
            self.list('{', '}', |p| {
                let position = p.lexer.position();
                let name = p.name("the name of an attribute")?;
                p.punct('=')?;
                let value = p.attr()?;
                if attrs.contains_key(&name) {
                    let message = format!("attribute `{name}` is there twice");
                    return Err(p.lexer.error(position, message));
                }
                attrs.insert(name, value);
                Ok(())
            })?;
        }
        Ok(attrs)
    }

    fn attr(&mut self) -> Result<Attr> {
        match *self.lexer.peek() {
            Token::Str(_) => self.string("a string").map(Attr::Str),
            Token::Punct('[') => self.attr_list(),
            Token::Word(w @ ("floats" | "strings")) => {
                self.lexer.take()?;
                self.punct('[')?;
                self.punct(']')?;
                Ok(match w {
                    "floats" => Attr::Floats(vec![]),
                    _ => Attr::Strs(vec![]),
                })
            }
            Token::Word(w) => {
                if let Ok(dtype) = w.parse() {
                    self.lexer.take()?;
                    return Ok(Attr::Type(dtype));
                }
                if let Ok(v) = w.parse() {
                    self.lexer.take()?;
                    return Ok(Attr::Int(v));
                }
                self.float().map(Attr::Float)
            }
            _ => Err(self.expected("a number, a string, an element type or a list")),
        }
    }

    fn attr_list(&mut self) -> Result<Attr> {
        let (mut ints, mut floats, mut strings) = (vec![], vec![], vec![]);
        let mut whole = true;
        self.list('[', ']', |p| {
            match *p.lexer.peek() {
                Token::Str(_) if floats.is_empty() => strings.push(p.string("a string")?),
                Token::Word(w) if strings.is_empty() => {
                    if let Ok(v) = w.parse::<i64>() {
                        ints.push(v);
                    } else {
                        whole = false;
                    }
                    floats.push(p.float()?);
                }
                _ => return Err(p.expected("items of one kind, all numbers or all strings")),
            }
            Ok(())
        })?;
        Ok(match (whole, strings.is_empty()) {
            (_, false) => Attr::Strs(strings),
            (true, true) => Attr::Ints(ints),
            (false, true) => Attr::Floats(floats),
        })
    }

    fn float(&mut self) -> Result<f32> {
        let mut data = vec![];
        self.element(DType::F32, &mut data)?;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&data);
        Ok(f32::from_le_bytes(bytes))
    }

    fn origin(&mut self) -> Result<Origin> {
        let mut names = vec![];
        if self.try_punct('@')? {
            names.push(self.string("the name of a node in quotes")?);
            while self.try_punct(',')? {
                names.push(self.string("the name of a node in quotes")?);
            }
        }
        Ok(names.into_iter().collect())
    }
}

fn content_hash(digits: &str) -> Option<ContentHash> {
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(ContentHash(hash))
}
