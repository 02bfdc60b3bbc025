use std::collections::BTreeMap;
use std::io::Write;

use super::super::manifest::tests::origin;
use super::super::pack::{Member, write_to};
use super::*;

/// Folders to restore into, with something of the user's in each.
struct Place {
    folder: TempDir,
    homes: Homes,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let homes = Homes {
            cache: folder.path().join("cache"),
            registry: folder.path().join("cargo/registry"),
        };
        let place = Place { folder, homes };
        place.put("cache/evcxr/7/mine", "mine");
        place.put("cargo/registry/cache/x/a-1.0.0.crate", "mine");
        place.put("cargo/registry/index/x/.cache/1/a", "old");
        place
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn unpack(&self, bundle: &[u8]) -> Result<Restored> {
        unpack(bundle, &origin(), &self.homes)
    }

    /// All files with their text.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let files = files_below(self.folder.path()).unwrap();
        let read = |file: &PathBuf| std::fs::read_to_string(self.folder.path().join(file));
        files
            .into_iter()
            .map(|file| (file.clone(), read(&file).unwrap()))
            .collect()
    }
}

fn manifest(members: &[Member]) -> Manifest {
    Manifest::new(origin(), 1, &Pins::default(), members)
}

fn bundle(files: &[(&str, &str)]) -> Vec<u8> {
    let members: Vec<Member> = files
        .iter()
        .map(|(path, text)| Member::bytes(path.into(), text.as_bytes().to_vec()))
        .collect();
    let mut packed = Vec::new();
    write_to(&mut packed, &manifest(&members), members).unwrap();
    packed
}

/// A bundle with a header that no honest tar writes.
fn forged(change: impl FnOnce(&mut tar::Header)) -> Vec<u8> {
    let member = Member::bytes("evcxr/9/x".into(), b"evil".to_vec());
    let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    let text = serde_json::to_vec(&manifest(&[member])).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path(MANIFEST).unwrap();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append(&header, &text[..]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("evcxr/9/x").unwrap();
    header.set_size(4);
    header.set_mode(0o644);
    change(&mut header);
    header.set_cksum();
    archive.append(&header, &b"evil"[..]).unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}

fn named(path: &str) -> Vec<u8> {
    forged(|header| {
        let field = &mut header.as_old_mut().name;
        field.fill(0);
        field[..path.len()].copy_from_slice(path.as_bytes());
    })
}

#[test]
fn what_is_new_is_restored_and_what_was_there_stays() {
    let place = Place::new();
    let lock = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"r\"\n";
    let packed = bundle(&[
        ("evcxr/7/theirs", "theirs"),
        ("evcxr/8/liba.rlib", "code"),
        ("registry/cache/x/a-1.0.0.crate", "theirs"),
        ("registry/cache/x/b-1.0.0.crate", "theirs"),
        ("registry/index/x/.cache/1/a", "old and new"),
        ("Cargo.lock", lock),
    ]);
    let restored = place.unpack(&packed).unwrap();
    let expected = Restored {
        entries: 1,
        entries_kept: 1,
        files: 2,
        files_kept: 1,
        conflict: None,
    };
    assert_eq!(restored, expected);
    let files = place.files();
    let text = |path: &str| files[Path::new(path)].as_str();
    assert_eq!(text("cache/evcxr/7/mine"), "mine");
    assert_eq!(text("cache/evcxr/8/liba.rlib"), "code");
    assert_eq!(text("cargo/registry/cache/x/a-1.0.0.crate"), "mine");
    assert_eq!(text("cargo/registry/cache/x/b-1.0.0.crate"), "theirs");
    assert_eq!(text("cargo/registry/index/x/.cache/1/a"), "old and new");
    assert!(text("cache/Cargo.lock").contains("name = \"a\""));
    assert_eq!(files.len(), 6, "nothing else is left: {files:?}");
    let again = place.unpack(&packed).unwrap();
    assert_eq!((again.entries, again.entries_kept), (0, 2));
    assert_eq!(place.files(), files);
}

#[test]
fn pins_that_exclude_each_other_are_told_and_stay() {
    let lock = |version: &str| {
        format!("[[package]]\nname = \"a\"\nversion = \"{version}\"\nsource = \"r\"\n")
    };
    let place = Place::new();
    place.put("cache/Cargo.lock", &lock("1.0.0"));
    let restored = place
        .unpack(&bundle(&[("Cargo.lock", &lock("1.1.0"))]))
        .unwrap();
    assert!(restored.conflict.unwrap().contains("a is pinned to 1.0.0"));
    assert_eq!(place.files()[Path::new("cache/Cargo.lock")], lock("1.0.0"));
}

#[test]
fn a_bundle_that_is_cut_off_or_damaged_changes_nothing() {
    let place = Place::new();
    let before = place.files();
    let packed = bundle(&[("evcxr/9/a", &"text ".repeat(4000)), ("evcxr/9/b", "b")]);
    for length in 0..packed.len() {
        assert!(place.unpack(&packed[..length]).is_err(), "{length}");
    }
    let mut damaged = packed.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(
        place.unpack(&damaged).is_err(),
        "the checksum is not looked at"
    );
    assert!(place.unpack(b"PK\x03\x04 no such archive").is_err());
    assert_eq!(place.files(), before);
    assert!(place.unpack(&packed).is_ok());
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let place = Place::new();
    let before = place.files();
    let outside = place.folder.path().join("outside");
    for path in [
        outside.to_str().unwrap(),
        "../outside",
        "evcxr/9/../../outside",
        "evcxr/9/..",
        "registry/cache/x/../../outside.crate",
        "cargo/config.toml",
        "evcxr/not-a-number/x",
    ] {
        let error = place.unpack(&named(path)).unwrap_err().to_string();
        assert!(
            error.contains("elsewhere") || error.contains("no known kind"),
            "{path}: {error}"
        );
        assert_eq!(place.files(), before, "{path}");
    }
    assert!(
        place.unpack(&named("evcxr/9/x")).is_ok(),
        "the forgery itself is sound"
    );
}

#[test]
fn only_plain_files_are_taken() {
    let place = Place::new();
    let before = place.files();
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
        tar::EntryType::Block,
        tar::EntryType::Char,
        tar::EntryType::Fifo,
        tar::EntryType::GNULongName,
        tar::EntryType::GNUSparse,
        tar::EntryType::XHeader,
    ] {
        let packed = forged(|header| {
            header.set_entry_type(kind);
            header.set_link_name("/etc/passwd").unwrap();
        });
        let error = place.unpack(&packed).unwrap_err().to_string();
        assert!(error.contains("not a plain file"), "{kind:?}: {error}");
        assert_eq!(place.files(), before, "{kind:?}");
    }
}

