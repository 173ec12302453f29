//! The webhooks that are sent: SentinMail's, of some 400 bytes, with a token to check. Each number is another event of
//! another contact.

use std::io;

use crate::{
    journal::Journal,
    load::{self, Answered, Plan, post},
};

/// The name of the one source.
pub(crate) const SOURCE: &str = "shop";

const TOKEN: &str = "measured-with-this-token";

/// What a receiver finds the number behind.
const RECIPIENT: &[u8] = b"\"recipient\":\"";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Waits in the bulk lanes, and changes nothing.
    Opened,
    /// Goes through the urgent lanes, and suppresses.
    Unsubscribed,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Unsubscribed => "unsubscribed",
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Opened => 'o',
            Self::Unsubscribed => 'u',
        }
    }

    /// The address that the `n`th is about.
    pub(crate) fn contact(self, n: u64) -> String {
        format!("{}{n}@example.com", self.letter())
    }

    /// The `n`th one's body.
    pub(crate) fn body(self, n: u64) -> String {
        let (name, letter, contact) = (self.name(), self.letter(), self.contact(n));
        format!(
            r#"{{"id":"evt-{letter}-{n}","type":"{name}","timestamp":"2026-04-02T14:30:00Z","recipient":"{contact}","sent_email_id":"0192a3b4-c5d6-7e8f-9012-3456789abcde","campaign_id":"spring-fair-2026-first-mail","metadata":{{"user_agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)","ip":"203.0.113.42","link":"https://shop.example.com/spring/offers"}}}}"#
        )
    }

    /// The `n`th as a whole request.
    pub(crate) fn request(self, n: u64, into: &mut Vec<u8>) {
        let headers = format!("authorization: Bearer {TOKEN}\r\nuser-agent: SentinMail\r\n");
        post(
            into,
            &format!("/webhooks/{SOURCE}"),
            &headers,
            &self.body(n),
        );
    }

    /// Which one a delivery's body is about; None if it is another kind.
    pub(crate) fn number(self, delivery: &[u8]) -> Option<u64> {
        let mut windows = delivery.windows(RECIPIENT.len());
        let found = windows.position(|window| window == RECIPIENT)?;
        let address = &delivery[found + RECIPIENT.len()..];
        let end = address.iter().position(|byte| *byte == b'@')?;
        let address = std::str::from_utf8(&address[..end]).ok()?;
        address.strip_prefix(self.letter())?.parse().ok()
    }
}

/// Sends them by a plan, numbered from `from` on, and notes in the journal each that is answered 200, numbered from 0 on.
pub(crate) async fn send(
    kind: Kind,
    plan: &Plan,
    from: u64,
    journal: &Journal,
) -> io::Result<Answered> {
    let request = |n, into: &mut Vec<u8>| kind.request(from + n, into);
    load::run(plan, request, |n, _| journal.accept(n)).await
}

/// The part of a configuration that takes them.
pub(crate) fn source() -> String {
    format!(
        "[[sources]]\nname = \"{SOURCE}\"\nprovider = \"sentinmail\"\nauth = {{ kind = \"bearer\", token = \"{TOKEN}\" }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_about_400_bytes_and_tells_its_number() {
        let body = Kind::Unsubscribed.body(71);
        assert!((380..=430).contains(&body.len()), "{}", body.len());
        assert_eq!(Kind::Unsubscribed.number(body.as_bytes()), Some(71));
        assert_eq!(Kind::Opened.number(body.as_bytes()), None);
        assert_eq!(Kind::Opened.number(b"{}"), None);
    }
}
