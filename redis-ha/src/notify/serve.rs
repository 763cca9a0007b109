//! The daemon: one thread reads the FIFO, one carries out steps, one waits for signals, and this one decides.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use super::machine_addresses::machine_addresses;
use super::once::list;
use super::{
    Coordinator, Fifo, FifoError, Level, Log, Notice, NoticeError, NotifyOptions, Order, Outcome, Pace,
    Reason, Sight, Subject, Taking, Verdict, Vpc, VpcError, VrrpState,
};
use crate::aws::{AwsEnvironment, InterfaceId};
use ovs_mesh::Chain;

/// How often this machine's addresses and the FIFO's file are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// How long systemd may take to hear that the FIFO is read. Without that word it takes the start for a failed one.
const READY: Duration = Duration::from_secs(5);
/// How many lines wait for the deciding thread; more wait in the FIFO.
const QUEUE: usize = 64;

/// The daemon cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its FIFO.
    #[error(transparent)]
    Fifo(#[from] FifoError),
    /// Signals cannot be kept for the thread that waits for them.
    #[error("cannot wait for signals")]
    Signals(#[source] nix::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A thread has ended that never should.
    #[error("the thread that reads the FIFO or asks EC2 has ended")]
    Ended,
}

enum Event {
    Said(Result<Notice, NoticeError>),
    Trouble(FifoError),
    Ready(Result<(), VpcError>),
    Done { result: Result<Outcome<Taking>, VpcError>, interface: Option<InterfaceId> },
    Stop(Signal),
}

/// Keeps each master's VIP here until SIGTERM or SIGINT.
pub fn serve(
    options: &NotifyOptions,
    environment: AwsEnvironment,
    log: &mut dyn Log,
) -> Result<(), ServeError> {
    // Inherited by all threads, so that only the one that waits for them gets them.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().map_err(ServeError::Signals)?;
    let fifo = Fifo::open(&options.fifo)?;
    let subjects = options.subjects();
    let (sender, events) = sync_channel(QUEUE);
    let (orders, work) = channel();
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(ServeError::Thread)
    };
    let stop = sender.clone();
    spawn(
        "signals",
        Box::new(move || while signals.wait().is_ok_and(|signal| stop.send(Event::Stop(signal)).is_ok()) {}),
    )?;
    let (path, lines) = (options.fifo.clone(), sender.clone());
    spawn("fifo", Box::new(move || read(fifo, &path, &lines)))?;
    let vpc = Vpc::new(options, environment);
    let addresses: Vec<_> = subjects.iter().map(|(_, addresses)| addresses.clone()).collect();
    spawn("ec2", Box::new(move || carry_out(vpc, &addresses, &work, &sender)))?;
    let pace = Pace::new(options.deadline, options.reconcile);
    log.log(Level::Info, &format!("reads {}", options.fifo.display()));
    // keepalived starts after this: what it says first is heard.
    if !crate::systemd::Systemd::open_patient(options.notify_socket.as_deref(), READY).tell("READY=1") {
        log.log(Level::Warning, "cannot tell systemd that the FIFO is read");
    }
    Daemon {
        coordinator: Coordinator::new(subjects.len(), pace),
        said: vec![None; subjects.len()],
        sights: vec![Sight::Expected; subjects.len()],
        told: vec![None; subjects.len()],
        unknown: BTreeSet::new(),
        has_local_addresses: options.has_local_addresses,
        subjects,
        asked: None,
        log,
    }
    .run(&events, &orders)
}

/// The FIFO's lines, also of those FIFOs that take its place.
fn read(mut fifo: Fifo, path: &std::path::Path, events: &SyncSender<Event>) {
    loop {
        let mut is_gone = false;
        let result = fifo.read(WATCH, |line| is_gone |= events.send(Event::Said(line.parse())).is_err());
        if is_gone {
            return;
        }
        let failed = result.err();
        if failed.is_none() && !fifo.is_replaced() {
            continue;
        }
        let mut trouble = failed;
        loop {
            if let Some(error) = trouble {
                if events.send(Event::Trouble(error)).is_err() {
                    return;
                }
                thread::sleep(WATCH);
            }
            match Fifo::open(path) {
                Ok(new) => {
                    fifo = new;
                    break;
                }
                Err(error) => trouble = Some(error),
            }
        }
    }
}

fn carry_out(
    mut vpc: Vpc,
    subjects: &[Vec<Ipv4Addr>],
    orders: &Receiver<Order<Taking>>,
    events: &SyncSender<Event>,
) {
    let ready = subjects.iter().try_for_each(|addresses| vpc.warm_up(addresses));
    if events.send(Event::Ready(ready)).is_err() {
        return;
    }
    while let Ok(Order { subject, step, word }) = orders.recv() {
        let addresses = &subjects[subject];
        let result = vpc.carry_out(addresses, &step, &|| word.is_in_force());
        let interface = vpc.interface_of(addresses).cloned();
        if events.send(Event::Done { result, interface }).is_err() {
            return;
        }
    }
}

struct Daemon<'a> {
    coordinator: Coordinator<Taking>,
    subjects: Vec<(Subject, Vec<Ipv4Addr>)>,
    /// What keepalived said last of each.
    said: Vec<Option<VrrpState>>,
    /// What this machine's addresses meant last, of each.
    sights: Vec<Sight>,
    /// The last failure of each that was told: the same one again is not.
    told: Vec<Option<String>>,
    unknown: BTreeSet<Subject>,
    has_local_addresses: bool,
    /// Whose step is under way.
    asked: Option<usize>,
    log: &'a mut dyn Log,
}

