//! The pages of a link: one template, one stylesheet, no script. They show nothing of whom the link is about, since whoever
//! was forwarded the mail sees them, too; and they hold no token: a form without a target is posted to where it stands.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use common::{
    config::{Links, Purpose},
    event::GLOBAL,
    link::Link,
    one_click::{FROM, PAGE, SCOPE},
};
use minijinja::{Environment, value::Serde};
use serde::Serialize;
use tracing::error;

/// As the template has it. No token has a dot.
pub(super) const STYLE_PATH: &str = "/u/style.css";

const STYLE: &str = include_str!("style.css");
const TEMPLATE: &str = "page.html";

/// Allows nothing but our own style, and to post to ourselves.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// The pages of the links of one configuration.
pub(super) struct Pages {
    templates: Environment<'static>,
    sender: Option<String>,
    scopes: Vec<Purpose>,
}

/// Something to choose.
#[derive(Debug, Serialize)]
struct Offer<'a> {
    field: &'static str,
    value: &'a str,
    title: &'a str,
    chosen: bool,
}

/// What a page says.
#[derive(Debug, Default, Serialize)]
struct View<'a> {
    heading: &'static str,
    says: String,
    /// What can be chosen; where nothing is asked, none.
    offers: Vec<Offer<'a>>,
    /// Whether there is a form at all.
    asks: bool,
    /// Whether it was sent without a choice.
    wrong: bool,
}

/// What every page has around it.
#[derive(Debug, Serialize)]
struct Frame<'a> {
    view: &'a View<'a>,
    sender: Option<&'a str>,
    /// Names of the form.
    form: (&'static str, &'static str),
    from: &'static str,
}

impl Pages {
    pub(super) fn new(links: &Links) -> Self {
        let mut templates = Environment::new();
        templates
            .add_template(TEMPLATE, include_str!("page.html"))
            .expect("it is read by every test of the door");
        Self {
            templates,
            sender: links.sender.clone(),
            scopes: links.scopes.clone(),
        }
    }

    /// The form: a button, or what to choose from. The status says whether it was sent without a choice.
    pub(super) fn ask(&self, status: StatusCode, link: &Link) -> Response {
        let from = match &self.sender {
            Some(sender) => format!(" from {sender}"),
            None => String::new(),
        };
        let offers = self.offers(link);
        let says = if offers.is_empty() && link.scope == GLOBAL {
            format!("Press the button, and no more messages{from} are sent to you.")
        } else if offers.is_empty() {
            format!("Press the button, and no more messages{from} of this kind are sent to you.")
        } else {
            format!("Choose which messages{from} are no longer sent to you.")
        };
        let view = View {
            heading: "Unsubscribe",
            says,
            offers,
            asks: true,
            wrong: status != StatusCode::OK,
        };
        self.show(status, &view)
    }

    pub(super) fn done(&self) -> Response {
        let says = "Your choice is stored. It may take a moment until it is known everywhere.";
        self.say(StatusCode::OK, "You are unsubscribed", says)
    }

    pub(super) fn later(&self, status: StatusCode) -> Response {
        let says = "Your choice was not stored. Please go back and try again in a minute.";
        self.say(status, "That did not work", says)
    }

    pub(super) fn unknown(&self, status: StatusCode) -> Response {
        let says = "Nothing was changed. Please use the link as it is in the newest message that you have.";
        self.say(status, "This link does not work", says)
    }

    fn say(&self, status: StatusCode, heading: &'static str, says: &str) -> Response {
        let view = View {
            heading,
            says: says.to_owned(),
            ..View::default()
        };
        self.show(status, &view)
    }

    /// None without scopes: then there is nothing to choose but what the link is of.
    fn offers(&self, link: &Link) -> Vec<Offer<'_>> {
        let listed = self.scopes.iter().map(|scope| Offer {
            field: SCOPE,
            value: &scope.name,
            title: &scope.title,
            chosen: scope.name == link.scope,
        });
        let mut offers: Vec<_> = listed.collect();
        if offers.is_empty() {
            return offers;
        }
        let is_listed = offers.iter().any(|offer| offer.chosen);
        if !is_listed && link.scope != GLOBAL {
            offers.push(Offer {
                field: FROM,
                value: "link",
                title: "Messages like the one with this link",
                chosen: true,
            });
        }
        offers.push(Offer {
            field: FROM,
            value: "everything",
            title: "Everything",
            chosen: link.scope == GLOBAL,
        });
        offers
    }

    fn show(&self, status: StatusCode, view: &View<'_>) -> Response {
        let frame = Frame {
            view,
            sender: self.sender.as_deref(),
            form: PAGE,
            from: FROM,
        };
        let template = self.templates.get_template(TEMPLATE);
        let rendered = template.and_then(|page| page.render(Serde(frame)));
        let policy = [(header::CONTENT_SECURITY_POLICY, POLICY)];
        match rendered {
            Ok(html) => (status, policy, Html(html)).into_response(),
            // What was asked is done or not as the status says, also without words.
            Err(error) => {
                error!(%error, "a page of links cannot be made");
                status.into_response()
            }
        }
    }
}

/// `/u/style.css`
pub(super) async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, STYLE).into_response()
}
