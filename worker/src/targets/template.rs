//! Templates of tickets and bodies, in Jinja's language, read when the configuration is.
//!
//! A template sees the event's fields by the names of [`context`]. One that cannot be read, or that names something
//! else, is a mistake by its key, before a port opens. Values are escaped for the format they are put into, so what a
//! sender wrote as a reason cannot break out of the JSON, form or page around it.

use std::collections::BTreeSet;

use common::{
    contact::Contact,
    delivery::{Answer, Delivery},
    envelope::Envelope,
    event::{Draft, Event, Identity, Kind, Undetermined},
    settings::Section,
};
use minijinja::{
    AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior, escape_formatter,
    value::Serde,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What a template makes, by which its values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    /// A value is written as JSON, quotes and all: `{"email": {{ contact }}}`.
    Json,
    Form,
    Markup,
}

impl Format {
    /// The format of a media type.
    pub(super) fn of(content_type: &str) -> Self {
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match essence.rsplit(['/', '+']).next().unwrap_or_default() {
            "json" => Self::Json,
            "x-www-form-urlencoded" => Self::Form,
            "html" | "xml" => Self::Markup,
            _ => Self::Text,
        }
    }

    fn escape(self) -> AutoEscape {
        match self {
            Self::Text => AutoEscape::None,
            Self::Json => AutoEscape::Json,
            Self::Form => AutoEscape::Custom("form".into()),
            Self::Markup => AutoEscape::Html,
        }
    }
}

/// A template that was found to be right.
#[derive(Debug)]
pub(super) struct Template(Environment<'static>);

const NAME: &str = "template";

impl Template {
    /// The template under `key`, or else `default`.
    pub(super) fn or(
        section: &mut Section,
        key: &str,
        default: &str,
        format: Format,
    ) -> Option<Self> {
        let text = section.or(key, default.to_owned());
        Self::new(text, format)
            .map_err(|why| section.mistake(key, why))
            .ok()
    }

    /// The template under `key`, where there is one.
    pub(super) fn required(section: &mut Section, key: &str, format: Format) -> Option<Self> {
        let text = section.required(key)?;
        Self::new(text, format)
            .map_err(|why| section.mistake(key, why))
            .ok()
    }

    pub(super) fn new(text: String, format: Format) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(move |_| format.escape());
        environment.set_formatter(write);
        environment
            .add_template_owned(NAME, text)
            .map_err(|error| format!("is no template: {error}"))?;
        let template = Self(environment);
        template.check_names()?;
        template.try_out(format)?;
        Ok(template)
    }

    fn check_names(&self) -> Result<(), String> {
        let known = context(&sample());
        let used = self
            .0
            .get_template(NAME)
            .map_err(|error| error.to_string())?
            .undeclared_variables(false);
        let unknown: BTreeSet<_> = used
            .iter()
            .filter(|name| {
                !known.contains_key(*name) && !self.0.globals().any(|(global, _)| global == *name)
            })
            .map(String::as_str)
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<_> = unknown.into_iter().collect();
        let known: Vec<_> = known.keys().map(String::as_str).collect();
        Err(format!(
            "names {}, which no event has; known are {}",
            unknown.join(", "),
            known.join(", ")
        ))
    }

    fn try_out(&self, format: Format) -> Result<(), String> {
        match self.fill(&sample()) {
            // What is in `metadata` differs from event to event, so it is not to be judged here.
            Err(error) if error.kind() == ErrorKind::UndefinedError => Ok(()),
            Err(error) => Err(format!("cannot be filled in: {error}")),
            Ok(text) if format == Format::Json => {
                match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!(
                        "does not make JSON ({error}); values bring their own quotes, so write {{{{ contact }}}}, not \
                     \"{{{{ contact }}}}\""
                    )),
                }
            }
            Ok(_) => Ok(()),
        }
    }

    /// The text for a delivery. An error is final: the same template and the same event fail again.
    pub(super) fn render(&self, delivery: &Delivery) -> Result<String, Answer> {
        // The error's own text could quote the event.
        self.fill(delivery).map_err(|error| {
            Answer::dead(format!(
                "the template cannot be filled in: {:?} in line {}",
                error.kind(),
                error.line().unwrap_or(0)
            ))
        })
    }

    fn fill(&self, delivery: &Delivery) -> Result<String, minijinja::Error> {
        self.0.get_template(NAME)?.render(Serde(context(delivery)))
    }
}

/// Writes a value: nothing for one that the event lacks, else escaped.
fn write(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &minijinja::Value,
) -> Result<(), minijinja::Error> {
    match state.auto_escape() {
        AutoEscape::Json => escape_formatter(out, state, value),
        _ if value.is_none() => Ok(()),
        AutoEscape::Custom(_) => {
            let text = value.to_string();
            url::form_urlencoded::byte_serialize(text.as_bytes())
                .try_for_each(|part| out.write_str(part))?;
            Ok(())
        }
        _ => escape_formatter(out, state, value),
    }
}

