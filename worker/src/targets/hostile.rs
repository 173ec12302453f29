//! What an event may hold, templates withstand; and what may be written as a template is one, or a mistake.

use hostile::{text, withstands};
use serde_json::Value;

use super::{
    standin::delivery,
    template::{Format, Template},
};

const TEMPLATES: [&str; 4] = [
    "{\"email\": {{ contact }}, \"why\": {{ reason }}, \"at\": {{ occurred_at }}}",
    "{% if reason %}why={{ reason }}&{% endif %}to={{ contact_masked|upper }}",
    "<p title=\"{{ reason }}\">{{ metadata.ip }} {{ kind }}</p>",
    "{{ provider_event }} {{ scope }} {# a comment #} {{ metadata }}",
];

const FORMATS: [Format; 4] = [Format::Json, Format::Form, Format::Markup, Format::Text];

#[test]
fn no_text_makes_the_reader_of_templates_panic() {
    let hostile = delivery(1);
    withstands("templates", file!(), &text(TEMPLATES), |template| {
        for format in FORMATS {
            if let Ok(template) = Template::new(template.clone(), format) {
                drop(template.render(&hostile));
            }
        }
    });
}

#[test]
fn nothing_that_an_event_holds_breaks_out_of_the_format_around_it() {
    let templates = TEMPLATES.iter().zip(FORMATS);
    let templates: Vec<_> = templates
        .map(|(template, format)| Template::new((*template).to_owned(), format).unwrap())
        .collect();
    let reasons = [
        "\"}, \"admin\": true, {\"x\": \"",
        "</p><script>alert(1)</script>",
        "&to=everybody&why=%26",
        "{{ contact }}{% raw %}",
    ];
    withstands("values in templates", file!(), &text(reasons), |reason| {
        let mut hostile = delivery(1);
        hostile.event.reason = Some(reason);
        let [json, form, markup, _] =
            [0, 1, 2, 3].map(|index: usize| templates[index].render(&hostile).unwrap());
        let members: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(members.as_object().unwrap().len(), 3);
        assert!(form.matches('&').count() <= 1 && form.matches("to=").count() == 1);
        assert_eq!(
            (markup.matches('<').count(), markup.matches('"').count()),
            (2, 2)
        );
    });
}
