//! Memory that ONNX Runtime reads and writes in parts. The only place that hands it pointers.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::HashMap,
    ffi::CString,
    ptr::{self, NonNull},
    slice,
    sync::{Arc, Mutex, PoisonError},
};

use ort::{
    AsPointer,
    memory::{Allocator, MemoryInfo},
    session::{IoBinding, Session},
    value::{Tensor, TensorElementType},
};
use puna_core::{Error, ErrorKind, Result};

/// Where a graph's tensors are.
#[derive(Clone)]
pub(crate) enum Place {
    /// In the processor's memory.
    Host,
    /// In a device's, which only ONNX Runtime reads and writes.
    Device(Arc<DeviceMemory>),
}

/// A device's memory, as a session allocates it.
pub(crate) struct DeviceMemory {
    allocator: Mutex<Allocator>,
    info: MemoryInfo<'static>,
    /// A session of [`COPY_GRAPH`] on the device: ONNX Runtime copies between places what is bound in one and used in
    /// another.
    copier: Mutex<Session>,
}

/// A graph that gives the bytes `to` that it takes as `from`: one `Identity` node.
pub(crate) const COPY_GRAPH: &[u8] = b"\x08\x08:L\x0a\x14\x0a\x04from\x12\x02to\x22\x08Identity\x12\x04copy\
    Z\x17\x0a\x04from\x12\x0f\x0a\x0d\x08\x02\x12\x09\x0a\x07\x12\x05bytes\
    b\x15\x0a\x02to\x12\x0f\x0a\x0d\x08\x02\x12\x09\x0a\x07\x12\x05bytesB\x04\x0a\x00\x10\x0d";

impl DeviceMemory {
    /// Copies bytes between two memories, or within one, whose parts do not overlap. The caller has the target's buffer
    /// to itself.
    fn copy(
        &self,
        from: &Arc<Memory>,
        start: usize,
        to: &Arc<Memory>,
        at: usize,
        bytes: usize,
    ) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // A run that panicked left a session that can run again.
        let mut copier = self.copier.lock().unwrap_or_else(PoisonError::into_inner);
        let mut binding = Binding::new(&copier)?;
        let part = |offset| Part { element: TensorElementType::Uint8, offset, shape: vec![bytes] };
        binding.bind("from", from, &part(start), false)?;
        binding.bind("to", to, &part(at), true)?;
        binding.run(&mut copier)
    }
}

impl Place {
    /// The memory that a session of [`COPY_GRAPH`] allocates on its device.
    pub(crate) fn device(copier: Session, info: MemoryInfo<'static>) -> Result<Self> {
        let allocator =
            Allocator::new(&copier, info.clone()).map_err(failed("allocate the device's memory"))?;
        let (allocator, copier) = (Mutex::new(allocator), Mutex::new(copier));
        Ok(Self::Device(Arc::new(DeviceMemory { allocator, info, copier })))
    }

    pub(crate) fn is_device(&self) -> bool {
        matches!(self, Self::Device(_))
    }

    fn info(&self) -> MemoryInfo<'static> {
        match self {
            Self::Host => MemoryInfo::default(),
            Self::Device(device) => device.info.clone(),
        }
    }
}

/// A tensor's memory, parts of which can be bound as tensors of their own.
///
/// It begins as zeros. On the host nobody wrote them, so that what is never used takes no room where the operating
/// system gives pages on first use.
pub(crate) struct Buffer {
    memory: Arc<Memory>,
    element: TensorElementType,
}

/// Memory that is kept while a binding names it, and that gives no access to itself.
struct Memory {
    owner: Owner,
    place: Place,
    start: NonNull<u8>,
    bytes: usize,
}

/// What was allocated, to give it back.
enum Owner {
    Host {
        base: NonNull<u8>,
        layout: Layout,
    },
    /// It frees itself.
    Device(#[expect(dead_code, reason = "held for its memory")] Tensor<u8>),
}

// SAFETY: plain memory that belongs to no thread; who reads or writes it is for `Buffer` to say.
unsafe impl Send for Memory {}
// SAFETY: as above; a shared `Memory` gives no access.
unsafe impl Sync for Memory {}

/// What ONNX Runtime aligns its own tensors for, in bytes: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;

impl Memory {
    fn host(bytes: usize) -> Option<Self> {
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
        Some(Self { owner: Owner::Host { base, layout }, place: Place::Host, start, bytes })
    }

