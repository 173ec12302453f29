//! The one test over all providers that sign, and all their samples.

use jiff::{SignedDuration, Timestamp};

use super::{Keys, Need, Proof, Provider, Request, Sample, sample::reading::headers, samples::all};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_AAAAsBQIhrscChlQIMV+b5sSYspob7oD";

/// A public key by which nothing here was signed, and what is no key.
const OTHER_KEYS: [&str; 2] = [
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEiPiNwG20eZRRHgtV+dV/jz6PltO1M8tH3uQUnFS69Crdsj2MAHq3pzYm6ugV/ynL7cZ0/7lmAbpCkaLWQUO4Jg==",
    "no key at all",
];

/// Those whose signature holds for a time only.
const TIMED: &[&str] = &["mailgun", "resend", "standard_webhooks"];

/// Those whose signature covers only itself, or values and not bytes.
const UNCOVERED: &[&str] = &["mailgun", "ses"];

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:ses-events";

/// What would be fetched: the certificate of the key that the samples of SES are signed by.
const CERTIFICATE: &[u8] = include_bytes!("../../samples/ses/certificate.pem");

const URL: &str = "https://optout:pass@hooks.example.com/webhooks/a?b=c";

/// What a source holds that the provider is to send this sample to.
fn keys(provider: &dyn Provider, sample: &Sample) -> Keys {
    let mut keys = Keys::default();
    for need in provider.needs() {
        match need {
            Need::Secret | Need::SecretOrPublicKey => keys.secrets = vec![SECRET.into()],
            Need::PublicKey => {
                keys.public_keys = sample.public_key().map(Into::into).into_iter().collect();
            }
            Need::Url => keys.url = Some(URL.to_owned()),
            Need::Topics => keys.topics = vec![TOPIC.to_owned()],
            Need::KeyAndSite => {}
        }
    }
    keys
}

/// The sample as it proves itself; what only its provider can sign has its signature in its body.
fn proof(provider: &dyn Provider, sample: &Sample, keys: &Keys) -> Proof {
    let made = provider.prove(sample, keys, now());
    made.unwrap_or_else(|| {
        assert_eq!(provider.needs(), [Need::Topics], "{}", provider.name());
        Proof {
            headers: vec![],
            body: sample.body().to_owned(),
        }
    })
}

fn signing() -> impl Iterator<Item = (&'static dyn Provider, Sample)> {
    // What SNS delivers raw is not signed at all.
    let signed = |sample: &Sample| sample.name != "raw";
    all().filter(move |(provider, sample)| !provider.needs().is_empty() && signed(sample))
}

fn now() -> Timestamp {
    "2030-04-02T14:30:05Z".parse().unwrap()
}

/// Whether the request that the proof makes of the sample is taken by whoever holds `keys`.
fn taken(
    provider: &dyn Provider,
    sample: &Sample,
    proof: &Proof,
    body: &[u8],
    keys: &Keys,
    now: Timestamp,
) -> bool {
    // The first of a name is found: what proves comes before what the sample has.
    let mut given: Vec<(&str, &str)> = vec![];
    for (name, value) in &proof.headers {
        given.push((name, value));
    }
    for (name, value) in sample.headers() {
        given.push((name, value));
    }
    let header = headers(given);
    let header = &header;
    let request = Request {
        certificate: Some(CERTIFICATE),
        ..Request::new(header, body, now)
    };
    provider.verify(&request, keys).is_ok()
}

#[test]
fn every_sample_proves_itself_to_who_holds_the_secret_and_to_nobody_else() {
    for (provider, sample) in signing() {
        let what = format!("{} {}", provider.name(), sample.name);
        let keys = keys(provider, &sample);
        let proof = proof(provider, &sample, &keys);
        let taken = |keys: &Keys| {
            taken(
                provider,
                &sample,
                &proof,
                proof.body.as_bytes(),
                keys,
                now(),
            )
        };
        assert!(taken(&keys), "{what}");
        let rotated = |secret: &str, key: &str| Keys {
            secrets: [secret.into()]
                .into_iter()
                .chain(keys.secrets.clone())
                .collect(),
            public_keys: [key.into()]
                .into_iter()
                .chain(keys.public_keys.clone())
                .collect(),
            ..keys.clone()
        };
        let other = |key: &str| Keys {
            secrets: vec![OTHER_SECRET.into()],
            public_keys: vec![key.into()],
            topics: vec![TOPIC.replace("ses-", "other-")],
            ..keys.clone()
        };
        for key in OTHER_KEYS {
            assert!(taken(&rotated(OTHER_SECRET, key)), "{what}: one of several");
            assert!(!taken(&other(key)), "{what}: another key");
        }
        let none = Keys {
            secrets: vec![],
            public_keys: vec![],
            topics: vec![],
            ..keys.clone()
        };
        assert!(!taken(&none), "{what}: no key");
    }
}

#[test]
fn a_flipped_byte_of_a_signed_body_and_a_missing_signature_are_refused() {
    let covering = signing().filter(|(provider, _)| !UNCOVERED.contains(&provider.name()));
    for (provider, sample) in covering {
        let keys = keys(provider, &sample);
        let proof = proof(provider, &sample, &keys);
        let what = format!("{} {}", provider.name(), sample.name);
        let mut body = proof.body.clone().into_bytes();
        for index in 0..body.len() {
            body[index] ^= 1;
            assert!(
                !taken(provider, &sample, &proof, &body, &keys, now()),
                "{what}: byte {index}"
            );
            body[index] ^= 1;
        }
        let nothing = headers([]);
        let bare = Request::new(&nothing, sample.body().as_bytes(), now());
        assert!(provider.verify(&bare, &keys).is_err(), "{what}: unsigned");
    }
}

#[test]
fn a_signature_that_holds_for_a_time_is_refused_after_it() {
    for (provider, sample) in signing().filter(|(provider, _)| TIMED.contains(&provider.name())) {
        let keys = keys(provider, &sample);
        let proof = proof(provider, &sample, &keys);
        let later = |by: SignedDuration| {
            let then = now().saturating_add(by).unwrap();
            taken(
                provider,
                &sample,
                &proof,
                proof.body.as_bytes(),
                &keys,
                then,
            )
        };
        assert!(later(SignedDuration::from_mins(1)), "{}", provider.name());
        assert!(
            !later(SignedDuration::from_hours(48)),
            "{}",
            provider.name()
        );
        assert!(
            !later(SignedDuration::from_hours(-48)),
            "{}",
            provider.name()
        );
    }
}
