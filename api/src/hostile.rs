//! What clients may write into a query, its reader withstands.

use axum::http::Uri;
use hostile::{bytes, withstands};

use crate::query::Query;

#[test]
fn no_query_makes_its_reader_panic() {
    let samples = [
        "email=jane%40example.com&scope=news&limit=50&cursor=MTc3NTEzOTAwMDAwMDAwMCB4",
        "phone=%2B15551234567&from=2026-04-02T14:30:00Z&to=2026-04-02T14:30:00%2B02:00",
        "phone= 15551234567&force=true&id=01890a5d-ac96-774b-bcce-b302099a8057",
    ];
    withstands("query strings", file!(), &bytes(samples), |query| {
        // What HTTP lets through of it.
        let Ok(uri) = Uri::try_from([b"/?", &query[..]].concat()) else {
            return;
        };
        let Ok(mut query) = Query::of(&uri) else {
            return;
        };
        drop((query.email(), query.phone(), query.id("id")));
        drop((query.text("scope"), query.named::<bool>("force")));
        drop((query.paging(), query.span(), query.finish()));
    });
}
