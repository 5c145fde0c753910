use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

/// Largest header of a file of tensors, in bytes: three hundred times that of a model of 126 layers in one file.
pub(super) const MAX_HEADER_BYTES: u64 = 32 << 20;

/// Most dimensions of a tensor: a decoder's have two.
const MAX_DIMENSIONS: usize = 8;

/// Most tensors of a checkpoint: ten times those of the deepest published model.
pub(super) const MAX_TENSORS: usize = 1 << 16;

/// The types of a checkpoint's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    F32,
    F16,
    Bf16,
}

impl Float {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// None for a type that no weight has; it is an error only when the tensor is wanted.
    pub(super) float: Option<Float>,
    pub(super) type_name: String,
    pub(super) shape: Vec<usize>,
    /// From the start of the file.
    pub(super) offset: u64,
    pub(super) elements: u64,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// What a header says of each name. JSON may say a name twice, and readers differ in which they believe.
struct Header(BTreeMap<String, serde_json::Value>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
            if header.len() > MAX_TENSORS {
                return Err(A::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
            }
            if let Some(twice) = header.insert(name.clone(), value).map(|_| name) {
                let shown: String = twice.chars().take(60).collect();
                return Err(A::Error::custom(format_args!("`{shown}` is there twice")));
            }
        }
        Ok(Header(header))
    }
}

/// Reads a header, the JSON behind the first eight bytes, of a file of so many bytes. Every tensor is inside the
/// file, its bytes are as many as its type and shape say, and no two overlap: the format wants them to follow each
/// other without a hole.
///
/// # Errors
/// What is wrong, for the file's name to be put before it.
pub(super) fn parse(json: &[u8], file_bytes: u64) -> Result<BTreeMap<String, Placed>, String> {
    let Header(mut header) = serde_json::from_slice(json)
        .map_err(|error| format!("has a header that is not JSON of tensors: {error}"))?;
    header.remove("__metadata__");
    let begin = 8 + json.len() as u64;
    let data_bytes = file_bytes.saturating_sub(begin);
    let mut tensors = BTreeMap::new();
    let mut spans = Vec::with_capacity(header.len());
    for (name, value) in header {
        let entry: Entry = serde_json::from_value(value)
            .map_err(|error| format!("has a header whose `{name}` is not a tensor: {error}"))?;
        let (start, end) = entry.data_offsets;
        if start > end || end > data_bytes {
            return Err(format!(
                "places `{name}` at bytes {start} to {end} of {data_bytes}; the file is cut or its header lies"
            ));
        }
        if entry.shape.len() > MAX_DIMENSIONS {
            return Err(format!(
                "gives `{name}` {} dimensions, more than {MAX_DIMENSIONS}",
                entry.shape.len()
            ));
        }
        let elements = entry.shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
        let float = match &*entry.dtype {
            "F32" => Some(Float::F32),
            "F16" => Some(Float::F16),
            "BF16" => Some(Float::Bf16),
            _ => None,
        };
        let wanted =
            float.map(|float| elements.and_then(|elements| elements.checked_mul(float.bytes() as u64)));
        let fits = elements.is_some() && wanted.is_none_or(|wanted| wanted == Some(end - start));
        let shape: Option<Vec<usize>> = entry.shape.iter().map(|size| usize::try_from(*size).ok()).collect();
        let (Some(shape), Some(elements), true) = (shape, elements, fits) else {
            return Err(format!(
                "gives `{name}` {} bytes for the shape {:?} of {}; they do not match",
                end - start,
                entry.shape,
                entry.dtype
            ));
        };
        spans.push((start, end, name.clone()));
        let offset = begin + start;
        tensors.insert(name, Placed { float, type_name: entry.dtype, shape, offset, elements });
    }
    spans.sort_unstable();
    let mut covered = 0;
    for (start, end, name) in spans {
        if start < covered {
            return Err(format!("places `{name}` at byte {start}, inside the tensor before it"));
        }
        if start > covered {
            return Err(format!("leaves a hole of {} bytes before `{name}`", start - covered));
        }
        covered = end;
    }
    if covered != data_bytes {
        return Err(format!("has {} bytes that belong to no tensor", data_bytes - covered));
    }
    Ok(tensors)
}
