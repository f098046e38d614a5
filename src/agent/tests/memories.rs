//! Agents that begin where what is remembered of an App cannot be read, or does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::agent::publisher::Publisher;
use crate::agent::registry::AppRegistry;
use crate::agent::testing::{Shelf, loaded, play_from, wanted};
use crate::decide::testing::{id, record};
use crate::model::observed::Link;
use crate::model::report::Outcome;
use crate::sim::faults::Call;
use crate::sim::host::SimHost;
use crate::sim::populate::settled;
use crate::sim::world::World;

#[tokio::test(start_paused = true)]
async fn a_memory_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let failing: fn(&mut World) = |world| world.refused = BTreeSet::from([Call::Recall]);
    let silent: fn(&mut World) = |world| world.lasts = BTreeMap::from([(Call::Recall, Duration::from_hours(9))]);
    for spoil in [failing, silent] {
        let mut world = settled(wanted("r2"), vec![record("r1", 50), record("r2", 10)]);
        (world.link, world.link_changed) = (Link::Release { id: id("r1") }, Some(world.now));
        world.memory.suspended = Some("somebody works on it".to_owned());
        spoil(&mut world);
        let host = SimHost::new(world);
        let shelf = Shelf::with(vec![loaded(wanted("r2"))]);
        play_from(&host, shelf, AppRegistry::none(), Publisher::default(), async |stage| {
            // It does not keep the agent from beginning, nor from trying again.
            stage.until("passes that fail", |stage| stage.passes() >= 3 && stage.is_idle()).await;
            assert_eq!((stage.outcome(), stage.host.world().changes), (Some(Outcome::Failed), 0));
            {
                let mut world = stage.host.world();
                world.refused.clear();
                world.lasts.clear();
            }
            stage.until("it is known", |stage| stage.outcome() == Some(Outcome::Withheld)).await;
            assert_eq!((stage.link(), stage.host.world().changes), (Link::Release { id: id("r1") }, 0));
            stage.host.world().memory.suspended = None;
            stage.until("it is acted upon", |stage| stage.outcome() == Some(Outcome::Converged)).await;
            assert_eq!(stage.link(), Link::Release { id: id("r2") });
        })
        .await;
    }
}
