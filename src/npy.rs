//! NumPy's file format for one array, `.npy`, versions 1 to 3
//! (numpy.org/doc/stable/reference/generated/numpy.lib.format.html).

use bytes::Bytes;
use ir::{DType, Tensor};
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

/// How every file starts.
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longer headers are refused: NumPy itself writes hundreds of bytes.
const MOST_HEADER: usize = 1 << 16;

/// More dimensions are refused; NumPy has at most 64.
const MOST_DIMS: usize = 64;

/// Why a file is no array that can be used.
#[derive(Debug)]
pub enum NpyError {
    /// The system refused.
    Io(io::Error),
    /// It starts with something else.
    NotNpy,
    /// The version of the format is not known.
    Version(u8, u8),
    /// The header makes no sense.
    Header(String),
    /// The type of the elements is none that `dlirc` has.
    DType(String),
    /// There are fewer or more bytes of elements than type and shape take.
    Length {
        /// Bytes that type and shape take; `None` if their number overflows.
        expected: Option<usize>,
        /// Bytes that there are.
        found: usize,
    },
}

impl fmt::Display for NpyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::NotNpy => f.write_str("it is no .npy file"),
            Self::Version(major, minor) => {
                write!(f, "version {major}.{minor} of the format is not known")
            }
            Self::Header(why) => write!(f, "its header makes no sense: {why}"),
            Self::DType(descr) => write!(f, "elements of type {descr} are not supported"),
            Self::Length {
                expected: Some(expected),
                found,
            } => {
                write!(
                    f,
                    "type and shape take {expected} bytes, and there are {found}"
                )
            }
            Self::Length { expected: None, .. } => f.write_str("its shape is too large"),
        }
    }
}

impl std::error::Error for NpyError {}

impl From<io::Error> for NpyError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// The array in the file at `path`, row-major and little-endian whatever the file's order is.
///
/// # Errors
/// When the file can't be read, is damaged, or holds elements that `dlirc` doesn't have.
pub fn read(path: &Path) -> Result<Tensor, NpyError> {
    let mut file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(NpyError::Io(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        )));
    }
    let mut bytes = vec![];
    file.read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// The array that `bytes`, a whole file, hold; see [`read`].
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(NpyError::NotNpy)?;
    let cut_off = || NpyError::Header("the file ends within it".into());
    let [major, minor, ..] = rest else {
        return Err(cut_off());
    };
    let rest = &rest[2..];
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(cut_off)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return Err(NpyError::Version(*major, *minor)),
    };
    if length > MOST_HEADER {
        return Err(NpyError::Header(format!("it is {length} bytes long")));
    }
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut_off)?;
    let header =
        std::str::from_utf8(header).map_err(|_| NpyError::Header("it is no text".into()))?;
    let header = Header::parse(header)?;
    let (dtype, is_big) = element(&header.descr)?;
    let expected = header
        .shape
        .iter()
        .try_fold(dtype.size(), |n, &d| n.checked_mul(d));
    if expected != Some(data.len()) {
        return Err(NpyError::Length {
            expected,
            found: data.len(),
        });
    }
    let mut data = data.to_vec();
    if is_big {
        // The two parts of a complex number are swapped one by one.
        let part = if matches!(dtype, DType::C64 | DType::C128) {
            dtype.size() / 2
        } else {
            dtype.size()
        };
        data.chunks_exact_mut(part).for_each(<[u8]>::reverse);
    }
    if header.fortran {
        data = row_major(&data, &header.shape, dtype.size());
    }
    if dtype == DType::Bool {
        data.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    Tensor::new(dtype, &header.shape, Bytes::from(data)).map_err(|e| NpyError::Length {
        expected: e.expected,
        found: e.given,
    })
}

/// The elements of an array of `shape` in which the first index runs fastest, with the last running
/// fastest.
fn row_major(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &d in shape {
        strides.push(stride);
        stride *= d;
    }
    let mut out = Vec::with_capacity(data.len());
    for at in ir::eval::offsets(shape, &strides) {
        out.extend_from_slice(&data[at * size..][..size]);
    }
    out
}

/// The type that NumPy writes as `descr`, and whether its bytes are big-endian.
fn element(descr: &str) -> Result<(DType, bool), NpyError> {
    let refused = || NpyError::DType(format!("{descr:?}"));
    let mut chars = descr.chars();
    let order = chars.next().ok_or_else(refused)?;
    if !matches!(order, '<' | '>' | '|' | '=') {
        return Err(refused());
    }
    let dtype = match chars.as_str() {
        "b1" => DType::Bool,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "c8" => DType::C64,
        "c16" => DType::C128,
        // NumPy has no bfloat16; extensions that have one write two bytes without a meaning.
        "V2" => DType::BF16,
        _ => return Err(refused()),
    };
    Ok((dtype, order == '>'))
}

/// What NumPy calls `dtype`.
fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::BF16 => "<V2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::C64 => "<c8",
        DType::C128 => "<c16",
    }
}

/// Writes `tensor` as a file of version 1.
///
/// # Errors
/// Those of `out`.
pub fn write(tensor: &Tensor, out: &mut impl Write) -> io::Result<()> {
    let dims: Vec<String> = tensor.dims().iter().map(ToString::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut header = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        descr(tensor.dtype()),
        dims.join(", ")
    );
    // Magic, version, length and header together fill multiples of 64 bytes.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(
        ' ',
        unpadded.next_multiple_of(64) - unpadded,
    ));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(io::Error::other)?;
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    out.write_all(tensor.bytes())
}

