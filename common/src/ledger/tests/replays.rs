//! Replays: each delivery that matched begins again once, whoever dies in between.

use std::collections::BTreeMap;

use super::*;

/// Records events with a delivery each to `target` that ends in `state`, and gives the deliveries' ids.
async fn ended(ledger: &Ledger, count: usize, target: &str, kind: Kind, state: State) -> Vec<Uuid> {
    let envelope = envelope();
    let events: Vec<_> = (0..count)
        .map(|n| event(&envelope, kind, &format!("{target} {n} {}", envelope.id), 0))
        .collect();
    ledger
        .record(&[entry(&envelope, &events, &[target])])
        .await
        .unwrap();
    let ids: Vec<_> = events
        .iter()
        .map(|event| Delivery::id_of(event.id, target))
        .collect();
    let me = Uuid::now_v7();
    if state != State::Pending {
        ledger.take(&ids, me, LEASE).await.unwrap();
        let ends: Vec<_> = ids.iter().map(|id| finished(*id, 1, state, None)).collect();
        ledger.finish(&ends, me).await.unwrap();
    }
    // A replay takes what has ended before it, and SQLite's clock ticks by the millisecond.
    age(ledger, jiff::SignedDuration::from_secs(1)).await;
    ids
}

fn filter() -> ReplayFilter {
    ReplayFilter {
        target: None,
        state: None,
        kind: None,
        since: clock::now() - Duration::from_hours(1),
        until: clock::now() + Duration::from_hours(1),
    }
}

fn names(targets: &[&str]) -> Vec<String> {
    targets.iter().map(|target| (*target).to_owned()).collect()
}

async fn start(ledger: &Ledger, filter: ReplayFilter, targets: &[&str]) -> Replay {
    ledger
        .start_replay(filter, &names(targets), false, "the write key")
        .await
        .unwrap()
}

/// Takes the one job that is free, until the lease of a second ends.
async fn take(ledger: &Ledger, owner: Uuid, lease: Duration) -> Option<Job> {
    let mut jobs = ledger.take_replays(owner, lease).await.unwrap();
    assert!(jobs.len() <= 1);
    jobs.pop()
}

/// Does all there is to do, and gives how often each delivery was published.
async fn run(ledger: &Ledger) -> BTreeMap<Uuid, u32> {
    let (me, mut published) = (Uuid::now_v7(), BTreeMap::new());
    while let Some(job) = take(ledger, me, LEASE).await {
        let job = if job.has_batch() {
            job
        } else {
            ledger
                .restart_batch(&job, &job.targets, 3)
                .await
                .unwrap()
                .unwrap()
        };
        for delivery in ledger.batch(&job).await.unwrap() {
            *published.entry(delivery.id).or_default() += 1;
        }
        ledger.batch_published(&job).await.unwrap();
    }
    published
}

#[tokio::test]
async fn a_job_whose_holder_dies_is_taken_over_and_restarts_each_delivery_once() {
    for Fresh { ledger, .. } in &fresh().await {
        let ids = ended(ledger, 7, "slack", Kind::Unsubscribed, State::Dead).await;
        let replay = start(ledger, filter(), &["slack"]).await;
        assert_eq!((replay.matched, replay.sent), (7, 0));
        let [dies_before, dies_after] = [Uuid::now_v7(), Uuid::now_v7()];

        // Dies between the restart and the publish.
        let job = take(ledger, dies_before, Duration::ZERO).await.unwrap();
        let restarted = ledger.restart_batch(&job, &job.targets, 3).await.unwrap();
        assert_eq!(restarted.unwrap().replay.sent, 3);
        // Dies between the publish and noting it.
        let job = take(ledger, dies_after, Duration::ZERO).await.unwrap();
        assert!(job.has_batch(), "it is not known to be published");
        assert_eq!(ledger.batch(&job).await.unwrap().len(), 3);

        let published = run(ledger).await;
        assert_eq!(published.keys().copied().collect::<Vec<_>>(), {
            let mut ids = ids.clone();
            ids.sort();
            ids
        });
        assert!(published.values().all(|times| *times == 1));
        let replay = ledger.replay(replay.id).await.unwrap().unwrap();
        assert_eq!(
            (replay.state, replay.sent, replay.matched),
            (Progress::Done, 7, 7)
        );
        assert!(replay.finished_at.is_some());
        for leave in ledger.take(&ids, Uuid::now_v7(), LEASE).await.unwrap() {
            let full_schedule = Leave::Granted {
                attempt: 1,
                ever: 2,
            };
            assert_eq!(leave, full_schedule);
        }
    }
}

