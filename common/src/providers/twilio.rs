//! Twilio: what people answer to text messages, and what became of these, as forms, or as CloudEvents of an event stream.
//!
//! `OptOutType` is there where Twilio itself reads the answer (Advanced Opt-Out) and then decides; else the whole text is
//! looked up. An opt-out is of the messaging service, else of the number that was written to, as in Twilio's own list. A
//! form has no time: that of receipt takes its place. What is answered goes to the person who wrote, so nothing is said.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    Guide, Keys, Malformed, Need, Parsed, Proof, Provider, Rejected, Request, Sample, Suit,
    form::Form,
    json,
    sample::samples,
    signature::Mac,
    words::{self, Asked},
};
use crate::{
    envelope::Envelope,
    event::{BounceClass, Draft, Event, Identity, Kind},
    queue::Priority,
    signature::hex,
};

/// What became of a message. A failure has its code beside it.
const STATUSES: &[json::Row] = &[
    ("failed", Kind::Bounced, Some(BounceClass::Soft)),
    ("undelivered", Kind::Bounced, Some(BounceClass::Soft)),
    ("delivered", Kind::Delivered, None),
    ("read", Kind::Opened, None),
    ("accepted", Kind::Other, None),
    ("queued", Kind::Other, None),
    ("sending", Kind::Other, None),
    ("sent", Kind::Other, None),
    ("canceled", Kind::Other, None),
];

/// `ErrorCode`: one that is here says something of the number. 21610 echoes an opt-out that Twilio has already.
const ERRORS: &[(&str, BounceClass)] = &[
    ("21610", BounceClass::Block),
    ("30004", BounceClass::Block),
    ("30007", BounceClass::Block),
    ("30005", BounceClass::Hard),
    ("30006", BounceClass::Hard),
    ("21211", BounceClass::Hard),
    ("21614", BounceClass::Hard),
];

const KEPT: &[&str] = &[
    "Body",
    "OptOutType",
    "ErrorCode",
    "To",
    "MessagingServiceSid",
    "NumSegments",
    "FromCountry",
];

const HEADER: &str = "x-twilio-signature";
const MAC: Mac = Mac::Sha1Base64;

#[derive(Debug)]
pub(super) struct Twilio;

impl Provider for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Secret, Need::Url]
    }

    /// The port may or may not be in what Twilio signs.
    fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let given = request.header.get(HEADER).ok_or(Rejected)?;
        let url = keys.url.as_deref().ok_or(Rejected)?;
        let urls = [Some(url.to_owned()), with_port(url), without_port(url)];
        let right = urls.into_iter().flatten().fold(false, |right, url| {
            let message = signed(&url, request.body);
            MAC.check(given, keys, &[&message]).is_ok() | right
        });
        if right { Ok(()) } else { Err(Rejected) }
    }

    fn prove(&self, sample: &Sample, keys: &Keys, _now: Timestamp) -> Option<Proof> {
        let message = signed(keys.url.as_deref()?, sample.body().as_bytes());
        Some(Proof::by_header(
            HEADER,
            MAC.made(keys, &[&message])?,
            sample,
        ))
    }

    /// A number's webhook may be set to GET: <https://www.twilio.com/docs/usage/webhooks/sms-webhooks>. Refused, it is in
    /// Twilio's own log of errors.
    fn tells_by_get(&self, query: &str) -> bool {
        let form = Form::encoded(query.as_bytes());
        form.first("MessageSid").is_some() || form.first("SmsSid").is_some()
    }

    fn accepted(&self) -> Option<(&'static str, &'static str)> {
        Some(("text/xml", "<Response/>"))
    }

    fn priority(&self, body: &[u8]) -> Priority {
        if is_json(body) {
            return json::priority(body, |look: &json::ByType<'_>| {
                json::low(STATUSES, json::last(&look.name))
            });
        }
        let form = Form::glance(body);
        let status = form.first("MessageStatus").unwrap_or_default();
        if json::low(STATUSES, status) && form.first("OptOutType").is_none() {
            Priority::Bulk
        } else {
            Priority::Urgent
        }
    }

    fn parse(&self, envelope: &Envelope) -> Parsed {
        if is_json(&envelope.body) {
            return json::read(envelope, |fields| of_stream(fields, envelope));
        }
        // As it was when it was verified, whatever its content type says.
        let fields = Form::encoded(&envelope.body).into_fields();
        if !fields.has("MessageSid") && !fields.has("SmsSid") {
            return Err(Malformed("the form has no MessageSid".to_owned()));
        }
        Ok(vec![of_form(&fields)])
    }

    /// What somebody wrote.
    fn says_recipient(&self, event: &Event) -> bool {
        json::is_choice(event)
    }

    fn guide(&self) -> Guide {
        Guide {
            title: "Twilio",
            suits: &[Suit::Signature],
            steps: &[
                "Messaging > Services > yours > Integration: Send a webhook, with the URL as request URL, by POST; or Phone Numbers > a number > A message comes in. The URL is part of what is signed: letter by letter.",
                "Turn Advanced Opt-Out on for the service, so that Twilio says what it took for an opt-out; the URL as status callback, too, tells of numbers that have opted out.",
                "The secret is the account's auth token, on the console's first page.",
            ],
        }
    }

    fn samples(&self) -> &'static [Sample] {
        samples!(
            "twilio": "stop", "stop-advanced", "start", "help", "message", "whatsapp-stop", "delivered", "undelivered",
            "opted-out", "stream-stop", "stream-delivered",
        )
    }
}

