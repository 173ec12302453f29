//! Texts that mean ill to whatever they are put into: statements, templates, patterns, JSON, spreadsheets, pages, terminals.

use std::sync::LazyLock;

/// What a caller may write into any field of text. None holds a NUL, which PostgreSQL does not store, or another control
/// character.
pub const VALUES: &[&str] = &[
    // Statements.
    "'; DROP TABLE events; --",
    "\"; DROP TABLE events; --",
    "\\'; DELETE FROM registers; --",
    "x' OR '1'='1",
    "') ON CONFLICT DO NOTHING; TRUNCATE events; --",
    "/* */ UNION SELECT hash FROM keys -- ",
    "`users`; $$; $tag$; E'\\047'",
    "$1 $2 $99 ? ?1 :email @p1 %s %(x)s %NAME%",
    // What statements and templates here have in them that is replaced.
    "{rows} {bytes} {body} {uuid} {now} {{rows}} {} {0}",
    "{{ contact }} {% for x in y %} {# #} ${HOME} $(id) `id`",
    // Patterns.
    "%",
    "_",
    "%_\\%\\_[a-z]*?^$.+|()",
    // What looks like something else.
    "NULL",
    "null",
    "true",
    "0",
    "-1e999",
    "[]",
    "{\"id\": 1, \"$ref\": \"#\"}",
    "\"",
    "'",
    "\\",
    "\\u0000 \\ud800 \\x00 \\0 %00 %27 &#39;",
    "erased:0123456789abcdef",
    // Letters.
    "\u{fffd}\u{feff}\u{fffe}\u{ffff}\u{10ffff}",
    "a\u{202e}moc.elpmaxe\u{2066}\u{2069}\u{200b}\u{200f}",
    "e\u{301} é ſ ß İ ı Ⅷ ﬁ 👩‍👩‍👧 \u{1f1e9}\u{1f1ea} 𝕏",
    // Spreadsheets, pages.
    "=HYPERLINK(\"http://evil.example\"; \"x\")",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "<script>alert(1)</script><!-- ]]> &amp;",
    "a,b;c\td\ne",
];

/// A text of a megabyte that a database may take, but no index.
pub static LARGE: LazyLock<String> = LazyLock::new(|| "'{rows}\"%\\".repeat((1 << 20) / 10));
