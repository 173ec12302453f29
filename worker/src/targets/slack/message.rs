//! What Slack shows: Block Kit within its limits (150 characters in a header, 3000 in a section, 2000 in a field, 50
//! blocks), every value escaped, so that nobody's "reason" mentions a channel or makes a link.

use std::{collections::BTreeMap, iter};

use common::{
    contact::Contact,
    delivery::Delivery,
    event::{BounceClass, Event, Kind},
};
use serde_json::{Value, json};
use url::Url;

/// How events are shown.
#[derive(Debug)]
pub(super) struct Style {
    pub(super) shown: bool,
    pub(super) dashboard: Option<Url>,
}

/// Listed one by one in a digest.
const LINES: usize = 20;

/// Of a section's 3000, with room for "and N more".
const SECTION: usize = 2900;

/// One event: what happened, to whom, where, why and when.
pub(super) fn single(delivery: &Delivery, style: &Style) -> Value {
    let event = &delivery.event;
    let title = title(event);
    let contact = contact(event, style);
    let mut fields = vec![
        field("Contact", &contact),
        field(
            "Source",
            &format!("{} ({})", escape(&event.source, 200), event.provider),
        ),
        field("Scope", &escape(&event.scope, 300)),
        field("When", &when(event)),
    ];
    if let Some(reason) = event
        .reason
        .as_deref()
        .filter(|reason| !reason.trim().is_empty())
    {
        fields.push(field("Reason", &escape(reason, 300)));
    }
    let ids = format!(
        "Caused by: {}  |  event `{}`  |  delivery `{}`",
        event.origin, event.id, delivery.id
    );
    let link = style
        .dashboard
        .as_ref()
        .map(|url| page(url, &["events", &event.id.to_string()]));
    let blocks = iter::once(header(title))
        .chain([json!({"type": "section", "fields": fields})])
        .chain([json!({"type": "context", "elements": [markdown(&ids)]})])
        .chain(link.map(|url| button("Open the event", &url)));
    message(
        &format!("{title}: {contact} ({})", escape(&event.source, 200)),
        blocks,
    )
}

/// Many events in one message: how many of what from where, and the first of them.
pub(super) fn digest(deliveries: &[Delivery], style: &Style) -> Value {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for Delivery { event, .. } in deliveries {
        *counts.entry((title(event), &event.source)).or_default() += 1;
    }
    let title = format!("{} events", deliveries.len());
    let totals = counts
        .iter()
        .map(|((title, source), count)| format!("*{count}* {title} ({})", escape(source, 100)));
    let lines = deliveries.iter().map(|Delivery { event, .. }| {
        format!(
            "• {}: {} ({}, {})",
            self::title(event),
            contact(event, style),
            escape(&event.source, 60),
            when(event)
        )
    });
    let blocks = [
        header(&title),
        section(&fit(totals, LINES)),
        section(&fit(lines, LINES)),
    ]
    .into_iter();
    message(
        &title,
        blocks.chain(
            style
                .dashboard
                .as_ref()
                .map(|url| button("Open Optout", url)),
        ),
    )
}

fn message(text: &str, blocks: impl Iterator<Item = Value>) -> Value {
    json!({"text": text, "blocks": blocks.collect::<Vec<_>>(), "unfurl_links": false, "unfurl_media": false})
}

/// As many lines as there is room for, and how many are left out.
fn fit(lines: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let total = lines.len();
    let mut taken: Vec<String> = vec![];
    let mut length = 0;
    for line in lines.take(most) {
        length += line.chars().count() + 1;
        if length > SECTION {
            break;
        }
        taken.push(line);
    }
    if taken.len() < total {
        taken.push(format!("and {} more", total - taken.len()));
    }
    taken.join("\n")
}

fn title(event: &Event) -> &'static str {
    match (event.kind, event.bounce_class) {
        (Kind::Unsubscribed, _) => "Unsubscribed",
        (Kind::Resubscribed, _) => "Re-subscribed",
        (Kind::Complained, _) => "Spam complaint",
        (Kind::Bounced, Some(BounceClass::Hard)) => "Hard bounce",
        (Kind::Bounced, Some(BounceClass::Soft)) => "Soft bounce",
        (Kind::Bounced, Some(BounceClass::Block)) => "Blocked by the mail server",
        (Kind::Bounced, Some(BounceClass::Undetermined) | None) => "Bounce",
        (Kind::Suppressed, _) => "Suppressed by hand",
        (Kind::Delivered, _) => "Delivered",
        (Kind::Opened, _) => "Opened",
        (Kind::Clicked, _) => "Clicked",
        (Kind::Other, _) => "Other event",
    }
}

fn contact(event: &Event, style: &Style) -> String {
    match &event.contact {
        None => "nobody named".to_owned(),
        Some(contact) if style.shown => escape(&contact.address, 254),
        Some(contact) => escape(&Contact::masked(contact), 254),
    }
}

/// In each reader's own time zone; after the bar what is shown where that cannot be done.
fn when(event: &Event) -> String {
    let at = event.occurred_at;
    format!(
        "<!date^{}^{{date_short_pretty}} {{time_secs}}|{}>",
        at.as_second(),
        at.strftime("%Y-%m-%d %H:%M:%S UTC")
    )
}

fn page(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

fn header(text: &str) -> Value {
    json!({"type": "header", "text": {"type": "plain_text", "text": text}})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": markdown(text)})
}

fn field(name: &str, value: &str) -> Value {
    markdown(&format!("*{name}*\n{value}"))
}

/// `verbatim` keeps Slack from making links and mentions of what only looks like them.
fn markdown(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn button(text: &str, url: &Url) -> Value {
    let label = json!({"type": "plain_text", "text": text});
    json!({"type": "actions", "elements": [{"type": "button", "text": label, "url": url.as_str()}]})
}

/// On one line, cut to `most` characters, and with Slack's three control characters escaped.
fn escape(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    };
    cut.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
