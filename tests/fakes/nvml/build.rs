//! Gives the library the name that the loader knows the real one by.

fn main() {
    // Programs ask the loader by this name whether the library is loaded, whatever file name it
    // was loaded under.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libnvidia-ml.so.1");
    println!("cargo::rerun-if-changed=build.rs");
}
