//! Holds a drill.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ovs_mesh::Ctid;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::inject::{Cast, inject};
use super::watch::{Said, Watch};
use super::writer::{Outcome, Target, Writer};
use super::{DrillError, DrillOptions, DrillReport, Fault, Moment};
use crate::config::{Cluster, Config, Credentials};
use crate::lab::{Service, ServiceLab, ServiceLabError};
use crate::proxy::ProxyView;

/// How long clients write before anything is broken.
const BEFORE: Duration = Duration::from_secs(1);
/// How long they write after all is mended.
const AFTER: Duration = Duration::from_secs(2);
/// How long clients may take to be served again.
const SETTLE: Duration = Duration::from_secs(60);
/// How often is looked whether a master is replaced: a look is work for the machine that is measured.
const LOOK: Duration = Duration::from_millis(200);
/// How the clients of other tenants write. They are there to see errors, not to be load; and what ends a session or refuses one is an
/// error at once, while an answer that others on the machine delay is none.
const OTHERS: DrillOptions = DrillOptions {
    patience: Duration::from_secs(1),
    connect: Duration::from_secs(1),
    pause: Duration::from_millis(20),
};

/// Breaks something under a client of one tenant that writes, while clients of all others write too.
///
/// `program` is `redis-ha`, for daemons of its own that are started again. A drill begins on a whole lab, having mended what an earlier
/// one left, and serves clients again in the end, or this fails; what it broke is mended in any case. Whoever drops it before its end
/// has [`ServiceLab::mend`] for that, as has the next drill.
pub async fn drill(
    lab: &ServiceLab,
    tenant: &str,
    fault: Fault,
    options: DrillOptions,
    program: &Path,
) -> Result<DrillReport, DrillError> {
    // Before anything is touched.
    let at = position(lab.config(), tenant)?;
    lab.mend(program).await?;
    let held = hold(lab, at, fault, options, program).await;
    let mended = lab.mend(program).await;
    let mut report = held?;
    // What a drill does not mend itself is a daemon that ended meanwhile, and worth knowing.
    let at_ms = report.timeline.last().map_or(0, |moment| moment.at_ms);
    let moment = |what| Moment { at_ms, who: "drill".to_owned(), what: format!("mended: {what}") };
    report.timeline.extend(mended?.into_iter().map(moment));
    Ok(report)
}

/// Which of the service's clusters is the tenant's. Pure.
fn position(config: &Config, tenant: &str) -> Result<usize, DrillError> {
    let mut tenants = config.clusters.iter().map(|cluster| cluster.tenant.as_str());
    tenants.position(|known| known == tenant).ok_or_else(|| DrillError::Tenant {
        tenant: tenant.to_owned(),
        known: config.clusters.iter().map(|cluster| cluster.tenant.to_string()).collect(),
    })
}

