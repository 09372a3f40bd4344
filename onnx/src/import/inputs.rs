//! The inputs' types, with the sizes that the user gives to unknown dimensions.

use super::build::is_too_large;
use crate::proto::{DimensionProto, TypeProto, ValueInfoProto, data_type};
use crate::tensor::{TensorError, dtype_of};
use ir::{Dim, Shape, Symbol, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// Why an input of the graph is refused.
#[derive(Debug, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "the fields carry the values that the messages show"
)]
pub enum InputError {
    /// Something else than a dense tensor.
    #[error("it is {what}, and only tensors are supported")]
    NotATensor { what: &'static str },
    /// No type at all.
    #[error("its type is not given")]
    NoType,
    /// Not even the number of dimensions is known.
    #[error("its shape is not given")]
    NoShape,
    /// An element type that dlirc doesn't have.
    #[error(transparent)]
    Type(TensorError),
    /// More than a dimension can be.
    #[error("dimension {axis} is {size}")]
    Dimension { axis: usize, size: i64 },
    /// More than memory can hold.
    #[error("its type, {ty}, is too large")]
    TooLarge { ty: TensorType },
}

/// Why a shape that the user gives is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "the fields carry the values that the messages show"
)]
pub enum BindError {
    /// No input and no dimension has this name.
    #[error(
        "there is neither an input nor an unknown dimension of this name; inputs are {}{}",
        inputs.join(", "), dimensions_text(.dimensions)
    )]
    Unknown {
        inputs: Vec<String>,
        dimensions: Vec<String>,
    },
    /// A list of sizes for one dimension.
    #[error("it names a dimension, which takes one size, not {n}")]
    NotOne { n: usize },
    /// Another number of dimensions than the input has.
    #[error("the input has {expected} dimensions, not {given}")]
    Rank { expected: usize, given: usize },
    /// Another size than the file says.
    #[error("dimension {axis} of the input is {expected}, not {given}")]
    Fixed {
        axis: usize,
        expected: usize,
        given: usize,
    },
    /// Two sizes for one name.
    #[error("dimension {dimension:?} would be both {first} and {second}")]
    Conflict {
        dimension: String,
        first: usize,
        second: usize,
    },
}

fn dimensions_text(dimensions: &[String]) -> String {
    if dimensions.is_empty() {
        ", all of known shapes".to_owned()
    } else {
        format!("; unknown dimensions are {}", dimensions.join(", "))
    }
}

/// The type of a graph's input, as the file gives it; `None` for a shape of unknown rank.
struct Declared<'a> {
    name: &'a str,
    dtype: ir::DType,
    shape: Option<Shape>,
}

/// The types of `inputs`, with the shapes of `bind` put in.
///
/// `bind` names inputs, which take as many sizes as they have dimensions, and unknown
/// dimensions, which take one. A dimension without size and name is called
/// `INPUT_AXIS`.
///
/// # Errors
/// The input or the binding that is refused, and why.
pub(crate) fn types(
    inputs: &[&ValueInfoProto],
    bind: &BTreeMap<String, Vec<usize>>,
) -> Result<Vec<TensorType>, TypesError> {
    let names: BTreeSet<&str> = inputs.iter().flat_map(|i| dimension_names(i)).collect();
    let mut declared = Vec::with_capacity(inputs.len());
    for input in inputs {
        let name = input.name.as_deref().unwrap_or_default();
        let input =
            declare(name, input.r#type.as_ref(), &names).map_err(|source| TypesError::Input {
                name: name.to_owned(),
                source,
            })?;
        declared.push(input);
    }
    let mut sizes: BTreeMap<Symbol, usize> = BTreeMap::new();
    for (name, given) in bind {
        bind_one(name, given, &mut declared, &mut sizes).map_err(|source| TypesError::Bind {
            name: name.clone(),
            source,
        })?;
    }
    let resolve = |d: Dim| match &d {
        Dim::Symbol(s) => sizes.get(s).map_or(d, |&n| Dim::Known(n)),
        Dim::Known(_) => d,
    };
    let resolve_input = |input: Declared<'_>| {
        let error = |source| TypesError::Input {
            name: input.name.to_owned(),
            source,
        };
        let shape = input.shape.ok_or_else(|| error(InputError::NoShape))?;
        let ty = TensorType::new(input.dtype, shape.0.into_iter().map(resolve).collect());
        if is_too_large(&ty) {
            Err(error(InputError::TooLarge { ty }))
        } else {
            Ok(ty)
        }
    };
    declared.into_iter().map(resolve_input).collect()
}