impl Daemon<'_> {
    fn run(&mut self, events: &Receiver<Event>, orders: &Sender<Order<Taking>>) -> Result<(), ServeError> {
        let mut watch = Instant::now();
        loop {
            let now = Instant::now();
            if self.has_local_addresses && now >= watch {
                self.watch(now);
                watch = now + WATCH;
            }
            // What has been said until now comes before what is done next.
            if let Ok(event) = events.try_recv() {
                if self.take(event) {
                    return Ok(());
                }
                continue;
            }
            if let Some(order) = self.coordinator.poll(now) {
                self.asked = Some(order.subject);
                orders.send(order).map_err(|_| ServeError::Ended)?;
            }
            self.log.settle();
            let watches = self.has_local_addresses.then_some(watch);
            let wake = self.coordinator.wake_at().into_iter().chain(watches).min();
            let wait = wake.map_or(WATCH, |at| at.saturating_duration_since(now));
            match events.recv_timeout(wait) {
                Ok(event) => {
                    if self.take(event) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ServeError::Ended),
            }
        }
    }

    /// Whether it is time to end.
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Said(Ok(notice)) => self.said(&notice),
            // Health checkers write to the same FIFO, if keepalived is told only one.
            Event::Said(Err(error)) if error.is_of_checker() => {}
            Event::Said(Err(error)) => self.log.log(Level::Warning, &error.to_string()),
            Event::Trouble(error) => self.log.log(Level::Error, &Chain(&error).to_string()),
            Event::Ready(Ok(())) => self.log.log(Level::Info, "EC2 answers"),
            Event::Ready(Err(error)) => self.log.log(Level::Error, &with_hint(&error)),
            Event::Done { result, interface } => self.done(result, interface),
            Event::Stop(signal) => {
                let meanwhile = if self.asked.is_some() { ", with a step under way" } else { "" };
                self.log.log(Level::Info, &format!("ends on {signal}{meanwhile}"));
                return true;
            }
        }
        false
    }

    fn said(&mut self, notice: &Notice) {
        let Some(at) = self.subjects.iter().position(|(subject, _)| *subject == notice.subject) else {
            if self.unknown.len() < QUEUE && self.unknown.insert(notice.subject.clone()) {
                self.log.log(Level::Info, &format!("{notice}: no VIP follows it"));
            }
            return;
        };
        self.coordinator.hear(at, notice.state.change(), Instant::now());
        // A contested master is told so on every advert.
        if self.said[at].replace(notice.state) != Some(notice.state) {
            self.log.log(Level::Info, &notice.to_string());
        }
    }

    fn watch(&mut self, now: Instant) {
        let here = match machine_addresses() {
            Ok(here) => here,
            Err(error) => {
                return self
                    .log
                    .log(Level::Warning, &format!("cannot read this machine's addresses: {error}"));
            }
        };
        for (at, (subject, addresses)) in self.subjects.iter().enumerate() {
            let is_present = addresses.iter().any(|address| here.contains(address));
            let sight = self.coordinator.observe(at, is_present, now);
            let what = match sight {
                Sight::Expected => None,
                Sight::News if is_present => {
                    Some("no line has said so, but this machine has its VIP: it is master")
                }
                Sight::News => Some("no line has said so, but this machine has no VIP: it is not master"),
                Sight::Foreign => Some(
                    "is not master, but this machine has its VIP: not from keepalived (cloud-init may configure it)",
                ),
            };
            let before = std::mem::replace(&mut self.sights[at], sight);
            if sight == Sight::News {
                self.said[at] = None;
            }
            if let Some(what) = what.filter(|_| sight == Sight::News || sight != before) {
                self.log.log(Level::Warning, &format!("{subject}: {what}"));
            }
        }
    }

    fn done(&mut self, result: Result<Outcome<Taking>, VpcError>, interface: Option<InterfaceId>) {
        let Some(at) = self.asked.take() else { return };
        let (outcome, error) = match result {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::Failed(error.severity()), Some(error)),
        };
        let verdict = self.coordinator.finish(outcome, Instant::now(), fastrand::f64());
        let (subject, addresses) = &self.subjects[at];
        let what = format!("{subject}: {}", list(addresses));
        let why = || error.as_ref().map_or_else(|| "EC2 has not carried it out".to_owned(), with_hint);
        let (level, text) = match verdict {
            Verdict::Superseded | Verdict::Continues => return,
            Verdict::Held { is_moved, reason, took } => {
                let was_amiss = self.told[at].take().is_some();
                if !is_moved && !was_amiss && reason != Reason::Master {
                    return;
                }
                let to = interface.map_or_else(String::new, |interface| format!(" {interface}"));
                let took = took.as_millis();
                let text = if is_moved { "now leads to" } else { "leads to" };
                let is_odd = is_moved && reason != Reason::Master;
                let since = if is_odd { ", which it did not" } else { "" };
                let level = if is_odd { Level::Warning } else { Level::Info };
                return self.log.log(level, &format!("{what} {text}{to}{since} ({took} ms)"));
            }
            Verdict::Retries { after } => {
                let why = error.as_ref().map_or_else(String::new, |error| Chain(error).to_string());
                self.log.log(Level::Warning, &format!("{what}: {why}; again in {} ms", after.as_millis()));
                return;
            }
            Verdict::GivenUp { is_late: false } => {
                (Level::Error, format!("{what} does not lead here: {}", why()))
            }
            Verdict::GivenUp { is_late: true } => {
                (Level::Error, format!("{what} does not lead here in time: {}", why()))
            }
        };
        if self.told[at].as_ref() != Some(&text) {
            self.log.log(level, &text);
            self.told[at] = Some(text);
        }
    }
}

fn with_hint(error: &VpcError) -> String {
    let hint = error.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{}{hint}", Chain(error))
}