fn is_json(body: &[u8]) -> bool {
    json::without_bom(body).starts_with(b"{") || json::without_bom(body).starts_with(b"[")
}

/// The URL and the fields; of JSON the URL with the body's hash in its query.
fn signed(url: &str, body: &[u8]) -> Vec<u8> {
    if !is_json(body) {
        return Form::encoded(body).signed(url);
    }
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}bodySHA256={}", hex(&Sha256::digest(body))).into_bytes()
}

/// The URL with the port that its scheme has anyway.
fn with_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = if scheme == "https" { 443 } else { 80 };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    (!host.ends_with(&format!(":{port}"))).then(|| format!("{scheme}://{host}:{port}{path}"))
}

fn without_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let (name, port) = host.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit());
    port.then(|| format!("{scheme}://{name}{path}"))
}

/// What somebody wrote, and what that means, by the fields of these names.
fn written(fields: &json::Fields, opt_out: &str, text: &str) -> (Kind, &'static str) {
    let decided = fields.text(opt_out).and_then(|word| words::asked(&word));
    // A decision of a kind that we do not know says nothing: then what was written counts.
    let asked = decided.or_else(|| fields.text(text).and_then(|text| words::asked(&text)));
    match asked {
        Some(Asked::Stop) => (Kind::Unsubscribed, "STOP"),
        Some(Asked::Start) => (Kind::Resubscribed, "START"),
        Some(Asked::Help) => (Kind::Other, "HELP"),
        None => (Kind::Other, "message"),
    }
}

fn failure(code: Option<String>) -> BounceClass {
    let found = code.and_then(|code| ERRORS.iter().find(|row| row.0 == code));
    found.map_or(BounceClass::Soft, |row| row.1)
}

fn of_form(fields: &json::Fields) -> Result<Draft, Malformed> {
    let sid = fields
        .label("MessageSid")
        .or_else(|| fields.label("SmsSid"));
    let sid = sid.unwrap_or_default();
    // What somebody wrote has no status but `received`.
    let status = fields.label("MessageStatus");
    let (told, who, other) = if let Some(status) = &status {
        (became(status, fields.text("ErrorCode")), "To", "From")
    } else {
        let (kind, name) = written(fields, "OptOutType", "Body");
        ((kind, None, name.to_owned()), "From", "To")
    };
    let id = [Some(sid), status].into_iter().flatten();
    let identity = Identity::Own(id.collect::<Vec<_>>().join("/"));
    let (kind, class, name) = told;
    let contact = json::needed(kind, class, fields.phone(who))?;
    let scope = fields.label("MessagingServiceSid");
    let number = fields
        .label(other)
        .map(|number| number.replacen(' ', "+", 1));
    Ok(Draft {
        bounce_class: class,
        contact,
        scope: scope.or(number),
        reason: fields
            .label("ErrorMessage")
            .or_else(|| fields.label("ErrorCode")),
        origin: json::usual_origin(kind),
        message_id: fields.label("MessageSid"),
        metadata: fields.keep(KEPT),
        ..Draft::new(kind, name, identity)
    })
}

fn became(status: &str, code: Option<String>) -> (Kind, Option<BounceClass>, String) {
    let (kind, class) = match json::meaning(STATUSES, status) {
        Some((Kind::Bounced, _)) => (Kind::Bounced, Some(failure(code))),
        Some(meaning) => meaning,
        None => (Kind::Other, None),
    };
    (kind, class, status.to_owned())
}