/// The names of dimensions that `types` leave open, in order.
pub(crate) fn open_dimensions(types: &[TensorType]) -> Vec<String> {
    let symbols = types
        .iter()
        .flat_map(|ty| &ty.shape.0)
        .filter_map(|dim| match dim {
            Dim::Symbol(symbol) => Some(symbol.as_str().to_owned()),
            Dim::Known(_) => None,
        });
    symbols.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What [`types`] refuses.
#[derive(Debug)]
pub(crate) enum TypesError {
    /// An input.
    Input { name: String, source: InputError },
    /// A binding.
    Bind { name: String, source: BindError },
}

fn dimension_names(input: &ValueInfoProto) -> impl Iterator<Item = &str> {
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let dims = tensor
        .and_then(|t| t.shape.as_ref())
        .map(|s| s.dim.as_slice());
    dims.unwrap_or_default()
        .iter()
        .filter_map(|d| d.dim_param.as_deref())
}

fn declare<'a>(
    name: &'a str,
    ty: Option<&TypeProto>,
    taken: &BTreeSet<&str>,
) -> Result<Declared<'a>, InputError> {
    let ty = ty.ok_or(InputError::NoType)?;
    let Some(tensor) = &ty.tensor_type else {
        return Err(other_type(ty));
    };
    let dtype =
        dtype_of(tensor.elem_type.unwrap_or(data_type::UNDEFINED)).map_err(InputError::Type)?;
    let named = |symbol: &str| {
        let mut symbol = symbol.to_owned();
        while taken.contains(symbol.as_str()) || symbol.starts_with('_') {
            symbol.insert_str(0, "dim");
        }
        Dim::Symbol(Symbol::new(&symbol))
    };
    let dimension = |(axis, d): (usize, &DimensionProto)| -> Result<Dim, InputError> {
        match (d.dim_value, d.dim_param.as_deref()) {
            (Some(size), _) if size >= 0 => match usize::try_from(size) {
                Ok(n) if isize::try_from(n).is_ok() => Ok(Dim::Known(n)),
                _ => Err(InputError::Dimension { axis, size }),
            },
            // Names with this start belong to inference.
            (_, Some(symbol)) if symbol.starts_with('_') => Ok(named(&format!("dim{symbol}"))),
            (_, Some(symbol)) if !symbol.is_empty() => Ok(Dim::Symbol(Symbol::new(symbol))),
            // Some exporters write -1 for a size that they don't know.
            _ => Ok(named(&format!("{name}_{axis}"))),
        }
    };
    let shape = match &tensor.shape {
        Some(s) => Some(
            s.dim
                .iter()
                .enumerate()
                .map(dimension)
                .collect::<Result<_, _>>()?,
        ),
        None => None,
    };
    Ok(Declared { name, dtype, shape })
}

fn other_type(ty: &TypeProto) -> InputError {
    let kinds = [
        ("a sequence", ty.sequence_type.is_some()),
        ("a map", ty.map_type.is_some()),
        ("a sparse tensor", ty.sparse_tensor_type.is_some()),
        ("an optional value", ty.optional_type.is_some()),
    ];
    match kinds.into_iter().find(|(_, there)| *there) {
        Some((what, _)) => InputError::NotATensor { what },
        None => InputError::NoType,
    }
}

fn bind_one(
    name: &str,
    given: &[usize],
    declared: &mut [Declared<'_>],
    sizes: &mut BTreeMap<Symbol, usize>,
) -> Result<(), BindError> {
    let mut set = |symbol: &Symbol, size: usize| match sizes.insert(symbol.clone(), size) {
        Some(first) if first != size => Err(BindError::Conflict {
            dimension: symbol.as_str().to_owned(),
            first,
            second: size,
        }),
        _ => Ok(()),
    };
    if let Some(input) = declared.iter_mut().find(|d| d.name == name) {
        let shape = input.shape.get_or_insert_with(|| Shape::known(given));
        if shape.rank() != given.len() {
            return Err(BindError::Rank {
                expected: shape.rank(),
                given: given.len(),
            });
        }
        for (axis, (dim, &given)) in shape.0.iter().zip(given).enumerate() {
            match dim {
                Dim::Known(expected) if *expected != given => {
                    return Err(BindError::Fixed {
                        axis,
                        expected: *expected,
                        given,
                    });
                }
                Dim::Known(_) => {}
                Dim::Symbol(symbol) => set(symbol, given)?,
            }
        }
        return Ok(());
    }
    let symbols: BTreeSet<Symbol> = declared
        .iter()
        .flat_map(|d| d.shape.iter().flat_map(|s| &s.0))
        .filter_map(|d| match d {
            Dim::Symbol(s) => Some(s.clone()),
            Dim::Known(_) => None,
        })
        .collect();
    let symbol = Symbol::new(name);
    if !symbols.contains(&symbol) {
        return Err(BindError::Unknown {
            inputs: declared.iter().map(|d| d.name.to_owned()).collect(),
            dimensions: symbols.iter().map(|s| s.as_str().to_owned()).collect(),
        });
    }
    match given {
        [size] => set(&symbol, *size),
        _ => Err(BindError::NotOne { n: given.len() }),
    }
}
