//! Memory that ONNX Runtime reads and writes in parts. The only place that hands it pointers.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::HashMap,
    ffi::CString,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
};

use ort::{
    AsPointer,
    memory::MemoryInfo,
    session::{IoBinding, Session},
    value::{DynTensor, TensorElementType},
};
use puna_core::{Error, ErrorKind, Result};

/// A tensor's memory, parts of which can be bound as tensors of their own.
///
/// It begins as zeros that nobody wrote, so that what is never used of it takes no room where the operating system
/// gives pages on first use.
pub(crate) struct Buffer {
    memory: Arc<Memory>,
    element: TensorElementType,
}

/// Memory that is kept while a binding names it, and that gives no access to itself.
struct Memory {
    /// What was allocated, and where the tensor begins in it.
    base: NonNull<u8>,
    layout: Layout,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: plain memory that belongs to no thread; who reads or writes it is for `Buffer` to say.
unsafe impl Send for Memory {}
// SAFETY: as above; a shared `Memory` gives no access.
unsafe impl Sync for Memory {}

/// What ONNX Runtime aligns its own tensors for, in bytes: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;

impl Memory {
    fn new(bytes: usize) -> Option<Self> {
        // Asking the allocator for the alignment makes it write the zeros; room to align makes it ask for pages.
        let layout = Layout::from_size_align(bytes.checked_add(ALIGNMENT)?, align_of::<u128>()).ok()?;
        // SAFETY: the size is above 0.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let offset = base.align_offset(ALIGNMENT);
        if offset > ALIGNMENT {
            // SAFETY: allocated just now with this layout, and used by nobody.
            unsafe { dealloc(base.as_ptr(), layout) };
            return None;
        }
        // SAFETY: at most `ALIGNMENT` bytes on, which the allocation has beyond the tensor.
        let start = unsafe { base.add(offset) };
        Some(Self { base, layout, start, bytes })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the last handle is gone.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

impl Buffer {
    /// Room for `shape`, row by row.
    pub(crate) fn new(element: TensorElementType, shape: &[usize]) -> Result<Self> {
        let elements = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        let memory = elements.and_then(|elements| Memory::new(element.byte_size(elements)?));
        let memory = memory.ok_or_else(|| {
            Error::new(
                ErrorKind::ResourceExhausted,
                format!("cannot allocate a tensor of shape {shape:?} and type {element}"),
            )
        })?;
        Ok(Self { memory: Arc::new(memory), element })
    }

    pub(crate) fn element(&self) -> TensorElementType {
        self.element
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `bytes` bytes, all of which are initialised; ONNX Runtime writes them only within `Binding::run`,
        // whose callers borrow the buffers mutably.
        unsafe { slice::from_raw_parts(self.memory.start.as_ptr(), self.memory.bytes) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and borrowed from no one else: this handle is not `Clone`, and the bindings that share
        // the memory give no access to it.
        unsafe { slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.memory.bytes) }
    }

    /// The values, to write them.
    pub(crate) fn int64_mut(&mut self) -> &mut [i64] {
        assert_eq!(self.element, TensorElementType::Int64, "a buffer of numbers");
        let bytes = self.bytes_mut();
        // SAFETY: any bytes are numbers.
        let (before, values, after) = unsafe { bytes.align_to_mut::<i64>() };
        assert!(before.is_empty() && after.is_empty(), "whole numbers");
        values
    }
}

/// A session's inputs and outputs, bound to parts of buffers.
pub(crate) struct Binding {
    io: IoBinding,
    /// Where buffers are: in the processor's memory.
    place: MemoryInfo<'static>,
    held: HashMap<CString, Arc<Memory>>,
}

impl Binding {
    pub(crate) fn new(session: &Session) -> Result<Self> {
        let io = session.create_binding().map_err(failed("bind the model's inputs"))?;
        Ok(Self { io, place: MemoryInfo::default(), held: HashMap::new() })
    }

    /// Binds an input to the part of a buffer of this shape that begins at an element.
    pub(crate) fn input(&mut self, name: &str, buffer: &Buffer, first: usize, shape: &[usize]) -> Result<()> {
        self.bind(name, buffer, first, shape, false)
    }

    /// Binds an output likewise.
    pub(crate) fn output(
        &mut self,
        name: &str,
        buffer: &Buffer,
        first: usize,
        shape: &[usize],
    ) -> Result<()> {
        self.bind(name, buffer, first, shape, true)
    }

    /// Runs the session once. What is bound is read and written, so the caller borrows it mutably.
    pub(crate) fn run(&mut self, session: &mut Session) -> Result<()> {
        session.run_binding(&self.io).map_err(failed("run the model"))?;
        Ok(())
    }

    fn bind(
        &mut self,
        name: &str,
        buffer: &Buffer,
        first: usize,
        shape: &[usize],
        output: bool,
    ) -> Result<()> {
        let bytes = |elements: usize| buffer.element.byte_size(elements).unwrap_or(0);
        let (offset, length) = (bytes(first), bytes(shape.iter().product()));
        assert!(offset + length <= buffer.memory.bytes, "a part of the buffer: {first} {shape:?}");
        let name = CString::new(name)
            .map_err(|error| Error::internal(format!("cannot bind `{name}`")).with_source(error))?;
        let dimensions: Vec<i64> =
            shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        let api = ort::api();
        let binding = self.io.ptr_mut();
        let mut value = ptr::null_mut();
        // SAFETY: the part lies inside the buffer's memory (asserted above), which `held` keeps alive for as long as
        // the binding names it; name and shape are read within the calls; the value is released after it is bound,
        // and the binding then holds its own reference to it.
        let bound = unsafe {
            let data = buffer.memory.start.as_ptr().wrapping_add(offset);
            ort::Error::result_from_status((api.CreateTensorWithDataAsOrtValue)(
                self.place.ptr(),
                data.cast(),
                length,
                dimensions.as_ptr(),
                dimensions.len(),
                buffer.element.into(),
                &mut value,
            ))
            .and_then(|()| {
                let bind = if output { api.BindOutput } else { api.BindInput };
                let bound = ort::Error::result_from_status(bind(binding, name.as_ptr(), value));
                (api.ReleaseValue)(value);
                bound
            })
        };
        bound.map_err(failed("bind the model's inputs"))?;
        // An output's memory and an input's of one name would be two entries: no graph has both.
        self.held.insert(name, Arc::clone(&buffer.memory));
        Ok(())
    }
}

/// The bytes of a tensor of numbers.
pub(crate) fn bytes(tensor: &DynTensor) -> &[u8] {
    let bytes = size(tensor);
    if bytes == 0 {
        return &[];
    }
    // SAFETY: the tensor's memory holds `bytes` bytes, borrowed for as long as the tensor is.
    unsafe { slice::from_raw_parts(tensor.data_ptr().cast(), bytes) }
}

/// The bytes of a tensor of numbers, to write them.
pub(crate) fn bytes_mut(tensor: &mut DynTensor) -> &mut [u8] {
    let bytes = size(tensor);
    if bytes == 0 {
        return &mut [];
    }
    // SAFETY: the tensor's memory holds `bytes` bytes, borrowed mutably for as long as the tensor is.
    unsafe { slice::from_raw_parts_mut(tensor.data_ptr_mut().cast(), bytes) }
}

fn size(tensor: &DynTensor) -> usize {
    tensor.data_type().byte_size(tensor.shape().num_elements()).unwrap_or(0)
}

pub(crate) fn failed(what: &'static str) -> impl Fn(ort::Error) -> Error {
    move |error| Error::internal(format!("cannot {what}: {}", error.message()))
}
