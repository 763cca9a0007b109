//! Asks one Redis or Sentinel again and again, over one connection for as long as that holds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ovs_mesh::NetnsName;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::wire::dial::{AskError, Connection};
use crate::wire::resp::{Reply, Request};

/// The longest pause before a failed connection is tried again.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Whom to ask what, and how often.
#[derive(Debug, Clone)]
pub(super) struct Poll {
    pub(super) netns: NetnsName,
    pub(super) to: SocketAddr,
    pub(super) login: Request,
    /// Said once on each connection, before the first question; the replies are told, and change nothing.
    pub(super) greeting: Option<Request>,
    pub(super) question: Request,
    /// How long from one question to the next.
    pub(super) period: Duration,
    /// After how long without an answer the connection is given up.
    pub(super) patience: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Heard {
    /// The replies to a question that was asked then.
    Answer { asked: Instant, replies: Vec<Reply> },
    /// The replies to the greeting.
    Greeted(Vec<Reply>),
    /// No connection, or not any longer.
    Lost(AskError),
}

/// Asks until it is dropped.
pub(super) async fn poll(poll: Poll, mut tell: impl FnMut(Heard)) {
    let mut pause = poll.period;
    loop {
        let mut answered = false;
        if let Err(error) = connection(&poll, &mut tell, &mut answered).await {
            tell(Heard::Lost(error));
        }
        pause = if answered { poll.period } else { (pause * 2).min(LONGEST_PAUSE.max(poll.period)) };
        sleep(pause).await;
    }
}

async fn connection(poll: &Poll, tell: &mut impl FnMut(Heard), answered: &mut bool) -> Result<(), AskError> {
    let Poll { netns, to, login, greeting, question, period, patience } = poll;
    let mut connection = Connection::open(netns, *to, login, *patience).await?;
    if let Some(greeting) = greeting {
        tell(Heard::Greeted(connection.ask(greeting, *patience).await?));
    }
    let mut ticks = interval(*period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let replies = connection.ask(question, *patience).await?;
        *answered = true;
        tell(Heard::Answer { asked, replies });
    }
}
