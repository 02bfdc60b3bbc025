//! Streams and events. No work is ever pending, so all is done as soon as it is asked for.

use std::ffi::{c_int, c_uint};
use std::time::Instant;

use crate::error::*;
use crate::state::{Call, Event, call, call_in_context};
use crate::{Handle, Return, answer, put};

/// Handles up to this one are the default streams: of the context, legacy, of the thread.
const LAST_DEFAULT: Handle = 2;

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: c_uint = 2;

/// The device of a stream; `current` is that of the current context.
pub fn device_of_stream(call: &Call, stream: Handle, current: usize) -> CudaResult<usize> {
    if stream <= LAST_DEFAULT {
        return Ok(current);
    }
    call.streams.get(&stream).copied().ok_or(INVALID_HANDLE)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut Handle, _flags: c_uint) -> Return {
    answer(|| {
        let (mut call, device) = call_in_context()?;
        let handle = call.handle();
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(stream, handle)? };
        call.streams.insert(handle, device);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreateWithPriority(
    stream: *mut Handle,
    flags: c_uint,
    _priority: c_int,
) -> Return {
    // SAFETY: as the caller promises.
    unsafe { cuStreamCreate(stream, flags) }
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: Handle) -> Return {
    answer(|| {
        call()?
            .streams
            .remove(&stream)
            .map(|_| ())
            .ok_or(INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: Handle) -> Return {
    answer(|| {
        let (mut call, current) = call_in_context()?;
        let device = device_of_stream(&call, stream, current)?;
        call.synchronize(device);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(stream: Handle) -> Return {
    answer(|| {
        let (call, current) = call_in_context()?;
        device_of_stream(&call, stream, current).map(|_| ())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) -> Return {
    answer(|| {
        let (call, current) = call_in_context()?;
        device_of_stream(&call, stream, current)?;
        call.events.get(&event).map(|_| ()).ok_or(INVALID_HANDLE)
    })
}

/// Nothing is ever captured.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamIsCapturing(stream: Handle, capturing: *mut c_uint) -> Return {
    answer(|| {
        let (call, current) = call_in_context()?;
        device_of_stream(&call, stream, current)?;
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(capturing, 0) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut Handle, flags: c_uint) -> Return {
    answer(|| {
        let (mut call, device) = call_in_context()?;
        let handle = call.handle();
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(event, handle)? };
        let timed = flags & DISABLE_TIMING == 0;
        call.events.insert(
            handle,
            Event {
                device,
                timed,
                recorded: None,
            },
        );
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: Handle) -> Return {
    answer(|| {
        call()?
            .events
            .remove(&event)
            .map(|_| ())
            .ok_or(INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> Return {
    answer(|| {
        let (mut call, current) = call_in_context()?;
        device_of_stream(&call, stream, current)?;
        let event = call.events.get_mut(&event).ok_or(INVALID_HANDLE)?;
        event.recorded = Some(Instant::now());
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: Handle) -> Return {
    answer(|| {
        let (mut call, _) = call_in_context()?;
        let device = call.events.get(&event).ok_or(INVALID_HANDLE)?.device;
        call.synchronize(device);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(event: Handle) -> Return {
    answer(|| {
        let (call, _) = call_in_context()?;
        call.events.get(&event).map(|_| ()).ok_or(INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(
    milliseconds: *mut f32,
    start: Handle,
    end: Handle,
) -> Return {
    answer(|| {
        let call = call()?;
        let at = |event| {
            let event: &Event = call.events.get(&event).ok_or(INVALID_HANDLE)?;
            event.recorded.filter(|_| event.timed).ok_or(INVALID_HANDLE)
        };
        let (start, end) = (at(start)?, at(end)?);
        let passed = end.saturating_duration_since(start).as_secs_f32() * 1e3;
        let back = start.saturating_duration_since(end).as_secs_f32() * 1e3;
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(milliseconds, passed - back) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(
    milliseconds: *mut f32,
    start: Handle,
    end: Handle,
) -> Return {
    // SAFETY: as the caller promises.
    unsafe { cuEventElapsedTime_v2(milliseconds, start, end) }
}
