//! The deliver leg over doubles: what is saved and written, in which order, whatever fails.

#[path = "deliver/doubles.rs"]
mod doubles;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doubles::{Running, Seen, World, batch};
use tidemill::config::plan::{BreakerRule, StopWhen};
use tidemill::sink;
use tidemill::topic::{self, Boundary, Figures, Position};

#[tokio::test]
async fn the_boundary_is_saved_before_the_first_row_under_it_and_a_clean_end_lowers_reach() {
    let world = Arc::new(World::default());
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(5, "a"), (8, "b")]));
    running.settled(9).await;
    let seen = world.seen.lock().unwrap().clone();
    let [Seen::Saved(0, reach, boundaries), Seen::Wrote(rows), Seen::Saved(9, later, _)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(boundaries, &[(5, 1)]);
    assert!(*reach >= 9 && later >= reach);
    assert_eq!(rows[1].1 - rows[0].1, 3, "write times grow with the offset");
    running.drained().await.unwrap();
    assert_eq!((world.saved().next, world.saved().reach), (9, 9));
}

#[tokio::test]
async fn each_record_counts_once_by_its_outcome() {
    let world = Arc::new(World::default());
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a"), (1, "drop"), (2, "reject"), (3, "unbindable"), (4, "refused"), (5, "trap"), (6, "b")]));
    running.settled(7).await;
    assert_eq!(world.saved().figures, Figures { emitted: 2, dropped: 1, rejected: 4, ..Figures::default() });
    let reasons: Vec<(i64, String, bool)> = {
        let letters = world.dead_letters.lock().unwrap();
        letters.iter().map(|(offset, letter)| (*offset, letter.reason.clone(), letter.stage.is_some())).collect()
    };
    let expected = [
        (2, "as told", true),
        (3, "sink double: no uuid", false),
        (4, "sink double: the server says no", false),
        (5, "trap: as told", true),
    ];
    assert_eq!(reasons, expected.map(|(offset, reason, stage)| (offset, reason.to_owned(), stage)));
    assert_eq!(world.dead_letters.lock().unwrap()[&3].value.as_deref(), Some(&b"unbindable"[..]), "the original bytes");
    running.drained().await.unwrap();
}

#[tokio::test]
async fn retry_blames_nobody_and_keeps_the_order() {
    let world = Arc::new(World::default());
    world.retries.store(3, Ordering::SeqCst);
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a")]));
    running.give(batch(&[(1, "b")]));
    running.settled(2).await;
    assert_eq!(world.rows().iter().map(|row| row.0).collect::<Vec<_>>(), [0, 1]);
    assert!(world.dead_letters.lock().unwrap().is_empty());
    running.drained().await.unwrap();
}

#[tokio::test]
async fn a_sink_that_fails_for_a_while_gets_the_same_rows_again() {
    let world = Arc::new(World::default());
    let errors = [sink::Error::Full("full".to_owned()), sink::Error::Transient("down".to_owned())];
    world.write_errors.lock().unwrap().extend(errors);
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a")]));
    running.settled(1).await;
    assert_eq!(world.rows().len(), 1);
    running.drained().await.unwrap();
}

#[tokio::test]
async fn of_a_sink_that_writes_some_rows_only_the_others_are_written_again() {
    let world = Arc::new(World::default());
    world.writes_one_row.store(true, Ordering::SeqCst);
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a"), (1, "refused"), (2, "b"), (3, "refused")]));
    running.settled(4).await;
    assert_eq!(world.rows().iter().map(|row| row.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(world.dead_letters.lock().unwrap().keys().copied().collect::<Vec<_>>(), [1, 3]);
    running.drained().await.unwrap();
}

#[tokio::test]
async fn draining_never_waits_for_a_sink_that_is_down() {
    let world = Arc::new(World::default());
    world.sink_is_down.store(true, Ordering::SeqCst);
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a")]));
    while world.seen.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    running.drained().await.unwrap();
    let position = world.saved();
    assert_eq!(position.next, 0, "nothing is settled");
    assert!(position.reach > 0, "the row may have been written");
    // The next host delivers it again, at the same write time.
    world.sink_is_down.store(false, Ordering::SeqCst);
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a")]));
    running.settled(1).await;
    assert_eq!(world.rows(), [(0, position.boundaries[0].time)]);
    running.drained().await.unwrap();
}

#[tokio::test]
async fn a_sink_that_is_wrong_as_a_whole_stops_the_pipeline() {
    let world = Arc::new(World::default());
    world.write_errors.lock().unwrap().push(sink::Error::Systemic("no such table".to_owned()));
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a")]));
    assert_eq!(running.ended().await, Err("write to sink double: no such table".to_owned()));
    assert_eq!(world.saved().next, 0);
}

#[tokio::test]
async fn a_save_that_cannot_be_made_stops_the_pipeline_and_one_that_may_pass_is_made_again() {
    let world = Arc::new(World::default());
    let errors = [topic::Error::Fatal("gone".to_owned()), topic::Error::Full("full".to_owned())];
    world.save_errors.lock().unwrap().extend(errors);
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "reject")]));
    assert_eq!(running.ended().await, Err("save the position of partition 0: gone".to_owned()));
    assert!(world.position.lock().unwrap().is_none(), "the position does not pass a dead letter that was not saved");
}

