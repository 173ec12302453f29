//! Input that means ill, for the tests of whatever reads what others wrote.
//!
//! Real input is damaged by what parsers stumble over: bytes that are flipped, cut or spliced in from elsewhere, deep
//! nesting, huge numbers, invalid UTF-8, fields that come twice, very long texts; beside it come bytes of pure chance.
//!
//! `scripts/test` runs a bounded number of cases per parser, `scripts/fuzz` as many as it is told. What ever failed is
//! kept in the crate's `proptest-regressions` and is tried first from then on. It is proptest and not cargo-fuzz, since
//! that wants a nightly compiler, and since a case is shrunk to what matters; what coverage would have found, samples of
//! every provider and words of every format stand in for.

mod damage;
mod values;

use std::{sync::Arc, time::Instant};

use proptest::{
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};

use damage::Damage;

pub use values::{LARGE, VALUES};

/// The cases per parser where nobody asks for more.
const CASES: u32 = 400;

/// The most that is done to one input.
const MOST_DAMAGES: usize = 5;

/// Bytes of pure chance, and samples that are damaged.
pub fn bytes<T: AsRef<[u8]>>(samples: impl IntoIterator<Item = T>) -> BoxedStrategy<Vec<u8>> {
    let samples = samples.into_iter().map(|sample| sample.as_ref().to_vec());
    let samples: Arc<[Vec<u8>]> = samples.collect();
    let plan = prop::collection::vec(any::<Damage>(), 0..=MOST_DAMAGES);
    let damaged = (0..samples.len(), plan).prop_map(move |(index, plan)| {
        plan.into_iter()
            .fold(samples[index].clone(), |input, damage| {
                damage.done_to(input, &samples)
            })
    });
    prop_oneof![
        9 => damaged,
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ]
    .boxed()
}

/// The same as text, as far as it is text.
pub fn text<T: AsRef<[u8]>>(samples: impl IntoIterator<Item = T>) -> BoxedStrategy<String> {
    bytes(samples)
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .boxed()
}

/// Runs `check`, which panics if something is wrong, on every input. `source` is the test's own `file!()`, beside whose
/// crate the failures are kept.
pub fn withstands<S: Strategy>(
    parser: &str,
    source: &'static str,
    inputs: &S,
    check: impl Fn(S::Value),
) {
    let asked = asked();
    let config = Config {
        cases: asked.unwrap_or(CASES),
        source_file: Some(source),
        ..Config::default()
    };
    let (cases, begun) = (config.cases, Instant::now());
    let ended = TestRunner::new(config).run(inputs, |input| {
        check(input);
        Ok(())
    });
    match ended {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => panic!("{parser}: {why}, shown by {input:?}"),
        Err(TestError::Abort(why)) => panic!("{parser}: {why}"),
    }
    if asked.is_some() {
        tell(parser, cases, begun);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "only tests are told by the environment how many cases to try"
)]
fn asked() -> Option<u32> {
    let asked = std::env::var("OPTOUT_TEST_CASES").ok()?;
    Some(asked.parse().expect("OPTOUT_TEST_CASES is a number"))
}

#[expect(clippy::print_stdout, reason = "scripts/fuzz shows it")]
fn tell(parser: &str, cases: u32, begun: Instant) {
    println!(
        "  {parser:<34} {cases:>9} cases in {:>6.1} s",
        begun.elapsed().as_secs_f64()
    );
}
