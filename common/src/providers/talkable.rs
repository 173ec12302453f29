//! Talkable: asks a question before each mail, and tells of nothing. The api answers it.
//!
//! The question is a form with `key`, `site`, `type` and `payload`. Talkable's own example does not percent-encode the
//! payload, so one that begins with a brace is read literally, whatever `&`, `+` and `%` there are in it.

use std::borrow::Cow;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use serde_json::{Deserializer, Value};
use url::form_urlencoded;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::{Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Sample, Suit, sample::samples};
use crate::{contact::Contact, envelope::Envelope, event::rfc3339, queue::Priority};

/// Where the question is asked.
pub const PATH: &str = "/api/v1/talkable/check_unsubscribe";

/// The one kind of question.
const TYPE: &str = "check_unsubscribe_web_hook";

/// Questions whose key and site are to be filled in, Talkable's own example first.
pub const SAMPLES: &[Sample] =
    samples!["talkable": "check-unsubscribe", "check-unsubscribe-encoded"];

/// What stands in the samples for the key, and for the site.
const BLANKS: [&str; 2] = ["<key>", "<site>"];

#[derive(Debug)]
pub(super) struct Talkable;

impl Provider for Talkable {
    fn name(&self) -> &'static str {
        "talkable"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::KeyAndSite]
    }

    fn asks_at(&self) -> Option<&'static str> {
        Some(PATH)
    }

    fn prove(&self, sample: &Sample, keys: &Keys, _now: Timestamp) -> Option<Proof> {
        let given = [keys.secrets.first()?.expose_secret(), keys.site.as_deref()?];
        let filled = BLANKS.into_iter().zip(given);
        let body = filled.fold(sample.body().to_owned(), |body, (blank, value)| {
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            body.replacen(blank, &value, 1)
        });
        Some(Proof {
            headers: vec![],
            body,
        })
    }

    fn priority(&self, _body: &[u8]) -> Priority {
        Priority::Urgent
    }

    fn parse(&self, _envelope: &Envelope) -> Parsed {
        Err(Malformed(
            "Talkable asks questions and tells of no events".to_owned(),
        ))
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Talkable",
            suits: &[Suit::Signature],
            steps: &[
                "Give Talkable the URL as that of the check unsubscribe webhook.",
                "The key and the site are those that it sends with each question.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        SAMPLES
    }
}

/// A question, its payload not read yet: first it has to be known who asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    pub key: String,
    pub site: String,
    kind: String,
    payload: Option<String>,
    /// The payload was written as it is, not percent-encoded.
    literal: bool,
}

/// What is asked.
#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    /// The address in each of the ways in which it may be meant; none where there is none.
    pub contacts: Vec<Contact>,
    pub email_type: Option<String>,
    pub campaign: Option<String>,
    /// Talkable states that the recipient has unsubscribed since they subscribed.
    pub says_unsubscribed: bool,
}

impl ToSchema for Question {
    fn name() -> Cow<'static, str> {
        "TalkableQuestion".into()
    }
}

impl PartialSchema for Question {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let fields = [
            (
                "key",
                text().description(Some("Talkable's api key, as the source has it.")),
            ),
            (
                "site",
                text().description(Some("Talkable's name of the site.")),
            ),
            ("type", text().enum_values(Some([TYPE]))),
            (
                "payload",
                text().description(Some("JSON: the recipient, with `email`, and the campaign.")),
            ),
        ];
        let form = ObjectBuilder::new();
        fields
            .into_iter()
            .fold(form, |form, (name, field)| {
                form.property(name, field).required(name)
            })
            .into()
    }
}

