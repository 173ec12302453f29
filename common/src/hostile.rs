//! What else is read that others wrote: messages, contacts, times, settings, addresses.

use std::{collections::BTreeMap, net::IpAddr};

use bytes::Bytes;
use hostile::{bytes, text, withstands};
use url::{Host, Url};
use uuid::Uuid;

use crate::{
    config::{Loaded, Rate},
    contact::Contact,
    delivery::Delivery,
    envelope::{self, Envelope},
    event::{Draft, Identity, Kind, Undetermined, rfc3339},
    outbound::{DEFAULT_TIMEOUT, Outbound},
    providers::Provider,
    request::{Api, Request},
    settings::{ByteSize, Setting},
    webhook::Payload,
};

fn sample(body: &'static str) -> Envelope {
    Envelope {
        id: Uuid::from_u128(7),
        source: "shop".to_owned(),
        received_at: "2026-04-02T14:30:05.123456Z".parse().unwrap(),
        content_type: Some("application/json".to_owned()),
        headers: vec![("user-agent".to_owned(), "Postmark".to_owned())],
        body: Bytes::from_static(body.as_bytes()),
    }
}

fn draft(contact: &str) -> Draft {
    let mut draft = Draft::new(Kind::Unsubscribed, "x", Identity::Own("1".to_owned()));
    draft.contact = Contact::parse(contact).ok();
    draft.reason = Some("bored".to_owned());
    draft.metadata.insert("score".to_owned(), 1.5.into());
    draft
}

#[test]
fn no_message_makes_the_envelopes_reader_panic_and_what_it_reads_it_writes_again() {
    let samples = [
        envelope::encode([&sample("{}")]),
        envelope::encode([&sample("[1]"), &sample("")]),
    ];
    withstands("envelope decoding", file!(), &bytes(samples), |message| {
        if let Ok(envelopes) = envelope::decode(message.into()) {
            let again = envelope::decode(envelope::encode(&envelopes)).unwrap();
            assert_eq!(again, envelopes);
        }
    });
}

#[test]
fn no_message_makes_a_delivery_panic_on_its_way_to_a_target() {
    let deliveries = ["jane@example.com", "+15551234567", ""].map(|contact| {
        let event = draft(contact).into_event(&sample(""), "postmark", Undetermined::Suppress);
        Delivery::new(event, "users").encode()
    });
    withstands(
        "delivery decoding",
        file!(),
        &bytes(deliveries),
        |message| {
            if let Ok(delivery) = Delivery::decode(&message) {
                assert_eq!(Delivery::decode(&delivery.encode()).unwrap(), delivery);
                assert!(!Payload::from(&delivery).to_json().contains(&b'\n'));
                drop(delivery.event.contact.as_ref().map(Contact::masked));
                drop((delivery.event.changes(), delivery.event.fingerprint()));
            }
        },
    );
}

#[test]
fn no_request_of_the_api_makes_its_reader_panic() {
    let request = Request {
        actor: "ops".to_owned(),
        action: "suppression.add".to_owned(),
        request: serde_json::json!({ "email": "jane@example.com" }),
        drafts: vec![draft("jane@example.com"), draft("+15551234567")],
    };
    let body = request.into_envelope().body;
    withstands("api request decoding", file!(), &bytes([body]), |body| {
        let envelope = Envelope {
            body: body.into(),
            ..sample("")
        };
        for draft in Api.parse(&envelope).into_iter().flatten().flatten() {
            let event = draft.into_event(&envelope, "api", Undetermined::Suppress);
            drop((event.changes(), event.fingerprint()));
        }
    });
}

#[test]
fn no_text_makes_the_normaliser_panic_and_normalising_twice_changes_nothing() {
    let samples = [
        "\"Bob\" <User.Name+tag@Example.COM.>",
        "info@münchen.de",
        "a@[IPv6:2001:db8::1]",
        "\"quo ted\"@example.com",
        "İSTANBUL@ſtraße.example",
        "0015551234567",
        " +1 (555) 123-45.67 ",
        "+٣١٢٣٤٥٦",
    ];
    withstands("contact normaliser", file!(), &text(samples), |raw| {
        for read in [
            Contact::email(&raw),
            Contact::phone(&raw),
            Contact::parse(&raw),
        ] {
            let Ok(contact) = read else { continue };
            assert_eq!(contact.raw, raw);
            assert!(!contact.address.chars().any(char::is_control));
            assert!(contact.address.len() <= 254);
            let twice = Contact::parse(&contact.address).unwrap();
            assert_eq!(
                (twice.address, twice.channel),
                (contact.address.clone(), contact.channel)
            );
            assert_ne!(contact.masked(), contact.address);
        }
    });
}

