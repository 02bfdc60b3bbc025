//! The GPU's part: cuBLAS and cuRAND through cudarc.
//!
//! cudarc panics when a library that it needs is missing, so each is looked for before its first
//! use. Every call waits for the GPU before it returns: a cell that is over has really done its
//! work, and its figures are the work's.

use std::ffi::c_int;
use std::ops::Range;
use std::sync::Arc;

use cudarc::cublas::sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, StridedBatchedConfig};
use cudarc::curand::CudaRng;
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DriverError};

use crate::matmul::TimesTransposed;
use crate::memory::Available;
use crate::{Error, cpu};

/// Floats in one part on the way from or to the host: 64 MiB.
const PART: usize = 16 << 20;

/// A GPU's primary context and a cuBLAS handle in it.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub ordinal: usize,
    pub name: String,
    /// The default stream. One stream alone, so cudarc needs no events between streams.
    stream: Arc<CudaStream>,
    blas: CudaBlas,
}

/// For errors of CUDA and its libraries.
fn failed<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Gpu {
        doing,
        message: error.to_string(),
    }
}

fn no_gpu(reason: impl Into<String>) -> Error {
    Error::NoGpu {
        reason: reason.into(),
    }
}

impl Gpu {
    /// Makes the context and the handle. Both take memory, on the GPU and of the process: this call
    /// is what the first use of CUDA costs.
    pub fn open(ordinal: usize) -> Result<Gpu, Error> {
        // SAFETY: the two only load the library, whose initialisers are NVIDIA's.
        let (driver, cublas) = unsafe {
            (
                cudarc::driver::sys::is_culib_present(),
                cudarc::cublas::sys::is_culib_present(),
            )
        };
        if !driver {
            return Err(no_gpu(
                "no NVIDIA driver is installed (libcuda.so.1 is not found)",
            ));
        }
        if !cublas {
            return Err(no_gpu(
                "cuBLAS is not found (libcublas.so of the CUDA version that this crate was built \
                 for): install the CUDA toolkit, or add its folder to LD_LIBRARY_PATH",
            ));
        }
        let count = CudaContext::device_count()
            .map_err(|error| no_gpu(format!("the NVIDIA driver does not start: {error}")))?;
        if ordinal >= usize::try_from(count).unwrap_or(0) {
            return Err(no_gpu(match count {
                0 => "the NVIDIA driver sees no GPU".to_owned(),
                _ => format!("there is no GPU {ordinal}, the last one is {}", count - 1),
            }));
        }
        let context = CudaContext::new(ordinal)
            .map_err(|error| no_gpu(format!("GPU {ordinal} gives no context: {error}")))?;
        let name = context.name().map_err(failed("asking for its name"))?;
        let stream = context.default_stream();
        // The handle's default mathematics stays: f32 without TF32, as in PyTorch's default.
        let blas = CudaBlas::new(Arc::clone(&stream)).map_err(failed("starting cuBLAS"))?;
        Ok(Gpu {
            ordinal,
            name,
            stream,
            blas,
        })
    }

    /// Bytes of the GPU's memory that are free and that it has.
    pub fn memory(&self) -> Result<(u64, u64), Error> {
        let (free, total) = self
            .stream
            .context()
            .mem_get_info()
            .map_err(failed("asking for its free memory"))?;
        Ok((free as u64, total as u64))
    }

    /// Free memory, in the words of [`Available`].
    pub fn available(&self) -> Result<Available, Error> {
        let (bytes, _) = self.memory()?;
        Ok(Available {
            bytes,
            how: format!("free memory of GPU {}", self.ordinal),
        })
    }

