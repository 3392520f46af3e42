//! Numbers and times as a page shows them: short, with the unit that fits.

/// Three digits, with commas, `k` and `M` above ten thousand.
pub(crate) fn short(x: f64) -> String {
    match x.abs() {
        a if a >= 999_500.0 => format!("{}M", digits(x / 1e6)),
        a if a >= 9_999.5 => format!("{}k", digits(x / 1e3)),
        a if a >= 999.5 => {
            let whole = format!("{x:.0}");
            let at = whole.len() - 3;
            format!("{},{}", &whole[..at], &whole[at..])
        }
        _ => digits(x),
    }
}

/// Microseconds, as a time with its unit.
pub(crate) fn duration(us: f64) -> String {
    match us.abs() {
        0.0 => "0".to_owned(),
        a if a < 0.9995 => format!("{} ns", digits(us * 1e3)),
        a if a < 999.5 => format!("{} µs", digits(us)),
        a if a < 999_500.0 => format!("{} ms", digits(us / 1e3)),
        _ => format!("{} s", digits(us / 1e6)),
    }
}

/// Three significant digits, without zeros behind the last that counts.
fn digits(x: f64) -> String {
    let places = match x.abs() {
        a if a >= 99.95 => 0,
        a if a >= 9.995 => 1,
        a if a >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{x:.places$}");
    if text.contains('.') {
        let bare = text.trim_end_matches('0').trim_end_matches('.');
        bare.to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (x, text) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (0.5333, "0.533"),
            (1.0, "1"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (2114.0, "2,114"),
            (20_000.0, "20k"),
            (916_565.0, "917k"),
            (1_718_997.0, "1.72M"),
            (23_000_000.0, "23M"),
        ] {
            assert_eq!(short(x), text);
        }
    }

    #[test]
    fn times() {
        for (us, text) in [
            (0.0, "0"),
            (0.25, "250 ns"),
            (91.4, "91.4 µs"),
            (100.0, "100 µs"),
            (4124.7, "4.12 ms"),
            (1_500_000.0, "1.5 s"),
        ] {
            assert_eq!(duration(us), text);
        }
    }
}
