//! Poison: messages that kept killing their worker, parked by the queue. They are shown where a person looks: an
//! envelope in quarantine, a delivery among the dead. A delivery that was only in bad company goes on. Nothing here
//! reads a provider's body.

use std::{sync::Arc, time::Duration};

use common::{
    delivery::Delivery,
    endpoint, envelope,
    lifecycle::Lifecycle,
    patience::until_done,
    queue::{DELIVERY_LIMIT, QueueName},
};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{error, warn};

use crate::{App, attempt::again, route, stage::Item};

/// Shows what is parked, until the stage that feeds it ends.
pub(crate) async fn run(
    app: Arc<App>,
    mut from: UnboundedReceiver<Item>,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    while let Some(item) = from.recv().await {
        if show(&app, &item, &lifecycle).await.is_some() {
            item.ack();
        }
    }
    Ok(())
}

async fn show(app: &App, item: &Item, lifecycle: &Lifecycle) -> Option<()> {
    if let Some(QueueName::Target(..)) = &item.message.parked_from
        && let Ok(delivery) = Delivery::decode(item.body())
    {
        return bury(app, &delivery, lifecycle).await;
    }
    match envelope::decode(item.body().clone()) {
        Ok(envelopes) => {
            for envelope in &envelopes {
                error!(envelope.id = %envelope.id, source = envelope.source, "an envelope keeps killing its worker; it goes to quarantine");
                let provider = app
                    .sources
                    .get(&envelope.source)
                    .map_or("", |source| source.provider.name());
                route::quarantine(app, envelope, provider, &why(), lifecycle).await?;
            }
            Some(())
        }
        Err(error) => route::undecodable(app, item, &error, lifecycle).await,
    }
}

/// A delivery that was being attempted is dead. One that only waited, in the hands of workers that something else
/// killed or for longer than the broker bears, is published again.
async fn bury(app: &App, delivery: &Delivery, lifecycle: &Lifecycle) -> Option<()> {
    let (why, target) = (why(), delivery.target.as_str());
    let buried = until_done(lifecycle, "bury", || app.ledger.bury(delivery.id, &why)).await?;
    if buried {
        error!(delivery.id = %delivery.id, target_name = target, "a delivery keeps killing its worker; it is dead");
        return Some(());
    }
    let configured = app.outlets.iter().any(|outlet| outlet.name == target);
    if !configured && endpoint::id_of(target).is_none() {
        // The sweep finds it should the target come back.
        return Some(());
    }
    warn!(delivery.id = %delivery.id, target_name = target, "a delivery was handed out again and again, but not attempted; it is published again");
    let message = again(target, delivery.encode(), Duration::ZERO);
    until_done(lifecycle, "publish", || {
        app.queue.publish(vec![message.clone()])
    })
    .await
}

fn why() -> String {
    format!("it was handed out {DELIVERY_LIMIT} times and never finished")
}