#[test]
fn special_modes_are_not_taken() {
    let place = Place::new();
    place
        .unpack(&forged(|header| header.set_mode(0o4777)))
        .unwrap();
    let file = place.homes.cache.join("evcxr/9/x");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o7022, 0, "{mode:o}");
    assert_eq!(mode & 0o100, 0o100);
}

#[test]
fn no_more_is_read_than_is_announced() {
    let member = |path: &str, text: &str| Member::bytes(path.into(), text.as_bytes().to_vec());
    let announced = manifest(&[member("evcxr/9/a", "1234")]);
    let place = Place::new();
    let before = place.files();
    let unpack = |members: Vec<Member>| {
        let mut packed = Vec::new();
        write_to(&mut packed, &announced, members).unwrap();
        place.unpack(&packed).map_err(|error| error.to_string())
    };
    let more = "it holds more than it announces";
    assert_eq!(
        unpack(vec![member("evcxr/9/a", "12345")]).unwrap_err(),
        more
    );
    let two = vec![member("evcxr/9/a", "12"), member("evcxr/9/b", "34")];
    assert_eq!(unpack(two).unwrap_err(), more);
    assert!(
        unpack(vec![member("evcxr/9/a", "123")])
            .unwrap_err()
            .contains("cut off")
    );
    assert!(unpack(Vec::new()).unwrap_err().contains("cut off"));
    assert_eq!(place.files(), before);
    assert!(unpack(vec![member("evcxr/9/a", "1234")]).is_ok());

    let twice = [("evcxr/9/x", "1"), ("evcxr/9/x", "2")];
    assert!(
        place
            .unpack(&bundle(&twice))
            .unwrap_err()
            .to_string()
            .contains("twice")
    );
    let huge = Manifest {
        bytes: u64::MAX,
        ..manifest(&[])
    };
    let mut packed = Vec::new();
    write_to(&mut packed, &huge, Vec::new()).unwrap();
    assert!(
        place
            .unpack(&packed)
            .unwrap_err()
            .to_string()
            .contains("of disk")
    );
}

#[test]
fn another_compiler_and_no_bundle_are_told() {
    let place = Place::new();
    let mut here = origin();
    here.rustc = "rustc 1.99.1 (x)".into();
    let packed = bundle(&[("evcxr/9/x", "x")]);
    let error = unpack(&packed[..], &here, &place.homes)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("rustc 1.95.0") && error.contains("rustc 1.99.1"),
        "{error}"
    );
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(b"text").unwrap();
    assert!(place.unpack(&encoder.finish().unwrap()).is_err());
}
