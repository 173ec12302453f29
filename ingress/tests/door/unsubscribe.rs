//! What a recipient, a mail program, a scanner of mail and a stranger get at a link.

use common::{
    clock,
    config::Links,
    contact::Contact,
    event::{Kind, Origin},
    providers::Provider,
    queue::{Priority, QueueName},
};
use jiff::SignedDuration;

use crate::{
    harness::{Door, config, door, open, post, router},
    queue::{Behaviour, TestQueue},
};

const LINKS: &str = "[links]\nurl = 'https://optout.example.com'\nkeys = 'nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A='\n";

const SCOPES: &str = "sender = 'Bread & <Butter>'\nscopes = [{ name = 'news', title = 'Weekly news' }, { name = 'offers', title = 'Offers' }]\n";

const ONE_CLICK: &[u8] = b"List-Unsubscribe=One-Click";

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The path of a link for Jane, made as old as that.
fn link_of(links: &Links, scope: Option<&str>, age: SignedDuration) -> String {
    let jane = Contact::parse("jane@example.com").unwrap();
    let made = links.make(&jane, scope, clock::now() - age).unwrap();
    made.url
        .strip_prefix("https://optout.example.com")
        .unwrap()
        .to_owned()
}

fn link(text: &str, scope: Option<&str>) -> String {
    let links = config(text).links.unwrap();
    link_of(&links, scope, SignedDuration::ZERO)
}

/// What became of the stored envelopes: events' scopes.
fn scopes(door: &Door) -> Vec<String> {
    let envelopes = door.queue.envelopes().into_iter();
    let events =
        envelopes.flat_map(|envelope| common::one_click::OneClick.parse(&envelope).unwrap());
    events.map(|draft| draft.unwrap().scope.unwrap()).collect()
}

#[tokio::test]
async fn one_click_is_answered_200_once_it_is_stored_and_kept_as_it_came() {
    let text = LINKS.to_owned();
    let (door, path) = (door(&text).await, link(&text, Some("news")));
    let parts = "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
    let in_parts = ("content-type", "multipart/form-data; boundary=x");
    for (kind, body) in [(FORM, ONE_CLICK), (in_parts, parts.as_bytes())] {
        let before = clock::now();
        let headers = [
            kind,
            ("user-agent", "Mail/1"),
            ("cookie", "a=b"),
            ("x-optout-link", "{}"),
        ];
        let answer = door.post(&path, &headers, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for name in ["location", "set-cookie"] {
            assert_eq!(answer.header(name), None);
        }
        let envelope = door.queue.envelopes().pop().unwrap();
        assert_eq!(
            (envelope.source.as_str(), &envelope.body[..]),
            ("one-click", body)
        );
        assert_eq!(envelope.content_type.as_deref(), Some(kind.1));
        assert_eq!(envelope.header("user-agent"), Some("Mail/1"));
        assert_eq!(envelope.header("cookie"), None);
        let read = common::one_click::OneClick.parse(&envelope).unwrap();
        let [Ok(draft)] = &read[..] else {
            panic!("one event")
        };
        assert_eq!(
            (draft.kind, draft.origin),
            (Kind::Unsubscribed, Origin::Recipient)
        );
        assert_eq!(draft.contact.as_ref().unwrap().address, "jane@example.com");
        assert_eq!(draft.scope.as_deref(), Some("news"));
        assert!((before..=clock::now()).contains(&draft.occurred_at.unwrap()));
        // Whoever sees the evidence has no link that works.
        let token = path.strip_prefix("/u/").unwrap();
        assert!(!format!("{envelope:?}").contains(token));
    }
    for (queue, _) in door.queue.stored() {
        assert_eq!(queue, QueueName::Inbound(Priority::Urgent));
    }
}

#[tokio::test]
async fn nothing_that_is_answered_200_is_not_stored_and_what_is_not_can_come_again() {
    let path = link(LINKS, None);
    let door = open(&config(LINKS), TestQueue::new(Behaviour::Refuse)).await;
    // More often than one link may come, which is none of its fault.
    for behaviour in [Behaviour::Refuse, Behaviour::Away].repeat(4) {
        door.queue.become_(behaviour);
        let answer = door.post(&path, &[FORM], ONE_CLICK).await;
        assert_eq!(answer.status, 503, "{behaviour:?}");
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert!(answer.body.contains("not stored"), "{}", answer.body);
    }
    door.queue.become_(Behaviour::Store);
    assert_eq!(door.post(&path, &[FORM], ONE_CLICK).await.status, 200);
    assert_eq!(scopes(&door), ["global"]);
}

#[tokio::test]
async fn who_only_looks_unsubscribes_nobody() {
    let (door, path) = (door(LINKS).await, link(LINKS, None));
    for method in ["GET", "HEAD"] {
        assert_eq!(door.request(method, &path).await.status, 200, "{method}");
    }
    for method in ["OPTIONS", "PUT", "DELETE", "PATCH"] {
        let answer = door.request(method, &path).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD, POST"))
        );
    }
    for body in [
        &b""[..],
        b"x",
        b"List-Unsubscribe=",
        b"unsubscribe=everything",
        b"\xff\x00",
    ] {
        let answer = door.post(&path, &[FORM], body).await;
        assert_eq!(answer.status, 400, "{body:?}");
    }
    let query = format!("{path}?List-Unsubscribe=One-Click");
    assert_eq!(door.request("GET", &query).await.status, 200);
    assert_eq!(door.post(&query, &[FORM], b"").await.status, 400);
    assert!(door.queue.envelopes().is_empty());
}

