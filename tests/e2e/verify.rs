//! What an auditor does: nothing but the file and the public key.

use std::process::{Command, Output};

use common::seal::Sealer;
use serde_json::json;
use tests::binary;

const SECRET: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn verify(folder: &tempfile::TempDir, arguments: &[&str], config: &str) -> Output {
    std::fs::write(folder.path().join("optout.toml"), config).unwrap();
    Command::new(binary("optout"))
        .arg("verify")
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap()
}

#[test]
fn a_file_is_verified_by_the_public_key_alone_and_a_forged_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let document = json!({ "exported_at": "2026-04-02T18:04:00Z", "exported_by": "ops", "story": { "contact": "a@b.example" } });
    let sealer = Sealer::new(&SECRET.into()).unwrap();
    let file = sealer.seal(document.as_object().unwrap());
    std::fs::write(folder.path().join("true.json"), &file).unwrap();
    let forged = file.replace("a@b.example", "c@b.example");
    std::fs::write(folder.path().join("forged.json"), forged).unwrap();
    // A configuration that cannot be read is none of an auditor's business.
    let told = verify(&folder, &["true.json", "--key", KEY], "no TOML");
    let said = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success(), "{said}");
    assert!(
        said.contains("as it was signed") && said.contains("\"ops\""),
        "{said}"
    );
    let other = format!("{}=", "A".repeat(43));
    for (file, key) in [
        ("forged.json", KEY),
        ("true.json", &other),
        ("none.json", KEY),
    ] {
        let told = verify(&folder, &[file, "--key", key], "");
        assert_eq!(told.status.code(), Some(1), "{file} by {key}");
        assert!(told.stdout.is_empty() && !told.stderr.is_empty());
    }
}

#[test]
fn who_has_the_configuration_needs_no_key_and_can_print_the_public_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[api]\nsigning_key = \"{SECRET}\"");
    let printed = verify(&folder, &["--print-key"], &config);
    assert_eq!(
        String::from_utf8(printed.stdout).unwrap(),
        format!("{KEY}\n")
    );
    let none = verify(&folder, &["--print-key"], "");
    assert_eq!(none.status.code(), Some(1));
    let wrong = verify(&folder, &["--print-key"], "[api]\nsigning_key = \"short\"");
    assert_eq!(wrong.status.code(), Some(64));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("api.signing_key"), "{said}");
}