impl Question {
    /// Reads the form. A field that is missing is empty.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let text =
            std::str::from_utf8(body).map_err(|_| Malformed("the form is not UTF-8".to_owned()))?;
        let (fields, payload) = match literal(text) {
            Some((before, literal)) => {
                let mut values = Deserializer::from_str(literal).into_iter::<Value>();
                let ended = matches!(values.next(), Some(Ok(_))).then(|| values.byte_offset());
                let (payload, after) = literal.split_at(ended.unwrap_or(literal.len()));
                (format!("{before}{after}"), Some(payload.to_owned()))
            }
            None => (text.to_owned(), None),
        };
        let field = |name: &str| {
            let mut pairs = form_urlencoded::parse(fields.as_bytes());
            let found = pairs.find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned())
        };
        Ok(Self {
            key: field("key").unwrap_or_default(),
            site: field("site").unwrap_or_default(),
            kind: field("type").unwrap_or_default(),
            literal: payload.is_some(),
            payload: payload.or_else(|| field("payload")),
        })
    }

    /// Reads the payload.
    pub fn asked(&self) -> Result<Asked, Malformed> {
        if self.kind != TYPE {
            return Err(Malformed(format!("type is not {TYPE}")));
        }
        let payload = self.payload.as_deref().unwrap_or_default();
        let payload: Value = serde_json::from_str(payload)
            .map_err(|error| Malformed(format!("payload is no JSON: {error}")))?;
        if !payload.is_object() {
            return Err(Malformed("payload is no object".to_owned()));
        }
        let recipient = &payload["recipient"];
        let address = recipient["email"].as_str().unwrap_or_default();
        let mut contacts: Vec<_> = Contact::email(address).into_iter().collect();
        if self.literal {
            // Half encoded after all: whichever is meant, either suffices.
            let decoded = percent_decode_str(address).decode_utf8_lossy();
            contacts.extend(Contact::email(&decoded));
            contacts.dedup_by(|one, other| one.address == other.address);
        }
        let time = |key: &str| recipient[key].as_str().and_then(time);
        let subscribed = time("opted_in_at").or_else(|| time("subscribed_at"));
        Ok(Asked {
            contacts,
            email_type: payload["email_type"].as_str().map(str::to_owned),
            campaign: text(&payload["campaign"]["id"]),
            says_unsubscribed: time("unsubscribed_at")
                .is_some_and(|at| subscribed.is_none_or(|subscribed| at > subscribed)),
        })
    }
}

/// What stands before a payload that is not encoded, and from it on.
fn literal(text: &str) -> Option<(&str, &str)> {
    let at = if text.starts_with("payload={") {
        0
    } else {
        text.find("&payload={")? + 1
    };
    let (before, rest) = text.split_at(at);
    Some((before, &rest["payload=".len()..]))
}

/// A time, in which a form may have turned the `+` of an offset into a space.
fn time(text: &str) -> Option<Timestamp> {
    rfc3339(text).or_else(|| {
        let (time, offset) = text.trim().rsplit_once(' ')?;
        rfc3339(&format!("{time}+{offset}"))
    })
}

