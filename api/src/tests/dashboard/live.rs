//! Pages that are kept up to date.

use axum::body::BodyDataStream;
use futures_util::StreamExt;

use super::*;

/// What a browser is told while it watches.
async fn watch(door: &Door, cookie: &str) -> BodyDataStream {
    let request = Request::get("/live").header("cookie", cookie);
    let request = request.body(Body::empty()).unwrap();
    let response = door.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

async fn next(stream: &mut BodyDataStream) -> Option<String> {
    let next = tokio::time::timeout(Duration::from_mins(1), stream.next());
    let next = next.await.expect("nothing is told")?;
    Some(String::from_utf8(next.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn who_watches_is_told_of_what_comes_until_the_process_stops() {
    on_each(async |door| {
        let (app, lifecycle) = (Arc::clone(&door.app), door.lifecycle.clone());
        lifecycle.spawn("live", crate::dashboard::run(app, lifecycle.clone()));
        let browser = Browser::of(door, Role::Read).await;
        let (mut one, mut other) = (
            watch(door, &browser.cookie()).await,
            watch(door, &browser.cookie()).await,
        );
        let first = next(&mut one).await.unwrap();
        assert!(first.starts_with("data: "), "{first}");
        assert_eq!(next(&mut other).await.unwrap(), first);
        door.delivery_to("slack").await;
        let second = next(&mut one).await.unwrap();
        assert_ne!(second, first);
        assert_eq!(next(&mut other).await.unwrap(), second);
        let mut late = watch(door, &browser.cookie()).await;
        assert_eq!(
            next(&mut late).await.unwrap(),
            second,
            "its page may be older"
        );
        lifecycle.stop();
        assert_eq!(next(&mut one).await, None);
        assert!(lifecycle.finish(Duration::from_secs(10)).await);
    })
    .await;
}

#[tokio::test]
async fn streams_are_bounded_in_number_and_want_a_session() {
    on_each(async |door| {
        let stranger = Browser::new(&door.router);
        assert_eq!(stranger.get("/live").await.location(), "/?next=%2Flive");
        let browser = Browser::of(door, Role::Read).await;
        let mut streams = vec![];
        for _ in 0..200 {
            streams.push(watch(door, &browser.cookie()).await);
        }
        let shown = browser.get("/live").await;
        assert_eq!(shown.status, 503);
        shown.shows(&["too many pages are kept up to date"]);
        streams.pop();
        drop(watch(door, &browser.cookie()).await);
    })
    .await;
}
