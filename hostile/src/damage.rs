//! One thing that is done to an input. Which one, where and with what are numbers, so that a failing case shrinks.

use std::{iter, ops::Range};

use proptest::prelude::*;

/// What stands for a number, or follows one, and is none that fits.
const NUMBERS: &[&str] = &[
    "1e999",
    "-1e999",
    "1e-999",
    "99999999999999999999999999",
    "-9223372036854775808",
    "18446744073709551616",
    "-0",
    "0.1",
    "00",
    "NaN",
    "4294967296",
    "253402300800",
    "9e18",
];

/// What means something to one format or another.
const WORDS: &[&str] = &[
    "\"",
    "'",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    ";",
    "&",
    "=",
    "%",
    "%f",
    "%00",
    "+",
    "@",
    "<",
    ">",
    "`",
    "#",
    "$$",
    "--",
    "/*",
    "*/",
    "::",
    "{{",
    "}}",
    "{%",
    "%}",
    "\0",
    "\\u0000",
    "\\ud800",
    "\\ud83d\\ude00",
    "null",
    "true",
    "{}",
    "[]",
    "\r\n",
    "\n",
    "\r",
    "\t",
    " ",
    "\u{feff}",
    "\u{202e}",
    "\u{301}",
    "\u{130}",
    "\u{df}",
    "\u{1f600}",
    "&payload={",
    "payload={",
    "env:",
    "file:",
    "xn--",
    "[::ffff:127.0.0.1]",
    "0x7f.1",
    "+00:00",
    "Z",
    "-00:00",
];

const NOT_UTF8: &[&[u8]] = &[
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\x80",
];

/// The deepest nesting, beyond the 128 levels that `serde_json` goes down.
const DEEPEST: u32 = 300;

/// The longest text that is put in.
const LONGEST: u32 = 3000;

/// What is done, where, and with what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Damage {
    what: u8,
    place: u32,
    with: u32,
}

impl Arbitrary for Damage {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        (0..10_u8, any::<u32>(), any::<u32>())
            .prop_map(|(what, place, with)| Self { what, place, with })
            .boxed()
    }
}

impl Damage {
    pub(crate) fn done_to(self, mut input: Vec<u8>, samples: &[Vec<u8>]) -> Vec<u8> {
        let place = below(self.place, input.len() + 1);
        match self.what {
            0 => input.truncate(place),
            1 => {
                if let Some(byte) = input.get_mut(place) {
                    *byte ^= self.with.to_be_bytes()[0] | 1;
                }
            }
            2 => drop(input.drain(span(place, self.with, input.len()))),
            3 => {
                let other = &samples[below(self.with, samples.len())];
                let from = below(self.with.rotate_left(8), other.len() + 1);
                let piece = other[span(from, self.with.rotate_left(16), other.len())].to_vec();
                put(&mut input, place, &piece);
            }
            4 => nest(&mut input, place, self.with),
            5 => {
                let digits = digits(&input, place);
                let number = NUMBERS[below(self.with, NUMBERS.len())];
                input.splice(digits, number.bytes());
            }
            6 => put(
                &mut input,
                place,
                NOT_UTF8[below(self.with, NOT_UTF8.len())],
            ),
            7 => {
                let field = field(&input, place);
                let twice = input[field.clone()].to_vec();
                put(&mut input, field.end, &twice);
            }
            8 => put(
                &mut input,
                place,
                WORDS[below(self.with, WORDS.len())].as_bytes(),
            ),
            _ => {
                let letter = input.get(place).copied().unwrap_or(b'x');
                let long = usize::try_from(self.with % LONGEST).unwrap_or_default();
                input.splice(place..place, iter::repeat_n(letter, long));
            }
        }
        input
    }
}

/// A number below `bound`, which is not 0.
fn below(number: u32, bound: usize) -> usize {
    usize::try_from(number).unwrap_or_default() % bound
}

fn span(from: usize, length: u32, end: usize) -> Range<usize> {
    from..from + below(length, end - from + 1)
}

fn put(input: &mut Vec<u8>, place: usize, piece: &[u8]) {
    input.splice(place..place, piece.iter().copied());
}

/// Puts the rest of the input, or nothing, so many levels down.
fn nest(input: &mut Vec<u8>, place: usize, with: u32) {
    let (open, close): (&[u8], &[u8]) = match with % 3 {
        0 => (b"[", b"]"),
        1 => (b"{\"a\":", b"}"),
        _ => (b"(", b")"),
    };
    let depth = usize::try_from(with / 3 % DEEPEST).unwrap_or_default();
    // Every other time it is never closed.
    if with.is_multiple_of(2) {
        input.extend(close.repeat(depth));
    }
    put(input, place, &open.repeat(depth));
}

/// The first run of digits from there on, or else the place itself.
fn digits(input: &[u8], place: usize) -> Range<usize> {
    let Some(skipped) = input[place..].iter().position(u8::is_ascii_digit) else {
        return place..place;
    };
    let begin = place + skipped;
    let rest = &input[begin..];
    let length = rest.iter().position(|byte| !byte.is_ascii_digit());
    begin..begin + length.unwrap_or(rest.len())
}

/// The field that the place is in: with the separator before it, up to the one after it.
fn field(input: &[u8], place: usize) -> Range<usize> {
    let separates = |byte: &u8| matches!(byte, b',' | b'&' | b'\n');
    let begin = input[..place].iter().rposition(separates).unwrap_or(0);
    let end = input[place..].iter().position(separates);
    begin..end.map_or(input.len(), |length| place + length)
}
