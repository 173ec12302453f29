//! What the ticketing systems have in common: what a ticket says, and how their answers are read.

use common::delivery::Answer;
use serde::de::DeserializeOwned;
use url::Url;

use common::outbound::Reply;

/// The title of a ticket, where no template is set.
pub(super) const TITLE: &str =
    "{{ kind|capitalize }}: {{ contact or 'nobody named' }} ({{ source }})";

/// What a ticket says of an event, where no template is set.
pub(super) const TEXT: &str = "\
{{ contact or 'Nobody named' }}: {{ kind }}{% if bounce_class %} ({{ bounce_class }}){% endif %}

Source: {{ source }} ({{ provider }}: {{ provider_event }})
Scope: {{ scope }}
When: {{ occurred_at }}{% if time_assumed %} (the time of receipt, since the provider stated none){% endif %}
Caused by: {{ origin }}{% if reason %}
Reason: {{ reason }}{% endif %}{% if campaign_id %}
Campaign: {{ campaign_id }}{% endif %}{% if message_id %}
Message: {{ message_id }}{% endif %}

Event {{ event_id }}, delivery {{ delivery_id }}";

/// A path below a configured URL, whether or not that ends with a slash.
pub(super) fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// On one line of at most `most` characters, none of them a control character, which the systems refuse.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

/// At most `most` characters, none of them a control character but for line breaks.
pub(super) fn lines(text: &str, most: usize) -> String {
    text.chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .take(most)
        .collect()
}

/// A 2xx read as what the vendor documents. One that is something else comes from a proxy or a login page: not final.
pub(super) fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T, Answer> {
    let answer = reply.answer();
    if !reply.status.is_success() {
        return Err(answer);
    }
    reply.json().ok_or_else(|| Answer {
        status: answer.status,
        excerpt: answer.excerpt,
        ..Answer::retry(format!(
            "answered {}, but not with the JSON that its API documents",
            reply.status
        ))
    })
}

/// Done, and what was done in place of the answer's beginning.
pub(super) fn said(reply: &Reply, line: String) -> Answer {
    Answer {
        status: Some(reply.status.as_u16()),
        ..Answer::done(line)
    }
}