#[tokio::test]
async fn what_a_killed_host_may_have_written_stays_with_its_generation() {
    let world = Arc::new(World::default());
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a"), (1, "b")]));
    running.settled(2).await;
    running.killed().await;
    let before = world.saved();
    assert!(before.reach > 2);
    // Another generation goes on: below `reach` the old one decides, and a clean end does not forget that.
    let running = Running::start(&world, 2, None);
    running.give(batch(&[(2, "c")]));
    running.settled(3).await;
    running.drained().await.unwrap();
    let position = world.saved();
    assert_eq!(position.reach, before.reach);
    assert_eq!(position.boundaries, before.boundaries);
    let running = Running::start(&world, 3, None);
    running.give(batch(&[(before.reach - 1, "d"), (before.reach, "e")]));
    running.settled(before.reach + 1).await;
    let boundaries: Vec<(i64, u64)> = world.saved().boundaries.iter().map(|b| (b.first, b.generation)).collect();
    assert_eq!(boundaries, [(before.reach, 3)]);
    let times: Vec<i64> = world.rows().iter().map(|row| row.1).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "write times only grow: {times:?}");
    running.drained().await.unwrap();
}

#[tokio::test]
async fn a_save_keeps_the_boundaries_above_it() {
    let boundary = |first, generation| Boundary { first, generation, time: 1_000 * first };
    let position = Position { next: 0, reach: 10, boundaries: vec![boundary(0, 1), boundary(4, 2)], figures: Figures::default() };
    let world = Arc::new(World::default());
    *world.position.lock().unwrap() = Some(position);
    let running = Running::start(&world, 3, None);
    running.give(batch(&[(0, "a")]));
    running.settled(1).await;
    assert_eq!(world.saved().boundaries, [boundary(0, 1), boundary(4, 2)]);
    running.give(batch(&[(3, "b"), (4, "c"), (9, "d"), (10, "e")]));
    running.settled(11).await;
    assert_eq!(world.rows()[..4], [(0, 0), (3, 3), (4, 4_000), (9, 4_005)]);
    running.drained().await.unwrap();
}

#[tokio::test]
async fn too_many_rejected_records_stop_the_pipeline() {
    let world = Arc::new(World::default());
    let running = Running::start(&world, 1, Some(StopWhen { percent: 50.0, of: 4 }));
    running.give(batch(&[(0, "reject"), (1, "reject"), (2, "reject")]));
    running.settled(3).await;
    running.give(batch(&[(3, "a")]));
    let why = running.ended().await.unwrap_err();
    assert!(why.starts_with("3 of the last 4 records were rejected"), "{why}");
    assert_eq!(world.saved().next, 4, "what was decided is settled");
}

#[tokio::test]
async fn a_partition_that_is_taken_away_is_settled_first_and_saved_no_more() {
    let world = Arc::new(World::default());
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a"), (1, "b")]));
    running.revoke().await;
    assert_eq!((world.saved().next, world.saved().reach), (2, 2), "a clean end");
    let saves = world.seen.lock().unwrap().len();
    running.give(batch(&[(2, "c")]));
    running.drained().await.unwrap();
    assert_eq!(world.seen.lock().unwrap().len(), saves);
}

#[tokio::test]
async fn a_clock_that_was_ahead_is_an_alarm_and_times_still_grow() {
    let ahead = jiff::Timestamp::now().as_microsecond() + 3_600_000_000;
    let boundary = Boundary { first: 0, generation: 1, time: ahead };
    let world = Arc::new(World::default());
    *world.position.lock().unwrap() =
        Some(Position { next: 5, reach: 5, boundaries: vec![boundary], figures: Figures::default() });
    let running = Running::start(&world, 2, None);
    running.give(batch(&[(5, "a")]));
    running.settled(6).await;
    assert_eq!(world.rows(), [(5, ahead + 5)]);
    let alarms = running.deliver.report.reporter().snapshot().alarms;
    assert!(alarms[0].contains("ahead of this host's clock"), "{alarms:?}");
    running.drained().await.unwrap();
}

