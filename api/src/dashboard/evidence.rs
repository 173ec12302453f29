//! Payloads, written so that people can read them.

use serde_json::Value;
use url::form_urlencoded;

/// Puts the payload of what is shown in lines: JSON with its members below each other, a form with a field in each. What
/// is neither stays as it is. The api tells it verbatim.
pub(super) fn pretty(shown: &mut Value) {
    let is_form = shown["envelope"]["content_type"]
        .as_str()
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if let Some(text) = shown["payload"].as_str() {
        shown["payload"] = lines(text, is_form).into();
    }
}

/// JSON is JSON whatever it is called: some send it as a form.
pub(super) fn lines(text: &str, is_form: bool) -> String {
    let value = serde_json::from_str::<Value>(text).ok();
    if let Some(written) = value.and_then(|value| serde_json::to_string_pretty(&value).ok()) {
        return written;
    }
    if is_form {
        let fields = form_urlencoded::parse(text.as_bytes());
        let lines: Vec<_> = fields
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        return lines.join("\n");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_is_put_in_lines_and_what_cannot_be_read_stays() {
        let shown = |kind: &str, payload: &str| {
            let mut shown = json!({ "envelope": { "content_type": kind }, "payload": payload });
            pretty(&mut shown);
            shown["payload"].as_str().unwrap().to_owned()
        };
        assert_eq!(shown("application/json", "{\"a\":1}"), "{\n  \"a\": 1\n}");
        assert_eq!(shown("application/json", "{\"a\":"), "{\"a\":");
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        assert_eq!(shown(form, "a=b+c&d=%40"), "a = b c\nd = @");
        assert_eq!(shown(form, "{\"a\":1}"), "{\n  \"a\": 1\n}");
        let mut nothing = json!({ "payload": null });
        pretty(&mut nothing);
        assert!(nothing["payload"].is_null());
    }
}