    fn device(device: &Arc<DeviceMemory>, bytes: usize) -> Option<Self> {
        let allocator = device.allocator.lock().unwrap_or_else(PoisonError::into_inner);
        // No tensor is empty, so that every one has an address.
        let mut tensor = Tensor::<u8>::new(&allocator, [bytes.max(1)]).ok()?;
        let start = NonNull::new(tensor.data_ptr_mut().cast())?;
        Some(Self { owner: Owner::Device(tensor), place: Place::Device(Arc::clone(device)), start, bytes })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Owner::Host { base, layout } = &self.owner {
            // SAFETY: allocated with this layout; the last handle is gone.
            unsafe { dealloc(base.as_ptr(), *layout) };
        }
    }
}

impl Buffer {
    /// Room on the host for `shape`, row by row.
    pub(crate) fn new(element: TensorElementType, shape: &[usize]) -> Result<Self> {
        Self::at(&Place::Host, element, shape)
    }

    /// Room in a place for `shape`, row by row.
    pub(crate) fn at(place: &Place, element: TensorElementType, shape: &[usize]) -> Result<Self> {
        let elements = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        let memory = elements.and_then(|elements| {
            let bytes = element.byte_size(elements)?;
            match place {
                Place::Host => Memory::host(bytes),
                Place::Device(device) => Memory::device(device, bytes),
            }
        });
        let memory = memory.ok_or_else(|| {
            Error::new(
                ErrorKind::ResourceExhausted,
                format!("cannot allocate a tensor of shape {shape:?} and type {element}"),
            )
        })?;
        let mut buffer = Self { memory: Arc::new(memory), element };
        if place.is_device() {
            // What was never written is multiplied by 0, and must be a number.
            let bytes = buffer.memory.bytes;
            let zeros = Self::new(TensorElementType::Uint8, &[bytes])?;
            buffer.copy_from(0, &zeros, 0, bytes)?;
        }
        Ok(buffer)
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.memory.bytes
    }

    /// Copies bytes from another buffer, which may be in another place.
    pub(crate) fn copy_from(&mut self, at: usize, from: &Self, start: usize, bytes: usize) -> Result<()> {
        assert!(at + bytes <= self.size() && start + bytes <= from.size(), "parts of the buffers");
        match (&from.memory.place, &self.memory.place) {
            (Place::Host, Place::Host) => {
                self.bytes_mut()[at..at + bytes].copy_from_slice(&from.bytes()[start..start + bytes]);
                Ok(())
            }
            (Place::Device(device), _) | (_, Place::Device(device)) => {
                device.copy(&from.memory, start, &self.memory, at, bytes)
            }
        }
    }

    /// Copies bytes to another place in the same buffer. The parts do not overlap.
    pub(crate) fn copy_within(&mut self, start: usize, at: usize, bytes: usize) -> Result<()> {
        assert!(start.max(at) + bytes <= self.size() && start.abs_diff(at) >= bytes, "parts of the buffer");
        match &self.memory.place {
            Place::Host => {
                self.bytes_mut().copy_within(start..start + bytes, at);
                Ok(())
            }
            Place::Device(device) => device.copy(&self.memory, start, &self.memory, at, bytes),
        }
    }

    /// Adds bytes to `out`.
    pub(crate) fn read(&self, start: usize, bytes: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.on_host() {
            out.extend_from_slice(&self.bytes()[start..start + bytes]);
            return Ok(());
        }
        let mut copy = Self::new(TensorElementType::Uint8, &[bytes])?;
        copy.copy_from(0, self, start, bytes)?;
        out.extend_from_slice(copy.bytes());
        Ok(())
    }

    /// Writes bytes.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        if self.on_host() {
            self.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        let mut copy = Self::new(TensorElementType::Uint8, &[bytes.len()])?;
        copy.bytes_mut().copy_from_slice(bytes);
        self.copy_from(at, &copy, 0, bytes.len())
    }

    fn part(&self, first: usize, shape: &[usize]) -> Part {
        let offset = self.element.byte_size(first).unwrap_or(usize::MAX);
        Part { element: self.element, offset, shape: shape.to_vec() }
    }

