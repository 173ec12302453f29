//! Addresses, hidden from visitors who may not see them.
//!
//! What a page shows is masked as a whole before it is rendered, wherever in it an address may stand: a page that is
//! added cannot forget it. Raw payloads, which may hold anything, are taken out.

use common::contact::Contact;
use serde_json::Value;

/// Members that hold what came in as it came.
const RAW: [&str; 5] = [
    "payload",
    "payload_base64",
    "headers",
    "metadata",
    "personal",
];

/// Members that hold what the visitor typed.
const TYPED: [&str; 3] = ["filters", "typed", "wish"];

/// What stands for what came in.
const HIDDEN: &str = "hidden";

/// Hides all addresses in what a page shows.
pub(super) fn mask(value: &mut Value) {
    match value {
        Value::String(text) => *text = masked(text),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => {
            for (name, member) in members {
                if RAW.contains(&name.as_str()) && !member.is_null() {
                    *member = HIDDEN.into();
                } else if !TYPED.contains(&name.as_str()) {
                    mask(member);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text with each address in it masked.
fn masked(text: &str) -> String {
    // A number as people write it, with blanks in it.
    if text.starts_with('+')
        && text.chars().any(char::is_whitespace)
        && let Ok(phone) = Contact::phone(text)
    {
        return phone.masked();
    }
    if !text.contains(['@', '+']) {
        return text.to_owned();
    }
    let is_between = |c: char| c.is_whitespace() || "<>()[]{}\"',;:|/=&?".contains(c);
    let mut masked = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_between) {
        let end = piece.trim_end_matches(is_between).len();
        let (word, rest) = piece.split_at(end);
        masked.push_str(&hidden(word));
        masked.push_str(rest);
    }
    masked
}

/// A word, masked if it is an address or may be a part of one.
fn hidden(word: &str) -> String {
    let bare = word.trim_end_matches('.');
    if let Some((local, domain)) = bare.rsplit_once('@') {
        let first: String = local.chars().take(1).collect();
        return format!("{first}…@{domain}");
    }
    let digits = bare.chars().filter(char::is_ascii_digit).count();
    if bare.starts_with('+') && digits >= 6 {
        let contact = Contact::phone(bare).map(|phone| phone.masked());
        return contact.unwrap_or_else(|_| bare.chars().take(5).chain(['…']).collect());
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_hidden_wherever_it_stands() {
        for (text, shown) in [
            ("jane@example.com", "j…@example.com"),
            ("Jane Doe <jane@example.com>", "Jane Doe <j…@example.com>"),
            (
                "550 <jane@example.com>: no such user",
                "550 <j…@example.com>: no such user",
            ),
            (
                "mailto:jane@example.com?subject=x",
                "mailto:j…@example.com?subject=x",
            ),
            ("to=jane@example.com&x=1", "to=j…@example.com&x=1"),
            ("+15551234567", "+1555…67"),
            ("+1 555 123 45 67", "+1555…67"),
            ("call +15551234567.", "call +1555…67"),
            ("a + b", "a + b"),
            ("2026-04-02T14:30:00+02:00", "2026-04-02T14:30:00+02:00"),
            ("plain", "plain"),
            ("@", "…@"),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
    }

    #[test]
    fn what_came_in_is_taken_out_and_ids_stay() {
        let mut page = json!({
            "id": "01890a5d-ac96-774b-bcce-b302099a8057", "payload": "{\"to\": \"jane\"}", "payload_base64": null,
            "items": [{ "contact": "jane@example.com", "metadata": { "name": "Jane" }, "attempts": 3 }],
            "filters": { "contact": "jane@example.com" },
        });
        mask(&mut page);
        let masked = json!({
            "id": "01890a5d-ac96-774b-bcce-b302099a8057", "payload": "hidden", "payload_base64": null,
            "items": [{ "contact": "j…@example.com", "metadata": "hidden", "attempts": 3 }],
            "filters": { "contact": "jane@example.com" },
        });
        assert_eq!(page, masked);
    }
}