/// A text or a number, as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Asked {
        Question::read(body.as_bytes()).unwrap().asked().unwrap()
    }

    fn addresses(body: &str) -> Vec<String> {
        let contacts = asked(body).contacts.into_iter();
        contacts.map(|contact| contact.address).collect()
    }

    fn question(payload: &str) -> String {
        format!("key=k&site=s&type={TYPE}&payload={payload}")
    }

    /// As a library would send it.
    fn encoded(payload: &str) -> String {
        let pairs = [
            ("payload", payload),
            ("type", TYPE),
            ("site", "s"),
            ("key", "k"),
        ];
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    }

    // rows: TK-7, TK-8, TK-9, TK-10, TK-11, TK-31
    #[test]
    fn the_example_of_the_page_is_read_verbatim() {
        let question = Question::read(SAMPLES[0].body().as_bytes()).unwrap();
        assert_eq!(
            (question.key.as_str(), question.site.as_str()),
            ("<key>", "<site>")
        );
        let asked = question.asked().unwrap();
        assert_eq!(asked.contacts, [], "its address is empty");
        assert_eq!(asked.campaign.as_deref(), Some("509365458"));
        assert_eq!(asked.email_type.as_deref(), Some("notifier_offers_email"));
        assert!(!asked.says_unsubscribed);
    }

    #[test]
    fn each_sample_proves_itself_by_a_sources_key_and_site() {
        let keys = Keys {
            secrets: vec!["a&b=<site>".into(), "the key before".into()],
            site: Some("shop 7".to_owned()),
            ..Keys::default()
        };
        for sample in SAMPLES {
            let proof = Talkable.prove(sample, &keys, Timestamp::UNIX_EPOCH);
            let body = proof.unwrap().body;
            let question = Question::read(body.as_bytes()).unwrap();
            let who = (question.key.as_str(), question.site.as_str());
            assert_eq!(who, ("a&b=<site>", "shop 7"), "{}", sample.name);
            assert_eq!(
                question.asked().unwrap(),
                asked(sample.body()),
                "{}",
                sample.name
            );
        }
        assert_eq!(addresses(SAMPLES[1].body()), ["john@example.com"]);
        let nothing = Keys::default();
        assert_eq!(
            Talkable.prove(&SAMPLES[0], &nothing, Timestamp::UNIX_EPOCH),
            None
        );
    }

    // rows: TK-7, TK-15
    #[test]
    fn a_payload_is_read_literally_where_it_is_not_encoded_and_decoded_where_it_is() {
        let payload =
            r#"{"recipient":{"email":"ann+news&co=1@example.com","first_name":"A&B 100%"}}"#;
        for body in [
            question(payload),
            encoded(payload),
            format!("payload={payload}&key=k&site=s&type={TYPE}"),
        ] {
            assert_eq!(addresses(&body), ["ann+news&co=1@example.com"], "{body}");
            let question = Question::read(body.as_bytes()).unwrap();
            assert_eq!((question.key.as_str(), question.site.as_str()), ("k", "s"));
        }
    }

    #[test]
    fn an_address_that_may_be_half_encoded_is_asked_for_in_both_readings() {
        let body = question(r#"{"recipient":{"email":"ann%2Bnews@example.com"}}"#);
        assert_eq!(
            addresses(&body),
            ["ann%2bnews@example.com", "ann+news@example.com"]
        );
    }

    // rows: TK-12, TK-13, TK-14, TK-16, TK-18, TK-20, TK-21, TK-22, TK-23, TK-24
    #[test]
    fn unknown_and_odd_fields_never_fail_a_question() {
        for more in [
            r#""campaign":{"id":"a-slug","cached_slug":"slug","type":"Another","tag_names":null,"origin_min_age":7}"#,
            r#""campaign":null,"email_type":"a_new_type""#,
            r#""campaign":[1],"email_type":3,"other":{"a":[]}"#,
        ] {
            let recipient = r#""recipient":{"email":"ann@example.com","sub_choice":"maybe","custom_properties":[1],
                "referral_counts":7,"loyalty_member":null,"is_loyalty_member":"x","subscribed_at":"never"}"#;
            let body = question(&format!("{{{recipient},{more}}}"));
            assert_eq!(addresses(&body), ["ann@example.com"], "{body}");
        }
    }

    // rows: TK-17, TK-18, TK-19, TK-25, TK-26
    #[test]
    fn dates_have_offsets_whose_plus_may_have_become_a_space() {
        for (unsubscribed, opted_in, says) in [
            (
                r#""2018-09-27T22:55:40.610+03:00""#,
                r#""2018-09-27T19:55:40.609Z""#,
                true,
            ),
            (
                r#""2018-09-27T22:55:40.610 03:00""#,
                r#""2018-09-27T19:55:40.611Z""#,
                false,
            ),
            (r#""2018-09-27T22:55:40.610+03:00""#, "null", true),
            (r#""some day""#, "null", false),
            ("null", "7", false),
        ] {
            let payload = format!(
                r#"{{"recipient":{{"email":"a@b.example","unsubscribed_at":{unsubscribed},"opted_in_at":{opted_in}}}}}"#
            );
            assert_eq!(
                asked(&question(&payload)).says_unsubscribed,
                says,
                "{payload}"
            );
            if !payload.contains(" 03:00") {
                assert_eq!(
                    asked(&encoded(&payload)).says_unsubscribed,
                    says,
                    "{payload}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_question_is_told_apart() {
        for body in [
            String::new(),
            "key=k&site=s".to_owned(),
            question("{"),
            question("[]"),
            question("7"),
            "key=k&site=s&type=another&payload={}".to_owned(),
        ] {
            Question::read(body.as_bytes())
                .unwrap()
                .asked()
                .unwrap_err();
        }
        Question::read(b"key=\xff").unwrap_err();
    }
}
