//! What is done with the secrets of sources and targets that are added by the command line.

use crate::onboarding::{done, file, optout, read, run};

#[tokio::test]
async fn a_credential_s_setting_may_be_said_as_the_file_has_it() {
    let (_folder, file) = file("");
    let settings = ["--set", "auth.password=s3cret", "--set", "auth.username=me"];
    let postmark = ["sources", "add", "postmark"];
    let said = done(&file, &[&postmark[..], &settings].concat()).await;
    assert!(said.contains("me:PASSWORD@"), "{said}");
    let now = read(&file);
    assert!(
        now.contains("username = \"me\"") && !now.contains("s3cret"),
        "{now}"
    );
}

#[tokio::test]
async fn what_may_be_a_secret_of_a_receiver_s_is_kept_or_referred_to() {
    let (_folder, file) = file("");
    let add = async |name: &str, settings: &[&str]| {
        let mut arguments = vec!["targets", "add", "http", "--unchecked", "--name", name];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        run(&file, &arguments).await
    };
    let url = "url=https://hooks.example.com/s3cret";
    for (header, why) in [
        ("headers.x/../key=s3cret", "is no name of a header"),
        ("headers={ key = 's3cret' }", "each is said by itself"),
    ] {
        let (code, said) = add("wrong", &[url, header]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(why) && !said.contains("s3cret"), "{said}");
    }
    let (code, said) = add("one", &[url, "headers.x-key=s3cret"]).await;
    assert_eq!(code, Some(0), "{said}");
    let now = read(&file);
    assert!(
        !now.contains("s3cret") && !said.contains("s3cret"),
        "{now}{said}"
    );
    let secrets = file.with_file_name("secrets");
    assert_eq!(read(&secrets.join("target-one-x-key")), "s3cret\n");
    assert!(read(&secrets.join("target-one-url")).starts_with("https://"));
    let (code, said) = add("two", &["url=env:NOWHERE"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("variable NOWHERE, which has to be set"),
        "{said}"
    );
}

/// Whoever names a variable will set it.
#[tokio::test]
async fn a_secret_may_be_set_later_and_is_asked_for_by_its_name() {
    let (_folder, file) = file("");
    let resend = ["sources", "add", "resend", "--set", "secret=env:NOWHERE"];
    let said = done(&file, &resend).await;
    assert!(
        said.contains("variable NOWHERE, which has to be set"),
        "{said}"
    );
    assert!(read(&file).contains("secret = \"env:NOWHERE\""));
    assert!(!file.with_file_name("secrets").exists());
}

#[tokio::test]
async fn a_secret_of_another_source_that_is_not_set_here_is_no_reason_to_refuse() {
    let (_folder, file) = file("");
    let made = done(
        &file,
        &["sources", "add", "brevo", "--set", "token=env:BREVO_TOKEN"],
    )
    .await;
    let (_, token) = made.split_once("BREVO_TOKEN=").unwrap();
    let token = token.lines().next().unwrap();
    assert!(made.contains(&format!("Bearer token {token}")), "{made}");
    let said = done(&file, &["sources", "add", "postmark"]).await;
    assert!(
        said.contains("sources[0].auth.token: names the environment variable BREVO_TOKEN"),
        "{said}"
    );
    let checked = optout(&file, &["config", "check"])
        .env("BREVO_TOKEN", token)
        .output()
        .await
        .unwrap();
    assert!(checked.status.success());
    assert!(!read(&file).contains(token));
}
