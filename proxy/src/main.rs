//! How does the process start and end?

fn main() {}
