//! What if it gets worse? The second act: replicas die and hang, somebody floods `holdings`, and in the end all prices
//! are gone. What broke in one scene stays broken in the next.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::PERIOD;
use super::deeds::Deeds;
use super::load::{Caller, send};
use super::progress;
use super::stage::Stage;

/// Ten times as many requests as the caller who does no harm.
const FLOOD: Duration = Duration::from_millis(1);
/// A scene ends in time, so nobody waits for the last answers as long as they would.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scene {
    /// The replica that failed a third of its calls is dead.
    Killed,
    /// The replica that was slow never answers.
    Hangs,
    /// Another caller asks `holdings` a thousand times a second.
    Flood,
    /// The last replica is dead.
    Gone,
}

/// A scene, and how it went for the caller of the first act.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Played {
    /// What happened.
    pub scene: Scene,
    /// Share of requests answered with 2xx, without sidecars.
    pub without: Option<f64>,
    /// The same with them.
    pub with: Option<f64>,
    /// What the sidecar of `holdings` did.
    pub deeds: Deeds,
}

impl Scene {
    const ALL: [Self; 4] = [Self::Killed, Self::Hangs, Self::Flood, Self::Gone];

    /// In the report.
    pub fn label(self) -> &'static str {
        match self {
            Self::Killed => "a replica is killed",
            Self::Hangs => "another one hangs",
            Self::Flood => "somebody floods holdings",
            Self::Gone => "the last replica is killed",
        }
    }

    fn begin(self, stage: &Stage) {
        let [healthy, slow, failing] = &stage.replicas[..] else { return };
        match self {
            Self::Killed => failing.kill(),
            Self::Hangs => slow.hang(),
            Self::Flood => {}
            Self::Gone => healthy.kill(),
        }
    }
}

/// All scenes within `duration`, each into `played` as it ends.
pub async fn play(stage: &Stage, duration: Duration, played: &mut Vec<Played>) {
    let scene_length = duration / 4;
    let patience = PATIENCE.min(scene_length / 2);
    let duration = scene_length.saturating_sub(patience);
    let mut before = Deeds::scraped(&stage.sidecar.scrape());
    for scene in Scene::ALL {
        scene.begin(stage);
        progress::announce(scene);
        let callers = stage.more_callers("caller", patience);
        let flood = async {
            if scene == Scene::Flood {
                send(&stage.more_callers("flood", patience), FLOOD, duration).await;
            }
        };
        tokio::join!(send(&callers, PERIOD, duration), flood);
        let after = Deeds::scraped(&stage.sidecar.scrape());
        let [without, with] = callers.each_ref().map(|caller: &Arc<Caller>| caller.summary().success_rate);
        played.push(Played { scene, without, with, deeds: after.since(before) });
        before = after;
    }
}