fn of_stream(fields: &json::Fields, envelope: &Envelope) -> Result<Draft, Malformed> {
    let name = fields.label("type").unwrap_or_default();
    let inbound = name == "com.twilio.messaging.inbound-message.received";
    let message = name.starts_with("com.twilio.messaging.message.");
    let (kind, class, who, other) = if inbound {
        let (kind, _) = written(fields, "data.optOutType", "data.body");
        (kind, None, "data.from", "data.to")
    } else if message {
        let (kind, class, _) = became(json::last(&name), fields.text("data.errorCode"));
        (kind, class, "data.to", "data.from")
    } else {
        (Kind::Other, None, "data.to", "data.from")
    };
    let contact = json::needed(kind, class, fields.phone(who))?;
    let time = ["data.timestamp", "time"]
        .iter()
        .find_map(|key| fields.time(key));
    let occurred_at = json::timed(kind, time, "data.timestamp")?;
    let sent = ["type", "data.messageSid", "time"].map(|key| fields.text(key));
    let identity = json::identity(
        fields.label("id"),
        sent,
        contact.as_ref(),
        occurred_at,
        envelope,
    );
    Ok(Draft {
        bounce_class: class,
        contact,
        scope: fields
            .label("data.messagingServiceSid")
            .or_else(|| fields.label(other)),
        occurred_at,
        reason: fields.label("data.errorCode"),
        origin: json::usual_origin(kind),
        message_id: fields.label("data.messageSid"),
        metadata: fields.object("data"),
        ..Draft::new(kind, name, identity)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sample::reading::{changed, changes, event, headers, sample, what};

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";

    fn body(name: &str) -> &'static str {
        sample(&Twilio, name).body()
    }

    fn told(body: &str) -> String {
        what(&event(&Twilio, body))
    }

    fn verifies(url: &str, body: &str, signature: &str) -> bool {
        let keys = Keys {
            secrets: vec!["12345".into()],
            url: Some(url.to_owned()),
            ..Keys::default()
        };
        let header = headers([(HEADER, signature)]);
        let (header, body, now) = (&header, body.as_bytes(), Timestamp::UNIX_EPOCH);
        Twilio
            .verify(&Request::new(header, body, now), &keys)
            .is_ok()
    }

    #[test]
    fn the_vectors_of_twilio_s_own_library_hold() {
        let call = "To=%2B18005551212&CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309";
        for signature in [
            "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
            "kvajT1Ptam85bY51eRf/AJRuM3w=",
        ] {
            assert!(verifies(URL, call, signature), "{signature}");
            let ported = URL.replace(".com/", ".com:443/");
            assert!(verifies(&ported, call, signature), "{signature}");
            assert!(!verifies(&URL.replace("foo=1", "foo=2"), call, signature));
            assert!(!verifies(URL, &call.replace("1234&", "1235&"), signature));
        }
        let repeated = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234";
        assert!(verifies(URL, repeated, "IK+Dwps556ElfBT0I3Rgjkr1wJU="));
        let json = r#"{"property": "value", "boolean": true}"#;
        assert!(verifies(URL, json, "a9nBmqA0ju/hNViExpshrM61xv4="));
        let other = json.replace("true", "false");
        assert!(!verifies(URL, &other, "a9nBmqA0ju/hNViExpshrM61xv4="));
    }

    #[test]
    fn a_whole_word_opts_out_of_the_number_and_twilio_s_own_reading_comes_first() {
        let stop = event(&Twilio, body("stop"));
        assert_eq!(what(&stop), "unsubscribed +15558675310");
        assert_eq!(changes(&stop), "+15017122661 consent suppressed");
        assert!(stop.time_assumed);
        let advanced = body("stop-advanced");
        let set = changes(&event(&Twilio, advanced));
        assert!(set.starts_with("MG9752274e9e519418a7406176694466fa consent"));
        for (text, kind) in [
            ("Stop+please", "other"),
            ("unstop", "resubscribed"),
            ("%E2%80%83arr%C3%AAt.", "unsubscribed"),
        ] {
            let body = changed(body("stop"), "Body=STOP", &format!("Body={text}"));
            assert_eq!(told(&body), format!("{kind} +15558675310"), "{text}");
        }
        let read = changed(advanced, "OptOutType=STOP", "OptOutType=HELP");
        assert_eq!(told(&read), "other +15558675310");
        let unknown = changed(body("stop"), "Body=STOP", "Body=Stop&OptOutType=NEW");
        assert_eq!(told(&unknown), "unsubscribed +15558675310");
    }

    #[test]
    fn a_plus_that_was_not_encoded_is_a_plus_and_whatsapp_is_a_scope_of_its_own() {
        let plain = body("stop").replace("%2B", "+");
        assert_eq!(told(&plain), "unsubscribed +15558675310");
        let set = changes(&event(&Twilio, &plain));
        assert_eq!(set, "+15017122661 consent suppressed");
        let whatsapp = event(&Twilio, body("whatsapp-stop"));
        assert_eq!(what(&whatsapp), "unsubscribed +15558675310");
        let set = changes(&whatsapp);
        assert_eq!(set, "whatsapp:+15017122661 consent suppressed");
    }

    #[test]
    fn what_became_of_a_message_is_told_by_its_status_and_its_code() {
        let of = |code: &str| {
            told(&changed(
                body("undelivered"),
                "ErrorCode=30005",
                &format!("ErrorCode={code}"),
            ))
        };
        assert_eq!(of("30005"), "bounced hard +15558675310");
        assert_eq!(of("21610"), "bounced block +15558675310");
        assert_eq!(of("30008"), "bounced soft +15558675310");
        assert_eq!(told(body("delivered")), "delivered +15558675310");
    }

    #[test]
    fn a_stream_tells_the_same_with_a_time() {
        let stop = event(&Twilio, body("stream-stop"));
        assert_eq!(what(&stop), "unsubscribed +15558675310");
        assert!(!stop.time_assumed);
        assert_eq!(told(body("stream-delivered")), "delivered +15558675310");
    }
}
