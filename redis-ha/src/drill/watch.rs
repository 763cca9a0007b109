//! Listens to the daemons while something is broken.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lab::{Service, ServiceLab};
use crate::proxy::servers;
use crate::render::Place;

const PAUSE: Duration = Duration::from_millis(10);
/// What of a log tells what became of the fault; the rest is the daemons' own business.
const TELLING: [&str; 14] = [
    "+sdown master",
    "+odown",
    "+switch-master",
    "+vote-for-leader",
    "+elected-leader",
    "+promoted-slave",
    "-failover-abort",
    "+config-update-from",
    "Entering MASTER STATE",
    "Entering BACKUP STATE",
    "Entering FAULT STATE",
    " is down: ",
    " is up",
    " now leads to ",
];

/// A line that something said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) at: Instant,
    pub(super) who: String,
    pub(super) what: String,
}

/// Listens until it is stopped.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Said>>>,
}

struct Tail {
    who: String,
    file: File,
    partial: String,
    /// The node that an agent has called up.
    up: Option<String>,
}

impl Tail {
    /// Whether a line tells of more than that a node which is not the master is not the master.
    fn is_news(&mut self, line: &str) -> bool {
        if let Some((node, _)) = line.split_once(" is up") {
            self.up = Some(node.to_owned());
        } else if let Some((node, _)) = line.split_once(" is down: ") {
            let was_up =
                self.up.as_ref().is_none_or(|up| up == node) && !line.contains("another node is the master");
            self.up = self.up.take().filter(|up| up != node);
            return was_up;
        }
        true
    }

    /// The lines that came since the last call.
    fn lines(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        // A log that cannot be read has nothing to tell; the drill's result does not depend on it.
        let _ = self.file.read_to_end(&mut bytes);
        self.partial.push_str(&String::from_utf8_lossy(&bytes));
        let mut lines = Vec::new();
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).collect();
            lines.push(line.trim_end().to_owned());
        }
        lines
    }
}

impl Watch {
    /// Listens to all logs of the lab, from now on, and asks every `HAProxy` whom it sends the tenant's clients to.
    pub(super) fn start(lab: &ServiceLab, tenant: &str) -> std::io::Result<Self> {
        let of_tenant = |service: &Service| match service {
            Service::Redis(ctid) | Service::Sentinel(ctid) => {
                let cluster = lab.config().clusters.iter().find(|cluster| cluster.tenant.as_str() == tenant);
                cluster.is_some_and(|cluster| cluster.nodes.contains(ctid))
            }
            Service::Agent(_) | Service::Haproxy(_) | Service::Notify(_) | Service::Keepalived(_) => true,
        };
        let mut tails = Vec::new();
        for service in lab.services().iter().filter(|service| of_tenant(service)) {
            if let Ok(mut file) = File::open(lab.log(service)) {
                file.seek(SeekFrom::End(0))?;
                tails.push(Tail { who: service.to_string(), file, partial: String::new(), up: None });
            }
        }
        let sockets: Vec<(String, PathBuf)> = lab
            .config()
            .proxies
            .hosts
            .iter()
            .map(|host| (host.to_string(), lab.layout(&Place::Proxy(host.clone())).haproxy_socket()))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let tenant = tenant.to_owned();
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || listen(&mut tails, &sockets, &tenant, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it; everything that was said, in order.
    pub(super) fn stop(mut self) -> Vec<Said> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(said)) => said,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Vec::new(),
        }
    }
}

impl Drop for Watch {
    /// One that is not asked what was said ends, too, without being waited for.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn listen(tails: &mut [Tail], sockets: &[(String, PathBuf)], tenant: &str, stop: &AtomicBool) -> Vec<Said> {
    let mut said = Vec::new();
    let mut views: BTreeMap<&str, String> = BTreeMap::new();
    loop {
        let is_last = stop.load(Ordering::Relaxed);
        let at = Instant::now();
        for tail in &mut *tails {
            let lines = tail.lines();
            let telling = lines.into_iter().filter(|line| TELLING.iter().any(|word| line.contains(word)));
            let telling = telling.filter(|line| tail.is_news(line)).collect::<Vec<_>>();
            said.extend(telling.into_iter().map(|what| Said {
                at,
                who: tail.who.clone(),
                what: event(&what).to_owned(),
            }));
        }
        for (host, socket) in sockets {
            let view = match servers(socket) {
                Ok(all) => {
                    let up = all
                        .iter()
                        .filter(|server| server.tenant == tenant && server.status.starts_with("UP"));
                    let up: Vec<&str> = up.map(|server| server.node.as_str()).collect();
                    if up.is_empty() { "to nobody".to_owned() } else { format!("to {}", up.join(", ")) }
                }
                Err(_) => "not at all: no HAProxy".to_owned(),
            };
            if views.get(host.as_str()) != Some(&view) {
                let what = format!("sends clients {view}");
                said.push(Said { at, who: format!("haproxy on {host}"), what });
                views.insert(host, view);
            }
        }
        if is_last {
            return said;
        }
        thread::sleep(PAUSE);
    }
}

/// A log's line without the process and the time that it begins with.
fn event(line: &str) -> &str {
    let start = line
        .find(['+', '-'])
        .filter(|at| line[*at + 1..].starts_with(|next: char| next.is_ascii_lowercase()))
        .filter(|at| line[..*at].is_empty() || line[..*at].ends_with(' '));
    line.find("Entering").or(start).map_or(line, |at| &line[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_without_its_process_and_time() {
        let table = [
            (
                "123:X 25 Nov 2026 02:10:32.000 # +sdown master acme 10.0.0.1 6379",
                "+sdown master acme 10.0.0.1 6379",
            ),
            (
                "123:X 25 Nov 2026 02:10:32.000 # -failover-abort-no-good-slave master",
                "-failover-abort-no-good-slave master",
            ),
            ("Wed Nov 25 02:10:32 2026: (redis-ha) Entering MASTER STATE", "Entering MASTER STATE"),
            ("acme/101 is down: no replica follows it", "acme/101 is down: no replica follows it"),
            (
                "INSTANCE \"redis-ha\": 10.0.1.100 now leads to eni-1 (5 ms)",
                "INSTANCE \"redis-ha\": 10.0.1.100 now leads to eni-1 (5 ms)",
            ),
            ("+", "+"),
        ];
        for (line, expected) in table {
            assert_eq!(event(line), expected);
        }
    }

    #[test]
    fn that_another_node_is_the_master_is_no_news() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("log")).unwrap();
        let mut tail = Tail { who: "agent".to_owned(), file, partial: String::new(), up: None };
        let table = [
            ("acme/101 is up", true),
            ("acme/102 is down: another node is the master", false),
            ("acme/102 is down: the Sentinels do not agree on a master", false),
            ("acme/101 is down: no majority of Sentinels is heard, only 1", true),
            ("+odown master acme", true),
        ];
        for (line, news) in table {
            assert_eq!(tail.is_news(line), news, "{line}");
        }
    }
}