/// What a header says: a Python dictionary of these three keys.
struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, NpyError> {
        let mut reader = Reader(text.trim_matches([' ', '\n', '\0']));
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        reader.expect('{')?;
        while !reader.takes('}') {
            let key = reader.string()?;
            reader.expect(':')?;
            match key.as_str() {
                "descr" => descr = Some(reader.descr()?),
                "fortran_order" => fortran = Some(reader.bool()?),
                "shape" => shape = Some(reader.tuple()?),
                _ => return Err(NpyError::Header(format!("it has the key {key:?}"))),
            }
            if !reader.takes(',') {
                reader.expect('}')?;
                break;
            }
        }
        if !reader.0.is_empty() {
            return Err(NpyError::Header(format!(
                "it goes on with {:?}",
                reader.start()
            )));
        }
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) => Ok(Self {
                descr,
                fortran,
                shape,
            }),
            _ => Err(NpyError::Header(
                "descr, fortran_order or shape is missing".into(),
            )),
        }
    }
}

/// Reads the few forms of Python literals that headers are made of.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn takes(&mut self, c: char) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(c) {
            Some(rest) => {
                self.0 = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), NpyError> {
        if self.takes(c) {
            return Ok(());
        }
        Err(NpyError::Header(format!(
            "expected {c:?} before {:?}",
            self.start()
        )))
    }

    fn start(&self) -> String {
        self.0.chars().take(20).collect()
    }

    fn string(&mut self) -> Result<String, NpyError> {
        let quote = if self.0.starts_with('"') { '"' } else { '\'' };
        self.0 = self.0.trim_start();
        self.0 = self.0.strip_prefix(quote).ok_or_else(|| {
            NpyError::Header(format!("expected a string before {:?}", self.start()))
        })?;
        let (text, rest) = self
            .0
            .split_once(quote)
            .ok_or_else(|| NpyError::Header("a string does not end".into()))?;
        self.0 = rest;
        Ok(text.to_string())
    }

    /// A type: text; lists are types of several fields.
    fn descr(&mut self) -> Result<String, NpyError> {
        if self.0.starts_with('[') {
            return Err(NpyError::DType("several fields".into()));
        }
        self.string()
    }

    fn bool(&mut self) -> Result<bool, NpyError> {
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err(NpyError::Header(format!(
            "expected True or False before {:?}",
            self.start()
        )))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, NpyError> {
        self.expect('(')?;
        let mut dims = vec![];
        while !self.takes(')') {
            let n_digits = self
                .0
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(self.0.len());
            let (digits, rest) = self.0.split_at(n_digits);
            let dim = digits.parse().map_err(|_| {
                NpyError::Header(format!("expected a size before {:?}", self.start()))
            })?;
            // Python 2 wrote long integers with this letter.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            dims.push(dim);
            if dims.len() > MOST_DIMS {
                return Err(NpyError::Header(format!(
                    "the shape has more than {MOST_DIMS} dimensions"
                )));
            }
            if !self.takes(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(major: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([major, 0]);
        match major {
            1 => out.extend((header.len() as u16).to_le_bytes()),
            _ => out.extend((header.len() as u32).to_le_bytes()),
        }
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    #[test]
    fn every_type_survives() {
        for dtype in DType::ALL {
            for dims in [&[][..], &[3], &[2, 0, 4], &[2, 3]] {
                let n = dims.iter().product::<usize>() * dtype.size();
                let data: Vec<u8> = (0..n)
                    .map(|i| if dtype == DType::Bool { i % 2 } else { i } as u8)
                    .collect();
                let tensor = Tensor::new(dtype, dims, data.into()).unwrap();
                let mut out = vec![];
                write(&tensor, &mut out).unwrap();
                assert_eq!((out.len() - n) % 64, 0);
                assert_eq!(parse(&out).unwrap(), tensor);
            }
        }
    }

    #[test]
    fn other_orders_are_brought_to_ours() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
        let data: Vec<u8> = (0..6u16).flat_map(u16::to_be_bytes).collect();
        for major in [1, 2, 3] {
            let tensor = parse(&file(major, header, &data)).unwrap();
            assert_eq!(
                tensor,
                Tensor::from_slice::<i16>(&[2, 3], &[0, 2, 4, 1, 3, 5])
            );
        }
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let refused = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        let header = |text: &str| refused(&file(1, text, &[0; 24]));
        assert_eq!(refused(b"PK\x03\x04"), "it is no .npy file");
        assert_eq!(
            refused(b"\x93NUMPY\x09\x00"),
            "version 9.0 of the format is not known"
        );
        assert!(refused(b"\x93NUMPY\x01\x00\xff").contains("ends within it"));
        assert!(refused(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f").contains("bytes long"));
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        assert!(parse(&file(1, good, &[0; 24])).is_ok());
        assert!(refused(&file(1, good, &[0; 23])).contains("there are 23"));
        assert!(refused(&file(1, good, &[0; 25])).contains("there are 25"));
        assert!(
            header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }").contains("\"|O\"")
        );
        assert!(
            header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}")
                .contains("fields")
        );
        assert!(
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }").contains("size")
        );
        assert!(header("{'descr': '<f4', 'shape': (2, 3), }").contains("missing"));
        assert!(
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x")
                .contains("goes on")
        );
        let huge = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 9999999), }}",
            usize::MAX
        );
        assert!(header(&huge).contains("too large"));
        for n in 0..good.len() {
            assert!(parse(&file(1, &good[..n], &[0; 24])).is_err());
        }
    }
}
