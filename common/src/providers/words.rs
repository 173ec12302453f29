//! What a person who answers a text message asks for. Whole messages count: "stop" opts out, "stop please" does not.
//!
//! Stop words are those of the carriers and of Twilio, French ones and those that the FCC names among them.

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Stop,
    Start,
    Help,
}

const WORDS: &[(&str, Asked)] = &[
    ("STOP", Asked::Stop),
    ("STOPALL", Asked::Stop),
    ("UNSUBSCRIBE", Asked::Stop),
    ("CANCEL", Asked::Stop),
    ("END", Asked::Stop),
    ("QUIT", Asked::Stop),
    ("REVOKE", Asked::Stop),
    ("OPTOUT", Asked::Stop),
    ("OPT OUT", Asked::Stop),
    ("OPT-OUT", Asked::Stop),
    ("STOP ALL", Asked::Stop),
    ("ARRET", Asked::Stop),
    ("ARRÊT", Asked::Stop),
    ("ARRETE", Asked::Stop),
    ("ARRETT", Asked::Stop),
    ("START", Asked::Start),
    ("YES", Asked::Start),
    ("UNSTOP", Asked::Start),
    ("HELP", Asked::Help),
    ("INFO", Asked::Help),
];

/// What a message asks for, if it is one of the words and nothing more but white space and punctuation.
pub(super) fn asked(message: &str) -> Option<Asked> {
    let word = message
        .trim_matches(|c: char| !c.is_alphanumeric())
        .to_uppercase();
    let found = WORDS.iter().find(|row| row.0 == word);
    found.map(|row| row.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_alone_is_heeded_in_any_case_and_within_a_sentence_is_not() {
        for stop in [
            "STOP",
            "stop",
            " Stop\n",
            "Stop.",
            "STOP,",
            "“Stop”",
            "arrêt",
            "OptOut",
            "Opt out",
            "opt-out",
            "stop all",
        ] {
            assert_eq!(asked(stop), Some(Asked::Stop), "{stop}");
        }
        assert_eq!(asked("Yes!"), Some(Asked::Start));
        assert_eq!(asked("info"), Some(Asked::Help));
        for other in ["Stop please", "don't stop", "", "."] {
            assert_eq!(asked(other), None, "{other}");
        }
    }
}
