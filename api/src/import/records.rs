//! CSV as it arrives, a piece at a time: a file of any length takes the memory of one record.

use csv_core::{ReadRecordResult, Reader};

/// A longer record is a file that is no CSV, or a quote that was never closed.
const LONGEST: usize = 64 << 10;

/// The most fields of a record.
const MOST_FIELDS: usize = 1024;

/// One record: the line that it begins on, from 1, and its fields or what is wrong with it.
pub(crate) type Record = (u64, Result<Vec<String>, &'static str>);

/// Reads records out of pieces of a file.
#[derive(Debug)]
pub(crate) struct Records {
    reader: Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
    filled: (usize, usize),
    wrong: Option<&'static str>,
    /// Ends of lines that were read: line feeds, carriage returns, or one after the other.
    lines: u64,
    /// The last byte was a carriage return.
    returned: bool,
    /// The line that the record begins on, once it has begun.
    begins: Option<u64>,
}

impl Records {
    pub(crate) fn new() -> Self {
        Self {
            reader: Reader::new(),
            fields: vec![0; LONGEST],
            ends: vec![0; MOST_FIELDS],
            filled: (0, 0),
            wrong: None,
            lines: 0,
            returned: false,
            begins: None,
        }
    }

    /// The records that end in this piece. An empty piece is the end of the file.
    pub(crate) fn read(&mut self, mut piece: &[u8]) -> Vec<Record> {
        let mut found = vec![];
        loop {
            let (fields, ends) = self.filled;
            let (result, read, wrote, ended) =
                self.reader
                    .read_record(piece, &mut self.fields[fields..], &mut self.ends[ends..]);
            let (taken, rest) = piece.split_at(read);
            piece = rest;
            self.count(taken);
            self.filled = (fields + wrote, ends + ended);
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return found,
                // What comes of it until its end is let go.
                ReadRecordResult::OutputFull => {
                    self.wrong = Some("is longer than 64 KiB, as if a quote were not closed");
                    self.filled.0 = 0;
                }
                ReadRecordResult::OutputEndsFull => {
                    self.wrong = Some("has more than 1024 fields");
                    self.filled.1 = 0;
                }
                ReadRecordResult::Record => {
                    let record = self.record();
                    found.push((self.begins.take().unwrap_or(self.lines), record));
                    self.filled = (0, 0);
                    self.wrong = None;
                }
            }
        }
    }

    /// Keeps count of the lines; those between two records are blank.
    fn count(&mut self, taken: &[u8]) {
        for byte in taken {
            if self.begins.is_none() && !matches!(byte, b'\r' | b'\n') {
                self.begins = Some(self.lines + 1);
            }
            let ends = *byte == b'\r' || *byte == b'\n' && !self.returned;
            self.lines += u64::from(ends);
            self.returned = *byte == b'\r';
        }
    }

    fn record(&self) -> Result<Vec<String>, &'static str> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let mut begin = 0;
        let ends = self.ends[..self.filled.1].iter();
        ends.map(|end| {
            let field = &self.fields[begin..*end];
            begin = *end;
            String::from_utf8(field.to_vec()).map_err(|_| "is not UTF-8")
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a file, however it is cut into pieces.
    fn all(file: &[u8], piece: usize) -> Vec<Record> {
        let mut records = Records::new();
        let mut found: Vec<_> = file
            .chunks(piece)
            .flat_map(|piece| records.read(piece))
            .collect();
        found.extend(records.read(b""));
        found
    }

    #[test]
    fn records_are_the_same_however_the_file_is_cut() {
        let file = b"a,b\r\n\"x\n\"\"y\"\"\",2\n\n\xff,3\nlast,4";
        let texts = |fields: [&str; 2]| Ok(fields.map(str::to_owned).to_vec());
        let records = [
            (1, texts(["a", "b"])),
            (2, texts(["x\n\"y\"", "2"])),
            (5, Err("is not UTF-8")),
            (6, texts(["last", "4"])),
        ];
        for piece in 1..=file.len() {
            assert_eq!(all(file, piece), records, "{piece}");
        }
    }

    #[test]
    fn lines_are_counted_whichever_way_they_end() {
        for end in ["\n", "\r\n", "\r"] {
            let file = ["a", "", "\"b", "b\"", "c"].join(end);
            for piece in [1, 2, file.len()] {
                let begun: Vec<_> = all(file.as_bytes(), piece)
                    .into_iter()
                    .map(|(line, _)| line)
                    .collect();
                assert_eq!(begun, [1, 3, 5], "{end:?} {piece}");
            }
        }
    }

    #[test]
    fn a_record_that_is_too_long_costs_no_other() {
        let file = format!("a\n{}\nb\n{}\nc\n", "x".repeat(200_000), ",".repeat(5000));
        let records: Vec<_> = all(file.as_bytes(), 1000)
            .into_iter()
            .map(|(_, record)| record.is_ok())
            .collect();
        assert_eq!(records, [true, false, true, false, true]);
    }
}