#[test]
fn no_text_makes_the_reader_of_times_panic() {
    let samples = [
        "2026-04-02T14:30:05.123456789+02:00",
        "2026-12-31 23:59:60Z",
    ];
    withstands("times", file!(), &text(samples), |text| {
        if let Some(time) = rfc3339(&text) {
            assert_eq!(rfc3339(&time.to_string()), Some(time));
        }
    });
}

/// A configuration that has everything.
const SETTINGS: &str = "ingress = { bind = '127.0.0.1:1', max_body = '64KiB', read_timeout = '1m', spool = { max_size = '2GiB' } }
retry = { schedule = ['5s', '1h'] }
outbound = { allow_networks = ['10.0.0.0/8', 'fd00::/8'] }
queue = { url = 'amqp://u:p@127.0.0.1/v' }
api = { rate = '10/1s', cors_origins = ['https://a.example'], keys = [{ name = 'ops', key = ['secret-key', 'env:TOKEN'], role = 'admin' }] }
sources = [{ name = 'a', provider = 'postmark', auth = [{ kind = 'basic', username = 'u', password = 'p' }] },
  { name = 'b', provider = 'talkable', auth = { kind = 'signature', key = 'k', site = 's' } }]
targets = [{ name = 't', kind = 'http', events = ['*'], url = 'https://u:p@a.example/x', rate = '1/s' }]";

#[test]
fn no_configuration_makes_its_reader_panic() {
    let environment = BTreeMap::from([("TOKEN".to_owned(), "token-of-the-test".to_owned())]);
    let texts = text([
        SETTINGS.replace(", spool = { max_size = '2GiB' }", ""),
        SETTINGS.to_owned(),
    ]);
    withstands("configuration", file!(), &texts, |text| {
        if let Ok(loaded) = Loaded::from_text(&text, environment.clone()) {
            let shown = format!("{:?} {:?}", loaded.effective(), loaded.mistakes());
            assert!(!shown.contains("token-of-the-test"));
        }
    });
}

#[test]
fn what_a_setting_is_read_from_it_is_shown_as() {
    let samples = [
        "1h 30m", "500ms", "64KiB", "15MiB", "10/s", "100/1m", "1000/24h", "7",
    ];
    withstands("sizes, durations, rates", file!(), &text(samples), |text| {
        let value = toml::Value::String(text);
        same_again::<ByteSize>(&value);
        same_again::<std::time::Duration>(&value);
        same_again::<ipnet::IpNet>(&value);
        if let Ok(rate) = Rate::read(&value) {
            assert_eq!(Rate::read(&rate.show()), Ok(rate));
            assert!(rate.limiter().is_none_or(|limiter| limiter.check().is_ok()));
        }
    });
}

fn same_again<T: Setting + PartialEq + std::fmt::Debug>(value: &toml::Value) {
    if let Ok(read) = T::read(value) {
        assert_eq!(T::read(&read.show()), Ok(read));
    }
}

#[test]
fn no_url_reaches_a_private_address_by_the_way_it_is_spelt() {
    let outbound = Outbound::new(vec![], DEFAULT_TIMEOUT).unwrap();
    let samples = [
        "https://2130706433/",
        "https://0177.0.0.1:8080/x",
        "https://0x7f.0x1/",
        "https://127。0。0。1/",
        "https://[::ffff:7f00:1]/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://user:pass@[2002:a9fe:a9fe::]/",
        "https://１６９.254.169.254/latest",
        "http://10.1/#@example.com",
    ];
    withstands("outbound addresses", file!(), &text(samples), |text| {
        let Ok(url) = Url::parse(&text) else { return };
        if outbound.check_url(&url).is_ok() {
            match url.host() {
                Some(Host::Ipv4(address)) => {
                    assert!(!address.is_loopback() && !address.is_private(), "{address}");
                    assert!(
                        !address.is_link_local() && !address.is_unspecified(),
                        "{address}"
                    );
                }
                Some(Host::Ipv6(address)) => {
                    assert!(
                        !address.is_loopback() && !address.is_unicast_link_local(),
                        "{address}"
                    );
                }
                // What a resolver would take for an address without asking anybody.
                Some(Host::Domain(name)) => assert!(name.parse::<IpAddr>().is_err(), "{name}"),
                None => {}
            }
        }
    });
}
