//! Sources and targets that are added by the command line: to the file that a running Optout reads, by options alone.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use common::providers::{self, Need, Provider};
use tests::{Kind, Process, Receiver, Stores, binary, until};
use tokio::process::Command;

use crate::configuration;

/// What every one of these tests finds in the file and leaves there.
pub(crate) const COMMENT: &str = "# Ask Jane before you change this.\n";

pub(crate) fn optout(file: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("optout"));
    command.args(arguments).arg("--config").arg(file);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How it ended, and what it said.
pub(crate) async fn run(file: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let ended = optout(file, arguments).output().await.unwrap();
    let said = String::from_utf8(ended.stdout).unwrap() + &String::from_utf8(ended.stderr).unwrap();
    (ended.status.code(), said)
}

/// The same, where it is to succeed.
pub(crate) async fn done(file: &Path, arguments: &[&str]) -> String {
    let (code, said) = run(file, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

pub(crate) fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

/// A file with a comment, in a folder of its own.
pub(crate) fn file(more: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("optout.toml");
    fs::write(&file, format!("{COMMENT}{more}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    (folder, file)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const LOOPBACK: &str = "[outbound]\nallow_networks = [\"127.0.0.0/8\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_works_and_the_file_keeps_what_was_in_it() {
    let (stores, receiver) = (Stores::fresh(Kind::Embedded).await, Receiver::start().await);
    let mut process = Process::start(
        "optout",
        &stores,
        &(configuration(&receiver) + COMMENT),
        None,
    )
    .await;
    let file = process.configuration().to_owned();
    let before = read(&file);
    let source = [
        "sources",
        "add",
        "postmark",
        "--name",
        "mail",
        "--url",
        "https://hooks.example.com",
    ];
    let said = done(&file, &source).await;
    let (_, password) = said.split_once("https://optout:").unwrap();
    let (password, rest) = password.split_once('@').unwrap();
    assert!(
        rest.starts_with("hooks.example.com/webhooks/mail\n"),
        "{said}"
    );
    assert!(
        said.contains("Subscription Change") && said.contains("optout send postmark --source mail")
    );
    let kept = file.with_file_name("secrets").join("source-mail-password");
    assert_eq!(read(&kept).trim(), password);
    assert_eq!((mode(&kept), mode(kept.parent().unwrap())), (0o600, 0o700));
    let url = receiver.url("/added");
    let set = format!("url={url}");
    done(
        &file,
        &["targets", "add", "http", "--name", "added", "--set", &set],
    )
    .await;
    let after = read(&file);
    assert!(
        after.starts_with(&before) && !after.contains(password),
        "{after}"
    );
    done(&file, &["config", "check"]).await;

    assert!(process.terminate().await.success());
    process.again().await;
    done(&file, &["send", "postmark", "--source", "mail"]).await;
    until("the added target is told", async || {
        (!receiver.heard("/added").is_empty()).then_some(())
    })
    .await;
    assert!(
        !receiver.heard("/added")[0]
            .header("webhook-signature")
            .is_empty()
    );
}

#[tokio::test]
async fn a_name_that_is_there_is_refused_and_the_file_is_as_it_was() {
    let (_folder, file) = file(LOOPBACK);
    let source = ["sources", "add", "brevo", "--yes"];
    done(&file, &source).await;
    let target = ["targets", "add", "file", "--yes"];
    done(&file, &target).await;
    let once = read(&file);
    assert!(once.starts_with(COMMENT));
    assert_eq!(mode(&file), 0o640);
    for again in [&source[..], &target] {
        let (code, said) = run(&file, again).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("is in the configuration already"), "{said}");
    }
    assert_eq!(read(&file), once);
    let files: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
    assert_eq!(files.len(), 2, "nothing was left behind: {files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_refused_leaves_the_file_alone_unless_nobody_is_to_ask() {
    let (_folder, file) = file(LOOPBACK);
    let receiver = Receiver::start().await;
    let url = format!("url={}", receiver.url(""));
    let add = |name: &'static str| {
        [
            "targets",
            "add",
            "postmark",
            "--name",
            name,
            "--set",
            &url,
            "--set",
            "token=s3cret",
            "--set",
            "scopes.*=outbound",
        ]
        .map(str::to_owned)
    };
    let before = read(&file);
    let asked = async |name: &'static str, more: &[&str]| {
        let arguments = add(name);
        let arguments: Vec<_> = arguments
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        run(&file, &arguments).await
    };
    for (status, word) in [(401, "refuses the credential"), (503, "could not be asked")] {
        receiver.answer("/server", status);
        let (code, said) = asked("one", &[]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(word) && said.contains(&status.to_string()),
            "{said}"
        );
        assert!(!said.contains("s3cret"));
    }
    assert_eq!(read(&file), before);
    assert!(!file.with_file_name("secrets").exists());
    let (code, said) = asked("one", &["--unchecked"]).await;
    assert_eq!(code, Some(0), "{said}");
    receiver.answer("/server", 200);
    let (code, said) = asked("two", &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Postmark takes the credential"), "{said}");
    assert!(said.contains("At Postmark:\n  1. "), "{said}");
    done(&file, &["config", "check"]).await;
    let heard = receiver.heard("/server");
    assert_eq!(heard.len(), 3, "once each, and never unchecked");
    assert_eq!(heard[2].header("x-postmark-server-token"), "s3cret");
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named_and_nothing_is_written() {
    let (_folder, file) = file(LOOPBACK);
    let before = read(&file);
    for (line, why) in [
        ("sources add", "the provider is missing"),
        ("sources add pigeon", "known are brevo, "),
        ("sources add resend", "secret is missing"),
        ("sources add twilio --set secret=x", "the URL is missing"),
        (
            "sources add ses --set topics=mine",
            "auth.topics: has what is no topic",
        ),
        ("sources add brevo --name a/b", "is not usable in a URL"),
        (
            "sources add brevo --set colour=blue",
            "auth.colour: is not a known key",
        ),
        ("sources add brevo --url hooks", "is no URL such as"),
        (
            "sources add brevo --url https://hooks.example.com?a=s3cret",
            "a query or a fragment",
        ),
        (
            "sources add brevo --url https://me:s3cret@hooks.example.com",
            "a user, a password",
        ),
        ("targets add", "the kind is missing"),
        ("targets add fax", "known are brevo, "),
        ("targets add sendgrid", "token is missing"),
        (
            "targets add sendgrid --set token=env:NOWHERE",
            "NOWHERE is not set",
        ),
        (
            "targets add file --events vanished",
            "targets[0].events: is \"vanished\"",
        ),
        (
            "targets add file --mirrors shop",
            "targets[0].mirrors: is \"shop\"",
        ),
        (
            "sources add postmark --set password=s3cret --set auth.password=s3cret",
            "--set auth.password is given twice",
        ),
        (
            "sources add brevo --set format.a=s3cret --set format.a.b=c",
            "has a setting twice, or by itself and as a table",
        ),
        (
            "targets add file --set name=log",
            "--set name is no setting",
        ),
    ] {
        let (code, said) = run(&file, &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(code, Some(1), "{line}: {said}");
        assert!(said.contains(why), "{line}: {said}");
        assert!(!said.contains("s3cret"), "{line}: {said}");
        assert_eq!(read(&file), before, "{line}");
    }
}

#[tokio::test]
async fn what_only_amazon_can_sign_is_not_promised_to_be_sent_from_here() {
    let (_folder, file) = file("");
    let topics = "topics=arn:aws:sns:us-east-1:123456789012:ses-events";
    let signed = [
        "sources",
        "add",
        "ses",
        "--auth",
        "signature",
        "--set",
        topics,
    ];
    let said = done(&file, &signed).await;
    assert!(said.contains("Only Amazon SES can sign"), "{said}");
    let basic = [
        "sources", "add", "ses", "--name", "by-basic", "--auth", "basic",
    ];
    let said = done(&file, &basic).await;
    assert!(said.contains("That posts a sample to ingress"), "{said}");
}

#[tokio::test]
async fn a_file_that_is_no_toml_has_the_exit_status_of_every_command() {
    let (_folder, file) = file("[[sources\n");
    for line in [["sources", "add", "brevo"], ["targets", "add", "file"]] {
        let (code, said) = run(&file, &line).await;
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("the configuration is not TOML"), "{said}");
    }
}

/// The settings of a credential that only the provider knows, for the test to choose.
fn credential(provider: &dyn Provider) -> Vec<String> {
    let key = provider
        .samples()
        .iter()
        .find_map(providers::Sample::public_key);
    let of = |need: &Need| match need {
        Need::Secret => vec!["secret=whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned()],
        Need::PublicKey => vec![format!("public_key={}", key.unwrap())],
        Need::Topics => vec!["topics=arn:aws:sns:us-east-1:123456789012:ses-events".to_owned()],
        Need::KeyAndSite => vec!["key=k&y".to_owned(), "site=a site".to_owned()],
        Need::SecretOrPublicKey | Need::Url => vec![],
    };
    provider.needs().iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_provider_can_be_added_and_its_sample_be_sent_as_it_proves_itself() {
    let (stores, receiver) = (Stores::fresh(Kind::Embedded).await, Receiver::start().await);
    let mut process = Process::start("optout", &stores, &configuration(&receiver), None).await;
    let file = process.configuration().to_owned();
    let name = |provider: &dyn Provider| format!("added-{}", provider.name());
    for provider in providers::ALL {
        let (name, settings) = (name(*provider), credential(*provider));
        let mut arguments = vec!["sources", "add", provider.name(), "--name", &name];
        arguments.extend(["--url", "https://hooks.example.com/"]);
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let said = done(&file, &arguments).await;
        let guide = provider.guide();
        assert!(
            !guide.title.is_empty() && !guide.suits.is_empty() && !guide.steps.is_empty(),
            "{name}"
        );
        for step in guide.steps {
            assert!(said.contains(step), "{name}: {said}");
        }
        let path = provider
            .asks_at()
            .map_or_else(|| format!("/webhooks/{name}"), str::to_owned);
        let lines = said.lines().map(str::trim);
        let mut urls = lines.filter(|line| line.starts_with("https://") && line.contains(&path));
        assert!(
            urls.next()
                .is_some_and(|url| url.contains("hooks.example.com/")),
            "{name}: {said}"
        );
    }
    done(&file, &["config", "check"]).await;
    assert!(process.terminate().await.success());
    process.again().await;
    // What SNS signs is another matter: only it has the key.
    for provider in providers::ALL
        .iter()
        .filter(|provider| provider.name() != "ses")
    {
        let name = name(*provider);
        let said = done(&file, &["send", provider.name(), "--source", &name]).await;
        assert!(said.starts_with("200 OK"), "{name}: {said}");
    }
}
