//! What a template may make and read while it renders.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use minijinja::{
    Error, ErrorKind, Value,
    value::{ObjectRepr, ValueKind},
};

/// Largest text, list or map a template may make, in bytes: some four million tokens, far beyond any context.
/// Operations take up to some thirty times their operand for a moment, as a list of a text's characters does.
pub(super) const MAX_VALUE_BYTES: u64 = 16 << 20;

/// Bytes of everything that a template may make: what it prints, and what it makes on the way.
pub(super) const MAX_MADE_BYTES: u64 = 256 << 20;

/// Bytes that a template may read when the conversation is short: about a second.
const MIN_READ_BYTES: u64 = 1 << 30;

/// How often a template may read the whole conversation for each message in it.
const READS_PER_MESSAGE: u64 = 16;

/// Deepest nesting of lists and maps: values are read and dropped by recursion.
const MAX_DEPTH: u32 = 128;

/// What an item of a list takes.
const ITEM_BYTES: u64 = 48;

/// What one rendering has left.
#[derive(Debug)]
pub(super) struct Budget {
    made: AtomicU64,
    read: AtomicU64,
}

impl Budget {
    /// A budget for a conversation of so many messages and bytes.
    pub(super) fn new(messages: usize, bytes: usize) -> Arc<Self> {
        let reads = READS_PER_MESSAGE.saturating_mul(messages as u64).saturating_mul(bytes as u64);
        Arc::new(Self {
            made: AtomicU64::new(MAX_MADE_BYTES),
            read: AtomicU64::new(MIN_READ_BYTES.max(reads)),
        })
    }

    /// Charges for reading a value through and through, and tells its size in bytes.
    ///
    /// # Errors
    /// When nothing is left, or the value holds a namespace or is nested too deep.
    pub(super) fn read(&self, value: &Value) -> Result<u64, Error> {
        let limit = self.read.load(Ordering::Relaxed);
        let mut size = Size { bytes: 0, limit, lazy: false };
        size.add(value, 0)?;
        spend(&self.read, size.bytes).ok_or_else(too_much_read)?;
        Ok(size.bytes)
    }

    /// Charges for a new value, with all that it holds or (`joined`) only for its own items, and gives it without
    /// anything that is computed when it is read: such values would be computed each time, and could be of any size.
    ///
    /// # Errors
    /// When nothing is left, or the value is too large or nested too deep.
    pub(super) fn made(&self, value: Value, joined: bool) -> Result<Value, Error> {
        let mut size = Size { bytes: 0, limit: MAX_VALUE_BYTES, lazy: false };
        size.add(&value, 0)?;
        let value = if size.lazy { settled(value)? } else { value };
        let own = if joined && value.kind() != ValueKind::String {
            ITEM_BYTES * value.len().unwrap_or_default() as u64
        } else {
            size.bytes
        };
        spend(&self.read, size.bytes).ok_or_else(too_much_read)?;
        self.make(own)?;
        Ok(value)
    }

    /// Charges for bytes that are about to be made.
    ///
    /// # Errors
    /// When they are more than a value may have, or than are left.
    pub(super) fn make(&self, bytes: u64) -> Result<(), Error> {
        if bytes > MAX_VALUE_BYTES {
            return Err(too_large());
        }
        spend(&self.made, bytes).ok_or_else(|| {
            error(format!("the chat template makes more than {MAX_MADE_BYTES} bytes of texts and lists"))
        })
    }
}

fn spend(left: &AtomicU64, bytes: u64) -> Option<()> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).ok().map(|_| ())
}

fn error(told: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, told)
}

fn too_large() -> Error {
    error(format!("the chat template makes a value of more than {MAX_VALUE_BYTES} bytes"))
}

fn too_much_read() -> Error {
    error("the chat template reads too much for a conversation of this length".to_owned())
}

/// A walk over a value.
struct Size {
    bytes: u64,
    limit: u64,
    /// Whether something is computed when it is read.
    lazy: bool,
}

impl Size {
    fn add(&mut self, value: &Value, depth: u32) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(error(format!("the chat template nests values deeper than {MAX_DEPTH}")));
        }
        self.bytes += ITEM_BYTES + value.as_bytes().map_or(0, <[u8]>::len) as u64;
        if self.bytes > self.limit {
            return Err(if self.limit == MAX_VALUE_BYTES { too_large() } else { too_much_read() });
        }
        if let Some(items) = value.downcast_object_ref::<Vec<Value>>() {
            return items.iter().try_for_each(|item| self.add(item, depth + 1));
        }
        let Some(object) = value.as_object() else { return Ok(()) };
        // A namespace changes after it was looked at: held by a value, it could make that one endless.
        if depth > 0 && object.type_name().ends_with("::Namespace") {
            return Err(error("the chat template puts a namespace into a value".to_owned()));
        }
        match object.repr() {
            ObjectRepr::Map => {
                for (key, item) in object.try_iter_pairs().into_iter().flatten() {
                    self.add(&key, depth + 1)?;
                    self.add(&item, depth + 1)?;
                }
            }
            ObjectRepr::Seq | ObjectRepr::Iterable => {
                self.lazy |= object.repr() == ObjectRepr::Iterable;
                for item in object.try_iter().into_iter().flatten() {
                    self.add(&item, depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A value of measured size, whose lists are lists.
fn settled(value: Value) -> Result<Value, Error> {
    let lists = [ValueKind::Seq, ValueKind::Iterable];
    if !lists.contains(&value.kind()) {
        return Ok(value);
    }
    value.try_iter()?.map(settled).collect::<Result<Vec<_>, _>>().map(Value::from)
}
