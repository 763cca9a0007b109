//! What a run comes to, in a report. Pure.

use super::asks::Wanted;
use super::run::{Asked, Run, State};
use crate::isolation::findings::{Check, Level};
use crate::isolation::report::{Probed, Report};

impl Run<'_> {
    /// The report of this host alone.
    pub(super) fn report(&self) -> Report {
        let host = &self.layout.plan.host;
        let mut report = Report::new(self.layout.topology);
        if self.asked.is_empty() || self.asked.iter().any(|it| it.state == State::Done) {
            report.checked(host, Level::Probe);
        }
        report.extend(self.findings());
        if let Some(reason) = self.late() {
            report.skipped_level(host, Level::Probe, reason);
        }
        if self.missed > 0 {
            let checks =
                [Check::ProbeForeignAnswer, Check::ProbeForeignFrame, Check::ProbeSpoof, Check::ProbeWire];
            let reason = format!(
                "{} frames were lost before the probe could look at them: too many at once",
                self.missed
            );
            report.skipped(host, &checks, reason);
        }
        for bridge in self.layout.plan.bridges.iter().filter(|it| self.options.skip.contains(&it.tenant)) {
            let reason =
                format!("tenant {} is not probed: packets would go round in it for ever", bridge.tenant);
            report.skipped_level(host, Level::Probe, reason);
        }
        let probed = self.probed();
        let blind = probed.iter().filter(|it| it.silent_addresses + it.silent_macs == 0);
        let blind: Vec<&str> = blind.map(|it| it.tenant.as_str()).collect();
        if self.layout.plan.bridges.len() > 1 && !blind.is_empty() && self.late().is_none() {
            let reason = format!(
                "nothing that only others have was asked for in {}: no other tenant has an address outside its subnet, or a MAC \
                 address that is known here",
                blind.join(", ")
            );
            report.skipped(host, &[Check::ProbeForeignAnswer], reason);
        }
        report.probed(host, probed);
        report
    }

    /// What there was no time for is not taken for well, and is nobody's fault.
    fn late(&self) -> Option<String> {
        let late = |asked: &&Asked| {
            !self.given_up(asked.ask.tenant) && (asked.state != State::Done || asked.sent[0] == 0)
        };
        let first = self.asked.iter().find(late)?;
        let why = match &self.stopped {
            Some(why) => format!(": {why}"),
            None => format!(" within {:?}", self.time),
        };
        Some(format!(
            "{} of {} questions ({} of tenant {}, for one) were not asked to the end{why}",
            self.asked.iter().filter(late).count(),
            self.asked.len(),
            first.ask.address,
            self.layout.name(first.ask.tenant),
        ))
    }

    /// What was asked in each tenant.
    fn probed(&self) -> Vec<Probed> {
        let carried = (0..self.tenants.len()).filter(|at| {
            let is_skipped = self.options.skip.contains(self.layout.name(*at));
            self.layout.bridge(*at).is_some() && !is_skipped && self.tenants[*at].closed.is_none()
        });
        let mut places = vec![None; self.tenants.len()];
        let mut probed = Vec::new();
        for at in carried {
            places[at] = Some(probed.len());
            let tenant = self.layout.name(at).clone();
            probed.push(Probed { tenant, addresses: 0, silent_addresses: 0, silent_macs: 0 });
        }
        for Asked { ask, .. } in self.asked.iter().filter(|it| it.state == State::Done && it.sent[0] > 0) {
            let Some(probed) = places[ask.tenant].map(|place| &mut probed[place]) else { continue };
            match (&ask.wanted, ask.to) {
                (Wanted::Known { .. }, _) => probed.addresses += 1,
                (Wanted::Nobody(_), None) => probed.silent_addresses += 1,
                (Wanted::Nobody(_), Some(_)) => probed.silent_macs += 1,
            }
        }
        probed
    }
}
