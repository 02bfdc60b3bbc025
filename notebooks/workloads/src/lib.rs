//! What the cells of memtrack's notebooks use, beside the code that they show.
//!
//! **Tensors** for the product of a large tensor with its own transpose, on the GPU with cuBLAS or
//! on the CPU. Every allocation is one visible call, as large as its shape says:
//!
//! ```
//! use memtrack_workloads::{Device, fitting_cube};
//!
//! # fn main() -> Result<(), memtrack_workloads::Error> {
//! let device = Device::best();
//! let cube = fitting_cube(&device, 64)?;
//! println!("{device}; {cube}");
//! let n = cube.n;
//! let tensor = device.rand([n, n, n], 42)?; // n³ · 4 bytes
//! let result = tensor.matmul(&tensor.transpose())?; // a view, no copy; the result has n³ · 4 bytes
//! assert_eq!(result.bytes(), 4 * (n * n * n) as u64);
//! # Ok(())
//! # }
//! ```
//!
//! **Seeded numbers** ([`seeded_normal`], [`linear_init`]) that a few lines of numpy make as well,
//! so that losses can be compared across languages.
//!
//! **[`resnet18_weights`]** finds a local file of trained weights, or says in words that none is there.
//!
//! The crate needs no CUDA to build: the libraries are looked for when [`Device::best`] or
//! [`Device::gpu`] is called.

mod cpu;
mod cube;
mod device;
mod error;
mod gpu;
mod matmul;
mod memory;
mod random;
mod resnet;
mod tensor;

pub use cube::{Cube, fitting_cube};
pub use device::Device;
pub use error::Error;
pub use memory::Available;
pub use random::{LinearInit, linear_init, seeded_normal, seeded_uniform};
pub use resnet::{ResnetWeights, resnet18_weights};
pub use tensor::{Tensor, Transposed};

/// Bytes of a tensor of 32-bit floats with this shape; `u64::MAX` where they are more than that.
pub fn bytes_of(shape: [usize; 3]) -> u64 {
    shape
        .iter()
        .try_fold(size_of::<f32>() as u64, |bytes, &length| {
            bytes.checked_mul(length as u64)
        })
        .unwrap_or(u64::MAX)
}

/// A number of bytes in binary units with three digits: `4.00 GiB`, `512 MiB`, `12 B`.
pub(crate) fn words_of_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 999.5 would print as 1000 with no decimals, four digits.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `2 × 3 × 4`.
pub(crate) fn words_of_shape([a, b, c]: [usize; 3]) -> String {
    format!("{a} × {b} × {c}")
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, words_of_bytes};

    #[test]
    fn bytes_are_four_for_each_element() {
        assert_eq!(bytes_of([1024, 1024, 1024]), 4 << 30);
        assert_eq!(bytes_of([2, 3, 5]), 120);
        assert_eq!(bytes_of([usize::MAX, 2, 1]), u64::MAX);
    }

    #[test]
    fn bytes_read_with_three_digits() {
        for (bytes, words) in [
            (12, "12 B"),
            (1024, "1.00 KiB"),
            (4 << 30, "4.00 GiB"),
            (512 << 20, "512 MiB"),
            (1023 << 20, "1.00 GiB"),
            (10 << 30, "10.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(words_of_bytes(bytes), words);
        }
    }
}
