//! What a cell can do with tensors, on the CPU. Nothing here claims anything about a GPU, but for
//! one thing: `TimesTransposed`, which the product's loops are checked through, is the same
//! description that cuBLAS gets.

use memtrack_workloads::{Device, Error, Tensor, fitting_cube};
use proptest::prelude::*;

/// Element by element in f64, straight from the definition.
fn naive(left: &Tensor, right: &Tensor) -> Vec<f64> {
    let [batch, rows, inner] = left.shape();
    let [_, columns, _] = right.shape();
    let mut result = Vec::new();
    for b in 0..batch {
        let (left, right) = (left.matrix(b).unwrap(), right.matrix(b).unwrap());
        for i in 0..rows {
            for j in 0..columns {
                let terms = (0..inner)
                    .map(|k| f64::from(left[i * inner + k]) * f64::from(right[j * inner + k]));
                result.push(terms.sum());
            }
        }
    }
    result
}

fn assert_product(left: &Tensor, right: &Tensor) {
    let result = left.matmul(&right.transpose()).unwrap();
    let [batch, rows, inner] = left.shape();
    let columns = right.shape()[1];
    assert_eq!(result.shape(), [batch, rows, columns]);
    let expected = naive(left, right);
    for (index, &expected) in expected.iter().enumerate() {
        let (b, rest) = (index / (rows * columns), index % (rows * columns));
        let (i, j) = (rest / columns, rest % columns);
        let value = f64::from(result.get(b, i, j).unwrap());
        // Rounding of `inner` additions of numbers between 0 and 1.
        let bound = inner as f64 * f64::from(f32::EPSILON) * expected.max(1.0);
        assert!(
            (value - expected).abs() <= bound,
            "[{b}, {i}, {j}]: {value}, not {expected}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_product_is_the_definitions(
        batch in 1usize..5,
        rows in 1usize..140,
        columns in 1usize..40,
        inner in 1usize..70,
    ) {
        let device = Device::cpu();
        let left = device.rand([batch, rows, inner], 1).unwrap();
        let right = device.rand([batch, columns, inner], 2).unwrap();
        assert_product(&left, &right);
    }
}

#[test]
fn one_large_matrix_is_cut_into_jobs_and_is_right() {
    let device = Device::cpu();
    let left = device.rand([1, 1001, 33], 1).unwrap();
    let right = device.rand([1, 37, 33], 2).unwrap();
    assert_product(&left, &right);
}

#[test]
fn a_tensor_times_its_transpose_is_symmetric() {
    let tensor = Device::cpu().rand([3, 65, 65], 5).unwrap();
    let result = tensor.matmul(&tensor.transpose()).unwrap();
    assert_eq!(result.bytes(), 3 * 65 * 65 * 4);
    for b in 0..3 {
        for i in 0..65 {
            for j in 0..i {
                let (one, other) = (result.get(b, i, j).unwrap(), result.get(b, j, i).unwrap());
                assert!(
                    (one - other).abs() <= 1e-5 * one,
                    "[{b}, {i}, {j}]: {one}, {other}"
                );
            }
        }
    }
    // The transpose alone tells whether it was transposed at all: A·A is not symmetric.
    let row = tensor.row(1, 7).unwrap();
    let square: f64 = row.iter().map(|&value| f64::from(value).powi(2)).sum();
    let diagonal = f64::from(result.get(1, 7, 7).unwrap());
    assert!(
        (diagonal - square).abs() < 1e-5 * square,
        "{diagonal}, not {square}"
    );
}

#[test]
fn random_numbers_are_the_seeds_and_spread_evenly() {
    let device = Device::cpu();
    // More than one thread's part, and not a multiple of it.
    let shape = [3, 1024, 1025];
    let tensor = device.rand(shape, 7).unwrap();
    let count = shape.iter().product::<usize>() as f64;
    let mean = tensor.checksum().unwrap() / count;
    // The mean's standard deviation is 0.2887 / √count = 0.00016.
    assert!((mean - 0.5).abs() < 0.001, "{mean}");
    let again = device.rand(shape, 7).unwrap();
    let other = device.rand(shape, 8).unwrap();
    for b in 0..3 {
        assert!(tensor.matrix(b).unwrap() == again.matrix(b).unwrap());
        assert!(tensor.matrix(b).unwrap() != other.matrix(b).unwrap());
        assert!(
            tensor
                .matrix(b)
                .unwrap()
                .iter()
                .all(|value| (0.0..1.0).contains(value))
        );
    }
}

#[test]
fn elements_are_where_row_major_order_puts_them() {
    let numbers: Vec<f32> = (0..24u8).map(f32::from).collect();
    let tensor = Device::cpu().tensor([2, 3, 4], &numbers).unwrap();
    assert_eq!(tensor.get(1, 2, 3).unwrap(), 23.0);
    assert_eq!(tensor.get(0, 1, 2).unwrap(), 6.0);
    assert_eq!(tensor.row(1, 0).unwrap(), [12.0, 13.0, 14.0, 15.0]);
    assert_eq!(tensor.matrix(0).unwrap(), numbers[..12]);
    assert_eq!(tensor.checksum().unwrap(), 276.0);
    assert_eq!(tensor.transpose().shape(), [2, 4, 3]);
    assert_eq!(tensor.to_string(), "2 × 3 × 4 f32, 96 B on CPU");
    assert_eq!(format!("{tensor:?}"), tensor.to_string());
}

#[test]
fn errors_say_what_to_do() {
    let device = Device::cpu();
    let says = |error: Error| error.to_string();
    // 1 TiB · 4: more than a machine that runs this test has.
    let huge = device.rand([1 << 20, 1 << 10, 1 << 10], 1).unwrap_err();
    assert!(matches!(huge, Error::TooLarge { needed, .. } if needed == 4 << 40));
    let words = says(huge);
    assert!(words.contains("fitting_cube"), "{words}");
    // Found out before the system was asked, which may promise more than it has.
    assert!(!words.contains("allocator refused"), "{words}");
    assert!(says(device.rand([0, 1, 1], 1).unwrap_err()).contains("at least 1"));
    assert!(says(device.rand([usize::MAX; 3], 1).unwrap_err()).contains("larger than any"));
    let unknown = "tpu".parse::<Device>().unwrap_err();
    assert!(says(unknown).contains("\"gpu:1\""));
    assert!("cpu:0".parse::<Device>().is_err());
    assert!("gpu:x".parse::<Device>().is_err());
    let tensor = device.rand([2, 3, 4], 1).unwrap();
    let longer = device.rand([2, 3, 5], 1).unwrap();
    assert!(says(tensor.matmul(&longer.transpose()).unwrap_err()).contains(".transpose()"));
    let more = device.rand([3, 3, 4], 1).unwrap();
    assert!(tensor.matmul(&more.transpose()).is_err());
    for error in [
        tensor.get(0, 0, 4).unwrap_err(),
        tensor.get(0, 3, 0).unwrap_err(),
        tensor.row(2, 0).unwrap_err(),
        tensor.matrix(2).unwrap_err(),
    ] {
        assert!(says(error).contains("2 × 3 × 4"));
    }
    let short = device.tensor([2, 3, 4], &[1.0]).unwrap_err();
    assert!(says(short).contains("takes 24 numbers"));
}

#[test]
fn the_best_device_says_what_it_is_and_why() {
    let device = Device::best();
    let words = device.to_string();
    if device.is_gpu() {
        assert!(words.starts_with("GPU 0: "), "{words}");
    } else {
        assert!(words.starts_with("CPU with "), "{words}");
        assert!(
            words.contains(device.why()) && device.why().len() > 10,
            "{words}"
        );
        let error = Device::gpu(0).unwrap_err().to_string();
        assert!(
            error.contains(device.why()) && error.contains("Device::best()"),
            "{error}"
        );
    }
    assert_eq!("cpu".parse::<Device>().unwrap().why(), "chosen");
}

#[test]
fn a_small_cube_fits() {
    let device = Device::cpu();
    let cube = fitting_cube(&device, 16).unwrap();
    assert_eq!(
        (cube.n, cube.shape(), cube.bytes()),
        (16, [16; 3], 16 * 16 * 16 * 4)
    );
    assert!(cube.to_string().contains("GFLOP/s"), "{cube}");
}