#[tokio::test]
async fn where_a_person_has_moved_the_offset_records_are_decided_again_later_than_before() {
    let world = Arc::new(World::default());
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a"), (1, "b"), (2, "c")]));
    running.settled(3).await;
    running.drained().await.unwrap();
    let before = world.saved();
    *world.moved.lock().unwrap() = Some(1);
    world.end.store(1_000, Ordering::SeqCst);
    let running = Running::start(&world, 1, None);
    running.settled(0).await;
    running.give(batch(&[(1, "b"), (2, "c"), (3, "d")]));
    running.settled(4).await;
    running.drained().await.unwrap();
    let after = world.saved();
    assert_eq!((after.figures.emitted, after.figures.re_decided), (4, 2), "each offset counts once");
    let times: Vec<(i64, i64)> = world.rows().split_off(3);
    let latest = before.boundaries[0].write_time(1_000);
    assert!(times[0].1 > latest, "a host that does not know yet wrote nothing later: {times:?} after {latest}");
    // Saved before the first row under it.
    let seen = world.seen.lock().unwrap();
    let row = seen.iter().position(|seen| matches!(seen, Seen::Wrote(rows) if rows[0].0 == 1)).unwrap();
    assert!(matches!(&seen[row - 1], Seen::Saved(1, reach, boundaries) if *reach >= 4 && boundaries == &[(1, 1)]), "{seen:?}");
}

#[tokio::test]
async fn what_was_decided_by_code_that_is_not_here_is_decided_again_and_counted() {
    let world = Arc::new(World::default());
    let boundary = |first, generation| Boundary { first, generation, time: 1_000 };
    let position = Position { next: 2, reach: 5, boundaries: vec![boundary(0, 1), boundary(9, 2)], figures: Figures::default() };
    // Generation 2 has written nothing: its code need not be here.
    world.lost_code.lock().unwrap().push(2);
    *world.position.lock().unwrap() = Some(position.clone());
    let running = Running::start(&world, 3, None);
    running.give(batch(&[(2, "a")]));
    running.settled(3).await;
    running.killed().await;
    assert_eq!((world.saved().boundaries[0], world.saved().figures.re_decided), (boundary(0, 1), 0));
    // That of generation 1 may have written offsets 2 to 4.
    world.lost_code.lock().unwrap().push(1);
    *world.position.lock().unwrap() = Some(position);
    let running = Running::start(&world, 3, None);
    running.give(batch(&[(2, "a"), (4, "b"), (5, "c")]));
    running.settled(6).await;
    let saved = world.saved();
    let begun: Vec<(i64, u64)> = saved.boundaries.iter().map(|boundary| (boundary.first, boundary.generation)).collect();
    assert_eq!((begun, saved.figures.re_decided), (vec![(2, 3)], 2));
    running.drained().await.unwrap();
}

#[tokio::test]
async fn settled_records_are_saved_together_and_when_the_host_drains() {
    let world = Arc::new(World::default());
    *world.save_every.lock().unwrap() = Duration::from_secs(3_600);
    let running = Running::start(&world, 1, None);
    for offset in 0..10 {
        running.give(batch(&[(offset, "a")]));
    }
    let saves = || world.seen.lock().unwrap().iter().filter(|seen| matches!(seen, Seen::Saved(..))).count();
    while world.rows().len() < 10 || saves() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(saves(), 2, "boundary and reach, then what was settled first");
    running.drained().await.unwrap();
    assert_eq!((saves(), world.saved().next, world.saved().reach), (3, 10, 10));
}

#[tokio::test]
async fn what_is_settled_is_saved_in_time_and_the_next_offset_passes_what_no_record_has() {
    let world = Arc::new(World::default());
    *world.save_every.lock().unwrap() = Duration::from_millis(50);
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a"), (1, "reject")]));
    running.end(4);
    running.settled(4).await;
    assert_eq!((world.saved().next, world.dead_letters.lock().unwrap().len()), (4, 1));
    running.give(batch(&[(4, "b")]));
    running.settled(5).await;
    running.drained().await.unwrap();
    assert_eq!((world.saved().next, world.saved().figures.emitted), (5, 2));
}

