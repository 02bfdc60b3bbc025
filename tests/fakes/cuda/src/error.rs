//! `CUresult`: numbers, names and texts.

use std::ffi::{CStr, c_char};

use crate::{Return, answer, put};

/// What a function gives, or its `CUresult`.
pub type CudaResult<T> = Result<T, Return>;

/// A constant for each number, and a table of all of them.
macro_rules! results {
    ($($number:literal $name:ident $full:literal $text:literal)*) => {
        $(#[allow(dead_code, reason = "scripts may name it")]
        pub const $name: Return = $number;)*
        fn describe(result: Return) -> Option<(&'static CStr, &'static CStr)> {
            match result {
                0 => Some((c"CUDA_SUCCESS", c"no error")),
                $($number => Some(($full, $text)),)*
                _ => None,
            }
        }
    };
}

results! {
    1 INVALID_VALUE c"CUDA_ERROR_INVALID_VALUE" c"invalid argument"
    2 OUT_OF_MEMORY c"CUDA_ERROR_OUT_OF_MEMORY" c"out of memory"
    3 NOT_INITIALIZED c"CUDA_ERROR_NOT_INITIALIZED" c"initialization error"
    46 DEVICE_UNAVAILABLE c"CUDA_ERROR_DEVICE_UNAVAILABLE" c"device is busy or unavailable"
    100 NO_DEVICE c"CUDA_ERROR_NO_DEVICE" c"no CUDA-capable device is detected"
    101 INVALID_DEVICE c"CUDA_ERROR_INVALID_DEVICE" c"invalid device ordinal"
    201 INVALID_CONTEXT c"CUDA_ERROR_INVALID_CONTEXT" c"invalid device context"
    214 ECC c"CUDA_ERROR_ECC_UNCORRECTABLE" c"uncorrectable ECC error encountered"
    304 OPERATING_SYSTEM c"CUDA_ERROR_OPERATING_SYSTEM" c"OS call failed"
    400 INVALID_HANDLE c"CUDA_ERROR_INVALID_HANDLE" c"invalid resource handle"
    500 NOT_FOUND c"CUDA_ERROR_NOT_FOUND" c"named symbol not found"
    600 NOT_READY c"CUDA_ERROR_NOT_READY" c"device not ready"
    700 ILLEGAL_ADDRESS c"CUDA_ERROR_ILLEGAL_ADDRESS" c"an illegal memory access was encountered"
    709 CONTEXT_IS_DESTROYED c"CUDA_ERROR_CONTEXT_IS_DESTROYED" c"context is destroyed"
    719 LAUNCH_FAILED c"CUDA_ERROR_LAUNCH_FAILED" c"unspecified launch failure"
    801 NOT_SUPPORTED c"CUDA_ERROR_NOT_SUPPORTED" c"operation not supported"
    803 MISMATCH c"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" c"system has unsupported driver"
    999 UNKNOWN c"CUDA_ERROR_UNKNOWN" c"unknown error"
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(result: Return, name: *mut *const c_char) -> Return {
    answer(|| {
        let known = describe(result).ok_or(INVALID_VALUE)?;
        // SAFETY: the caller's pointer is for a pointer.
        unsafe { put(name, known.0.as_ptr()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(result: Return, text: *mut *const c_char) -> Return {
    answer(|| {
        let known = describe(result).ok_or(INVALID_VALUE)?;
        // SAFETY: the caller's pointer is for a pointer.
        unsafe { put(text, known.1.as_ptr()) }
    })
}
