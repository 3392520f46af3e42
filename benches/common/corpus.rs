//! The files of `tests/corpus`, in the order of their names, so that every run reads the same bytes.

use std::{fs, path::Path};

/// The bytes of every file of `tests/corpus/<folder>`.
pub(crate) fn folder(folder: &str) -> Vec<Vec<u8>> {
    let at = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(at)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|at| fs::read(at).unwrap()).collect()
}

/// How many bytes there are in all.
pub(crate) fn len(files: &[Vec<u8>]) -> usize {
    files.iter().map(Vec::len).sum()
}
