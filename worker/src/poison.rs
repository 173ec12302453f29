//! Poison: messages that kept killing their worker, parked by the queue. They are shown where a person looks: an
//! envelope in quarantine, a delivery among the dead. Nothing here reads a provider's body.

use std::sync::Arc;

use common::{
    delivery::Delivery,
    envelope,
    lifecycle::Lifecycle,
    queue::{DELIVERY_LIMIT, QueueName},
};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::error;

use crate::{App, patience::until_done, route, stage::Item};

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
    let why = format!("it was handed out {DELIVERY_LIMIT} times and never finished");
    if let Some(QueueName::Target(target, _)) = &item.message.parked_from
        && let Ok(delivery) = Delivery::decode(item.body())
    {
        error!(delivery.id = %delivery.id, target_name = target, "a delivery keeps killing its worker; it is dead");
        return until_done(lifecycle, "bury", || app.ledger.bury(delivery.id, &why)).await;
    }
    match envelope::decode(item.body().clone()) {
        Ok(envelopes) => {
            for envelope in &envelopes {
                error!(envelope.id = %envelope.id, source = envelope.source, "an envelope keeps killing its worker; it goes to quarantine");
                let provider = app
                    .sources
                    .get(&envelope.source)
                    .map_or("", |source| source.provider.name());
                route::quarantine(app, envelope, provider, &why, lifecycle).await?;
            }
            Some(())
        }
        Err(error) => route::undecodable(app, item, &error, lifecycle).await,
    }
}