/// `at` is which cluster it is.
async fn hold(
    lab: &ServiceLab,
    at: usize,
    fault: Fault,
    options: DrillOptions,
    program: &Path,
) -> Result<DrillReport, DrillError> {
    let all: Vec<(&Cluster, &Credentials)> = lab.secrets().of(lab.config()).collect();
    let tenant = all[at].0.tenant.as_str();
    let settle = all.iter().map(|(cluster, _)| settle(cluster)).max().unwrap_or(SETTLE);
    lab.whole(settle).await?;
    let cast = cast(lab, all[at].0).await?;
    let netns = lab.client_netns()?;
    let targets: Vec<Target> = all
        .iter()
        .map(|(cluster, credentials)| Target {
            address: cluster.listen,
            password: credentials.client.clone(),
            key: "redis-ha:drill".to_owned(),
        })
        .collect();
    for (target, (cluster, _)) in targets.iter().zip(&all) {
        let cleared = target.clear(&netns).map_err(ServiceLabError::from)?;
        cleared.map_err(|source| DrillError::Clear { tenant: cluster.tenant.to_string(), source })?;
    }
    let thread = |source| DrillError::Thread { source };
    let watch = Watch::start(lab, tenant).map_err(thread)?;
    if fault == Fault::MasterReturns {
        // The fault is the return; that it went is not.
        lab.signal(&Service::Redis(cast.master.clone()), Signal::SIGKILL)?;
        if !replaced(lab, tenant, &cast.master, SETTLE).await? {
            return Err(DrillError::NoMaster { tenant: tenant.to_owned() });
        }
        lab.ready(SETTLE).await?;
        sleep(BEFORE).await;
    }
    let mut writers = Vec::new();
    for (other, target) in targets.iter().enumerate() {
        let netns = lab.client_netns()?;
        let options = if other == at { options } else { OTHERS };
        writers.push(Writer::start(netns, target.clone(), options).map_err(thread)?);
    }
    sleep(BEFORE).await;

    let started = Instant::now();
    let mut said: Vec<Said> = Vec::new();
    let broken = inject(lab, fault, &cast, program, |what| {
        said.push(Said { at: Instant::now(), who: "drill".to_owned(), what: what.to_owned() });
    })
    .await;
    let settled = lab.ready(SETTLE).await;
    sleep(AFTER).await;

    let mut outcomes = Vec::new();
    for writer in writers {
        // It may wait for an answer that never comes, as long as its patience lasts.
        let stopped = spawn_blocking(|| writer.stop()).await.map_err(|join| thread(join.into()))?;
        outcomes.push(stopped.map_err(ServiceLabError::from)?);
    }
    said.extend(watch.stop());
    broken?;
    settled?;
    // Not before: an old master may be asked, which is about to lose what it has.
    lab.whole(settle).await?;

    let mine = &outcomes[at];
    let there = targets[at].read(&netns).map_err(ServiceLabError::from)?;
    let there: HashSet<u64> = there
        .map_err(|source| DrillError::ReadBack { tenant: tenant.to_owned(), source })?
        .into_iter()
        .collect();
    let seen = seen(mine, started, &there);
    if seen.before == 0 {
        let last = mine.iter().rev().find_map(|(_, outcome)| match outcome {
            Outcome::Failed(why) => Some(why.clone()),
            Outcome::Acknowledged(_) => None,
        });
        let (tenant, target) = (tenant.to_owned(), all[at].0.listen);
        return Err(DrillError::NoWrites { tenant, target, last: last.unwrap_or_default() });
    }
    let others = all.iter().map(|(cluster, _)| cluster.tenant.as_str()).zip(&outcomes);
    let others: Vec<_> =
        others.enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other).collect();
    let others_gap = others.iter().map(|(_, outcomes)| longest_gap(outcomes, started)).max();
    let others_disturbed = fault.is_of_one_tenant().then(|| disturbed(&others, started, &mut said));
    Ok(DrillReport {
        fault,
        tenant: tenant.to_owned(),
        outage_ms: tenths_ms(longest_gap(mine, started)),
        acknowledged: seen.acknowledged,
        lost: seen.lost,
        errors: seen.errors,
        others_disturbed,
        others_gap_ms: others_gap.map(tenths_ms),
        failovers: failovers(&said),
        timeline: timeline(said, mine, started),
        writes: mine
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Acknowledged(_)))
            .map(|(at, _)| signed_ms(*at, started))
            .collect(),
    })
}

/// How long a cluster may take to be whole again. In the article's way, its Sentinels leave a replica that follows another than the master
/// alone for the failover's timeout.
fn settle(cluster: &Cluster) -> Duration {
    if cluster.starts_as_replica() { SETTLE } else { SETTLE + cluster.profile.pace().failover_timeout }
}

/// Waits until every proxy sends the tenant's clients to another node than that; whether they did within that time.
pub(super) async fn replaced(
    lab: &ServiceLab,
    tenant: &str,
    old: &Ctid,
    within: Duration,
) -> Result<bool, DrillError> {
    let started = Instant::now();
    loop {
        let proxies = lab.proxies().await?;
        let is_other = |proxy: &ProxyView| matches!(proxy.masters(tenant)[..], [one] if one != old.as_str());
        if proxies.iter().all(is_other) {
            return Ok(true);
        }
        if started.elapsed() > within {
            return Ok(false);
        }
        sleep(LOOK).await;
    }
}