    /// Waits until the GPU has done all; memory of dropped tensors goes back to the driver then.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.stream
            .synchronize()
            .map_err(failed("finishing its work"))
    }

    /// Memory for `len` floats, not yet written.
    fn allocate(&self, len: usize, what: &str) -> Result<CudaSlice<f32>, Error> {
        // SAFETY: each caller writes every element before anyone reads.
        let allocated = unsafe { self.stream.alloc::<f32>(len) };
        allocated.map_err(|error| match error {
            DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => match self.available() {
                Ok(free) => Error::TooLarge {
                    what: what.to_owned(),
                    needed: 4 * len as u64,
                    available: free.bytes,
                    how: free.how,
                },
                Err(unknown) => unknown,
            },
            other => failed("allocating memory")(other),
        })
    }

    /// `len` numbers, uniform, of the seed: made on the GPU by cuRAND in `(0, 1]`; where it is not
    /// installed, on the host in `[0, 1)`, the same as the CPU's, and sent over in parts.
    pub fn rand(&self, len: usize, seed: u64) -> Result<CudaSlice<f32>, Error> {
        let mut data = self.allocate(len, "the random tensor")?;
        // SAFETY: only loads the library, whose initialisers are NVIDIA's.
        if unsafe { cudarc::curand::sys::is_culib_present() } {
            let generator =
                CudaRng::new(seed, Arc::clone(&self.stream)).map_err(failed("starting cuRAND"))?;
            generator
                .fill_with_uniform(&mut data)
                .map_err(failed("making random numbers"))?;
            self.synchronize()?;
        } else {
            self.fill(&mut data, |part| {
                cpu::rand_part(seed, part.start, part.len())
            })?;
        }
        Ok(data)
    }

    /// A copy of the host's numbers.
    pub fn upload(&self, numbers: &[f32]) -> Result<CudaSlice<f32>, Error> {
        let mut data = self.allocate(numbers.len(), "the tensor")?;
        self.fill(&mut data, |part| Ok(&numbers[part]))?;
        Ok(data)
    }

    /// Writes all of `data`, part by part.
    fn fill<Part: AsRef<[f32]>>(
        &self,
        data: &mut CudaSlice<f32>,
        part_of: impl Fn(Range<usize>) -> Result<Part, Error>,
    ) -> Result<(), Error> {
        let len = data.len();
        for start in (0..len).step_by(PART) {
            let range = start..len.min(start + PART);
            let part = part_of(range.clone())?;
            let mut target = data.slice_mut(range);
            self.stream
                .memcpy_htod(part.as_ref(), &mut target)
                .map_err(failed("copying to it"))?;
            // Before the host's part is dropped.
            self.synchronize()?;
        }
        Ok(())
    }

    /// A copy on the host of some elements; they must be in `data`.
    pub fn download(
        &self,
        data: &CudaSlice<f32>,
        elements: Range<usize>,
    ) -> Result<Vec<f32>, Error> {
        let mut copy = vec![0.0; elements.len()];
        self.stream
            .memcpy_dtoh(&data.slice(elements), &mut copy)
            .map_err(failed("copying from it"))?;
        self.synchronize()?;
        Ok(copy)
    }

    /// The product that `call` describes: one call of `cublasSgemmStridedBatched`.
    pub fn matmul(
        &self,
        call: &TimesTransposed,
        left: &CudaSlice<f32>,
        right: &CudaSlice<f32>,
    ) -> Result<CudaSlice<f32>, Error> {
        assert_eq!(left.len(), call.batch * call.stride_left);
        assert_eq!(right.len(), call.batch * call.stride_right);
        let int = |length: usize| {
            c_int::try_from(length).map_err(|_| Error::BadShape {
                shape: call.result_shape(),
                reason: "cuBLAS counts to 2³¹ − 1",
            })
        };
        let config = StridedBatchedConfig {
            gemm: GemmConfig {
                transa: CUBLAS_OP_T,
                transb: CUBLAS_OP_N,
                m: int(call.m)?,
                n: int(call.n)?,
                k: int(call.k)?,
                alpha: 1.0,
                lda: int(call.ld_right)?,
                ldb: int(call.ld_left)?,
                beta: 0.0,
                ldc: int(call.ld_result)?,
            },
            batch_size: int(call.batch)?,
            stride_a: call.stride_right as i64,
            stride_b: call.stride_left as i64,
            stride_c: call.stride_result as i64,
        };
        let mut result = self.allocate(call.batch * call.stride_result, "the product")?;
        // SAFETY: the buffers have the sizes that the strides ask for, all are of this stream's
        // context, and with beta = 0 cuBLAS does not read the result's old contents.
        unsafe {
            self.blas
                .gemm_strided_batched(config, right, left, &mut result)
        }
        .map_err(failed("multiplying"))?;
        self.synchronize()?;
        Ok(result)
    }
}
