//! The signals that ask a program to end.

use std::future::pending;
use std::time::{Duration, Instant};
use std::{fs, io, process, thread};

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// What follows the first within this time is the same request: timeout(1) signals the program and then its group.
const ONE: Duration = Duration::from_millis(100);

/// A signal that asks a program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// `SIGHUP`: its terminal is gone.
    Hangup,
    /// `SIGINT`
    Interrupt,
    /// `SIGTERM`
    Terminate,
}

impl EndSignal {
    /// As shells tell that it ended a program.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// From when it is made on, the first does not end the program while it is waited for; another one does, at once, whatever the program is
/// at.
#[derive(Debug)]
pub struct Signals(oneshot::Receiver<EndSignal>);

impl Signals {
    /// `tell` is called when the first comes, on a thread of its own.
    pub fn new(tell: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (first, receiver) = oneshot::channel();
        let (started, is_listening) = std::sync::mpsc::channel();
        // The program's own may be blocked.
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let listening = runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
                let listener = runtime.block_on(async { Listener::new() })?;
                Ok((runtime, listener))
            });
            let (runtime, mut listener) = match listening {
                Ok(listening) => listening,
                // Where nobody takes it, nobody waits for it.
                Err(why) => return drop(started.send(Err(why))),
            };
            let _ = started.send(Ok(()));
            runtime.block_on(async {
                let signal = listener.next().await;
                if first.send(signal).is_err() {
                    // Nobody waits for it any more.
                    process::exit(signal.exit_code().into());
                }
                let came = Instant::now();
                tell();
                loop {
                    let again = listener.next().await;
                    // A terminal that goes is told by its shell, and by the kernel.
                    if again != EndSignal::Hangup && came.elapsed() > ONE {
                        process::exit(again.exit_code().into());
                    }
                }
            });
        })?;
        is_listening.recv().map_err(io::Error::other)??;
        Ok(Self(receiver))
    }

    /// Waits for the first.
    pub async fn first(self) -> EndSignal {
        match self.0.await {
            Ok(first) => first,
            // Its thread ends with the program.
            Err(_) => pending().await,
        }
    }
}

struct Listener {
    hangup: Option<Signal>,
    interrupt: Signal,
    terminate: Signal,
}

impl Listener {
    fn new() -> io::Result<Self> {
        let hangup = if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            hangup,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> EndSignal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = hangup => EndSignal::Hangup,
            _ = self.interrupt.recv() => EndSignal::Interrupt,
            _ = self.terminate.recv() => EndSignal::Terminate,
        }
    }
}

/// Whether the program is to outlive its terminal: nohup(1) started it.
fn is_hangup_ignored() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

/// By proc(5), `status`: `SIGHUP` is the first of the mask. Pure.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_says_whether_hangup_is_ignored() {
        assert!(ignores_hangup(
            "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"
        ));
        assert!(!ignores_hangup("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
