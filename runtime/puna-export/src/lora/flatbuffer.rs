//! ONNX Runtime's file of an adapter: a FlatBuffer of named tensors (`adapter_schema.fbs`), written front to back.

use crate::onnx::Type;

/// What such a file has behind its first offset.
const IDENTIFIER: &[u8; 4] = b"TORT";

/// The version of the form, of the adapter and of the model: ONNX Runtime checks the first.
const VERSIONS: [u32; 3] = [1, 1, 1];

/// Largest file: offsets are signed 32-bit numbers in some readers.
pub(super) const MAX_BYTES: u64 = (1 << 31) - 1;

/// Fields of a table of four, each of four bytes behind the offset to this table of places.
const FIELDS: [u16; 6] = [12, 20, 4, 8, 12, 16];

/// A tensor by its name.
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) dims: [usize; 2],
    pub(super) element: Type,
    /// Row-major, little-endian.
    pub(super) data: Vec<u8>,
}

/// The file's bytes. The caller keeps within [`MAX_BYTES`].
pub(super) fn write(parameters: &[Parameter]) -> Vec<u8> {
    let mut out = Out::default();
    // The place of the root table, which follows its fields' places and a gap that keeps numbers aligned.
    out.number(8 + 12);
    out.bytes(IDENTIFIER);
    let fields = out.fields();
    out.table(fields);
    VERSIONS.iter().for_each(|version| out.number(*version));
    let list = out.promise();
    let fields = out.fields();
    out.keep(list);
    out.number(number(parameters.len()));
    let places: Vec<usize> = parameters.iter().map(|_| out.promise()).collect();
    for (parameter, place) in parameters.iter().zip(places) {
        out.keep(place);
        out.table(fields);
        let (name, dims) = (out.promise(), out.promise());
        out.number(parameter.element as u32);
        let data = out.promise();
        out.keep(name);
        out.number(number(parameter.name.len()));
        out.bytes(parameter.name.as_bytes());
        out.bytes(&[0]);
        // The numbers behind a length are aligned for eight bytes.
        out.align(4);
        out.keep(dims);
        out.number(2);
        parameter.dims.iter().for_each(|size| out.bytes(&(*size as u64).to_le_bytes()));
        out.align(4);
        out.keep(data);
        out.number(number(parameter.data.len()));
        out.bytes(&parameter.data);
        out.align(0);
    }
    out.0
}

#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// Zeros up to a place that leaves this rest when divided by eight.
    fn align(&mut self, rest: usize) {
        while self.0.len() % 8 != rest {
            self.0.push(0);
        }
    }

    /// The places of a table's fields; gives where they are.
    fn fields(&mut self) -> usize {
        let at = self.0.len();
        FIELDS.iter().for_each(|field| self.bytes(&field.to_le_bytes()));
        at
    }

    /// Begins a table whose fields' places are there.
    fn table(&mut self, fields: usize) {
        let back = number(self.0.len() - fields);
        self.number(back);
    }

    /// Room for the offset of what comes later.
    fn promise(&mut self) -> usize {
        self.number(0);
        self.0.len() - 4
    }

    /// What was promised begins here.
    fn keep(&mut self, promise: usize) {
        let distance = number(self.0.len() - promise);
        self.0[promise..promise + 4].copy_from_slice(&distance.to_le_bytes());
    }
}

/// The caller bounds what is written.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