#[tokio::test]
async fn who_has_lost_the_lease_restarts_and_counts_nothing() {
    for Fresh { ledger, .. } in &fresh().await {
        ended(ledger, 4, "slack", Kind::Unsubscribed, State::Dead).await;
        let replay = start(ledger, filter(), &["slack"]).await;
        let [slow, next] = [Uuid::now_v7(), Uuid::now_v7()];
        let old = take(ledger, slow, Duration::ZERO).await.unwrap();
        let job = take(ledger, next, LEASE).await.unwrap();
        assert!(take(ledger, slow, LEASE).await.is_none());
        assert_eq!(
            ledger
                .restart_batch(&old, &old.targets, 3)
                .await
                .unwrap()
                .map(|job| job.replay.sent),
            None
        );
        ledger.restart_batch(&job, &job.targets, 3).await.unwrap();
        let again = ledger.restart_batch(&job, &job.targets, 3).await.unwrap();
        assert!(
            again.is_none(),
            "a commit whose answer was lost is not repeated"
        );
        ledger.fail_replay(&old, "not mine").await.unwrap();
        let now = ledger.replay(replay.id).await.unwrap().unwrap();
        assert_eq!((now.state, now.sent), (Progress::Running, 3));
        ledger.leave_replays(next).await.unwrap();
        assert!(take(ledger, slow, LEASE).await.is_some(), "at once");
    }
}

#[tokio::test]
async fn of_processes_at_the_same_time_one_gets_the_job() {
    for Fresh { ledger, .. } in &fresh().await {
        start(ledger, filter(), &["slack"]).await;
        let processes = (0..6).map(|_| ledger.take_replays(Uuid::now_v7(), LEASE));
        let taken = futures_util::future::try_join_all(processes).await.unwrap();
        assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 1);
    }
}

#[tokio::test]
async fn what_moves_while_the_job_runs_is_left_out() {
    for Fresh { ledger, .. } in &fresh().await {
        let ids = ended(ledger, 3, "slack", Kind::Unsubscribed, State::Dead).await;
        let under_way = ended(ledger, 1, "slack", Kind::Unsubscribed, State::Pending).await;
        let replay = start(ledger, filter(), &["slack"]).await;
        ledger.restart(ids[0]).await.unwrap();
        let me = Uuid::now_v7();
        ledger.take(&under_way, me, LEASE).await.unwrap();
        ledger
            .finish(&[finished(under_way[0], 1, State::Dead, None)], me)
            .await
            .unwrap();
        let published = run(ledger).await;
        assert!(!published.contains_key(&under_way[0]), "it died later");
        let replay = ledger.replay(replay.id).await.unwrap().unwrap();
        assert_eq!((replay.matched, replay.sent), (3, 2));
    }
}

#[tokio::test]
async fn the_same_replay_twice_at_once_is_harmless() {
    for Fresh { ledger, .. } in &fresh().await {
        let ids = ended(ledger, 5, "slack", Kind::Unsubscribed, State::Delivered).await;
        let first = start(ledger, filter(), &["slack"]).await;
        let second = start(ledger, filter(), &["slack"]).await;
        let (me, mut sent) = (Uuid::now_v7(), 0);
        loop {
            let jobs = ledger.take_replays(me, LEASE).await.unwrap();
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                let job = ledger.restart_batch(&job, &job.targets, 2).await.unwrap();
                ledger.batch_published(&job.unwrap()).await.unwrap();
            }
        }
        for replay in [first, second] {
            let replay = ledger.replay(replay.id).await.unwrap().unwrap();
            assert_eq!((replay.state, replay.matched), (Progress::Done, 5));
            sent += replay.sent;
        }
        assert_eq!(sent, 5, "each delivery by one of them");
        for leave in ledger.take(&ids, me, LEASE).await.unwrap() {
            assert!(matches!(leave, Leave::Granted { attempt: 1, .. }));
        }
    }
}