#[tokio::test]
async fn a_link_that_is_none_is_answered_alike_whatever_is_wrong_with_it() {
    let text = format!("{LINKS}expire = '60d'\n");
    let door = door(&text).await;
    let links = config(&text).links.unwrap();
    let day = SignedDuration::from_hours(24);
    let right = link_of(&links, None, day * 59);
    let other = LINKS.replace("nWGx", "AAAA");
    let forged = format!("{}A", &right[..right.len() - 1]);
    let forged = if forged == right {
        format!("{}B", &right[..right.len() - 1])
    } else {
        forged
    };
    let wrong = [
        link_of(&links, None, day * 61),
        link(&other, None),
        forged,
        "/u/x".to_owned(),
        "/u/%ff".to_owned(),
        format!("/u/{}", "A".repeat(130)),
        format!("/u/{}", "A".repeat(20_000)),
    ];
    let mut answers = vec![];
    for path in &wrong {
        let looked = door.request("GET", path).await;
        let posted = door.post(path, &[FORM], ONE_CLICK).await;
        assert_eq!(looked.status, 404, "{path}");
        assert!(looked.body.contains("<h1>This link does not work</h1>"));
        answers.push(looked.says());
        answers.push(posted.says());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(door.post(&right, &[FORM], ONE_CLICK).await.status, 200);
    assert_eq!(scopes(&door), ["global"]);
}

#[tokio::test]
async fn keys_are_rotated_without_an_old_mail_s_link_ceasing_to_work() {
    let old = link(LINKS, Some("news"));
    let new = LINKS.replace(
        "keys = '",
        "keys = ['MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=', '",
    );
    let rotated = format!("{}]\n", new.trim_end());
    let door = door(&rotated).await;
    for path in [old, link(&rotated, Some("offers"))] {
        assert_eq!(door.post(&path, &[FORM], ONE_CLICK).await.status, 200);
    }
    assert_eq!(scopes(&door), ["news", "offers"]);
}

#[tokio::test]
async fn the_page_is_small_safe_and_shows_nothing_of_whom_it_is_about() {
    let text = format!("{LINKS}sender = 'Bread & <Butter>'\n");
    let (door, path) = (door(&text).await, link(&text, Some("news")));
    let page = door.request("GET", &path).await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(
        page.header("content-security-policy"),
        Some(
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
    );
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.body.matches("<h1>").count(), 1);
    assert!(
        page.body.contains("Bread &amp; &lt;Butter&gt;"),
        "{}",
        page.body
    );
    assert!(
        page.body
            .contains("no more messages from Bread &amp; &lt;Butter&gt; of this kind")
    );
    for secret in [
        "jane",
        "example.com",
        "news",
        path.strip_prefix("/u/").unwrap(),
        "<script",
        "style=",
    ] {
        assert!(!page.body.contains(secret), "{secret}: {}", page.body);
    }
    let style = door.request("GET", "/u/style.css").await;
    assert_eq!(
        (style.status, style.header("content-type")),
        (200, Some("text/css; charset=utf-8"))
    );
    assert!(page.body.contains("href=\"/u/style.css\"") && !style.body.contains("url("));
    // What its button posts.
    let answer = door
        .post(&path, &[FORM], b"form=page&unsubscribe=link")
        .await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.contains("<h1>You are unsubscribed</h1>"),
        "{}",
        answer.body
    );
    assert_eq!(scopes(&door), ["news"]);
}

