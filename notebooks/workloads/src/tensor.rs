//! Tensors of three lengths, and the view that reads one transposed.

use std::fmt;
use std::ops::Range;

use cudarc::driver::CudaSlice;

use crate::device::{Device, Place};
use crate::matmul::TimesTransposed;
use crate::{Error, bytes_of, cpu, words_of_bytes, words_of_shape};

/// A batch of matrices of 32-bit floats, in row-major order, on one device.
///
/// It holds [`Tensor::bytes`] there until it is dropped.
pub struct Tensor {
    shape: [usize; 3],
    device: Device,
    data: Data,
}

enum Data {
    Host(Vec<f32>),
    Gpu(CudaSlice<f32>),
}

/// A tensor read with its last two lengths exchanged; made by [`Tensor::transpose`]. No copy.
#[derive(Clone, Copy, Debug)]
pub struct Transposed<'a>(&'a Tensor);

impl Transposed<'_> {
    /// The shape as it reads: `[batch, columns, rows]` of the tensor.
    pub fn shape(&self) -> [usize; 3] {
        let [batch, rows, columns] = self.0.shape;
        [batch, columns, rows]
    }
}

/// The number of elements, if the shape has any and a computer could hold them.
fn elements(shape: [usize; 3]) -> Result<usize, Error> {
    let bad = |reason| Error::BadShape { shape, reason };
    if shape.contains(&0) {
        return Err(bad("each length must be at least 1"));
    }
    match usize::try_from(bytes_of(shape)) {
        Ok(bytes) if bytes <= isize::MAX as usize => Ok(bytes / size_of::<f32>()),
        _ => Err(bad("it is larger than any memory")),
    }
}

impl Tensor {
    pub(crate) fn rand(device: &Device, shape: [usize; 3], seed: u64) -> Result<Tensor, Error> {
        let len = elements(shape)?;
        let data = match device.place() {
            Place::Cpu => Data::Host(cpu::rand(len, seed)?),
            Place::Gpu(gpu) => Data::Gpu(gpu.rand(len, seed)?),
        };
        Ok(Tensor::new(device, shape, data))
    }

    pub(crate) fn copied(
        device: &Device,
        shape: [usize; 3],
        numbers: &[f32],
    ) -> Result<Tensor, Error> {
        if elements(shape)? != numbers.len() {
            return Err(Error::WrongLength {
                shape,
                given: numbers.len(),
            });
        }
        let data = match device.place() {
            Place::Cpu => Data::Host(numbers.to_vec()),
            Place::Gpu(gpu) => Data::Gpu(gpu.upload(numbers)?),
        };
        Ok(Tensor::new(device, shape, data))
    }

    fn new(device: &Device, shape: [usize; 3], data: Data) -> Tensor {
        Tensor {
            shape,
            device: device.clone(),
            data,
        }
    }

    /// `[batch, rows, columns]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Bytes that the elements take.
    pub fn bytes(&self) -> u64 {
        bytes_of(self.shape)
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Each matrix with rows and columns exchanged, like `.transpose(1, 2)`: a view, no copy.
    pub fn transpose(&self) -> Transposed<'_> {
        Transposed(self)
    }

    /// The product of each matrix with the one of the same place in `right`, like `torch.matmul`.
    /// Allocates the result, and beside it only what the multiplication packs in caches.
    ///
    /// # Errors
    /// Where shapes or devices do not go together, or the memory does not suffice.
    pub fn matmul(&self, right: &Transposed<'_>) -> Result<Tensor, Error> {
        let call = TimesTransposed::new(self.shape, right.shape())?;
        let shape = call.result_shape();
        elements(shape)?;
        let right = right.0;
        let apart = || Error::DevicesDiffer {
            left: self.device.short_name(),
            right: right.device.short_name(),
        };
        let data = match (self.device.place(), &self.data, &right.data) {
            (_, Data::Host(left), Data::Host(right)) => {
                Data::Host(cpu::matmul(&call, left, right)?)
            }
            (Place::Gpu(gpu), Data::Gpu(left), Data::Gpu(right)) => {
                if left.context() != right.context() {
                    return Err(apart());
                }
                Data::Gpu(gpu.matmul(&call, left, right)?)
            }
            _ => return Err(apart()),
        };
        Ok(Tensor::new(&self.device, shape, data))
    }

    /// One element.
    ///
    /// # Errors
    /// Where there is none with these indices.
    pub fn get(&self, batch: usize, row: usize, column: usize) -> Result<f32, Error> {
        let [_, _, columns] = self.shape;
        if column >= columns {
            return Err(self.out_of_range("element", &[batch, row, column]));
        }
        Ok(self.row(batch, row)?[column])
    }

    /// A copy of one row, on the host.
    ///
    /// # Errors
    /// Where there is none with these indices.
    pub fn row(&self, batch: usize, row: usize) -> Result<Vec<f32>, Error> {
        let [batches, rows, columns] = self.shape;
        if batch >= batches || row >= rows {
            return Err(self.out_of_range("row", &[batch, row]));
        }
        let start = (batch * rows + row) * columns;
        self.copy_out(start..start + columns)
    }

    /// A copy of one matrix, row after row, on the host.
    ///
    /// # Errors
    /// Where there is none with this index.
    pub fn matrix(&self, batch: usize) -> Result<Vec<f32>, Error> {
        let [batches, rows, columns] = self.shape;
        if batch >= batches {
            return Err(self.out_of_range("matrix", &[batch]));
        }
        let size = rows * columns;
        self.copy_out(batch * size..(batch + 1) * size)
    }

    /// The sum of all elements, added in f64. From a GPU they come over matrix by matrix.
    ///
    /// # Errors
    /// Where the GPU fails.
    pub fn checksum(&self) -> Result<f64, Error> {
        match &self.data {
            Data::Host(data) => Ok(cpu::sum(data)),
            Data::Gpu(_) => (0..self.shape[0])
                .try_fold(0.0, |sum, batch| Ok(sum + cpu::sum(&self.matrix(batch)?))),
        }
    }

    fn copy_out(&self, elements: Range<usize>) -> Result<Vec<f32>, Error> {
        match (&self.data, self.device.place()) {
            (Data::Host(data), _) => Ok(data[elements].to_vec()),
            (Data::Gpu(data), Place::Gpu(gpu)) => gpu.download(data, elements),
            (Data::Gpu(_), Place::Cpu) => unreachable!("a tensor's data is on its device"),
        }
    }

    fn out_of_range(&self, what: &'static str, index: &[usize]) -> Error {
        Error::OutOfRange {
            what,
            index: index.to_vec(),
            shape: self.shape,
        }
    }
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} f32, {} on {}",
            words_of_shape(self.shape),
            words_of_bytes(self.bytes()),
            self.device.short_name()
        )
    }
}

/// As short as `Display`: it is what a cell shows that ends in a tensor.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
