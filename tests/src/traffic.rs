//! Packets between two containers, counted: what the network loses, and not what a busy machine does not come to read.

use std::collections::BTreeSet;
use std::fmt;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::TestLab;

/// Between two packets: 2,000 a second.
const INTERVAL: Duration = Duration::from_micros(500);
/// A sender that was not run for longer does not make up for it in one burst.
const AT_ONCE: u64 = 10;
/// Packets of a minute wait to be read.
const BUFFER: usize = 128 << 20;

/// What became of the packets.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// How many were sent.
    pub sent: u32,
    /// How many were read.
    pub arrived: u32,
    /// How many got to the receiver, whose socket had no room for them.
    pub unread: u32,
}

impl Flow {
    /// How many the network lost.
    pub fn lost(&self) -> u32 {
        self.sent - self.arrived - self.unread
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} lost ({} at the receiver's socket)", self.lost(), self.sent, self.unread)
    }
}

/// UDP packets that were dropped in a namespace because nobody read them (`RcvbufErrors`, RFC 4113 and proc(5)).
fn unread(lab: &TestLab, place: &str) -> u32 {
    let text = lab.run(place, &["cat", "/proc/net/snmp"]);
    let mut lines = text.lines().filter(|line| line.starts_with("Udp: ")).map(str::split_whitespace);
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let value = names.zip(values).find(|(name, _)| *name == "RcvbufErrors").expect("the counter").1;
    value.parse().expect("a number")
}

/// 2,000 packets a second from container 101 on h1 to container 102 on h2 for so long, while `act` runs.
pub async fn flow<T>(lab: &TestLab, time: Duration, act: impl Future<Output = T>) -> (Flow, T) {
    // The first packets go to ask who is where.
    assert!((0..10).any(|_| lab.pings("101", "192.168.7.12", 1458)), "101 does not reach 102");
    let before = unread(lab, "102");
    let receiver =
        lab.netns("102").run(|| UdpSocket::bind("192.168.7.12:0")).expect("102").expect("a socket");
    setsockopt(&receiver, sockopt::RcvBufForce, &BUFFER).expect("a large buffer");
    receiver.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let sender = lab.netns("101").run(|| UdpSocket::bind("192.168.7.11:0")).expect("101").expect("a socket");
    sender.connect(receiver.local_addr().expect("its address")).expect("a way there");
    let ended = Arc::new(AtomicBool::new(false));
    let last = Arc::clone(&ended);
    let reading = std::thread::spawn(move || {
        let (mut seen, mut packet) = (BTreeSet::new(), [0; 4]);
        loop {
            // Nothing for a while after the last was sent: that was all.
            let was_last = last.load(Ordering::Acquire);
            match receiver.recv(&mut packet) {
                Ok(_) => drop(seen.insert(u32::from_be_bytes(packet))),
                Err(_) if was_last => return u32::try_from(seen.len()).expect("some thousand"),
                Err(_) => {}
            }
        }
    });
    let sending = std::thread::spawn(move || {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty()).expect("a timer");
        let each = Expiration::Interval(INTERVAL.into());
        timer.set(each, TimerSetTimeFlags::empty()).expect("a timer that runs");
        let (started, mut sent) = (Instant::now(), 0_u32);
        while started.elapsed() < time {
            let mut due = [0; 8];
            assert_eq!(nix::unistd::read(&timer, &mut due), Ok(8));
            for _ in 0..u64::from_ne_bytes(due).min(AT_ONCE) {
                sender.send(&sent.to_be_bytes()).expect("it is sent");
                sent += 1;
            }
        }
        ended.store(true, Ordering::Release);
        sent
    });
    let acted = act.await;
    let joined =
        tokio::task::spawn_blocking(move || (sending.join(), reading.join())).await.expect("a thread");
    let (sent, arrived) = (joined.0.expect("the sender"), joined.1.expect("the receiver"));
    (Flow { sent, arrived, unread: unread(lab, "102") - before }, acted)
}

/// How long one act goes on.
pub const BUSY: Duration = Duration::from_millis(2500);

/// Panics if the network loses packets while `act` runs, which goes on for [`BUSY`], and none without it. Where it loses some
/// by itself that proves nothing, and is tried again.
///
/// Forwarding comes first (`SCHED_FIFO`): what is lost then is not lost because something else on the machine has the
/// processors, but because ovs-vswitchd itself had other things to do, which only `act` gives it.
pub async fn loses_nothing(lab: &TestLab, mut act: impl AsyncFnMut() -> u32) {
    lab.forward_first();
    let mut tried = Vec::new();
    for _ in 0..5 {
        let (alone, ()) = flow(lab, Duration::from_secs(2), async {}).await;
        let (during, count) = flow(lab, Duration::from_secs(3), act()).await;
        tried.push(format!("alone {alone}; during {count} {during}"));
        println!("{}", tried[tried.len() - 1]);
        assert!(during.sent >= 5000, "only {} packets in 3 s", during.sent);
        if alone.lost() == 0 && during.lost() == 0 {
            return;
        }
        // What ovs-vswitchd's own sockets had no room for (`d` of skmem, ss(8)) says who lost them.
        let sockets = || ["h1", "h2"].map(|on| lab.run(on, &["ss", "-0", "-n", "-m", "-a"])).join("\n");
        assert!(alone.lost() > 0, "{}\n{}", tried.join("\n"), sockets());
    }
    panic!("this machine loses packets by itself:\n{}", tried.join("\n"));
}
