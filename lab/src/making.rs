//! A lab that is being made: whole in the end, or gone.

use std::error::Error;
use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ovs_mesh::{Chain, Topology};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::down::{DownError, take_down};
use crate::mesh::{LabError, LabOptions, MeshLab, spec};
use crate::plan::LabPlan;
use crate::preflight::{Programs, has_datapath};
use crate::state::{Claim, Lab, OWN, StateError, claim, finish};
use crate::up::{Progress, UpError, build};

/// How long what was begun before a stop may take to end.
const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Who makes a lab.
#[derive(Debug)]
pub struct Maker<'a, S> {
    /// The command whose `up` makes it and whose `down` removes it, for messages.
    pub command: &'a str,
    /// When this is done, the lab is no longer wanted, and what there is of it is taken down.
    pub stop: S,
}

/// A lab whose name is taken, and that nobody else changes.
pub(crate) struct Making {
    plan: Arc<LabPlan>,
    programs: Arc<Programs>,
    claim: Arc<Claim>,
    maker: String,
}

/// The claim of a lab while it is being made; nothing later.
pub(crate) type WhileMade = Weak<Claim>;

impl Making {
    /// Fails with [`StateError::Busy`] where it is no longer wanted and another lab is in the way; otherwise it ends what it began.
    async fn begin(plan: LabPlan, maker: &str, wanted: Arc<AtomicBool>) -> Result<Self, UpError> {
        let programs = Arc::new(Programs::find()?);
        has_datapath(plan.datapath).await?;
        let (claiming, claimer) = (plan.clone(), maker.to_owned());
        let claim = Arc::new(spawn_blocking(move || claim(&claiming, &claimer, &wanted)).await??);
        Ok(Self { plan: Arc::new(plan), programs, claim, maker: maker.to_owned() })
    }

    async fn build(&self, progress: &dyn Progress) -> Result<Lab, UpError> {
        build(&self.plan, &self.programs, &self.claim, progress).await?;
        Ok(Lab::of(LabPlan::clone(&self.plan)))
    }

    /// Takes all of it down again, because of that; what to tell.
    async fn undone<E: Error + Send + Sync + 'static>(self, why: E, told: impl FnOnce(UpError) -> E) -> E {
        let (lab, maker) = (self.plan.name.clone(), self.maker.clone());
        match self.undo().await {
            // What was made is gone: the reason for it all.
            Ok(()) => why,
            Err(left) => told(UpError::Left {
                lab,
                maker,
                left: Chain(&left).to_string(),
                source: Some(Box::new(why)),
            }),
        }
    }

    /// The same, because it is no longer wanted.
    async fn stopped(self) -> LabError {
        let (lab, maker) = (self.plan.name.clone(), self.maker.clone());
        match self.undo().await {
            Ok(()) => LabError::Stopped { name: lab },
            Err(left) => UpError::Left { lab, maker, left: Chain(&left).to_string(), source: None }.into(),
        }
    }

    async fn undo(self) -> Result<(), DownError> {
        let Self { plan, programs: _, claim, maker: _ } = self;
        // A thread that goes on after what waited for it was dropped holds the claim, and might start a daemon behind our back.
        let started = Instant::now();
        while Arc::strong_count(&claim) > 1 {
            if started.elapsed() > DEADLINE {
                return Err(StateError::Busy { dir: plan.dir() }.into());
            }
            sleep(PAUSE).await;
        }
        take_down(&plan, &claim).map(drop)
    }

    /// It is whole, and others may have it.
    async fn finish(self) -> Result<(), UpError> {
        match finish(&self.plan.name) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.undone(why.into(), |left| left).await),
        }
    }
}

impl Lab {
    /// Makes everything that is planned, or nothing: when a step fails, what was made is taken down again.
    ///
    /// Run it in a tokio runtime with I/O and time. Dropping it half way leaves a lab for [`Lab::down`].
    pub async fn up(plan: LabPlan, progress: &dyn Progress) -> Result<Self, UpError> {
        let making = Making::begin(plan, OWN, Arc::new(true.into())).await?;
        match making.build(progress).await {
            Ok(lab) => making.finish().await.map(|()| lab),
            Err(why) => Err(making.undone(why, |left| left).await),
        }
    }
}

impl MeshLab {
    /// Builds the topology on this machine, and programs and attaches all of it.
    ///
    /// The lab's mesh is a copy under the lab's name, so that labs share nothing with each other or with a mesh that this
    /// machine is a host of. Its containers start as OpenVZ's do: the hook is called for each as vzctl would call it. When
    /// a step fails, all is taken down again.
    pub async fn up(
        topology: Topology,
        options: LabOptions<'_>,
        progress: &dyn Progress,
    ) -> Result<Self, LabError> {
        let maker = Maker { command: OWN, stop: pending() };
        Self::up_for(maker, topology, options, progress, async |mesh| Ok(mesh)).await
    }

    /// The same for somebody who may stop it, and who has more to make: the lab is whole when `rest` is done too.
    ///
    /// When `rest` fails, or it is stopped ([`LabError::Stopped`]), all is taken down again. A lab that was in the way is left alone.
    /// One whose maker was killed stays half made, and is known to be: [`StateError::Unfinished`].
    pub async fn up_for<T, E: From<LabError> + Error + Send + Sync + 'static>(
        maker: Maker<'_, impl Future<Output = ()>>,
        topology: Topology,
        options: LabOptions<'_>,
        progress: &dyn Progress,
        rest: impl AsyncFnOnce(Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let Maker { command, stop } = maker;
        let LabOptions { name, datapath, hook } = options;
        let topology = topology.copied_as(name.clone(), datapath);
        let plan = LabPlan::new(spec(&topology)).map_err(LabError::from)?;
        let topology = topology.with_openvz_conf_dir(plan.vz_conf_dir());
        let mut stop = pin!(stop);
        let wanted = Arc::new(AtomicBool::new(true));
        let mut begun = pin!(Making::begin(plan, command, Arc::clone(&wanted)));
        let making = tokio::select! {
            biased;
            () = &mut stop => {
                wanted.store(false, Ordering::Relaxed);
                // A thread is at it, which would take the name all the same.
                return Err(match begun.await {
                    Ok(making) => making.stopped().await,
                    Err(UpError::State(StateError::Busy { .. })) => LabError::Stopped { name },
                    Err(why) => why.into(),
                }
                .into());
            }
            begun = &mut begun => begun.map_err(LabError::from)?,
        };
        let work = async {
            let lab = making.build(progress).await.map_err(LabError::from)?;
            let mesh = Self::of(lab, topology, Arc::downgrade(&making.claim));
            mesh.program(hook, progress).await?;
            rest(mesh).await
        };
        let made = tokio::select! {
            biased;
            () = &mut stop => None,
            made = work => Some(made),
        };
        match made {
            Some(Ok(made)) => {
                making.finish().await.map_err(LabError::from)?;
                Ok(made)
            }
            Some(Err(error)) => Err(making.undone(error, |left| LabError::from(left).into()).await),
            None => Err(making.stopped().await.into()),
        }
    }
}
