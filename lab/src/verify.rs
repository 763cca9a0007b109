//! Verifies a lab: every host of it, in one report.

use ovs_mesh::isolation::{Progress, Report, StaticError, Target, Verifier, VerifyOptions};
use ovs_mesh::link::Netns;

use crate::mesh::{LabError, MeshLab};

impl MeshLab {
    /// Verifies every host, alone and against the others: the report, and what is no finding but should be said.
    ///
    /// A host whose daemons do not answer is a finding.
    pub async fn verify(
        &self,
        options: VerifyOptions,
        progress: &dyn Progress,
    ) -> Result<(Report, Vec<String>), LabError> {
        let mut verifier = Verifier::new(self.topology(), options);
        let mut targets = Vec::new();
        for host in &self.lab().plan().hosts {
            match self.switch(&host.name).await {
                Ok(switch) => {
                    let netns = Some(Netns::open(&host.netns)?.id());
                    targets.push(Target { host: host.name.clone(), switch, netns });
                }
                Err(LabError::Switch { source, .. }) => verifier.unreachable(&host.name, &source),
                Err(error) => return Err(error),
            }
        }
        verifier.hosts(&targets, progress).await.map_err(|error| match error {
            StaticError::Plan(error) => LabError::Host(error),
            error => LabError::Verify(error),
        })?;
        Ok(verifier.finish())
    }
}
