//! Times on the command line: `90`, `1.5s`, `500ms`, `2m`, `1h`, `1:30`, `01:02:03.5`.

use std::time::Duration;

/// Reads a time.
///
/// # Errors
/// What is expected, if the text is no time.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is not a time; write it like 1.5s, 500ms, 2m or 1:30");
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let seconds = if text.contains(':') {
        text.split(':').try_fold(0.0, |total, part| number(part).map(|part| 60.0 * total + part))
    } else {
        let unit = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)));
        let (digits, scale) = unit.unwrap_or((text, 1.0));
        number(digits.trim_end()).map(|number| number * scale)
    };
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(expected)
}

/// A duration for people, such as `45 s`, `3 min` or `2 h 5 min`.
pub(crate) fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let cases = [
            ("90", 90_000),
            ("1.5s", 1500),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1:30", 90_000),
            ("01:02:03.5", 3_723_500),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(expected)), "{text}");
        }
        for wrong in ["", "-1", "a", "1:x", "ms", "inf", "1e300h"] {
            assert!(parse(wrong).unwrap_err().contains("is not a time"), "{wrong}");
        }
        assert_eq!(rough(Duration::from_secs(7500)), "2 h 5 min");
    }
}
