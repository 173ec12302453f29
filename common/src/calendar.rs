//! Business days in the United States, by which the law counts the time to honour an opt-out.
//!
//! Weekends and federal holidays (5 U.S.C. 6103, with their observed days) are none. Days are UTC days.

use jiff::{
    Timestamp,
    civil::{Date, Weekday},
    tz::TimeZone,
};

/// How many business days there are to honour an opt-out: "not more than 10 business days after the receipt of such
/// request" by email (CAN-SPAM, 15 U.S.C. 7704(a)(4)(A), and 16 CFR part 316), "not to exceed ten business days from
/// receipt" for calls and texts (TCPA, 47 CFR 64.1200(a)(10)).
pub const BUSINESS_DAYS: usize = 10;

/// The first moment at which what was received at `received` is late by law: after [`BUSINESS_DAYS`] full business days
/// that follow the day of receipt.
pub fn late_from(received: Timestamp) -> Option<Timestamp> {
    let day = received.to_zoned(TimeZone::UTC).date();
    let last = business_days_after(day).nth(BUSINESS_DAYS - 1)?;
    let after = last.tomorrow().ok()?;
    Some(after.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The business days after `day`, in order.
fn business_days_after(day: Date) -> impl Iterator<Item = Date> {
    std::iter::successors(day.tomorrow().ok(), |day| day.tomorrow().ok())
        .filter(|day| is_business_day(*day))
}

/// Whether government and banks work on that day.
pub fn is_business_day(day: Date) -> bool {
    let weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
    !weekend && !is_floating(day) && !is_observed(day)
}

/// Whether a holiday with a fixed date is observed on that working day of the week: on itself, on the Friday before a
/// Saturday, or on the Monday after a Sunday.
fn is_observed(day: Date) -> bool {
    let there = |neighbour: Result<Date, jiff::Error>| neighbour.is_ok_and(is_fixed);
    match day.weekday() {
        Weekday::Friday => is_fixed(day) || there(day.tomorrow()),
        Weekday::Monday => is_fixed(day) || there(day.yesterday()),
        _ => is_fixed(day),
    }
}

/// New Year's Day, Juneteenth (since 2021), Independence Day, Veterans Day, Christmas.
fn is_fixed(day: Date) -> bool {
    match (day.month(), day.day()) {
        (1, 1) | (7, 4) | (11, 11) | (12, 25) => true,
        (6, 19) => day.year() >= 2021,
        _ => false,
    }
}

/// Martin Luther King Jr., Washington, Memorial, Labor, Columbus and Thanksgiving Day.
fn is_floating(day: Date) -> bool {
    let nth_of_month = (day.day() - 1) / 7 + 1;
    let is_last_of_month = day.day() + 7 > day.days_in_month();
    match (day.month(), day.weekday()) {
        (1 | 2, Weekday::Monday) => nth_of_month == 3,
        (5, Weekday::Monday) => is_last_of_month,
        (9, Weekday::Monday) => nth_of_month == 1,
        (10, Weekday::Monday) => nth_of_month == 2,
        (11, Weekday::Thursday) => nth_of_month == 4,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// The weekdays of a year that are no business days.
    fn holidays(year: i16) -> Vec<(i8, i8)> {
        let days = std::iter::successors(Some(date(year, 1, 1)), |day| day.tomorrow().ok());
        days.take_while(|day| day.year() == year)
            .filter(|day| !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday))
            .filter(|day| !is_business_day(*day))
            .map(|day| (day.month(), day.day()))
            .collect()
    }

    #[test]
    fn the_holidays_are_those_that_the_government_publishes() {
        let of_2026 = [
            (1, 1),
            (1, 19),
            (2, 16),
            (5, 25),
            (6, 19),
            (7, 3), // the Fourth is a Saturday
            (9, 7),
            (10, 12),
            (11, 11),
            (11, 26),
            (12, 25),
        ];
        assert_eq!(holidays(2026), of_2026);
        let of_2027 = [
            (1, 1),
            (1, 18),
            (2, 15),
            (5, 31),
            (6, 18), // Juneteenth is a Saturday
            (7, 5),  // the Fourth is a Sunday
            (9, 6),
            (10, 11),
            (11, 11),
            (11, 25),
            (12, 24), // Christmas is a Saturday
            (12, 31), // for New Year's Day of 2028, a Saturday
        ];
        assert_eq!(holidays(2027), of_2027);
        assert!(
            is_business_day(date(2019, 6, 19)),
            "Juneteenth became a holiday in 2021"
        );
    }

    #[test]
    fn what_is_received_has_ten_full_business_days() {
        let late = [
            // Two weekends lie between.
            ("2026-03-02T00:00:00Z", "2026-03-17T00:00:00Z"),
            ("2026-03-02T23:59:59.999999Z", "2026-03-17T00:00:00Z"),
            // Received on a Saturday: the first day is Monday.
            ("2026-03-07T12:00:00Z", "2026-03-21T00:00:00Z"),
            // Christmas, New Year's Day and three weekends.
            ("2026-12-18T08:00:00Z", "2027-01-06T00:00:00Z"),
            // Thanksgiving.
            ("2026-11-20T08:00:00Z", "2026-12-08T00:00:00Z"),
        ];
        for (received, from) in late {
            let received: Timestamp = received.parse().unwrap();
            assert_eq!(
                late_from(received),
                Some(from.parse().unwrap()),
                "{received}"
            );
        }
    }
}
