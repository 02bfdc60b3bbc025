//! What can go wrong, and what to do then.

use std::path::PathBuf;

use crate::{words_of_bytes, words_of_shape};

/// Why something could not be done; the text says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More memory is asked for than there is; in bytes.
    #[error(
        "{what} needs {}, and {} can be had ({how}): \
         take a smaller shape (`fitting_cube` picks one), or drop what you no longer need",
        words_of_bytes(*needed), words_of_bytes(*available)
    )]
    TooLarge {
        what: String,
        needed: u64,
        available: u64,
        how: String,
    },
    /// Even the smallest size that is worth trying does not fit.
    #[error("{reason}: free memory, or choose a smaller size than {wanted} by hand")]
    NothingFits { wanted: usize, reason: String },
    /// The memory at hand is not known, so no size can be picked from it.
    #[error("how much RAM is available cannot be told ({reason}): choose the size by hand")]
    RamUnknown { reason: String },
    /// A length of 0, or above what cuBLAS counts with.
    #[error("a shape of {} cannot be used: {reason}", words_of_shape(*shape))]
    BadShape {
        shape: [usize; 3],
        reason: &'static str,
    },
    /// Two tensors that cannot be multiplied.
    #[error(
        "{} times {} does not go: the batches must be equal, and the left's last length must be \
         the right's middle one; did you forget `.transpose()`?",
        words_of_shape(*left), words_of_shape(*right)
    )]
    ShapesDiffer { left: [usize; 3], right: [usize; 3] },
    /// Tensors of two devices in one product.
    #[error("one tensor is on {left} and the other on {right}: make both with the same `Device`")]
    DevicesDiffer { left: String, right: String },
    /// Numbers that do not fill a shape.
    #[error("a shape of {} takes {} numbers, and {given} were given", words_of_shape(*shape), shape.iter().product::<usize>())]
    WrongLength { shape: [usize; 3], given: usize },
    /// An element outside the tensor.
    #[error("there is no {what} {index:?} in a tensor of {}: indices begin at 0", words_of_shape(*shape))]
    OutOfRange {
        what: &'static str,
        index: Vec<usize>,
        shape: [usize; 3],
    },
    /// A device name that is none of ours.
    #[error("there is no device {name:?}: write \"best\", \"cpu\", \"gpu\" or \"gpu:1\"")]
    UnknownDevice { name: String },
    /// No GPU can be used.
    #[error(
        "no GPU can be used: {reason}. `Device::best()` takes the CPU then, `Device::cpu()` always"
    )]
    NoGpu { reason: String },
    /// CUDA or one of its libraries refused.
    #[error(
        "the GPU failed while {doing}: {message}; if its memory is full, drop tensors or take a \
         smaller shape, else restart the kernel and try again"
    )]
    Gpu {
        doing: &'static str,
        message: String,
    },
    /// A file of weights that was named and cannot be used.
    #[error("the weights {} ({named_by}) cannot be used: {reason}", path.display())]
    Weights {
        path: PathBuf,
        named_by: &'static str,
        reason: String,
    },
}
