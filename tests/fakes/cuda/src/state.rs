//! What the library knows of this process: devices, contexts, allocations, pools, streams, events.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use fake_gpu::processes::{Holding, Page, living};
use fake_gpu::script::{self, Script};
use fake_gpu::{Unit, complain, folder};

use crate::error::*;
use crate::pool::Pool;
use crate::visible::visible;
use crate::vram::Vram;
use crate::{Address, DeviceId, Handle};

/// Where the memory of an allocation comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Plain,
    Pool(Handle),
}

/// An allocation of device memory.
#[derive(Clone, Copy)]
pub struct Allocation {
    pub device: usize,
    /// Bytes.
    pub size: u64,
    pub source: Source,
}

/// A visible device.
pub struct Gpu {
    pub unit: Unit,
    /// How often its primary context was retained; 0: there is none.
    pub references: u32,
    /// Flags of the primary context.
    pub flags: u32,
    /// Differs for each context that was made in this process.
    pub context_id: u64,
    /// Bytes that the context costs: the script may say something else later.
    context_vram: u64,
    /// Anonymous memory that the context takes in this process: address and size.
    context_ram: Option<(usize, usize)>,
    pub default_pool: Handle,
    pub current_pool: Handle,
}

/// A recorded point in a stream.
pub struct Event {
    pub device: usize,
    pub timed: bool,
    pub recorded: Option<Instant>,
}