#[tokio::test]
async fn each_filter_takes_what_it_says() {
    for Fresh { ledger, .. } in &fresh().await {
        ended(ledger, 1, "slack", Kind::Unsubscribed, State::Dead).await;
        ended(ledger, 2, "slack", Kind::Complained, State::Delivered).await;
        ended(ledger, 4, "log", Kind::Complained, State::Dead).await;
        ended(ledger, 8, "log", Kind::Complained, State::Retrying).await;
        ended(ledger, 16, "log", Kind::Opened, State::Pending).await;
        let with = |change: fn(&mut ReplayFilter)| {
            let mut filter = filter();
            change(&mut filter);
            filter
        };
        let both = &["slack", "log"][..];
        let cases = [
            (both, filter(), 7),
            (&["slack"], filter(), 3),
            (&[], filter(), 0),
            (both, with(|f| f.state = Some(State::Dead)), 5),
            (&["log"], with(|f| f.state = Some(State::Dead)), 4),
            (both, with(|f| f.state = Some(State::Delivered)), 2),
            (both, with(|f| f.state = Some(State::Retrying)), 8),
            (&["log"], with(|f| f.state = Some(State::Pending)), 16),
            (both, with(|f| f.kind = Some(Kind::Complained)), 6),
            (both, with(|f| f.until = f.since), 0),
            (both, with(|f| f.since = f.until), 0),
        ];
        for (targets, mut filter, matched) in cases {
            if let [target] = targets {
                filter.target = Some((*target).to_owned());
            }
            let dry = ledger
                .start_replay(filter.clone(), &names(targets), true, "key")
                .await
                .unwrap();
            assert_eq!(
                (dry.state, dry.matched, dry.sent),
                (Progress::Done, matched, 0),
                "{filter:?}"
            );
        }
        let replay = start(ledger, filter(), both).await;
        assert_eq!(run(ledger).await.len(), 7, "a dry run has changed nothing");
        let pending = DeliveryFilter {
            state: Some(State::Pending),
            ..DeliveryFilter::default()
        };
        let listed = ledger.deliveries(&pending, 100, None).await.unwrap();
        assert_eq!(listed.items.len(), 16 + 7);
        let page = ledger.replays(1, None).await.unwrap();
        assert_eq!(page.items[0].id, replay.id);
        let next = ledger.replays(50, page.next_cursor.as_deref()).await;
        assert_eq!(
            next.unwrap().items.len(),
            11,
            "the dry runs are listed, too"
        );
        let verified = ledger.verify_audit().await.unwrap();
        assert_eq!(verified.records, 1, "only what was started is recorded");
    }
}

#[tokio::test]
async fn a_job_leaves_out_targets_that_are_not_served_any_more_and_can_fail_with_a_reason() {
    for Fresh { ledger, .. } in &fresh().await {
        ended(ledger, 2, "slack", Kind::Unsubscribed, State::Dead).await;
        ended(ledger, 2, "gone", Kind::Unsubscribed, State::Dead).await;
        let replay = start(ledger, filter(), &["slack", "gone"]).await;
        let job = take(ledger, Uuid::now_v7(), LEASE).await.unwrap();
        let job = ledger
            .restart_batch(&job, &names(&["slack"]), 10)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((job.replay.sent, job.replay.matched), (2, 4));
        ledger.fail_replay(&job, "no target is left").await.unwrap();
        let replay = ledger.replay(replay.id).await.unwrap().unwrap();
        assert_eq!(replay.state, Progress::Failed);
        assert_eq!(replay.error.as_deref(), Some("no target is left"));
        assert_eq!(run(ledger).await.len(), 0, "nobody goes on with it");
    }
}
