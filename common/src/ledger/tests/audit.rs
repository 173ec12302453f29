//! The audit trail: one chain, however many write it, and no record of it changed unseen.

use super::*;

fn act(number: usize) -> Act {
    Act {
        actor: "ops".to_owned(),
        action: "suppression.add",
        subject: Some(format!("subject {number}")),
        details: [("number".to_owned(), number.into())].into_iter().collect(),
        contact: Some(Contact::email("jane@example.com").unwrap()),
        personal: [("note".to_owned(), "by phone".into())]
            .into_iter()
            .collect(),
    }
}

#[tokio::test]
async fn those_who_write_at_once_make_one_chain_without_gaps() {
    for Fresh { ledger, .. } in &fresh().await {
        let acts: Vec<_> = (0..5).map(act).collect();
        let writes = (0..20).map(|_| ledger.audit(&acts));
        for written in futures_util::future::join_all(writes).await {
            written.unwrap();
        }
        let verified = ledger.verify_audit().await.unwrap();
        assert_eq!((verified.records, verified.broken), (100, None));
    }
}

#[tokio::test]
async fn whatever_is_changed_the_first_record_that_is_wrong_is_named() {
    let changes = [
        ("actor = 'nobody'", 3),
        ("action = 'other'", 3),
        ("details = '{}'", 3),
        ("subject = NULL", 3),
        ("at = at + 1", 3),
        ("contact = 'john@example.com'", 3),
        ("contact = NULL", 3),
        ("personal = '{}'", 3),
        ("commitment = hash", 3),
        ("hash = commitment", 3),
        ("seq = 30", 4),
    ];
    for (change, first) in changes {
        for Fresh { ledger, .. } in &fresh().await {
            ledger
                .audit(&(0..5).map(act).collect::<Vec<_>>())
                .await
                .unwrap();
            let text = format!("UPDATE audit SET {change} WHERE seq = 3");
            ledger.query(&text).execute(&ledger.pool).await.unwrap();
            let verified = ledger.verify_audit().await.unwrap();
            let broken = verified
                .broken
                .unwrap_or_else(|| panic!("{change} is not seen"));
            assert_eq!((verified.records, broken.seq), (2, first), "{change}");
        }
    }
}

#[tokio::test]
async fn what_is_taken_away_at_the_end_shows_by_the_head_that_was_kept() {
    for Fresh { ledger, .. } in &fresh().await {
        ledger
            .audit(&(0..5).map(act).collect::<Vec<_>>())
            .await
            .unwrap();
        let kept = ledger.verify_audit().await.unwrap();
        let text = "DELETE FROM audit WHERE seq > 3";
        ledger.query(text).execute(&ledger.pool).await.unwrap();
        let verified = ledger.verify_audit().await.unwrap();
        assert_eq!((verified.records, &verified.broken), (3, &None));
        assert_ne!(verified.head, kept.head);
    }
}

#[tokio::test]
async fn erasing_what_is_personal_leaves_the_chain_whole() {
    for Fresh { ledger, .. } in &fresh().await {
        ledger
            .audit(&(0..5).map(act).collect::<Vec<_>>())
            .await
            .unwrap();
        let text =
            "UPDATE audit SET contact = 'erased', personal = NULL, salt = NULL WHERE seq < 4";
        ledger.query(text).execute(&ledger.pool).await.unwrap();
        let verified = ledger.verify_audit().await.unwrap();
        assert_eq!(
            (verified.records, verified.erased, verified.broken),
            (5, 3, None)
        );
    }
}

#[tokio::test]
async fn a_long_trail_is_verified_in_parts_that_each_know_where_the_last_ended() {
    for Fresh { ledger, .. } in &fresh().await {
        let acts: Vec<_> = (0..7).map(act).collect();
        ledger.audit(&acts).await.unwrap();
        let whole = ledger.verify_audit().await.unwrap();
        assert!(whole.complete);
        let (mut head, mut ends) = (None, vec![]);
        loop {
            let part = ledger.verify_audit_after(head, 3).await.unwrap();
            assert_eq!(part.broken, None);
            ends.push((part.records, part.complete));
            head = Some((part.records, part.head));
            if part.complete {
                break;
            }
        }
        assert_eq!(ends, [(3, false), (6, false), (7, true)]);
        assert_eq!(head, Some((7, whole.head.clone())));

        for wrong in [(7, "another".to_owned()), (9, whole.head)] {
            let seq = wrong.0;
            let part = ledger.verify_audit_after(Some(wrong), 3).await.unwrap();
            assert_eq!(part.broken.map(|broken| broken.seq), Some(seq));
            assert!(!part.complete);
        }
        ledger
            .query("UPDATE audit SET actor = 'nobody' WHERE seq = 5")
            .execute(&ledger.pool)
            .await
            .unwrap();
        let hash = ledger.audit_hash(3).await.unwrap().unwrap();
        let part = ledger.verify_audit_after(Some((3, hash)), 3).await.unwrap();
        assert_eq!((part.records, part.complete), (4, false));
        assert_eq!(part.broken.map(|broken| broken.seq), Some(5));
    }
}