async fn cast(lab: &ServiceLab, cluster: &Cluster) -> Result<Cast, DrillError> {
    let proxies = lab.proxies().await?;
    let active = proxies.iter().find(|proxy| proxy.has_vips).ok_or(DrillError::NoProxy)?;
    let none = || DrillError::NoMaster { tenant: cluster.tenant.to_string() };
    let [master] = active.masters(cluster.tenant.as_str())[..] else { return Err(none()) };
    let nodes: Vec<_> = lab.config().nodes(cluster).collect();
    let found = nodes.iter().find(|node| node.ctid.as_str() == master).ok_or_else(none)?;
    let pace = cluster.profile.pace();
    Ok(Cast {
        master: found.ctid.clone(),
        master_host: found.host.clone(),
        other_hosts: nodes
            .iter()
            .filter(|node| node.ctid != found.ctid)
            .map(|node| node.host.clone())
            .collect(),
        replicas: nodes.iter().filter(|node| node.ctid != found.ctid).map(|node| node.ctid.clone()).collect(),
        proxy: active.host.clone(),
        tenant: cluster.tenant.to_string(),
        restart: pace.restart,
        waits: cluster.starts_as_replica(),
        // Two Sentinels that vote for themselves try again after twice the failover's timeout.
        cut: Duration::from_secs(6).max(pace.down_after * 2 + Duration::from_secs(4))
            + if cluster.starts_as_replica() { pace.failover_timeout * 2 } else { Duration::ZERO },
    })
}

struct Seen {
    before: usize,
    acknowledged: usize,
    lost: usize,
    errors: usize,
}

/// What a client saw, of all and of what came after the fault. Pure.
fn seen(outcomes: &[(Instant, Outcome)], started: Instant, there: &HashSet<u64>) -> Seen {
    let mut seen = Seen { before: 0, acknowledged: 0, lost: 0, errors: 0 };
    for (at, outcome) in outcomes {
        match outcome {
            Outcome::Acknowledged(number) => {
                if *at < started {
                    seen.before += 1;
                } else {
                    seen.acknowledged += 1;
                }
                seen.lost += usize::from(!there.contains(number));
            }
            Outcome::Failed(_) => seen.errors += usize::from(*at >= started),
        }
    }
    seen
}

/// The tenants whose clients saw an error, and what that was. Pure.
fn disturbed(
    clients: &[(&str, &Vec<(Instant, Outcome)>)],
    started: Instant,
    said: &mut Vec<Said>,
) -> Vec<String> {
    let mut disturbed = Vec::new();
    for (tenant, outcomes) in clients {
        if let Some((at, why)) = first_failure(outcomes, started) {
            said.push(Said { at, who: format!("client of {tenant}"), what: format!("write fails: {why}") });
            disturbed.push((*tenant).to_owned());
        }
    }
    disturbed
}

/// When the first try failed from the fault on, and why. Pure.
fn first_failure(outcomes: &[(Instant, Outcome)], started: Instant) -> Option<(Instant, &str)> {
    outcomes.iter().filter(|(at, _)| *at >= started).find_map(|(at, outcome)| match outcome {
        Outcome::Failed(why) => Some((*at, why.as_str())),
        Outcome::Acknowledged(_) => None,
    })
}

/// How often a master was replaced by another, as the Sentinels tell it. Pure.
fn failovers(said: &[Said]) -> usize {
    // Each Sentinel tells of each once; a change that is told of twice by one happened twice.
    let mut told: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for said in said {
        if let Some(change) = said.what.strip_prefix("+switch-master ") {
            *told.entry((change, &said.who)).or_default() += 1;
        }
    }
    let mut changes: BTreeMap<&str, usize> = BTreeMap::new();
    for ((change, _), times) in told {
        let most = changes.entry(change).or_default();
        *most = times.max(*most);
    }
    changes.values().sum()
}

/// The longest between two acknowledged writes, of which the later came after the fault; to the end, if there was none. Pure.
fn longest_gap(outcomes: &[(Instant, Outcome)], started: Instant) -> Duration {
    let mut last: Option<Instant> = None;
    let mut longest = Duration::ZERO;
    for (at, outcome) in outcomes {
        if let Outcome::Acknowledged(_) = outcome {
            let since = last.map_or(started, |last| last);
            if *at > started {
                longest = longest.max(at.saturating_duration_since(since));
            }
            last = Some(*at);
        }
    }
    let end = outcomes.last().map_or(started, |(at, _)| *at);
    longest.max(end.saturating_duration_since(last.unwrap_or(started)))
}

/// Milliseconds to a tenth: what is beyond is the scheduler's, and is not measured.
fn tenths_ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Milliseconds from the fault, negative before it.
fn signed_ms(at: Instant, started: Instant) -> f64 {
    let after = at.saturating_duration_since(started).as_secs_f64();
    let before = started.saturating_duration_since(at).as_secs_f64();
    (after - before) * 1000.0
}

/// The same in whole ones.
fn whole_ms(at: Instant, started: Instant) -> i32 {
    let ms = |from: Instant, to: Instant| {
        let micros = to.saturating_duration_since(from).as_micros();
        i32::try_from((micros + 500) / 1000).unwrap_or(i32::MAX)
    };
    ms(started, at) - ms(at, started)
}