#[tokio::test]
async fn of_the_scopes_that_are_configured_people_choose_and_of_no_other() {
    let text = format!("{LINKS}{SCOPES}");
    let door = door(&text).await;
    for (scope, checked) in [
        (Some("offers"), "name=\"scope\" value=\"offers\" checked"),
        (
            Some("unlisted"),
            "name=\"unsubscribe\" value=\"link\" checked",
        ),
        (None, "name=\"unsubscribe\" value=\"everything\" checked"),
    ] {
        let page = door.request("GET", &link(&text, scope)).await;
        assert!(page.body.contains(checked), "{checked}: {}", page.body);
        assert_eq!(page.body.matches(" checked").count(), 1);
        assert!(
            page.body.contains("> Weekly news</label>")
                && page.body.contains("> Everything</label>")
        );
        assert!(!page.body.contains("unlisted"));
    }
    let path = link(&text, Some("unlisted"));
    for (body, status) in [
        ("form=page", 422),
        ("form=page&scope=secret-list", 400),
        ("form=page&scope=news&scope=secret-list", 400),
        ("form=page&scope=news&scope=offers&unsubscribe=link", 200),
        ("form=page&unsubscribe=everything", 200),
    ] {
        let answer = door.post(&path, &[FORM], body.as_bytes()).await;
        assert_eq!(answer.status, status, "{body}");
        let asks_again =
            answer.body.contains("Choose at least one") && answer.body.contains("<form");
        assert_eq!(asks_again, status == 422, "{body}: {}", answer.body);
    }
    assert_eq!(scopes(&door), ["news", "offers", "unlisted", "global"]);
}

#[tokio::test]
async fn a_link_that_comes_over_and_over_is_told_to_wait_and_no_other_is_held_up() {
    let door = door(LINKS).await;
    let (path, other) = (link(LINKS, None), link(LINKS, None));
    let mut answers = vec![];
    for _ in 0..6 {
        answers.push(door.post(&path, &[FORM], ONE_CLICK).await);
    }
    let last = answers.pop().unwrap();
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(last.status, 429);
    let wait: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(door.post(&other, &[FORM], ONE_CLICK).await.status, 200);
    // To look is free.
    assert_eq!(door.request("GET", &path).await.status, 200);
    assert_eq!(door.queue.envelopes().len(), 6);
}

#[tokio::test]
async fn bodies_at_a_link_are_bounded_and_none_is_read_for_a_stranger() {
    let (door, path) = (door(LINKS).await, link(LINKS, None));
    let answer = door.post(&path, &[FORM], &vec![b'x'; 16 * 1024 + 1]).await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (413, Some("close"))
    );
    // A stranger is answered before anything of the body is there.
    let head =
        "POST /u/x HTTP/1.1\r\nhost: door\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n";
    assert_eq!(door.send(head.as_bytes()).await.status, 404);
}

#[tokio::test]
async fn without_a_section_for_links_there_is_nothing_at_their_paths() {
    let door = door("").await;
    for path in [&link(LINKS, None), "/u/style.css"] {
        let answer = door.request("GET", path).await;
        assert_eq!(answer.status, 404);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(door.post(path, &[FORM], ONE_CLICK).await.status, 404);
    }
    assert!(door.queue.envelopes().is_empty());
}

#[tokio::test]
async fn an_opt_out_whose_client_goes_away_is_stored_all_the_same() {
    let queue = TestQueue::holding();
    let path = link(LINKS, None);
    let answer = post(router(LINKS, &queue), &path, ONE_CLICK);
    tokio::select! {
        answer = answer => panic!("it is not stored yet: {answer:?}"),
        () = queue.begun() => {}
    }
    queue.release(1);
    while queue.envelopes().is_empty() {
        tokio::task::yield_now().await;
    }
}
