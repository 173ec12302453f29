//! The running api against its OpenAPI document: requests made of the document, right ones and wrong ones, are answered
//! as it says.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tests::{API_KEY, Kind, Process, Receiver, Stores, binary, told, until};
use tokio::process::Command;

use crate::{configuration, unsubscribed};

/// What holds of every answer. What is left out is whether every request that the document allows is accepted: what an
/// email address is, for one, no schema says.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,\
    allow_header_conformance,use_after_free,ensure_resource_availability,ignored_auth";

/// Leaves some of everything in the stores.
async fn fill(stores: &Stores) {
    let receiver = Receiver::start().await;
    let mut optout = Process::start("optout", stores, &configuration(&receiver), None).await;
    optout
        .accepted("notifiedby", &unsubscribed("jane@example.com"))
        .await;
    optout.accepted("notifiedby", "{").await;
    let submission =
        json!({ "email": "john@example.com", "consents": { "general_contact": true } });
    let suppression = json!({ "email": "jim@example.com", "reason": "by phone" });
    let endpoint = json!({ "url": "https://hook.example/", "events": ["complained"] });
    for (path, body) in [
        ("/api/v1/submissions", submission),
        ("/api/v1/suppressions", suppression),
        ("/api/emails/webhook-endpoints/", endpoint),
    ] {
        assert_eq!(optout.ask("POST", path, &body).await.0, 201, "{path}");
    }
    for path in ["/api/v1/deliveries?state=delivered", "/api/v1/quarantine"] {
        until(path, async || {
            let items = optout.get(path).await;
            (!items["items"].as_array()?.is_empty()).then_some(())
        })
        .await;
    }
    assert!(optout.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_made_of_the_document_are_answered_as_it_says() {
    let stores = Stores::fresh(Kind::Embedded).await;
    fill(&stores).await;
    // Without a worker, nothing is sent to the endpoints that the requests register.
    let api = Process::start("api", &stores, "", None).await;
    let program = Path::new(&told("OPTOUT_TEST_PYTHON")).join("schemathesis");
    let ended = Command::new(program)
        .current_dir(stores.folder.path())
        .args(["run", &format!("{}/openapi.json", api.api)])
        .args(["--header", &format!("X-API-Key: {API_KEY}")])
        .args(["--checks", &CHECKS.replace(' ', "")])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--max-examples", "8", "--workers", "1"])
        .arg("--generation-deterministic")
        .args(["--continue-on-failure", "--no-color"])
        // It would send to whatever it had registered.
        .args(["--exclude-operation-id", "test_endpoint"])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}{errors}");
    // A document that cannot be read would have nothing tested.
    assert!(said.contains("Test cases:"), "{said}");
}

#[tokio::test]
async fn the_command_prints_the_document_that_is_served() {
    let stores = Stores::fresh(Kind::Embedded).await;
    let api = Process::start("api", &stores, "", None).await;
    let printed = Command::new(binary("optout"))
        .arg("openapi")
        .current_dir(stores.folder.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(printed.status.success());
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert!(printed == api.get("/openapi.json").await);
    assert_eq!(printed["openapi"], "3.1.0");
}
