//! Where tensors live.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::gpu::Gpu;
use crate::memory::{self, Available};
use crate::tensor::Tensor;
use crate::{Error, cpu, words_of_bytes};

/// A GPU or the CPU. Its `Display` says which, and why not the other.
///
/// A GPU's context lives as long as the last device or tensor that uses it.
#[derive(Clone)]
pub struct Device {
    place: Place,
    why: String,
}

#[derive(Clone)]
pub(crate) enum Place {
    Cpu,
    Gpu(Arc<Gpu>),
}

impl Device {
    /// GPU 0 if there is one that can be used, else the CPU; [`Device::why`] says why not the GPU.
    ///
    /// On a GPU this makes the CUDA context and starts cuBLAS, which takes memory there and here.
    pub fn best() -> Device {
        Device::gpu(0).unwrap_or_else(|error| {
            let why = match error {
                Error::NoGpu { reason } => reason,
                other => other.to_string(),
            };
            Device {
                place: Place::Cpu,
                why,
            }
        })
    }

    /// The CPU, whatever else there is.
    pub fn cpu() -> Device {
        Device {
            place: Place::Cpu,
            why: "chosen".to_owned(),
        }
    }

    /// The GPU with this number, in the order of `CUDA_VISIBLE_DEVICES`.
    ///
    /// # Errors
    /// Where the driver, cuBLAS or that GPU is missing or does not work.
    pub fn gpu(ordinal: usize) -> Result<Device, Error> {
        Ok(Device {
            place: Place::Gpu(Arc::new(Gpu::open(ordinal)?)),
            why: "libcuda and cuBLAS are there".to_owned(),
        })
    }

    /// Whether it is a GPU.
    pub fn is_gpu(&self) -> bool {
        matches!(self.place, Place::Gpu(_))
    }

    /// Why this one, in words.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Free memory of the GPU, or RAM that can be had, of the machine or the container.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub fn available(&self) -> Result<Available, Error> {
        match &self.place {
            Place::Cpu => memory::available_ram(),
            Place::Gpu(gpu) => gpu.available(),
        }
    }

    /// Waits until the GPU has done all that it was told; memory of dropped tensors is given back
    /// to the driver then. Nothing to wait for on the CPU.
    ///
    /// # Errors
    /// Where the GPU failed at something.
    pub fn synchronize(&self) -> Result<(), Error> {
        match &self.place {
            Place::Cpu => Ok(()),
            Place::Gpu(gpu) => gpu.synchronize(),
        }
    }

    /// A tensor of random numbers, uniform between 0 and 1, like `torch.rand`. Allocates
    /// [`bytes_of`](crate::bytes_of) this shape and writes every element.
    ///
    /// The same seed gives the same numbers on the same kind of device; a GPU with cuRAND has
    /// others than the CPU.
    ///
    /// # Errors
    /// Where the memory does not suffice, or a length is 0.
    pub fn rand(&self, shape: [usize; 3], seed: u64) -> Result<Tensor, Error> {
        Tensor::rand(self, shape, seed)
    }

    /// A tensor of these numbers, in row-major order, copied to the device.
    ///
    /// # Errors
    /// Where they do not fill the shape, or the memory does not suffice.
    pub fn tensor(&self, shape: [usize; 3], numbers: &[f32]) -> Result<Tensor, Error> {
        Tensor::copied(self, shape, numbers)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// `CPU` or `GPU 0`.
    pub(crate) fn short_name(&self) -> String {
        match &self.place {
            Place::Cpu => "CPU".to_owned(),
            Place::Gpu(gpu) => format!("GPU {}", gpu.ordinal),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Cpu => {
                let threads = cpu::threads();
                let s = if threads == 1 { "" } else { "s" };
                write!(f, "CPU with {threads} thread{s} ({})", self.why)
            }
            Place::Gpu(gpu) => {
                write!(f, "GPU {}: {}", gpu.ordinal, gpu.name)?;
                match gpu.memory() {
                    Ok((free, total)) => write!(
                        f,
                        ", {} free of {}",
                        words_of_bytes(free),
                        words_of_bytes(total)
                    ),
                    Err(_) => f.write_str(", free memory unknown"),
                }
            }
        }
    }
}

/// As short as `Display`: it is what a cell shows that ends in a device.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `best`, `cpu`, `gpu` (GPU 0) or `gpu:1`; PyTorch's `cuda` means `gpu`.
impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Device, Error> {
        let unknown = || Error::UnknownDevice {
            name: name.to_owned(),
        };
        let (kind, ordinal) = match name.split_once(':') {
            Some((kind, ordinal)) => (kind, Some(ordinal.parse().map_err(|_| unknown())?)),
            None => (name, None),
        };
        match (kind, ordinal) {
            ("best", None) => Ok(Device::best()),
            ("cpu", None) => Ok(Device::cpu()),
            ("gpu" | "cuda", ordinal) => Device::gpu(ordinal.unwrap_or(0)),
            _ => Err(unknown()),
        }
    }
}
