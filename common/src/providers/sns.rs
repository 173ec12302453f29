//! Messages of Amazon's SNS, signed by RSA with a certificate that has to be fetched.
//!
//! A right signature shows that SNS sent it, and not whose topic it is: anybody can subscribe our URL to theirs. So a
//! source pins its topics, and only their region's host is asked for the certificate and to confirm a subscription.

use std::borrow::Cow;

use serde::Deserialize;
use url::Url;

use super::{
    Keys, Rejected, Request, Sample, json,
    public_key::{self, RSA_SHA1_2048, RSA_SHA256},
};

/// The fields that are signed, in this order, of a notification, and of what asks to be confirmed.
const NOTIFICATION: &[&str] = &[
    "Message",
    "MessageId",
    "Subject",
    "Timestamp",
    "TopicArn",
    "Type",
];
const CONFIRMATION: &[&str] = &[
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
];

/// A message of SNS.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Notice<'a> {
    #[serde(borrow, rename = "Type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message_id: Cow<'a, str>,
    #[serde(borrow)]
    topic_arn: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "SubscribeURL")]
    subscribe_url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    signature_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    signature: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "SigningCertURL")]
    certificate: Option<Cow<'a, str>>,
}

pub(super) fn certificate(request: &Request<'_>, keys: &Keys) -> Option<Url> {
    let notice = Notice::read(request.body)?;
    let pinned = keys.topics.iter().any(|topic| *topic == notice.topic_arn);
    let url = notice.url_of_sns(notice.certificate.as_deref()?)?;
    let file = url.path().strip_prefix("/SimpleNotificationService-")?;
    let name = file.strip_suffix(".pem")?;
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (pinned && plain && url.query().is_none()).then_some(url)
}

pub(super) fn verify(request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
    // Checks the topic, too.
    certificate(request, keys).ok_or(Rejected)?;
    let notice = Notice::read(request.body).ok_or(Rejected)?;
    let says =
        |name: &str, value: &str| request.header.get(name).is_none_or(|given| given == value);
    if !says("x-amz-sns-message-type", &notice.kind)
        || !says("x-amz-sns-message-id", &notice.message_id)
    {
        return Err(Rejected);
    }
    let algorithm: &'static dyn public_key::Algorithm = match notice.signature_version.as_deref() {
        Some("1") => &RSA_SHA1_2048,
        Some("2") => &RSA_SHA256,
        _ => return Err(Rejected),
    };
    let key = public_key::of_certificate(request.certificate.ok_or(Rejected)?, request.now);
    let message = notice.signed().ok_or(Rejected)?;
    let signature = notice.signature.as_deref().ok_or(Rejected)?;
    public_key::holds(
        algorithm,
        &key.ok_or(Rejected)?,
        message.as_bytes(),
        signature,
    )
}

pub(super) fn confirmation(body: &[u8]) -> Option<Url> {
    let notice = Notice::read(body)?;
    let url = notice.url_of_sns(notice.subscribe_url.as_deref()?)?;
    let says = |name: &str, value: &str| {
        url.query_pairs()
            .any(|(key, given)| key == name && given == value)
    };
    let asks = says("Action", "ConfirmSubscription") && says("TopicArn", &notice.topic_arn);
    (notice.kind == "SubscriptionConfirmation" && asks).then_some(url)
}

/// What has the source's own topic send what the sample says, which SNS then signs: published by Amazon's command line,
/// <https://awscli.amazonaws.com/v2/documentation/api/latest/reference/sns/publish.html>. None of what no topic can be told to send.
pub(super) fn command(sample: &Sample, keys: &Keys) -> Option<String> {
    let topic = keys.topics.first()?;
    let region = topic.split(':').nth(3)?;
    let body = sample.body();
    let message = match Notice::read(body.as_bytes()) {
        Some(notice) if notice.kind == "Notification" => notice.message,
        Some(_) => return None,
        // As SNS delivers it raw.
        None => body.into(),
    };
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    Some(format!(
        "aws sns publish --region {} --topic-arn {} --message {}",
        quoted(region),
        quoted(topic),
        quoted(&message)
    ))
}

