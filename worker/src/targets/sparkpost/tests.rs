//! SparkPost as it is documented: the suppression list, told in bulk and read by cursor.

use axum::{body::Body, http::Response};

use super::*;
use crate::targets::platform::rehearsal::{Limit, Listed, Vendor, json, lift, rehearsals, set};
use crate::targets::standin::{Received, response, verdict};

const VENDOR: Vendor = Vendor {
    kind: KIND,
    settings: "subaccount = 5",
    lists: ["transactional", "non_transactional"],
    limit: Limit::Seconds("retry-after"),
    answer: |request, parts, listed| {
        if request.header("authorization") != "s3cret" {
            return json(401, &json!({"errors": [{"message": "Unauthorized."}]}));
        }
        if parts == ["api", "v1", "suppression-list", "summary"] {
            return json(200, &json!({}));
        }
        assert_eq!(request.header("x-msys-subaccount"), "5");
        if request.method == Method::GET && parts == ["api", "v1", "suppression-list"] {
            return search(request, listed);
        }
        let body = request.json();
        match (request.method.as_str(), parts) {
            ("PUT", ["api", "v1", "suppression-list"]) => {
                let asked = body["recipients"].as_array().unwrap();
                assert!((1..=10_000).contains(&asked.len()));
                let address = |one: &Value| one["recipient"].as_str().unwrap().to_owned();
                if asked.iter().any(|one| address(one).starts_with("bad")) {
                    let why = "PUT body contains 1 invalid or malformed recipient(s)";
                    return json(400, &json!({"errors": [{"message": why}]}));
                }
                for one in asked {
                    let kind = one["type"].as_str().unwrap();
                    assert!(TYPES.contains(&kind));
                    set(listed, kind, &address(one), true);
                }
                json(
                    200,
                    &json!({"results": {"message": "Suppression List successfully updated"}}),
                )
            }
            ("DELETE", ["api", "v1", "suppression-list", address]) => {
                assert_eq!(request.query("list_id").as_deref(), Some(""));
                if address.starts_with("kept") {
                    let why = "Recipient could not be removed - Compliance";
                    return json(403, &json!({"errors": [{"message": why}]}));
                }
                if set(listed, body["type"].as_str().unwrap(), address, false) {
                    response(204, "")
                } else {
                    json(
                        404,
                        &json!({"errors": [{"message": "Recipient could not be found"}]}),
                    )
                }
            }
            _ => json(404, &json!({"errors": [{"message": "not found"}]})),
        }
    },
};

/// A page by cursor. Of an address that begins with `list` a single mailing list has an entry.
fn search(request: &Received, listed: &Listed) -> Response<Body> {
    let asked = |name| request.query(name).unwrap();
    let most: usize = asked("per_page").parse().unwrap();
    assert!((1..=10_000).contains(&most));
    assert_eq!(asked("list_id"), "");
    let at: usize = match asked("cursor").as_str() {
        "initial" => 0,
        cursor => cursor.strip_prefix("Zm9v+/=").unwrap().parse().unwrap(),
    };
    let kind = asked("types");
    let of_type = listed.iter().filter(|(list, _)| *list == kind);
    let results: Vec<_> = of_type
        .skip(at)
        .take(most)
        .map(|(list, address)| {
            let mut one = json!({
                "recipient": address,
                "type": list,
                "source": "Manually Added",
                "created": "2017-10-01T12:00:00+00:00",
                "updated": "2018-10-01T12:00:00+00:00",
            });
            if address.starts_with("list") {
                one["list_id"] = json!("weekly.example.com");
            }
            if address.starts_with("jane") {
                one["description"] = json!("told by optout: suppression");
            }
            one
        })
        .collect();
    let next = at + results.len();
    // As if somebody could have put it there.
    let href = format!("https://other.example/x?cursor=Zm9v%2B%2F%3D{next}&per_page=9");
    let links =
        json!([{"href": "/x?cursor=initial", "rel": "first"}, {"href": href, "rel": "next"}]);
    json(
        200,
        &json!({"results": results, "links": links, "total_count": 1}),
    )
}

/// Of whose lists one is empty; the next page of both is behind a link without a cursor.
const NOWHERE: Vendor = Vendor {
    answer: |request, _, _| {
        let kind = request.query("types").unwrap();
        let one = json!({"recipient": "jane@example.com", "type": kind});
        let results = if kind == NON_TRANSACTIONAL {
            vec![one]
        } else {
            vec![]
        };
        let links = json!([{"href": "/x?cursor=", "rel": "next"}]);
        json(200, &json!({"results": results, "links": links}))
    },
    ..VENDOR
};

rehearsals!(VENDOR);
rehearsals!(VENDOR, a_list_is_read_page_by_page_and_no_other_with_it);

#[tokio::test]
async fn an_entry_says_since_when_and_why_and_one_of_a_mailing_list_is_none() {
    let running = VENDOR.usual().await;
    for address in ["jane@example.com", "joe@example.com", "list@example.com"] {
        set(&mut running.listed(), "transactional", address, true);
    }
    let book = running.target.book().unwrap();
    let page = book.page("transactional", None).await.unwrap();
    assert_eq!(page.next.as_deref(), Some("Zm9v+/=3"));
    let said: Vec<_> = page
        .entries
        .iter()
        .map(|entry| {
            let words = entry.why.words.as_deref();
            (entry.contact.address.as_str(), entry.why.lane, words)
        })
        .collect();
    assert_eq!(
        said,
        [
            (
                "jane@example.com",
                Lane::Manual,
                Some("told by optout: suppression")
            ),
            ("joe@example.com", Lane::Manual, Some("Manually Added"))
        ]
    );
    let since = "2017-10-01T12:00:00Z".parse().ok();
    assert!(page.entries.iter().all(|entry| entry.since == since));
    let page = book.page("transactional", page.next.as_deref()).await;
    assert_eq!(page.unwrap(), Page::default());
}

#[tokio::test]
async fn entries_with_a_link_that_leads_nowhere_are_not_the_last() {
    let running = NOWHERE.usual().await;
    let book = running.target.book().unwrap();
    for (list, expected) in [("transactional", Ok(None)), ("non_transactional", Err(()))] {
        let page = book.page(list, None).await;
        if let Err(answer) = &page {
            assert!(verdict(answer).starts_with("retry: "), "{answer:?}");
        }
        assert_eq!(page.map(|page| page.next).map_err(drop), expected, "{list}");
    }
    for href in ["/x", "/x?cursor=", "/x?per_page=9"] {
        assert_eq!(cursor(href), None, "{href}");
    }
}

#[tokio::test]
async fn only_what_is_not_transactional_is_reported_and_as_global() {
    let running = VENDOR.usual().await;
    assert!(running.target.reports("offers", "global"));
    assert!(!running.target.reports("news", "global"));
}

#[tokio::test]
async fn what_compliance_has_entered_is_a_final_answer_to_a_lift() {
    let running = VENDOR.usual().await;
    let answer = running.tell(&lift("kept@example.com", "news")).await;
    assert!(
        verdict(&answer).starts_with("dead: SparkPost's compliance"),
        "{answer:?}"
    );
}
