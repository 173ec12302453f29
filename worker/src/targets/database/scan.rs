//! What a database does not look into: comments, strings, quoted names. Each of the three has its own.

use super::statement::Dialect;

/// Whether the character can stand in a name.
pub(super) fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// What is taken over as it stands, by its length.
pub(super) enum Skip {
    Comment(usize),
    Quoted(usize),
}

/// The length of the comment, string or quoted name that begins at `at`.
pub(super) fn skip(text: &str, at: usize, dialect: Dialect) -> Result<Option<Skip>, String> {
    let rest = &text[at..];
    let mut chars = rest.chars();
    let (first, second) = (chars.next().unwrap_or(' '), chars.next());
    let mysql = dialect == Dialect::MySql;
    let line = || Ok(Some(Skip::Comment(rest.find('\n').unwrap_or(rest.len()))));
    match (first, second) {
        // To MySQL two minus signs without a space after them are two minus signs.
        ('-', Some('-')) if !mysql || rest[2..].chars().next().is_none_or(char::is_whitespace) => {
            line()
        }
        ('#', _) if mysql => line(),
        ('/', Some('*')) => {
            comment(rest, dialect == Dialect::Postgres).map(|length| Some(Skip::Comment(length)))
        }
        ('\'', _) => {
            let backslash = mysql || dialect == Dialect::Postgres && is_escape_string(&text[..at]);
            quoted(rest, '\'', backslash).map(Some)
        }
        ('"', _) => quoted(rest, '"', mysql).map(Some),
        ('`', _) if dialect != Dialect::Postgres => quoted(rest, '`', false).map(Some),
        ('[', _) if dialect == Dialect::Sqlite => quoted(rest, ']', false).map(Some),
        ('$', _)
            if dialect == Dialect::Postgres
                && !text[..at].chars().next_back().is_some_and(is_name) =>
        {
            dollar(rest)
        }
        _ => Ok(None),
    }
}

/// Whether what comes before a quote is the `E` of PostgreSQL's strings with backslashes.
fn is_escape_string(before: &str) -> bool {
    let mut before = before.chars().rev();
    matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(is_name)
}

fn quoted(rest: &str, end: char, backslash: bool) -> Result<Skip, String> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((index, c)) = chars.next() {
        if c == '\\' && backslash {
            chars.next();
        } else if c == end && chars.next_if(|(_, next)| *next == end).is_none() {
            return Ok(Skip::Quoted(index + 1));
        }
    }
    Err(format!(
        "has a quote ({}) that is not closed",
        rest.chars().next().unwrap_or(end)
    ))
}

fn comment(rest: &str, nested: bool) -> Result<usize, String> {
    let (mut depth, mut at) = (1, 2);
    while let Some(next) = rest[at..].find(['*', '/']) {
        at += next;
        if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else if nested && rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            return Ok(at);
        }
    }
    Err("has a comment (/*) that is not closed".to_owned())
}

/// `$$…$$` or `$tag$…$tag$`.
fn dollar(rest: &str) -> Result<Option<Skip>, String> {
    let Some(length) = rest[1..].find('$') else {
        return Ok(None);
    };
    let tag = &rest[..length + 2];
    let name = &tag[1..=length];
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
        return Ok(None);
    }
    let end = rest[tag.len()..]
        .find(tag)
        .ok_or_else(|| format!("has a quote ({tag}) that is not closed"))?;
    Ok(Some(Skip::Quoted(end + 2 * tag.len())))
}
