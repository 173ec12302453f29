//! Spreadsheets take a cell that begins with one of a few signs for a formula, and run it. A reason, a scope and even an
//! email address are what strangers wrote, so in a file such a cell begins with an apostrophe, which a spreadsheet takes for
//! "this is text" and does not show.
//!
//! Reading takes off what writing put on, and nothing else: whatever a cell holds comes back. A phone number begins with a
//! plus sign and is digits after it: it is left as it is, for whoever else reads the file.

/// The cell as it is written.
pub(crate) fn disarmed(cell: String) -> String {
    if is_armed(&cell) && !is_phone(&cell) {
        format!("'{cell}")
    } else {
        cell
    }
}

/// What a written cell holds.
pub(crate) fn armed(cell: &str) -> &str {
    cell.strip_prefix('\'')
        .filter(|held| is_armed(held))
        .unwrap_or(cell)
}

/// Whether it begins like a formula. Apostrophes before it count as nothing, so that one more can be told from them.
fn is_armed(cell: &str) -> bool {
    cell.trim_start_matches('\'')
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

fn is_phone(cell: &str) -> bool {
    cell.strip_prefix('+')
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use hostile::{text, withstands};

    use super::*;

    #[test]
    fn a_cell_that_begins_like_a_formula_is_written_as_text() {
        for cell in [
            "=1+1",
            "-2",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "+1+cmd|' /C calc'!A0",
            "'=1",
        ] {
            assert_eq!(disarmed(cell.to_owned()), format!("'{cell}"));
        }
        for cell in [
            "",
            "bored",
            "+15551234567",
            "2026-04-02T14:30:00Z",
            "'tis",
            "a=1",
        ] {
            assert_eq!(disarmed(cell.to_owned()), cell);
        }
    }

    #[test]
    fn whatever_a_cell_holds_comes_back() {
        let cells = ["=1+1", "''=x", "'+15551234567", "+15551234567", "'"];
        withstands("formulas in CSV", file!(), &text(cells), |cell| {
            let written = disarmed(cell.clone());
            assert!(!written.starts_with(['=', '-', '@', '\t', '\r']));
            assert_eq!(armed(&written), cell);
        });
    }
}
