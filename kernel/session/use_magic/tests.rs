use super::*;

#[test]
fn features_of_cudarc_are_read() {
    let line = "cudarc = { version = \"1\", features = [\"std\", \"cuda-12060\"] }";
    assert_eq!(cuda_feature(line), Some(12060));
    assert_eq!(
        cuda_feature("cudarc = { features = [\"cuda-version-from-build-system\"] }"),
        None
    );
    assert_eq!(cuda_feature("cudarc = \"1\""), None);
}