/// All that the library knows.
pub struct State {
    pub gpus: Vec<Gpu>,
    pub allocations: BTreeMap<Address, Allocation>,
    pub pools: BTreeMap<Handle, Pool>,
    /// Streams by handle, with their device.
    pub streams: BTreeMap<Handle, usize>,
    pub events: BTreeMap<Handle, Event>,
    /// Page-locked host memory that was allocated here, with its bytes.
    pub pinned: BTreeMap<usize, usize>,
    pub vram: Vram,
    page: &'static Page,
    next: Handle,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

thread_local! {
    /// The contexts of this thread, the current one last; 0 is none.
    static CONTEXTS: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// The handle of the primary context of a device: always the same.
pub fn context_of(device: usize) -> Handle {
    0xfa4e_c000 + (device << 4)
}

/// The device of a context's handle.
pub fn device_of(context: Handle) -> CudaResult<usize> {
    let device = context.checked_sub(context_of(0)).ok_or(INVALID_CONTEXT)?;
    match device.is_multiple_of(16) && device >> 4 < fake_gpu::processes::GPUS {
        true => Ok(device >> 4),
        false => Err(INVALID_CONTEXT),
    }
}

/// Looks at the contexts of this thread, or changes them.
pub fn with_contexts<T>(look: impl FnOnce(&mut Vec<Handle>) -> T) -> T {
    CONTEXTS.with_borrow_mut(look)
}

/// The library's state with the script as it is now.
pub struct Call {
    state: MutexGuard<'static, Option<State>>,
    pub script: Arc<Script>,
}

impl std::ops::Deref for Call {
    type Target = State;
    fn deref(&self) -> &State {
        self.state
            .as_ref()
            .expect("a call is made of an initialized state")
    }
}

impl std::ops::DerefMut for Call {
    fn deref_mut(&mut self) -> &mut State {
        self.state
            .as_mut()
            .expect("a call is made of an initialized state")
    }
}

fn lock() -> MutexGuard<'static, Option<State>> {
    STATE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// `cuInit`: the visible devices are those of now for as long as the process lives.
pub fn initialize() -> CudaResult<()> {
    let script = script::load().ok_or(UNKNOWN)?;
    let mut state = lock();
    if state.is_some() {
        return Ok(());
    }
    if let Some(error) = script.cuda_init_error {
        return Err(error);
    }
    let variable = std::env::var_os("CUDA_VISIBLE_DEVICES");
    let variable = variable.map(|value| value.to_string_lossy().into_owned());
    let units = visible(&script, variable.as_deref());
    if units.is_empty() {
        return Err(NO_DEVICE);
    }
    let new = || {
        let page = Page::create(&folder()?).map_err(|error| error.to_string())?;
        let vram = Vram::new().map_err(|error| error.to_string())?;
        Ok(State::new(units, page, vram))
    };
    *state = Some(new().map_err(|message: String| {
        complain(&message);
        OPERATING_SYSTEM
    })?);
    Ok(())
}

/// Begins a function that needs `cuInit` only.
pub fn call() -> CudaResult<Call> {
    let state = lock();
    if state.is_none() {
        return Err(NOT_INITIALIZED);
    }
    let script = script::load().ok_or(UNKNOWN)?;
    Ok(Call { state, script })
}

/// Begins a function that needs a current context; gives its device too.
pub fn call_in_context() -> CudaResult<(Call, usize)> {
    let call = call()?;
    let context = with_contexts(|contexts| contexts.last().copied()).unwrap_or(0);
    if context == 0 {
        return Err(INVALID_CONTEXT);
    }
    let device = device_of(context)?;
    let gpu = call.gpus.get(device).ok_or(INVALID_CONTEXT)?;
    if gpu.references == 0 {
        return Err(CONTEXT_IS_DESTROYED);
    }
    let told = gpu.unit.device(&call.script).ok_or(INVALID_DEVICE)?;
    match told.cuda_error {
        Some(error) => Err(error),
        None => Ok((call, device)),
    }
}

impl Call {
    /// Bytes that can still be allocated on `device`.
    pub fn available(&self, device: usize) -> u64 {
        let processes = folder().map(|folder| living(&folder)).unwrap_or_default();
        self.gpus[device].unit.free(&self.script, &processes)
    }

    /// Makes sure that `device` can give `size` bytes; its pools let go of what is free in need.
    pub fn demand(&mut self, device: usize, size: u64) -> CudaResult<()> {
        if size <= self.available(device) {
            return Ok(());
        }
        for pool in self.pools.values_mut().filter(|pool| pool.device == device) {
            pool.trim(0);
        }
        self.publish(device);
        if size > self.available(device) {
            return Err(OUT_OF_MEMORY);
        }
        Ok(())
    }

    /// Makes the primary context of `device`, or takes one more reference to it.
    pub fn retain(&mut self, device: usize) -> CudaResult<Handle> {
        if self.gpus[device].references == 0 {
            let (vram, ram) = (self.script.context_vram, self.script.context_ram as usize);
            let told = self.gpus[device]
                .unit
                .device(&self.script)
                .ok_or(INVALID_DEVICE)?;
            if let Some(error) = told.cuda_error {
                return Err(error);
            }
            self.demand(device, vram)?;
            let ram = if ram == 0 {
                None
            } else {
                Some((touched(ram)?, ram))
            };
            self.next += 1;
            let id = self.next as u64;
            let gpu = &mut self.gpus[device];
            (gpu.context_vram, gpu.context_ram, gpu.context_id) = (vram, ram, id);
        }
        self.gpus[device].references += 1;
        self.publish(device);
        Ok(context_of(device))
    }

    /// A device by its number.
    pub fn device(&self, device: DeviceId) -> CudaResult<usize> {
        let device = usize::try_from(device).map_err(|_| INVALID_DEVICE)?;
        if device < self.gpus.len() {
            Ok(device)
        } else {
            Err(INVALID_DEVICE)
        }
    }
}

impl State {
    fn new(units: Vec<Unit>, page: &'static Page, vram: Vram) -> Self {
        let mut state = Self {
            gpus: Vec::new(),
            allocations: BTreeMap::new(),
            pools: BTreeMap::new(),
            streams: BTreeMap::new(),
            events: BTreeMap::new(),
            pinned: BTreeMap::new(),
            vram,
            page,
            next: 0xfa4e_0001_0000,
        };
        for (device, unit) in units.into_iter().enumerate() {
            let pool = state.handle();
            state.pools.insert(pool, Pool::new(device));
            state.gpus.push(Gpu {
                unit,
                references: 0,
                flags: 0,
                context_vram: 0,
                context_ram: None,
                context_id: 0,
                default_pool: pool,
                current_pool: pool,
            });
        }
        state
    }

    /// A handle that was never given before.
    pub fn handle(&mut self) -> Handle {
        self.next += 16;
        self.next
    }

    /// Tells the other processes, and NVML, what this one holds on `device`.
    pub fn publish(&self, device: usize) {
        let gpu = &self.gpus[device];
        let holding = self.page.on(gpu.unit);
        let pools = || self.pools.values().filter(|pool| pool.device == device);
        let plain = self.allocations.values();
        let plain = plain.filter(|known| (known.device, known.source) == (device, Source::Plain));
        let active = gpu.references > 0;
        Holding::set(&holding.context, if active { gpu.context_vram } else { 0 });
        Holding::set(&holding.pool_used, pools().map(Pool::used).sum());
        Holding::set(&holding.pool_reserved, pools().map(Pool::reserved).sum());
        Holding::set(&holding.plain, plain.map(|known| known.size).sum());
        Holding::set(&holding.contexts, active.into());
    }

    /// What a synchronization does: the pools of `device` let go of what they need not keep.
    pub fn synchronize(&mut self, device: usize) {
        for pool in self.pools.values_mut().filter(|pool| pool.device == device) {
            pool.synchronize();
        }
        self.publish(device);
    }

    /// The allocation that holds all of `size` bytes from `address`.
    pub fn holder(&self, address: Address, size: u64) -> CudaResult<Allocation> {
        let found = self.allocations.range(..=address).next_back();
        let (start, known) = found.ok_or(INVALID_VALUE)?;
        let end = address.checked_add(size).ok_or(INVALID_VALUE)?;
        if end > start + known.size {
            Err(INVALID_VALUE)
        } else {
            Ok(*known)
        }
    }

    /// Frees an allocation, and gives what it was.
    pub fn free(&mut self, address: Address) -> CudaResult<Allocation> {
        let known = self.allocations.remove(&address).ok_or(INVALID_VALUE)?;
        if let Source::Pool(pool) = known.source
            && let Some(pool) = self.pools.get_mut(&pool)
        {
            pool.free(known.size);
        }
        // Where the room cannot be given back, it stays taken; the addresses are not used again.
        let _ = self.vram.clear(address, known.size);
        self.publish(known.device);
        Ok(known)
    }

    /// Ends the primary context of `device`, with all that is in it.
    pub fn destroy_context(&mut self, device: usize) {
        let gone = self
            .allocations
            .iter()
            .filter(|(_, known)| known.device == device);
        let gone: BTreeSet<Address> = gone.map(|(&address, _)| address).collect();
        for address in gone {
            let _ = self.free(address);
        }
        let gpu = &mut self.gpus[device];
        gpu.references = 0;
        gpu.flags = 0;
        gpu.current_pool = gpu.default_pool;
        let (default, ram) = (gpu.default_pool, gpu.context_ram.take());
        self.pools.retain(|_, pool| pool.device != device);
        self.pools.insert(default, Pool::new(device));
        self.streams.retain(|_, of| *of != device);
        self.events.retain(|_, event| event.device != device);
        if let Some((address, size)) = ram {
            // SAFETY: a mapping of ours that nobody else knows.
            unsafe { libc::munmap(address as *mut _, size) };
        }
        self.publish(device);
    }
}

/// The address of new anonymous memory of `size` bytes, each page of it touched. It is not from
/// `malloc`: a real driver's memory is not on the heap either.
fn touched(size: usize) -> CudaResult<usize> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the system's choice.
    let map = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    if map == libc::MAP_FAILED {
        return Err(OPERATING_SYSTEM);
    }
    let bytes = map.cast::<u8>();
    for offset in (0..size).step_by(4096) {
        // SAFETY: within the new mapping.
        unsafe { bytes.add(offset).write_volatile(1) };
    }
    Ok(map.addr())
}
