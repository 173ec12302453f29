//! Pages: templates in one frame, filled with what the handlers of the api answer.
//!
//! Every value is escaped as HTML. There is no style and no script in a page, and the policy that goes along with each
//! allows nothing but our own stylesheet, script and pictures.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse, Response},
};
use common::clock;
use jiff::Timestamp;
use minijinja::{
    Environment, HtmlEscape, Output, State, Value as Safe, escape_formatter, value::Serde,
};
use serde::Serialize;
use serde_json::Value;
use tracing::error;

use super::{asset::Assets, form::Filters, mask::mask, visitor::Visitor};
use crate::App;

const PAGES: &[(&str, &str)] = &[
    ("contact.html", include_str!("pages/contact.html")),
    ("deliveries.html", include_str!("pages/deliveries.html")),
    ("delivery.html", include_str!("pages/delivery.html")),
    ("event.html", include_str!("pages/event.html")),
    ("events.html", include_str!("pages/events.html")),
    ("failure.html", include_str!("pages/failure.html")),
    ("layout.html", include_str!("pages/layout.html")),
    ("overview.html", include_str!("pages/overview.html")),
    ("parts.html", include_str!("pages/parts.html")),
    ("quarantine.html", include_str!("pages/quarantine.html")),
    ("quarantined.html", include_str!("pages/quarantined.html")),
    ("endpoint.html", include_str!("pages/endpoint.html")),
    ("import.html", include_str!("pages/import.html")),
    ("imported.html", include_str!("pages/imported.html")),
    (
        "reconciliation.html",
        include_str!("pages/reconciliation.html"),
    ),
    (
        "reconciliations.html",
        include_str!("pages/reconciliations.html"),
    ),
    ("replay.html", include_str!("pages/replay.html")),
    (
        "replay_confirm.html",
        include_str!("pages/replay_confirm.html"),
    ),
    ("replays.html", include_str!("pages/replays.html")),
    ("sources.html", include_str!("pages/sources.html")),
    ("suppression.html", include_str!("pages/suppression.html")),
    (
        "suppression_add.html",
        include_str!("pages/suppression_add.html"),
    ),
    (
        "suppression_confirm.html",
        include_str!("pages/suppression_confirm.html"),
    ),
    ("suppressions.html", include_str!("pages/suppressions.html")),
    ("target.html", include_str!("pages/target.html")),
    ("targets.html", include_str!("pages/targets.html")),
    ("sign_in.html", include_str!("pages/sign_in.html")),
];

/// What a page may do in a browser, and that no other website is told where a visitor comes from. (With `no-referrer`, as
/// elsewhere, browsers would hide from us, too, which website a form comes from.)
const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    ),
];

/// The templates, read once.
pub(super) struct Pages {
    templates: Environment<'static>,
    assets: Assets,
}

/// What every template can name.
#[derive(Serialize)]
struct Frame<'a> {
    visitor: Option<&'a Visitor>,
    /// Which entry of the navigation the page belongs to.
    section: &'a str,
    assets: &'a Assets,
    now: Timestamp,
    version: &'static str,
    page: Value,
}

/// The pages of a list before and after this one.
#[derive(Serialize)]
pub(super) struct Turn {
    /// The first one; None on that.
    first: Option<String>,
    next: Option<String>,
}

impl Turn {
    pub(super) fn of(filters: &Filters, next: Option<&str>) -> Self {
        let mut first = filters.clone();
        let was_turned = first.take("cursor").is_some();
        Self {
            first: was_turned.then(|| first.with(&[])),
            next: next.map(|next| filters.with(&[("cursor", next)])),
        }
    }
}

impl Pages {
    pub(super) fn new() -> Self {
        let mut templates = Environment::new();
        templates.set_formatter(write);
        templates.add_filter("time", time);
        templates.add_filter("took", took);
        templates.add_filter("number", number);
        for (name, text) in PAGES {
            templates
                .add_template(name, text)
                .expect("the templates are a part of the program that a test renders");
        }
        Self {
            templates,
            assets: Assets::new(),
        }
    }

    /// A page for this visitor: what they may not see is masked.
    pub(super) fn html(
        &self,
        visitor: Option<&Visitor>,
        section: &str,
        template: &str,
        page: &impl Serialize,
    ) -> Result<String, minijinja::Error> {
        let mut page = serde_json::to_value(page).unwrap_or_default();
        if !visitor.is_some_and(|visitor| visitor.sees) {
            mask(&mut page);
        }
        let frame = Frame {
            visitor,
            section,
            assets: &self.assets,
            now: clock::now(),
            version: env!("CARGO_PKG_VERSION"),
            page,
        };
        self.templates.get_template(template)?.render(Serde(frame))
    }
}

/// A page for this visitor.
pub(super) fn render(
    app: &App,
    visitor: Option<&Visitor>,
    section: &str,
    template: &str,
    page: &impl Serialize,
) -> Response {
    let pages = &app.dashboard.pages;
    match pages.html(visitor, section, template, page) {
        Ok(html) => (HEADERS, Html(html)).into_response(),
        Err(wrong) => {
            error!(error = %wrong, "a page cannot be rendered");
            crate::Error::Unrenderable.into_response()
        }
    }
}

/// Writes a value: nothing for one that is not there, else escaped.
fn write(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Safe,
) -> Result<(), minijinja::Error> {
    if value.is_none() {
        return Ok(());
    }
    escape_formatter(out, state, value)
}

/// A moment: in UTC, which the script turns into the viewer's zone.
fn time(value: &Safe) -> Safe {
    let Some(at) = value
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok())
    else {
        return Safe::from("–");
    };
    let shown = at.strftime("%Y-%m-%d %H:%M:%S");
    let exact = HtmlEscape(value.as_str().unwrap_or_default());
    let html = format!("<time datetime=\"{exact}\" title=\"{shown} UTC\">{shown} UTC</time>");
    Safe::from_safe_string(html)
}

/// A period of so many milliseconds.
fn took(value: &Safe) -> String {
    let Ok(ms) = i64::try_from(value.clone()) else {
        return "–".to_owned();
    };
    let (seconds, tenth) = (ms / 1000, ms % 1000 / 100);
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{tenth} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A whole number with its thousands apart.
fn number(value: &Safe) -> String {
    let Ok(number) = i64::try_from(value.clone()) else {
        return "–".to_owned();
    };
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_periods_are_written_for_people() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(number(&Safe::from(value)), text);
        }
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (180_000_000, "2 days 2 h"),
        ] {
            assert_eq!(took(&Safe::from(ms)), text);
        }
        assert_eq!(took(&Safe::from(())), "–");
    }

    #[test]
    fn a_moment_is_told_in_utc_and_for_programs() {
        let html = time(&Safe::from("2026-04-02T14:30:05.123456Z")).to_string();
        let wanted = "<time datetime=\"2026-04-02T14:30:05.123456Z\" title=\"2026-04-02 14:30:05 UTC\">\
            2026-04-02 14:30:05 UTC</time>";
        assert_eq!(html, wanted);
        assert_eq!(time(&Safe::from(())).to_string(), "–");
    }
}
