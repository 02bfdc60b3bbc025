//! The seeded data and the first loss against `tests/reference/training.json`, which numpy and
//! PyTorch made.

use memtrack_workloads::{linear_init, seeded_normal};
use serde_json::Value;

fn reference() -> Value {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/reference/training.json"
    );
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn seed(reference: &Value, name: &str) -> u64 {
    reference["seeds"][name].as_u64().unwrap()
}

fn assert_same_bits(reference: &Value, name: &str, values: &[f32]) {
    let data = &reference["data"][name];
    for (index, first) in data["first"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            f64::from(values[index]),
            first.as_f64().unwrap(),
            "{name}[{index}]"
        );
    }
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let crc = data["crc32_of_f32_little_endian"].as_u64().unwrap();
    assert_eq!(u64::from(crc32fast::hash(&bytes)), crc, "{name}");
}

#[test]
fn numpy_makes_the_same_bits() {
    let reference = reference();
    let inputs = seeded_normal(seed(&reference, "inputs"), 1000 * 100);
    let targets = seeded_normal(seed(&reference, "targets"), 1000 * 10);
    let linear = linear_init(seed(&reference, "linear"), 100, 10);
    assert_same_bits(&reference, "inputs", &inputs);
    assert_same_bits(&reference, "targets", &targets);
    assert_same_bits(&reference, "weight", &linear.weight);
    assert_same_bits(&reference, "bias", &linear.bias);
}

#[test]
fn the_first_loss_is_pytorchs() {
    let reference = reference();
    let inputs = seeded_normal(seed(&reference, "inputs"), 1000 * 100);
    let targets = seeded_normal(seed(&reference, "targets"), 1000 * 10);
    let linear = linear_init(seed(&reference, "linear"), 100, 10);
    let mut sum = 0.0;
    for (input, target) in inputs.chunks(100).zip(targets.chunks(10)) {
        for (output, target) in target.iter().enumerate() {
            let row = &linear.weight[output * 100..][..100];
            let products = row.iter().zip(input);
            let value: f64 = products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            sum += (value + f64::from(linear.bias[output]) - f64::from(*target)).powi(2);
        }
    }
    let loss = sum / 10_000.0;
    let expected = reference["losses"]["float64"][0].as_f64().unwrap();
    assert!(
        (loss - expected).abs() < 1e-12 * expected,
        "{loss} against {expected}"
    );
}
