//! The tests' EC2 and instance metadata as a program, for `scripts/bench-notify`: prints where they answer and as which
//! interface, and goes on until its standard input ends.

#![allow(dead_code, reason = "the tests use the rest")]
#![allow(clippy::format_push_string, clippy::format_collect, clippy::unwrap_used, reason = "as in the tests")]

#[path = "../tests/notify/fake/mod.rs"]
mod fake;

use std::io::Read;

fn main() -> std::io::Result<()> {
    let fake = fake::Fake::new();
    println!("{} {} {}", fake.ec2, fake.imds(&[fake::ENI_A]), fake::ENI_A);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let offences = std::mem::take(&mut fake.state().offences);
    if offences.is_empty() { Ok(()) } else { Err(std::io::Error::other(offences.join(", "))) }
}
