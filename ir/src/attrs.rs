//! Attributes of operators, and the one codec by which ONNX import and the text form read them.

use crate::DType;
use std::collections::BTreeMap;
use std::fmt;

/// The value of an attribute.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Attr {
    Int(i64),
    Float(f32),
    Str(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strs(Vec<String>),
    Type(DType),
}

/// Attributes by name.
pub type Attrs = BTreeMap<String, Attr>;

/// Why attributes do not make an operator.
#[derive(Clone, PartialEq, Debug)]
pub enum AttrError {
    /// A required attribute is not there.
    Missing(&'static str),
    /// An attribute has a value of the wrong kind, or one that is not allowed.
    Invalid {
        /// The attribute.
        name: &'static str,
        /// What is allowed.
        expected: &'static str,
    },
    /// Attributes that the operator does not have.
    Unknown(Vec<String>),
}

impl fmt::Display for AttrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttrError::Missing(name) => write!(f, "attribute `{name}` is missing"),
            AttrError::Invalid { name, expected } => {
                write!(f, "attribute `{name}` must be {expected}")
            }
            AttrError::Unknown(names) => write!(f, "unknown attributes: {}", names.join(", ")),
        }
    }
}

impl std::error::Error for AttrError {}

/// A Rust type that an attribute can be read into.
pub trait AttrField: Sized + PartialEq {
    /// What [`from_attr`](Self::from_attr) accepts, for messages.
    const EXPECTED: &'static str;
    /// Reads the attribute; `None` if the value is not one of this type's.
    fn from_attr(attr: &Attr) -> Option<Self>;
    /// The attribute to write; `None` writes nothing.
    fn to_attr(&self) -> Option<Attr>;
}

macro_rules! plain_fields {
    ($($ty:ty, $variant:ident, $expected:literal;)*) => {$(
        impl AttrField for $ty {
            const EXPECTED: &'static str = $expected;
            fn from_attr(attr: &Attr) -> Option<Self> {
                match attr {
                    Attr::$variant(v) => Some(v.clone()),
                    _ => None,
                }
            }
            fn to_attr(&self) -> Option<Attr> {
                Some(Attr::$variant(self.clone()))
            }
        }
    )*};
}
plain_fields! {
    i64, Int, "an integer";
    f32, Float, "a number";
    String, Str, "a string";
    Vec<i64>, Ints, "a list of integers";
    Vec<f32>, Floats, "a list of numbers";
    Vec<String>, Strs, "a list of strings";
    DType, Type, "an element type";
}

impl AttrField for bool {
    const EXPECTED: &'static str = "0 or 1";
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Int(v) => Some(*v != 0),
            _ => None,
        }
    }
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Int(i64::from(*self)))
    }
}

impl<T: AttrField> AttrField for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn from_attr(attr: &Attr) -> Option<Self> {
        T::from_attr(attr).map(Some)
    }
    fn to_attr(&self) -> Option<Attr> {
        self.as_ref()?.to_attr()
    }
}

/// Declares an enum whose variants an attribute names by a string.
#[macro_export]
macro_rules! attr_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)*
        }

        impl $crate::attrs::AttrField for $name {
            const EXPECTED: &'static str = concat!("one of", $(" `", $text, "`"),*);
            fn from_attr(attr: &$crate::attrs::Attr) -> Option<Self> {
                match attr {
                    $crate::attrs::Attr::Str(s) => match s.as_str() {
                        $($text => Some($name::$variant),)*
                        _ => None,
                    },
                    _ => None,
                }
            }
            fn to_attr(&self) -> Option<$crate::attrs::Attr> {
                Some($crate::attrs::Attr::Str(match self {
                    $($name::$variant => $text,)*
                }.to_string()))
            }
        }
    };
}

/// Declares an operator's attributes: a struct, and its side of the codec.
///
/// `field: Type = default` may be left out and is not written when it has its default;
/// `field: Type` is required.
#[macro_export]
macro_rules! attributes {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident : $ty:ty $(= $default:expr)?),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }

        impl $name {
            /// Reads the attributes; every one must be known.
            pub fn read_attrs(attrs: &$crate::attrs::Attrs) -> Result<Self, $crate::attrs::AttrError> {
                let known: &[&str] = &[$(stringify!($field)),*];
                let unknown: Vec<String> =
                    attrs.keys().filter(|k| !known.contains(&k.as_str())).cloned().collect();
                if !unknown.is_empty() {
                    return Err($crate::attrs::AttrError::Unknown(unknown));
                }
                Ok(Self { $($field: $crate::attributes!(@read attrs, $field, $ty $(, $default)?),)* })
            }

            /// The attributes that differ from their defaults.
            pub fn write_attrs(&self) -> $crate::attrs::Attrs {
                #[allow(unused_mut, reason = "operators without attributes write none")]
                let mut attrs = $crate::attrs::Attrs::new();
                $($crate::attributes!(@write self, attrs, $field, $ty $(, $default)?);)*
                attrs
            }
        }
    };
    (@read $attrs:ident, $field:ident, $ty:ty $(, $default:expr)?) => {
        match $attrs.get(stringify!($field)) {
            Some(attr) => <$ty as $crate::attrs::AttrField>::from_attr(attr).ok_or(
                $crate::attrs::AttrError::Invalid {
                    name: stringify!($field),
                    expected: <$ty as $crate::attrs::AttrField>::EXPECTED,
                },
            )?,
            None => $crate::attributes!(@absent $field, $ty $(, $default)?),
        }
    };
    (@absent $field:ident, $ty:ty, $default:expr) => { $default };
    (@absent $field:ident, $ty:ty) => {
        return Err($crate::attrs::AttrError::Missing(stringify!($field)))
    };
    (@write $self:ident, $attrs:ident, $field:ident, $ty:ty, $default:expr) => {
        let default: $ty = $default;
        if $self.$field != default {
            $crate::attributes!(@write $self, $attrs, $field, $ty);
        }
    };
    (@write $self:ident, $attrs:ident, $field:ident, $ty:ty) => {
        if let Some(attr) = $crate::attrs::AttrField::to_attr(&$self.$field) {
            $attrs.insert(stringify!($field).to_string(), attr);
        }
    };
}

/// Implements the two attribute methods of [`Operator`](crate::Operator) by the methods that `attributes!` made.
macro_rules! attrs_by_macro {
    () => {
        fn read(attrs: &$crate::attrs::Attrs) -> Result<Self, $crate::attrs::AttrError> {
            Self::read_attrs(attrs)
        }
        fn write(&self) -> $crate::attrs::Attrs {
            self.write_attrs()
        }
    };
}
pub(crate) use attrs_by_macro;