    fn on_host(&self) -> bool {
        !self.memory.place.is_device()
    }

    pub(crate) fn element(&self) -> TensorElementType {
        self.element
    }

    /// The bytes, of a buffer on the host.
    pub(crate) fn bytes(&self) -> &[u8] {
        assert!(self.on_host(), "memory that the processor reads");
        // SAFETY: `bytes` bytes, all of which are initialised; ONNX Runtime writes them only within `Binding::run`,
        // whose callers borrow the buffers mutably.
        unsafe { slice::from_raw_parts(self.memory.start.as_ptr(), self.memory.bytes) }
    }

    /// The bytes, of a buffer on the host, to write them.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.on_host(), "memory that the processor writes");
        // SAFETY: as in `bytes`, and borrowed from no one else: this handle is not `Clone`, and the bindings that share
        // the memory give no access to it.
        unsafe { slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.memory.bytes) }
    }

    /// The values of a buffer of 32-bit floats.
    pub(crate) fn floats(&self) -> &[f32] {
        assert_eq!(self.element, TensorElementType::Float32, "a buffer of floats");
        // SAFETY: any bytes are floats.
        let (before, values, after) = unsafe { self.bytes().align_to::<f32>() };
        assert!(before.is_empty() && after.is_empty(), "whole floats");
        values
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

/// A part of a memory, as a tensor.
#[derive(Debug)]
struct Part {
    element: TensorElementType,
    /// Where it begins, in bytes.
    offset: usize,
    shape: Vec<usize>,
}

/// A session's inputs and outputs, bound to parts of buffers.
pub(crate) struct Binding {
    io: IoBinding,
    held: HashMap<CString, Arc<Memory>>,
}

impl Binding {
    pub(crate) fn new(session: &Session) -> Result<Self> {
        let io = session.create_binding().map_err(failed("bind the model's inputs"))?;
        Ok(Self { io, held: HashMap::new() })
    }

    /// Binds an input to the part of a buffer of this shape that begins at an element.
    pub(crate) fn input(&mut self, name: &str, buffer: &Buffer, first: usize, shape: &[usize]) -> Result<()> {
        self.bind(name, &buffer.memory, &buffer.part(first, shape), false)
    }

    /// Binds an output likewise.
    pub(crate) fn output(
        &mut self,
        name: &str,
        buffer: &Buffer,
        first: usize,
        shape: &[usize],
    ) -> Result<()> {
        self.bind(name, &buffer.memory, &buffer.part(first, shape), true)
    }

    /// Runs the session once. What is bound is read and written, so the caller borrows it mutably.
    pub(crate) fn run(&mut self, session: &mut Session) -> Result<()> {
        session.run_binding(&self.io).map_err(failed("run the model"))?;
        Ok(())
    }

    fn bind(&mut self, name: &str, memory: &Arc<Memory>, part: &Part, output: bool) -> Result<()> {
        let length = part.element.byte_size(part.shape.iter().product()).unwrap_or(usize::MAX);
        assert!(part.offset.saturating_add(length) <= memory.bytes, "a part of the memory: {part:?}");
        let name = CString::new(name)
            .map_err(|error| Error::internal(format!("cannot bind `{name}`")).with_source(error))?;
        let dimensions: Vec<i64> =
            part.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        let api = ort::api();
        let binding = self.io.ptr_mut();
        let info = memory.place.info();
        let mut value = ptr::null_mut();
        // SAFETY: the part lies inside the memory (asserted above), which `held` keeps alive for as long as
        // the binding names it; name and shape are read within the calls; the value is released after it is bound,
        // and the binding then holds its own reference to it.
        let bound = unsafe {
            let data = memory.start.as_ptr().wrapping_add(part.offset);
            ort::Error::result_from_status((api.CreateTensorWithDataAsOrtValue)(
                info.ptr(),
                data.cast(),
                length,
                dimensions.as_ptr(),
                dimensions.len(),
                part.element.into(),
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
        self.held.insert(name, Arc::clone(memory));
        Ok(())
    }
}

pub(crate) fn failed(what: &'static str) -> impl Fn(ort::Error) -> Error {
    move |error| Error::internal(format!("cannot {what}: {}", error.message()))
}