fn timeline(mut said: Vec<Said>, outcomes: &[(Instant, Outcome)], started: Instant) -> Vec<Moment> {
    // Of the client, only what changes: from answers to errors and back.
    let mut was_fine = true;
    let mut last_fine = None;
    for (at, outcome) in outcomes {
        let told = match outcome {
            Outcome::Acknowledged(_) if !was_fine => Some("writes again".to_owned()),
            Outcome::Failed(why) if was_fine => Some(format!("write fails: {why}")),
            _ => None,
        };
        if let Some(what) = told {
            if !was_fine || last_fine.is_none() {
                said.push(Said { at: *at, who: "client".to_owned(), what });
            } else if let Some(last) = last_fine {
                said.push(Said { at: last, who: "client".to_owned(), what: "last write".to_owned() });
                said.push(Said { at: *at, who: "client".to_owned(), what });
            }
        }
        was_fine = matches!(outcome, Outcome::Acknowledged(_));
        if was_fine {
            last_fine = Some(*at);
        }
    }
    said.sort_by_key(|said| said.at);
    said.into_iter()
        .map(|Said { at, who, what }| Moment { at_ms: whole_ms(at, started), who, what })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_saw() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let started = at(100);
        let outcomes = vec![
            (at(50), Outcome::Acknowledged(1)),
            (at(90), Outcome::Acknowledged(2)),
            (at(300), Outcome::Failed("x".to_owned())),
            (at(800), Outcome::Acknowledged(4)),
            (at(900), Outcome::Acknowledged(5)),
        ];
        assert_eq!(longest_gap(&outcomes, started), Duration::from_millis(710));
        let seen = seen(&outcomes, started, &[1, 4, 5].into());
        assert_eq!((seen.before, seen.acknowledged, seen.lost, seen.errors), (2, 2, 1, 1));
        let mut said = Vec::new();
        let fine = vec![(at(900), Outcome::Acknowledged(1))];
        let clients = [("acme", &outcomes), ("globex", &fine)];
        assert_eq!(disturbed(&clients, started, &mut said), ["acme"]);
        assert_eq!((said[0].at, said[0].who.as_str()), (at(300), "client of acme"));
        assert_eq!(disturbed(&clients, at(301), &mut said), Vec::<String>::new());
        let told: Vec<String> = timeline(Vec::new(), &outcomes, started)
            .iter()
            .map(|m| format!("{} {}", m.at_ms, m.what))
            .collect();
        assert_eq!(told, ["-10 last write", "200 write fails: x", "700 writes again"]);
    }

    #[test]
    fn a_tenant_that_is_not_there_is_told_with_those_that_are() {
        let service = include_str!("../../../examples/redis-ha.toml");
        let mesh = include_str!("../../../examples/ha-redis.toml").parse().unwrap();
        let config = Config::parse(service, Path::new("redis-ha.toml"), mesh).unwrap();
        assert_eq!(position(&config, "globex").unwrap(), 1);
        let why = position(&config, "nosuch").unwrap_err().to_string();
        assert_eq!(why, "the service has no tenant `nosuch`; it has acme, globex");
    }

    #[test]
    fn an_outage_is_told_to_a_tenth_of_a_millisecond() {
        let shown = |nanos| serde_json::json!(tenths_ms(Duration::from_nanos(nanos))).to_string();
        assert_eq!(shown(1_513_249_871), "1513.2");
        assert_eq!(shown(1_513_250_001), "1513.3");
        assert_eq!(shown(17), "0.0");
    }

    #[test]
    fn a_change_that_three_tell_of_is_one() {
        let said =
            |who: &str, what: &str| Said { at: Instant::now(), who: who.to_owned(), what: what.to_owned() };
        let one =
            [said("a", "+switch-master m x y"), said("b", "+switch-master m x y"), said("a", "+odown m")];
        assert_eq!(failovers(&one), 1);
        let back = [&one[..], &[said("c", "+switch-master m y x")]].concat();
        assert_eq!(failovers(&back), 2);
        assert_eq!(failovers(&[&back[..], &one[..1]].concat()), 3);
    }

    #[test]
    fn a_client_that_never_writes_again_was_out_to_the_end() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let outcomes = [(at(90), Outcome::Acknowledged(1)), (at(5100), Outcome::Failed("x".to_owned()))];
        assert_eq!(longest_gap(&outcomes, at(100)), Duration::from_millis(5010));
    }
}
