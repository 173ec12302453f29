//! What clients may write into files, the readers of imports withstand.

use hostile::{bytes, withstands};

use super::{
    dump::{COLUMNS, Dump},
    records::{Record, Records},
    row::Columns,
};
use crate::body;

/// The records of a file that arrives in such pieces.
fn records(file: &[u8], piece: usize) -> Vec<Record> {
    let mut records = Records::new();
    let pieces = file.chunks(piece);
    let mut found: Vec<_> = pieces.flat_map(|piece| records.read(piece)).collect();
    found.extend(records.read(b""));
    found
}

#[test]
fn no_file_makes_the_reader_of_csv_panic_nor_is_it_read_otherwise_in_pieces() {
    let samples = [
        "email,phone,scope,reason,kind,timestamp,state\r\njane@example.com,,,bored,unsubscribed,2024-07-02T18:04:00Z,\r\n\
         ,+15551234567,news,\"two\nlines\",,,lifted\r\n",
        "contact,note\n\"a@b.example\",\"say \"\"hi\"\"\"\n",
        "\u{feff}Email\na@b.example\n",
    ];
    withstands("import of CSV", file!(), &bytes(samples), |file| {
        let found = records(&file, file.len().max(1));
        assert_eq!(records(&file, 7), found);
        let mut found = found.into_iter();
        let Some((_, Ok(header))) = found.next() else {
            return;
        };
        let Ok(columns) = Columns::read(&header) else {
            return;
        };
        for (line, record) in found {
            assert!(line > 1);
            if let Ok(fields) = record
                && let Ok(Some(row)) = columns.row(&fields)
            {
                assert!(!row.contacts.is_empty() && row.size() > 0);
                assert!(!row.reason.unwrap_or_default().contains('\0'));
            }
        }
    });
}

#[test]
fn no_body_makes_the_reader_of_postmark_s_dump_panic() {
    let samples = [
        r#"{"Suppressions":[{"EmailAddress":"a@b.example","SuppressionReason":"HardBounce","Origin":"Recipient","CreatedAt":"2026-04-02T14:30:00Z"},{"EmailAddress":"b@b.example"}]}"#,
    ];
    let columns = Columns::read(&COLUMNS.map(str::to_owned)).unwrap();
    withstands("import of a dump", file!(), &bytes(samples), |dump| {
        if let Ok(dump) = body::read::<Dump>(&dump) {
            for dumped in dump.suppressions {
                drop(columns.row(&dumped.line()));
            }
        }
    });
}
