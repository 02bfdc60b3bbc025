//! The product of a batch with a transposed batch, written once for cuBLAS and CPU.

use crate::Error;

/// A column-major batched `C = Tᵀ·L`, as BLAS takes it.
///
/// We want, for each matrix of the batch and in row-major order, `C[i][j] = Σ left[i][k] · right[j][k]`:
/// left (`rows × inner`) times the transpose of right (`columns × inner`). BLAS reads each buffer by
/// columns, so it sees the transpose of each: of the result that is `right · leftᵀ`. Hence its first
/// operand is right's buffer, which it must transpose back, and its second is left's buffer as it
/// lies. Nothing is copied to transpose: the operand's flag only changes the order of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimesTransposed {
    /// Matrices in the batch.
    pub batch: usize,
    /// Rows of BLAS's result: `columns` of ours.
    pub m: usize,
    /// Columns of BLAS's result: `rows` of ours.
    pub n: usize,
    /// The length that is summed over.
    pub k: usize,
    /// Elements from one column to the next in right's buffer, left's and the result's.
    pub ld_right: usize,
    pub ld_left: usize,
    pub ld_result: usize,
    /// Elements from one matrix to the next.
    pub stride_right: usize,
    pub stride_left: usize,
    pub stride_result: usize,
}

impl TimesTransposed {
    /// For a left of `[batch, rows, inner]` and a right whose transpose is `[batch, inner, columns]`.
    pub fn new(left: [usize; 3], right_transposed: [usize; 3]) -> Result<TimesTransposed, Error> {
        let [batch, rows, inner] = left;
        let [other_batch, other_inner, columns] = right_transposed;
        if batch != other_batch || inner != other_inner {
            return Err(Error::ShapesDiffer {
                left,
                right: right_transposed,
            });
        }
        Ok(TimesTransposed {
            batch,
            m: columns,
            n: rows,
            k: inner,
            ld_right: inner,
            ld_left: inner,
            ld_result: columns,
            stride_right: columns * inner,
            stride_left: rows * inner,
            stride_result: rows * columns,
        })
    }

    /// The result's shape, row-major.
    pub fn result_shape(&self) -> [usize; 3] {
        [self.batch, self.n, self.m]
    }

    /// Floating point operations: a multiplication and an addition for each term.
    pub fn operations(&self) -> f64 {
        2.0 * self.batch as f64 * self.m as f64 * self.n as f64 * self.k as f64
    }
}