impl<'a> Notice<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json::without_bom(body)).ok()
    }

    /// A URL, if it is one of SNS in the topic's region.
    fn url_of_sns(&self, text: &str) -> Option<Url> {
        let mut parts = self.topic_arn.split(':');
        let partition = parts.nth(1)?;
        let region = parts.nth(1)?;
        let china = if partition == "aws-cn" { ".cn" } else { "" };
        let plain = region.len() >= 3
            && region
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let url = Url::parse(text).ok().filter(|_| plain)?;
        let expected = format!("https://sns.{region}.amazonaws.com{china}");
        (url.origin().ascii_serialization() == expected
            && url.username().is_empty()
            && url.password().is_none())
        .then_some(url)
    }

    /// What is signed: each field that is there by its name and its value.
    fn signed(&self) -> Option<String> {
        let names = match self.kind.as_ref() {
            "Notification" => NOTIFICATION,
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => CONFIRMATION,
            _ => return None,
        };
        let value = |name: &str| match name {
            "Message" => Some(&self.message),
            "MessageId" => Some(&self.message_id),
            "Subject" => self.subject.as_ref(),
            "SubscribeURL" => self.subscribe_url.as_ref(),
            "Timestamp" => Some(&self.timestamp),
            "Token" => self.token.as_ref(),
            "TopicArn" => Some(&self.topic_arn),
            _ => Some(&self.kind),
        };
        let there = names.iter().filter_map(|name| Some((name, value(name)?)));
        Some(there.fold(String::new(), |signed, (name, value)| {
            format!("{signed}{name}\n{value}\n")
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{changed, headers, sample};

    const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:ses-events";
    const CERTIFICATE: &[u8] = include_bytes!("../../samples/ses/certificate.pem");

    fn body(name: &str) -> &'static str {
        let ses = crate::providers::find("ses").unwrap();
        sample(ses, name).body()
    }

    fn verifies(body: &str, given: &[(&str, &str)], certificate: Option<&[u8]>, now: &str) -> bool {
        let keys = Keys {
            topics: vec![TOPIC.to_owned()],
            ..Keys::default()
        };
        let header = headers(given.iter().copied());
        let request = Request {
            certificate,
            ..Request::new(&header, body.as_bytes(), now.parse().unwrap())
        };
        verify(&request, &keys).is_ok()
    }

    const NOW: &str = "2030-01-01T00:00:00Z";

    #[test]
    fn both_versions_of_the_signature_hold_and_every_value_that_they_cover_counts() {
        for name in ["bounce", "complaint", "confirmation"] {
            let right = |body: &str| verifies(body, &[], Some(CERTIFICATE), NOW);
            assert!(right(body(name)), "{name}");
            for (from, to) in [
                ("\"Message\":\"", "\"Message\":\" "),
                ("\"MessageId\":\"", "\"MessageId\":\"0"),
                ("\"Timestamp\":\"2", "\"Timestamp\":\"1"),
                (":ses-events\"", ":ses-others\""),
                ("\"SignatureVersion\":\"", "\"SignatureVersion\":\"3"),
                ("\"Signature\":\"", "\"Signature\":\"AAAA"),
                ("us-east-1.amazonaws", "us-east-2.amazonaws"),
            ] {
                assert!(!right(&changed(body(name), from, to)), "{name}: {to}");
            }
            assert!(
                !verifies(body(name), &[], None, NOW),
                "without a certificate"
            );
            assert!(!verifies(body(name), &[], Some(b"no pem"), NOW));
            assert!(!verifies(
                body(name),
                &[],
                Some(CERTIFICATE),
                "2010-01-01T00:00:00Z"
            ));
        }
        let subject = changed(
            body("bounce"),
            "\"Timestamp\"",
            "\"Subject\":\"x\",\"Timestamp\"",
        );
        assert!(
            !verifies(&subject, &[], Some(CERTIFICATE), NOW),
            "a subject is signed, too"
        );
        for header in ["x-amz-sns-message-type", "x-amz-sns-message-id"] {
            let other = [(header, "SubscriptionConfirmation")];
            assert!(!verifies(body("bounce"), &other, Some(CERTIFICATE), NOW));
        }
        assert!(
            !verifies(body("raw"), &[], Some(CERTIFICATE), NOW),
            "what is delivered raw has no signature"
        );
    }

    #[test]
    fn a_topic_is_told_to_send_what_a_sample_says_and_nothing_that_only_sns_says() {
        let ses = crate::providers::find("ses").unwrap();
        let keys = Keys {
            topics: vec![TOPIC.to_owned()],
            ..Keys::default()
        };
        let told = |name: &str| command(&sample(ses, name), &keys);
        let complaint = told("complaint").unwrap();
        let start = format!(
            "aws sns publish --region 'us-east-1' --topic-arn '{TOPIC}' --message '{{\"eventType\":\"Complaint\","
        );
        assert!(complaint.starts_with(&start), "{complaint}");
        assert!(told("raw").unwrap().contains("--message '{"));
        assert_eq!(told("confirmation"), None);
        assert_eq!(command(&sample(ses, "complaint"), &Keys::default()), None);
        let quoting = Sample {
            name: "x",
            text: "\n\n{\"a\":\"it's\"}",
        };
        let quoted = command(&quoting, &keys).unwrap();
        assert!(
            quoted.ends_with(r#"--message '{"a":"it'\''s"}'"#),
            "{quoted}"
        );
    }

    #[test]
    fn only_the_host_of_the_topic_s_region_is_asked_for_a_certificate_or_to_confirm() {
        let asked = |body: &str| {
            let keys = Keys {
                topics: vec![TOPIC.to_owned()],
                ..Keys::default()
            };
            let header = headers([]);
            let request = Request::new(&header, body.as_bytes(), NOW.parse().unwrap());
            (
                certificate(&request, &keys).is_some(),
                confirmation(body.as_bytes()).is_some(),
            )
        };
        let confirmation = body("confirmation");
        assert_eq!(asked(confirmation), (true, true));
        assert_eq!(asked(body("bounce")), (true, false));
        for host in [
            "http://sns.us-east-1.amazonaws.com/",
            "https://sns.us-east-2.amazonaws.com/",
            "https://sns.us-east-1.amazonaws.com.evil.example/",
            "https://sns.us-east-1.amazonaws.com:8443/",
            "https://user@sns.us-east-1.amazonaws.com/",
            "https://169.254.169.254/",
        ] {
            let other = confirmation.replace("https://sns.us-east-1.amazonaws.com/", host);
            assert_eq!(asked(&other), (false, false), "{host}");
        }
        let other = confirmation.replace(":ses-events\"", ":theirs\"");
        assert_eq!(
            asked(&other),
            (false, false),
            "another topic than the URL confirms, and none that is pinned"
        );
        let file = confirmation.replace(
            "/SimpleNotificationService-",
            "/x/SimpleNotificationService-",
        );
        assert_eq!(asked(&file), (false, true));
        let unsubscribed =
            confirmation.replace("SubscriptionConfirmation", "UnsubscribeConfirmation");
        assert_eq!(asked(&unsubscribed), (true, false));
    }
}