/// What a template can name: the event's fields, `event_id`, `delivery_id`, `target` and `contact_masked`.
fn context(delivery: &Delivery) -> Map<String, Value> {
    let event = &delivery.event;
    let mut context = Map::new();
    // An event without a contact has these names too, or a template for all events would fail on it.
    for name in ["channel", "contact", "contact_raw"] {
        context.insert(name.to_owned(), Value::Null);
    }
    if let Ok(Value::Object(fields)) = serde_json::to_value(event) {
        context.extend(fields);
    }
    context.remove("id");
    context.insert("event_id".to_owned(), json!(event.id));
    context.insert("delivery_id".to_owned(), json!(delivery.id));
    context.insert("target".to_owned(), json!(delivery.target));
    context.insert(
        "contact_masked".to_owned(),
        json!(event.contact.as_ref().map(Contact::masked)),
    );
    context
}

/// An event that has everything, to try templates on.
fn sample() -> Delivery {
    let envelope = Envelope {
        id: Uuid::nil(),
        source: "sample".to_owned(),
        received_at: jiff::Timestamp::UNIX_EPOCH,
        content_type: None,
        headers: vec![],
        body: bytes::Bytes::new(),
    };
    let mut draft = Draft::new(
        Kind::Unsubscribed,
        "unsubscribed",
        Identity::Own("1".to_owned()),
    );
    draft.contact = Contact::email("sample@example.com").ok();
    draft.reason = Some("a \"sample\"".to_owned());
    draft.message_id = Some("1".to_owned());
    draft.campaign_id = Some("1".to_owned());
    let event: Event = draft.into_event(&envelope, "sample", Undetermined::Suppress);
    Delivery::new(event, "sample")
}

#[cfg(test)]
mod tests {
    use common::delivery::Outcome;

    use super::*;
    use crate::targets::standin::delivery;

    fn filled(text: &str, format: Format) -> String {
        Template::new(text.to_owned(), format)
            .unwrap()
            .render(&delivery(1))
            .unwrap()
    }

    fn refused(text: &str, format: Format) -> String {
        Template::new(text.to_owned(), format).unwrap_err()
    }

    #[test]
    fn the_fields_of_the_event_are_filled_in_and_missing_ones_are_empty() {
        let text = filled(
            "{{ kind }} {{ contact }} {{ contact_masked }} [{{ bounce_class }}] {{ occurred_at }}",
            Format::Text,
        );
        assert_eq!(
            text,
            "unsubscribed jane1@example.com j…@example.com [] 2026-04-02T14:30:00Z"
        );
        let mut nobody = delivery(1);
        nobody.event.contact = None;
        let template = Template::new(
            "{{ contact }}{{ contact_masked }}.".to_owned(),
            Format::Text,
        )
        .unwrap();
        assert_eq!(template.render(&nobody).unwrap(), ".");
    }

    #[test]
    fn unknown_names_and_broken_templates_are_refused_when_they_are_read() {
        let why = refused("{{ recipient }} {% if x %}{{ y }}{% endif %}", Format::Text);
        assert!(
            why.starts_with("names recipient, x, y, which no event has; known are bounce_class, "),
            "{why}"
        );
        assert!(refused("{{ contact", Format::Text).contains("syntax error"));
        assert!(refused("{{ contact|shout }}", Format::Text).contains("unknown filter"));
        assert!(
            refused("{\"email\": \"{{ contact }}\"}", Format::Json)
                .contains("bring their own quotes")
        );
    }

    #[test]
    fn a_reason_cannot_break_out_of_the_format_around_it() {
        let mut hostile = delivery(1);
        hostile.event.reason = Some("\"}, \"admin\": true, {{ contact }} <b>&x=1\n".to_owned());
        let fill = |text: &str, format| {
            Template::new(text.to_owned(), format)
                .unwrap()
                .render(&hostile)
                .unwrap()
        };
        let body: Value =
            serde_json::from_str(&fill("{\"why\": {{ reason }}}", Format::Json)).unwrap();
        assert_eq!(body, json!({"why": hostile.event.reason}));
        assert_eq!(
            fill("why={{ reason }}", Format::Form),
            "why=%22%7D%2C+%22admin%22%3A+true%2C+%7B%7B+contact+%7D%7D+%3Cb%3E%26x%3D1%0A"
        );
        assert!(fill("<p>{{ reason }}</p>", Format::Markup).contains("&lt;b&gt;&amp;x"));
        assert!(fill("{{ reason }}", Format::Text).contains("{{ contact }}"));
    }

    #[test]
    fn what_one_event_lacks_in_its_metadata_makes_that_delivery_final_and_quotes_nothing() {
        let template = Template::new("{{ metadata.ip }}".to_owned(), Format::Text).unwrap();
        assert_eq!(template.render(&delivery(1)).unwrap(), "192.0.2.7");
        let mut bare = delivery(1);
        bare.event.metadata.clear();
        let why = "the template cannot be filled in: UndefinedError in line 1".to_owned();
        assert_eq!(
            template.render(&bare).unwrap_err().outcome,
            Outcome::Dead { why }
        );
    }

    #[test]
    fn the_format_follows_the_media_type() {
        for (media_type, format) in [
            ("application/json; charset=utf-8", Format::Json),
            ("application/cloudevents+json", Format::Json),
            ("application/x-www-form-urlencoded", Format::Form),
            ("text/html", Format::Markup),
            ("application/soap+xml", Format::Markup),
            ("text/plain", Format::Text),
        ] {
            assert_eq!(Format::of(media_type), format, "{media_type}");
        }
    }
}
