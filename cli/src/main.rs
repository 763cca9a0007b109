//! `ovsmesh`
fn main() {}