/// First offset and generation of each boundary that a save held, in the order of their saving.
fn boundaries(world: &World) -> Vec<(i64, u64)> {
    let mut all: Vec<(i64, u64)> = Vec::new();
    for seen in world.seen.lock().unwrap().iter() {
        let Seen::Saved(_, _, boundaries) = seen else { continue };
        boundaries.iter().for_each(|boundary| {
            if !all.contains(boundary) {
                all.push(*boundary)
            }
        });
    }
    all
}

#[tokio::test]
async fn a_swap_begins_at_the_next_record_and_its_boundary_is_saved_before_the_first_row_under_it() {
    let world = Arc::new(World::default());
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a"), (1, "b")]));
    running.settled(2).await;
    let joined = running.swap(2).await;
    assert_eq!((joined.first, joined.in_flight), (2, 0), "also where nothing comes");
    running.give(batch(&[(2, "c")]));
    running.settled(3).await;
    assert_eq!(boundaries(&world), [(0, 1), (2, 2)]);
    let seen = world.seen.lock().unwrap().clone();
    let at = |wanted: &dyn Fn(&Seen) -> bool| seen.iter().position(wanted).expect("it was seen");
    let saved = at(&|seen| matches!(seen, Seen::Saved(_, _, boundaries) if boundaries.contains(&(2, 2))));
    let wrote = at(&|seen| matches!(seen, Seen::Wrote(rows) if rows[0].0 == 2));
    assert!(saved < wrote, "{seen:?}");
    running.drained().await.unwrap();
}

#[tokio::test]
async fn an_old_generation_is_let_go_when_no_partition_needs_it() {
    let world = Arc::new(World::default());
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(0, "a")]));
    running.settled(1).await;
    let old = Arc::downgrade(&running.deliver.generations.present());
    running.swap(2).await;
    running.give(batch(&[(1, "b")]));
    running.settled(2).await;
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while old.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("nobody holds it");
    running.drained().await.unwrap();
}

#[tokio::test]
async fn a_partition_that_a_plugin_holds_up_goes_on_with_the_plugin_that_replaces_it() {
    let world = Arc::new(World::default());
    world.retries.store(usize::MAX, Ordering::SeqCst);
    let running = Running::start(&world, 1, None);
    running.give(batch(&[(3, "a"), (4, "b")]));
    running.deliver.report.reporter().update(|_| {});
    while running.deliver.report.reporter().snapshot().partitions.get(&0).is_none_or(|status| status.state != "backing off") {
        tokio::task::yield_now().await;
    }
    world.retries.store(0, Ordering::SeqCst);
    assert_eq!(running.swap(2).await.first, 3);
    running.settled(5).await;
    assert_eq!(boundaries(&world), [(3, 2)], "the first generation decided nothing");
    running.drained().await.unwrap();
}

#[tokio::test]
async fn a_batch_that_trips_the_breaker_is_written_by_the_generation_that_takes_its_place() {
    let world = Arc::new(World::default());
    let running = Running::start(&world, 1, None);
    running.give(batch(&(0..100).map(|offset| (offset, "a")).collect::<Vec<_>>()));
    running.settled(100).await;
    let rule = BreakerRule { rejects: Some(StopWhen { percent: 10.0, of: 10 }), times_slower: 10.0 };
    running.deliver.breaker.watch(2, rule);
    let mut trips = running.deliver.breaker.verdicts();
    running.swap(2).await;
    running.give(batch(&[(100, "a"), (101, "reject")]));
    running.settled(102).await;
    assert_eq!(world.dead_letters.lock().unwrap().len(), 1, "one is allowed");
    running.give(batch(&[(102, "reject"), (103, "reject"), (104, "c")]));
    let trip = tokio::time::timeout(std::time::Duration::from_secs(10), trips.wait_for(Option::is_some)).await;
    let trip = trip.expect("it trips").unwrap().clone().unwrap();
    assert!(trip.generation == 2 && trip.stopped.as_ref().unwrap().starts_with("it rejected 3 of 5 records"), "{trip:?}");
    assert_eq!(world.saved().next, 102, "what tripped it is not written");
    running.deliver.breaker.trust();
    assert_eq!(running.swap(3).await.first, 102);
    running.settled(105).await;
    assert_eq!(boundaries(&world), [(0, 1), (100, 2), (102, 3)]);
    assert_eq!(world.dead_letters.lock().unwrap()[&102].generation, 3);
    running.drained().await.unwrap();
}
